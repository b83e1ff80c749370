"""Utterances from anywhere (a table, a manifest, files in folders) as one Kaldi data directory.

Ids are made of the speaker, '-' and a name, from letters, digits, '_', '.' (and '-' in the name): '-' sorts before all
of these, so that utterances sort as their speakers do, which Kaldi's programs need.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import AudioError, DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.sound_files import open_sound
from kaldi_bridge.text_tables import number_text
from recipes.lib.corpus import LeftOut, split_speakers

PARTS = ("train", "dev", "test")
RENAME = "rename the speakers or recordings so that their letters and digits differ"

PartOption = Annotated[str, typer.Option("--part", help="all into train, dev or test; split by speaker if not given")]
TestEvery = Annotated[int, typer.Option("--test-every", help="every n-th speaker is tested on")]
DevEvery = Annotated[int, typer.Option("--dev-every", help="every n-th of the others is for tuning")]
SeedOption = Annotated[int, typer.Option("--seed", help="another seed, other speakers")]
RawText = Annotated[bool, typer.Option("--raw-text", help="keep the transcripts as they are")]
MaxLost = Annotated[float, typer.Option("--max-lost", help="share of utterances that may be unusable")]
LexiconOption = Annotated[Path | None, typer.Option("--lexicon", help="lines 'WORD phone phone ...'")]


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One utterance.  text: as it shall stand in `text`.  start, end: seconds in the recording; None: all of it."""

    speaker: str
    name: str  # unique among the speaker's
    recording: str  # a file, or a command that ends in '|'
    text: str
    start: float | None = None
    end: float | None = None
    age: str = ""  # years
    gender: str = ""  # m or f


def data_dir_of(spoken: Sequence[Spoken], where: Path) -> DataDir:
    """The utterances as a data directory, with segments where any of them is cut out of its recording.

    Raises DataDirError where two get one id, a speaker has two ages or genders, or a recording two speakers' names.
    """
    if any(one.start is not None for one in spoken):
        return _with_segments(spoken, where)
    ids = {_id(one): one for one in spoken}
    _refuse_same(spoken, ids, where)
    return DataDir.build(where, wav_scp={key: one.recording for key, one in ids.items()}, **_common(ids, where))


def _with_segments(spoken: Sequence[Spoken], where: Path) -> DataDir:
    ids = {_id(one): one for one in spoken}
    _refuse_same(spoken, ids, where)
    names: dict[str, str] = {}
    for recording in sorted({one.recording for one in spoken}):
        name = plain(Path(recording.strip().split()[-1 if not recording.endswith("|") else 0]).stem)
        while name in names.values():
            name += "_"
        names[recording] = name
    lengths = {recording: _seconds(recording) for recording in {one.recording for one in spoken if one.end is None}}
    segments = {
        key: f"{names[one.recording]} {number_text(one.start or 0.0)} "
        + number_text(lengths[one.recording] if one.end is None else one.end)
        for key, one in ids.items()
    }
    wav_scp = {name: recording for recording, name in names.items()}
    return DataDir.build(where, wav_scp=wav_scp, segments=segments, **_common(ids, where))


def _seconds(recording: str) -> float:
    with open_sound(recording) as (_, info):
        return info.frames / info.rate


def _common(ids: Mapping[str, Spoken], where: Path) -> dict[str, Mapping[str, str] | None]:
    """text, utt2spk, and what is known of the speakers: a table for all of them or none."""
    speakers = {plain(one.speaker) for one in ids.values()}
    tables: dict[str, Mapping[str, str] | None] = {
        "text": {key: " ".join(one.text.splitlines()) for key, one in ids.items()},
        "utt2spk": {key: plain(one.speaker) for key, one in ids.items()},
    }
    for name, field in (("spk2age", "age"), ("spk2gender", "gender")):
        known: dict[str, str] = {}
        for one in ids.values():
            value = getattr(one, field)
            if value and known.setdefault(plain(one.speaker), value) != value:
                problem = f"speaker {one.speaker} has two values of {field}: {known[plain(one.speaker)]} and {value}"
                raise DataDirError(where, problem, mend="correct one of them")
        tables[name] = known if known.keys() == speakers else None
    return tables


def _id(one: Spoken) -> str:
    return f"{plain(one.speaker)}-{plain(one.name, also='-')}"


def plain(text: str, also: str = "") -> str:
    """Only letters, digits, '_', '.' and what `also` names; a run of others becomes '_'."""
    return re.sub(rf"[^\w.{re.escape(also)}]+", "_", text.strip()) or "_"


def _refuse_same(spoken: Sequence[Spoken], ids: Mapping[str, Spoken], where: Path) -> None:
    if len(ids) < len(spoken):
        seen: dict[str, Spoken] = {}
        for one in spoken:
            if (other := seen.setdefault(_id(one), one)) is not one:
                problem = f"{one.speaker}/{one.name} and {other.speaker}/{other.name} would both be {_id(one)}"
                raise DataDirError(where, problem, mend=RENAME)
    names: dict[str, str] = {}
    for one in spoken:
        if names.setdefault(plain(one.speaker), one.speaker) != one.speaker:
            problem = f"speakers {names[plain(one.speaker)]!r} and {one.speaker!r} would both be {plain(one.speaker)}"
            raise DataDirError(where, problem, mend=RENAME)


def parted(data: DataDir, part: str, *, test_every: int, dev_every: int, seed: int) -> dict[str, DataDir]:
    """All in one part, or train, dev and test by speaker with ages balanced (genders where ages are not known)."""
    if part:
        if part not in PARTS:
            raise DataDirError("--part", f"there is no part {part!r}", mend=f"choose from: {', '.join(PARTS)}")
        return {part: data}
    known = data.spk2age or data.spk2gender or {}
    groups = {speaker: known.get(speaker, "") for speaker in data.speakers}
    split = split_speakers(groups, test_every=test_every, dev_every=dev_every, seed=seed)
    return {name: data.subset_speakers(speakers) for name, speakers in split.items()}


def keep_recorded(spoken: Iterable[Spoken], left_out: LeftOut) -> list[Spoken]:
    """Those whose recording is a command, or a file of one channel that opens; the others are counted."""
    kept = []
    wrong: dict[str, str] = {}
    for one in spoken:
        if one.recording not in wrong:
            wrong[one.recording] = _wrong_with(one.recording)
        if wrong[one.recording]:
            left_out.add(f"{one.speaker}/{one.name}", wrong[one.recording])
        else:
            kept.append(one)
    return kept


def _wrong_with(recording: str) -> str:
    """Why a recording cannot be used; '' if it can."""
    if recording.endswith("|"):
        return ""
    if not Path(recording).is_file():
        return "recording missing"
    try:
        with open_sound(recording, allow_commands=False) as (_, info):
            return "" if info.channels == 1 else "recording of several channels"
    except AudioError:
        return "recording unreadable"
