"""Speech and noise mixed at drawn SNRs into a data directory with the same utterance ids.

The SNR, the noise file and the place in it are drawn from (seed, utterance id) alone: neither the order nor the number
of jobs changes a byte.  Speech level: power over active frames (see speech_level); noise level: mean power of the
piece that is mixed in.  A noise that is shorter than the utterance is looped.  Where the sum would clip, speech and
noise are scaled down together, and utt2scale says by how much.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from enhance.resumable import ResumableDir, stamp_of, stamp_of_tables, wav_of
from enhance.sounds import noise_files, read_sound
from enhance.speech_level import active_power
from harness.atomic import write_whole
from harness.errors import AudioError, ConfigError
from harness.jobs import map_jobs
from harness.log import get_logger
from harness.seed import rng_for
from kaldi_bridge.data_dir import STALE_AFTER_NEW_AUDIO, DataDir, key_kind
from kaldi_bridge.sound_files import write_wav

LOUDEST = 0.99  # full scale is 1; a louder sum is scaled down to this
DRAWS = 20  # places that are tried when the drawn piece of noise is nearly silent
PAUSE = 0.01  # a piece below this share of its file's power is a pause (-20 dB)


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    snr: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0)  # dB; one is drawn for each utterance
    seed: int = 0
    sample_rate: int = 16000

    def __post_init__(self) -> None:
        if not self.snr or not all(np.isfinite(self.snr)):
            raise ValueError(f"snr must be one or more numbers, got {list(self.snr)}")


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """samples: noisy, within [-1, 1].  snr: dB.  noise, offset: file relative to the noise directory, first sample.
    scale: of speech and noise against what was asked for; 1 unless the sum would have clipped."""

    samples: np.ndarray
    snr: float
    noise: str
    offset: int
    scale: float


def mix(speech: np.ndarray, noise: np.ndarray, snr: float, sample_rate: int = 16000) -> tuple[np.ndarray, float]:
    """Add noise to speech, both [samples]; returns the sum and its scale (below 1 where it would have clipped).

    Raises ValueError where either is silent.
    """
    speech_power, noise_power = float(active_power(speech, sample_rate)), float(np.mean(np.square(noise, dtype=float)))
    if speech_power <= 0 or noise_power <= 0:
        raise ValueError("speech and noise must not be silent")
    gain = np.sqrt(speech_power / noise_power) * 10 ** (-snr / 20)
    noisy = speech + (gain * noise).astype(np.float32)
    scale = min(1.0, LOUDEST / max(float(np.abs(noisy).max()), 1e-9))
    return (noisy * np.float32(scale)).astype(np.float32), scale


def cut_noise(noise: np.ndarray, offset: int, samples: int) -> np.ndarray:
    """`samples` of noise from an offset on; its start follows its end."""
    return np.take(noise, np.arange(offset, offset + samples), mode="wrap")


def mix_utterance(utterance: str, speech: np.ndarray, noise_dir: str, config: MixConfig) -> Mixture:
    """The mixture of one utterance; every draw comes from its id.  Raises AudioError where nothing can be mixed."""
    rng = rng_for(config.seed, "mix", utterance)
    snr = float(config.snr[rng.integers(len(config.snr))])
    if not len(speech) or float(active_power(speech, config.sample_rate)) <= 1e-12:
        raise AudioError(utterance, "is silent, so no SNR can be set", mend="remove this utterance")
    for _ in range(DRAWS):
        name, noise, power = _noise(noise_dir, int(rng.integers(len(_files(noise_dir)))), config.sample_rate)
        offset = int(rng.integers(max(1, len(noise) - len(speech) + 1) if len(noise) > len(speech) else len(noise)))
        piece = cut_noise(noise, offset, len(speech))
        if float(np.mean(np.square(piece, dtype=float))) > max(PAUSE * power, 1e-12):
            samples, scale = mix(speech, piece, snr, config.sample_rate)
            return Mixture(samples=samples, snr=snr, noise=name, offset=offset, scale=scale)
    problem = f"{DRAWS} pieces of noise drawn for {utterance} are silent"
    raise AudioError(noise_dir, problem, mend="remove silent noise files")


def mix_data_dir(
    data_path: str | os.PathLike[str], noise_dir: str | os.PathLike[str], out: str | os.PathLike[str],
    config: MixConfig, *, jobs: int | None = None, force: bool = False,
) -> Path:  # fmt: skip
    """Write `out`, a data directory with the utterances of `data_path` mixed with noise; returns its path.

    It holds wav/UTTERANCE.wav, every table by utterance and speaker of the source, and utt2snr (dB), utt2noise (file,
    first sample) and utt2scale.  Features, CMVN and VAD are left out: they are stale.
    """
    data = DataDir.read(data_path)
    wavs = {utterance: wav_of(utterance, data.path) for utterance in data.utterances}
    noise_root = os.path.abspath(noise_dir)
    names = [str(path.relative_to(noise_root)) for path in noise_files(noise_root)]
    request = {
        "mix": os.path.abspath(data_path), "utterances": data.utterances, "noise": noise_root, "noises": names,
        "snr": list(config.snr), "seed": config.seed, "sample_rate": config.sample_rate,
        "sources": stamp_of((data.wav_scp or {}).values()),
        "noise_files": stamp_of(os.path.join(noise_root, name) for name in names),
        "tables": stamp_of_tables(data.without(*STALE_AFTER_NEW_AUDIO, "utt2dur").tables),  # features may come later
    }  # fmt: skip
    target = ResumableDir(out, request, force=force)
    if target.done:
        return target.out
    work = partial(_mix_one, os.path.abspath(data_path), noise_root, os.fspath(target.partial), config)
    rows = dict(map_jobs(work, data.utterances, jobs=jobs, label=f"mix {data.path.name}"))
    _tables(data, rows, wavs, target.out).write_tables(target.partial)
    scaled = sum(float(row[2]) < 1 for row in rows.values())
    if scaled:
        get_logger("enhance").info("%d of %d mixtures scaled down so that they do not clip", scaled, len(rows))
    shutil.rmtree(target.partial / "notes")
    target.finish()
    return target.out


def _mix_one(data_path: str, noise_dir: str, partial_dir: str, config: MixConfig, utterance: str) -> tuple[str, Any]:
    """Mix and write one utterance, unless an earlier run did; returns it and (snr, noise and offset, scale)."""
    wav = Path(partial_dir, wav_of(utterance, data_path))
    note = Path(partial_dir, "notes", hashlib.sha256(utterance.encode()).hexdigest()[:24])
    if wav.is_file() and note.is_file():
        return utterance, tuple(note.read_text(encoding="utf-8").split("\t"))
    mixture = mix_utterance(utterance, _audio(data_path, config.sample_rate).read(utterance), noise_dir, config)
    write_wav(wav, mixture.samples, config.sample_rate)
    row = (f"{mixture.snr:g}", f"{mixture.noise} {mixture.offset}", f"{mixture.scale:.6f}")
    with write_whole(note) as stream:
        stream.write("\t".join(row))
    return utterance, row


def _tables(data: DataDir, rows: dict[str, Any], wavs: dict[str, str], out: Path) -> DataDir:
    """The source's tables with the new audio and the record of the draws; recordings are utterances now."""
    kept = data.without(*STALE_AFTER_NEW_AUDIO, "segments", "wav.scp")
    tables = {name: table for name, table in kept.tables.items() if key_kind(name) != "recording"}
    tables["wav.scp"] = {utterance: str(out / wavs[utterance]) for utterance in rows}
    for index, name in enumerate(("utt2snr", "utt2noise", "utt2scale")):
        tables[name] = {utterance: row[index] for utterance, row in rows.items()}
    return DataDir(out, tables, {})


@lru_cache(maxsize=2)
def _audio(data_path: str, sample_rate: int) -> Any:
    """A worker's view of the source, read once."""
    from kaldi_bridge.audio import AudioTable

    return AudioTable(DataDir.read(data_path, validate=False), sample_rate=sample_rate)


@lru_cache(maxsize=2)
def _files(noise_dir: str) -> tuple[Path, ...]:
    return tuple(noise_files(noise_dir))


@lru_cache(maxsize=64)
def _noise(noise_dir: str, index: int, sample_rate: int) -> tuple[str, np.ndarray, float]:
    """Name, samples and mean power of a noise file."""
    path = _files(noise_dir)[index]
    samples = read_sound(path, sample_rate)
    return str(path.relative_to(noise_dir)), samples, float(np.mean(np.square(samples, dtype=float)))


def parse_snrs(text: str) -> tuple[float, ...]:
    """ "0,5,10" as numbers.  Raises ConfigError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        problem = "expected numbers in dB with commas between"
        raise ConfigError(f"--snr {text}", problem, mend="such as --snr 0,5,10") from None
