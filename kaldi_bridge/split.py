"""Parts of data directories: by speaker or utterance, in Kaldi's splitN layout; choices; no shared speakers.

Kaldi's utils/split_data.sh, split_scp.pl, subset_data_dir.sh.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from harness.errors import DataDirError
from harness.seed import rng_for
from kaldi_bridge.data_dir import DataDir


def split_by_speaker(data: DataDir, parts: int) -> list[DataDir]:
    """Cut into ``parts`` directories of about equal numbers of utterances; a speaker stays whole, order is kept.

    Raises DataDirError where there are fewer speakers than parts.
    """
    groups = data.spk2utt
    speakers = list(groups)
    if not 1 <= parts <= len(speakers):
        problem = f"cannot be split into {parts} parts: it has {len(speakers)} speakers"
        raise DataDirError(data.path, problem, mend="use fewer jobs, or split by utterance")
    shares = _balanced([len(groups[speaker]) for speaker in speakers], parts)
    return [data.subset(utterance for index in share for utterance in groups[speakers[index]]) for share in shares]


def split_by_utterance(data: DataDir, parts: int) -> list[DataDir]:
    """Cut into ``parts`` directories of equal numbers of utterances (the first ones get one more), in order."""
    utterances = data.utterances
    if not 1 <= parts <= len(utterances):
        problem = f"cannot be split into {parts} parts: it has {len(utterances)} utterances"
        raise DataDirError(data.path, problem, mend="use fewer jobs")
    size, rest = divmod(len(utterances), parts)
    starts = [part * size + min(part, rest) for part in range(parts + 1)]
    return [data.subset(utterances[starts[part] : starts[part + 1]]) for part in range(parts)]


def _balanced(sizes: list[int], parts: int) -> list[list[int]]:
    """Indices in ``parts`` runs: equal numbers of groups first, then ends move over while neighbours become more equal.

    The procedure of split_scp.pl, so that our parts are Kaldi's.
    """
    shares: list[list[int]] = [[] for _ in range(parts)]
    for index in range(len(sizes)):
        shares[index * parts // len(sizes)].append(index)
    counts = [sum(sizes[index] for index in share) for share in shares]

    def move(source: int, target: int) -> bool:
        """Give the group next to ``target`` away, if that brings the two counts nearer."""
        if not 0 <= target < parts or not shares[source]:
            return False
        index = shares[source][-1 if target > source else 0]
        if abs((counts[target] + sizes[index]) - (counts[source] - sizes[index])) >= abs(
            counts[target] - counts[source]
        ):
            return False
        shares[source].remove(index)
        shares[target].insert(0 if target > source else len(shares[target]), index)
        counts[source] -= sizes[index]
        counts[target] += sizes[index]
        return True

    changed = True
    while changed:
        changed = False
        for part in range(parts):
            changed |= move(part, part + 1)
            changed |= move(part, part - 1)
    return shares


def write_split(path: str | os.PathLike[str], parts: int, *, per_utterance: bool = False) -> list[Path]:
    """Write path/splitN/1 ... path/splitN/N (splitNutt for per_utterance), as split_data.sh; returns them."""
    data = DataDir.read(path)
    pieces = split_by_utterance(data, parts) if per_utterance else split_by_speaker(data, parts)
    base = data.path / f"split{parts}{'utt' if per_utterance else ''}"
    return [piece.write(base / str(number)).path for number, piece in enumerate(pieces, start=1)]


def choose_utterances(
    data: DataDir, *, first: int | None = None, last: int | None = None, shortest: int | None = None,
    random: int | None = None, per_speaker: int | None = None, speakers: int | None = None, seed: int = 0,
) -> list[str]:  # fmt: skip
    """Utterances by one of the rules of subset_data_dir.sh: the first, last, shortest or drawn N; N of each speaker,
    evenly spaced; or all of drawn speakers until there are N utterances.

    Raises DataDirError where there are not so many.
    """
    rules = {"first": first, "last": last, "shortest": shortest, "random": random, "per_speaker": per_speaker,
             "speakers": speakers}  # fmt: skip
    given = [(name, count) for name, count in rules.items() if count is not None]
    if len(given) != 1:
        raise ValueError(f"choose by exactly one rule of {', '.join(rules)}")
    name, count = given[0]
    utterances = data.utterances
    if count < 1 or (name != "per_speaker" and count > len(utterances)):
        raise DataDirError(data.path, f"cannot give {count} of {len(utterances)} utterances", mend="ask for fewer")
    match name:
        case "first":
            return utterances[:count]
        case "last":
            return utterances[-count:]
        case "shortest":
            lengths = data.utt2num_frames or data.utt2dur
            if lengths is None:
                raise DataDirError(data.path / "utt2dur", "no such file", mend="make the features first")
            return sorted(sorted(utterances, key=lambda utt: (float(lengths[utt]), utt))[:count])
        case "random":
            return sorted(rng_for(seed, "subset", len(utterances)).permutation(utterances)[:count].tolist())
        case "per_speaker":
            return sorted(utt for own in data.spk2utt.values() for utt in _evenly(own, count))
        case _:
            return sorted(_of_drawn_speakers(data, count, seed))


def _evenly(items: list[str], count: int) -> list[str]:
    """``count`` of the items, as far apart as subset_data_dir.sh --per-spk takes them."""
    step = max(1, len(items) // count)
    return items[: count * step : step]


def _of_drawn_speakers(data: DataDir, count: int, seed: int) -> list[str]:
    groups = data.spk2utt
    chosen: list[str] = []
    for speaker in rng_for(seed, "subset speakers").permutation(list(groups)).tolist():
        if len(chosen) >= count:
            break
        chosen += groups[speaker]
    return chosen


def refuse_shared_speakers(directories: Iterable[DataDir | str | os.PathLike[str]]) -> None:
    """Raise DataDirError where a speaker is in two of the directories: a test on known voices is no test."""
    home: dict[str, Path] = {}
    for given in directories:
        data = given if isinstance(given, DataDir) else DataDir.read(given, validate=False)
        shared = [speaker for speaker in data.speakers if speaker in home]
        if shared:
            others = len(shared) - 1
            more = f" (and {others} more)" if others else ""
            problem = f"speaker {shared[0]}{more} is also in {home[shared[0]]}"
            raise DataDirError(data.path / "utt2spk", problem, mend="split by speaker: every child in one set only")
        home.update((speaker, data.path) for speaker in data.speakers)
