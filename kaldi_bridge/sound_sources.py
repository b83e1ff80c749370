"""Collections of noises and of room responses as directories of mono 16-bit wav at one rate, split into three parts.

A part is chosen by the hash of a group's name alone (a recording, a room), so that a recording that two collections
share falls into the same part of both, and a larger collection moves nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from harness.atomic import whole_dir, write_whole
from harness.errors import AudioError, SchoolyardError
from harness.jobs import map_jobs
from harness.log import get_logger
from kaldi_bridge.audio import read_sound, resample
from kaldi_bridge.sound_files import to_pcm16, write_wav
from kaldi_bridge.text_tables import number_text

PARTS = ("train", "dev", "test")
TEST_SHARE, DEV_SHARE = 0.2, 0.1  # of the groups
LIST = "sources.tsv"
HEADER = "part\tfile\tkind\tseconds\tcut\tsource"


@dataclass(frozen=True, kw_only=True)
class SoundSource:
    """One recording to take over."""

    file: Path
    name: str  # of the file to write, without suffix; unique
    kind: str  # folder within the part: the class of the sound, the size of the room
    part: str  # train, dev or test

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"part must be one of {', '.join(PARTS)}, got {self.part!r}")


@dataclass(frozen=True, kw_only=True)
class SourcesConfig:
    sample_rate: int = 16000  # of what is written; other rates are converted (soxr HQ)
    longest: float = 0.0  # seconds kept of each recording; 0: all of it
    max_failed: float = 0.05  # share of recordings that may be unreadable or silent
    normalise: bool = False  # scale peaks to 0.9: for room responses, whose level says nothing

    def __post_init__(self) -> None:
        if self.sample_rate < 1 or self.longest < 0:
            raise ValueError(f"sample_rate and longest must be positive, got {self.sample_rate}, {self.longest}")
        if not 0 <= self.max_failed < 1:
            raise ValueError(f"max_failed must lie in [0, 1), got {self.max_failed}")


def part_of(group: str) -> str:
    """train, dev or test: by SHA-256 of the group's name, test TEST_SHARE and dev DEV_SHARE of all names."""
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    return "test" if place < TEST_SHARE else "dev" if place < TEST_SHARE + DEV_SHARE else "train"


def write_sources(
    sources: Iterable[SoundSource], out: str | os.PathLike[str], root: str | os.PathLike[str],
    config: SourcesConfig | None = None, *, jobs: int | None = None, force: bool = False,
) -> Counter[str]:  # fmt: skip
    """Write out/PART/KIND/NAME.wav and out/sources.tsv, whole; returns how many recordings each part has.

    root: sources are listed by their path below it.  Recordings that cannot be read, or are silent, are counted and
    named.  Raises AudioError past max_failed, or where two names are the same; DiskError.
    """
    config = config or SourcesConfig()
    wanted = sorted(sources, key=lambda source: (source.part, source.kind, source.name))
    places = Counter(_place(source) for source in wanted)
    if not wanted:
        raise AudioError(root, "holds none of the wanted recordings", mend="check the folder, and the kinds asked for")
    if twice := [place for place, count in places.items() if count > 1]:
        raise AudioError(root, f"{twice[0]} would be written twice", mend="rename one of the recordings")
    with whole_dir(out, force=force) as aside:
        work = partial(_write_one, os.fspath(aside), config)
        results = list(map_jobs(work, wanted, jobs=jobs, label=f"convert {Path(root).name}", unit="rec"))
        lost = {str(one.file): why for one, why in zip(wanted, results, strict=True) if isinstance(why, str)}
        _refuse_losses(lost, len(wanted), root, config.max_failed)
        rows = [
            f"{one.part}\t{_place(one)}\t{one.kind}\t{result[0]}\t{result[1]}\t{os.path.relpath(one.file, root)}\n"
            for one, result in zip(wanted, results, strict=True)
            if not isinstance(result, str)
        ]
        with write_whole(aside / LIST) as stream:
            stream.writelines([HEADER + "\n", *rows])
    counts = Counter(row.split("\t", 1)[0] for row in rows)
    text = ", ".join(f"{counts[part]} {part}" for part in PARTS)
    get_logger("kaldi_bridge").info("%s: %d recordings (%s) at %d Hz", out, len(rows), text, config.sample_rate)
    return counts


def _place(source: SoundSource) -> str:
    return f"{source.part}/{source.kind}/{source.name}.wav"


def _write_one(aside: str, config: SourcesConfig, source: SoundSource) -> tuple[str, str] | str:
    """Convert one recording's first channel: (seconds, "cut" or ""), or why it cannot be used."""
    try:
        samples, info = read_sound(str(source.file), where=str(source.file), allow_commands=False)
    except SchoolyardError as error:
        return error.problem
    mono = np.ascontiguousarray(samples[:, 0])
    limit = round(config.longest * info.rate)
    cut = bool(limit) and len(mono) > limit
    mono = mono[:limit] if cut else mono
    if info.rate != config.sample_rate:
        mono = resample(mono, info.rate, config.sample_rate)
    peak = float(np.abs(mono).max(initial=0.0))
    if config.normalise and peak > 0:
        mono = mono * np.float32(0.9 / peak)
    if not len(mono) or not to_pcm16(mono)[0].any():
        return "holds silence only"
    target = Path(aside, _place(source))
    write_wav(target, mono, config.sample_rate)
    return number_text(len(mono) / config.sample_rate, 3), "cut" if cut else ""


def _refuse_losses(lost: dict[str, str], total: int, root: str | os.PathLike[str], max_failed: float) -> None:
    """Name the first few recordings that are left out; raise where they are too many."""
    log = get_logger("kaldi_bridge")
    if not lost:
        return
    first, why = next(iter(lost.items()))
    if len(lost) > max_failed * total:
        problem = f"{len(lost)} of {total} recordings cannot be used, the first: {first}: {why}"
        raise AudioError(root, problem, mend="unpack the corpus again, or raise --max-failed")
    for file, why in list(lost.items())[:10]:
        log.warning("left out: %s: %s", file, why)
    log.warning("%d of %d recordings left out", len(lost), total)


def require(root: Path, names: Sequence[str], mend: str) -> None:
    """Raise AudioError unless all of `names` stand below `root`."""
    for name in names:
        if not (root / name).exists():
            raise AudioError(root / name, "is missing from the corpus", mend=mend)
