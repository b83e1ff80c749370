"""Speech and noise held in memory: one long row of samples, and where each utterance or file lies in it.

Training draws its crops from there, on whatever device the row lies.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.errors import AudioError
from harness.seed import rng_for
from kaldi_bridge.audio import read_sound as bridge_read
from kaldi_bridge.audio import resample as bridge_resample

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".sph", ".opus", ".mp3")


@dataclass(frozen=True, kw_only=True)
class Sounds:
    """names: utterance ids or files, unique.  groups: the speaker, or the file itself.  samples: float32, one after the
    other.  starts, lengths, powers: of each name; power is the mean square (of active frames, for speech).  noisy: the
    same utterances as recorded in noise, sample by sample beside `samples`, where there are such recordings."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    samples: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    powers: np.ndarray
    noisy: np.ndarray | None = None

    def subset(self, keep: Iterable[int]) -> Sounds:
        """Only these indices; the samples are shared."""
        index = np.array(sorted(keep), dtype=np.int64)
        return replace(
            self, names=tuple(self.names[i] for i in index), groups=tuple(self.groups[i] for i in index),
            starts=self.starts[index], lengths=self.lengths[index], powers=self.powers[index],
        )  # fmt: skip


def gist_of(sounds: Sounds) -> list[str | float]:
    """What tells other sounds from these: a digest of names, groups and lengths, and the sum of powers."""
    told = json.dumps([sounds.names, sounds.groups, sounds.lengths.tolist()])
    return [hashlib.sha256(told.encode()).hexdigest(), float(sounds.powers.sum())]


def same_gist(one: Sequence[str | float], other: Sequence[str | float]) -> bool:
    """Whether two gists are of the same sounds; powers may differ as 16-bit samples do from those before rounding."""
    return one[0] == other[0] and math.isclose(float(one[1]), float(other[1]), rel_tol=1e-3)


def no_sounds() -> Sounds:
    """Nothing: the noise of tasks that need none, and of speech that has noisy recordings of its own."""
    none, counts = np.zeros(0, np.float32), np.zeros(0, np.int64)
    return Sounds(names=(), groups=(), samples=none, starts=counts, lengths=counts, powers=np.zeros(0))


def gather(items: Iterable[tuple[str, str, np.ndarray]], *, where: str, active: bool, sample_rate: int) -> Sounds:
    """Put (name, group, samples) together.  active: measure power over active frames only, as for speech.

    Raises AudioError for samples that are not finite, and if there is nothing at all; silent ones are left out.
    """
    from enhance.speech_level import active_power

    names, groups, pieces, powers = [], [], [], []
    silent = 0
    for name, group, samples in items:
        if not np.isfinite(samples).all():
            problem = "holds samples that are not finite"
            raise AudioError(f"{where}: {name}", problem, mend="remove or repair this recording")
        power = 0.0 if not len(samples) else float(
            active_power(samples, sample_rate) if active else np.mean(np.square(samples, dtype=np.float64))
        )  # fmt: skip
        if power <= 1e-12:
            silent += 1
            continue
        names.append(name)
        groups.append(group)
        pieces.append(samples.astype(np.float32, copy=False))
        powers.append(power)
    if not names:
        problem = f"holds no usable audio ({silent} silent)" if silent else "holds no audio"
        raise AudioError(where, problem, mend="give a place with recordings")
    if silent:
        from harness.log import get_logger

        get_logger("enhance").warning("%s: %d silent recordings left out", where, silent)
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return Sounds(
        names=tuple(names), groups=tuple(groups), samples=np.concatenate(pieces), starts=starts, lengths=lengths,
        powers=np.array(powers),
    )  # fmt: skip


def sound_files(directory: str | os.PathLike[str], what: str) -> list[Path]:
    """Every audio file below a directory, sorted by its path in it.  Raises AudioError if there is none.

    what: the recordings hold, for the error.
    """
    root = Path(directory)
    if not root.is_dir():
        raise AudioError(root, f"no such {what} directory", mend=f"give a directory with {what} recordings")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not files:
        mend = f"put recordings there ({', '.join(suffix[1:] for suffix in AUDIO_SUFFIXES)})"
        raise AudioError(root, f"the {what} directory holds no audio files", mend=mend)
    return files


def noise_files(directory: str | os.PathLike[str]) -> list[Path]:
    """Every audio file below a directory, sorted by its path in it.  Raises AudioError if there is none."""
    return sound_files(directory, "noise")


def read_sound(path: Path, sample_rate: int, *, resample: bool = False) -> np.ndarray:
    """A mono recording as float32 [samples] in [-1, 1].

    resample: convert another rate (soxr HQ) instead of refusing it.  Raises AudioError: unreadable, stereo, another
    rate, empty.
    """
    samples, info = bridge_read(str(path), where=str(path), allow_commands=False)
    if info.channels != 1:
        raise AudioError(path, f"has {info.channels} channels", mend="extract one channel")
    mono = np.ascontiguousarray(samples[:, 0])
    if info.rate == sample_rate:
        return mono
    if not resample:
        raise AudioError(path, f"has {info.rate} Hz, not {sample_rate}", mend=f"resample it to {sample_rate} Hz")
    return bridge_resample(mono, info.rate, sample_rate)


def load_noise(directory: str | os.PathLike[str], sample_rate: int, *, resample: bool = False) -> Sounds:
    """All noise below a directory."""
    root = Path(directory)
    items = (
        (str(path.relative_to(root)),) * 2 + (read_sound(path, sample_rate, resample=resample),)
        for path in noise_files(root)
    )
    return gather(items, where=str(root), active=False, sample_rate=sample_rate)


def hold_out(sounds: Sounds, share: float, seed: int, purpose: str) -> tuple[Sounds, Sounds]:
    """Split by group (speaker, file) into the kept and the held-out part, fixed by seed and the groups' names.

    share: of the groups, at least one and not all.  Raises AudioError if there is a single group only.  Of nothing,
    both parts are nothing.
    """
    if not sounds.names:
        return sounds, sounds
    groups = sorted(set(sounds.groups))
    if len(groups) < 2:
        raise AudioError(purpose, "needs at least two speakers (or noise files) to hold one out", mend="give more data")
    order = sorted(groups, key=lambda group: rng_for(seed, purpose, group).random())
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    held = set(order[:count])
    kept = [index for index, group in enumerate(sounds.groups) if group not in held]
    out = [index for index, group in enumerate(sounds.groups) if group in held]
    return sounds.subset(kept), sounds.subset(out)
