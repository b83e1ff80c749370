"""One sound file in memory to its enhanced wav: what `denoise` would write, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from enhance.models import Generator
from enhance.streaming import BLOCK_SECONDS, enhance_blocks
from harness.errors import AudioError
from kaldi_bridge.audio import RESAMPLE_MEND, resample
from kaldi_bridge.sound_files import sound_of, to_pcm16, wav_header


def enhance_wav(
    model: Generator, raw: bytes, *, mix: float = 0.0, convert: bool = False, where: str = "standard input"
) -> bytes:
    """A wav (flac, ogg, sph) as bytes to a 16-bit mono wav as bytes, as many samples as before.

    convert: resample another rate to the model's.  Raises AudioError: no sound, several channels, another rate.
    """
    if not raw:
        raise AudioError(where, "is empty", mend="check the program before the pipe")
    samples, info = sound_of(raw, where)
    if info.channels != 1:
        mend = "choose one before the pipe: sox ... -t wav - remix 1 | ..."
        raise AudioError(where, f"has {info.channels} channels", mend=mend)
    mono = np.ascontiguousarray(samples[:, 0])
    if info.rate != model.sample_rate:
        if not convert:
            problem = f"has {info.rate} samples a second, the model {model.sample_rate}"
            raise AudioError(where, problem, mend=RESAMPLE_MEND)
        mono = resample(mono, info.rate, model.sample_rate)
    size = int(BLOCK_SECONDS * model.sample_rate)

    def blocks() -> Iterator[np.ndarray]:
        yield from (mono[i : i + size] for i in range(0, len(mono), size))

    pieces = [to_pcm16(piece)[0].tobytes() for piece in enhance_blocks(model, blocks, mix=mix, where=where)]
    return wav_header(len(mono), model.sample_rate) + b"".join(pieces)
