"""Round trips through lossy codecs: MP3 and Opus (FFmpeg), Ogg Vorbis (libsndfile), in memory.

Length and alignment stay: the containers say what delay the encoder added, and the decoders drop it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np

from enhance.augment.chance import Chance
from enhance.augment.ffmpeg import coded

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz that Opus takes


@dataclass(frozen=True, kw_only=True)
class CodecConfig(Chance):
    codecs: tuple[Literal["mp3", "vorbis", "opus"], ...] = ("mp3", "vorbis", "opus")  # one drawn
    mp3: tuple[int, ...] = (8, 16)  # kbit/s, one drawn; FINALLY draws from 4 to 16, but MP3 starts at 8
    opus: tuple[int, ...] = (6, 8, 12, 16, 24)  # kbit/s, one drawn
    vorbis: tuple[float, ...] = (0.0, 0.2, 0.4)  # quality, one drawn; 0 is the poorest, 1 the best

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.codecs and self.mp3 and self.opus and self.vorbis):
            raise ValueError("codecs, mp3, opus and vorbis must each name at least one choice")
        if min(self.mp3) < 8 or max(self.mp3) > 320:
            raise ValueError(f"mp3 takes 8 to 320 kbit/s, got {list(self.mp3)}")
        if min(self.opus) < 6 or max(self.opus) > 256:
            raise ValueError(f"opus takes 6 to 256 kbit/s, got {list(self.opus)}")
        if min(self.vorbis) < 0 or max(self.vorbis) > 1:
            raise ValueError(f"vorbis takes qualities from 0 to 1, got {list(self.vorbis)}")


def transcode(samples: np.ndarray, sample_rate: int, config: CodecConfig, rng: np.random.Generator) -> np.ndarray:
    """[samples] in [-1, 1] -> [samples].  Raises ConfigError where MP3 or Opus are drawn and PyAV is missing."""
    name = config.codecs[rng.integers(len(config.codecs))]
    match name:
        case "mp3":
            bits = 1000 * config.mp3[rng.integers(len(config.mp3))]
            back, rate = coded(samples, sample_rate, "libmp3lame", "mp3", bits)
        case "opus":
            inner = sample_rate if sample_rate in OPUS_RATES else 48000
            bits = 1000 * config.opus[rng.integers(len(config.opus))]
            back, rate = coded(_at_rate(samples, sample_rate, inner), inner, "libopus", "ogg", bits)
        case "vorbis":
            back, rate = _vorbis(samples, sample_rate, config.vorbis[rng.integers(len(config.vorbis))]), sample_rate
        case _:
            raise ValueError(f"codecs must be mp3, vorbis or opus, got {name!r}")
    back = _at_rate(back, rate, sample_rate)[: len(samples)]
    return np.pad(back, (0, len(samples) - len(back)))


def _vorbis(samples: np.ndarray, sample_rate: int, quality: float) -> np.ndarray:
    import soundfile

    packed = io.BytesIO()
    with soundfile.SoundFile(
        packed, "w", sample_rate, 1, format="OGG", subtype="VORBIS", compression_level=1 - quality
    ) as out:
        for first in range(0, len(samples), 8192):  # libsndfile overflows its stack on longer blocks of Vorbis
            out.write(samples[first : first + 8192])
    packed.seek(0)
    back: np.ndarray = soundfile.read(packed, dtype="float32")[0]
    return back


def _at_rate(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    if rate == wanted:
        return samples
    import soxr

    resampled: np.ndarray = soxr.resample(samples, rate, wanted, "HQ")
    return resampled
