"""What is scored: a data directory, a directory of audio files, or a list, all as a data directory.

A list has two columns, `name file`, as wav.scp has.  In a directory of audio, a file's name is its path below it
without the suffix.  Without a data directory nobody knows the speakers: each file is its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from enhance.sounds import sound_files
from harness.errors import DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.groups import DIMENSIONS, age_group, noise_type
from kaldi_bridge.text_tables import read_text_table

# of each dimension: the table that holds it, whether by speaker, how an entry becomes a group
TABLES: dict[str, tuple[str, bool, Callable[[str], str]]] = {
    "snr": ("utt2snr", False, str), "noise": ("utt2noise", False, noise_type), "age": ("spk2age", True, age_group),
    "gender": ("spk2gender", True, str), "grade": ("utt2grade", False, str),
}  # fmt: skip


def open_recordings(path: str | os.PathLike[str], *, validate: bool = True) -> DataDir:
    """The recordings at a place.  Raises DataDirError and AudioError where there are none, or a line is wrong."""
    place = Path(path)
    if place.is_file():
        return _of_table(place, _list_of(place))
    if (place / "wav.scp").is_file() or (place / "utt2spk").is_file():
        return DataDir.read(place, validate=validate)
    if not place.exists():
        mend = "give a data directory, a directory of audio files, or a list of `name file`"
        raise DataDirError(place, "no such data directory, directory of audio or list", mend=mend)
    table: dict[str, str] = {}
    for file in sound_files(place, "speech"):
        name = file.relative_to(place).with_suffix("").as_posix()
        if name in table:
            problem = f"holds {name} twice: {Path(table[name]).name} and {file.name}"
            raise DataDirError(place, problem, mend="keep one of the files, or give a list")
        table[name] = os.fspath(file)
    return _of_table(place, table)


def _list_of(path: Path) -> dict[str, str]:
    table = read_text_table(path)
    if not table:
        raise DataDirError(path, "the list is empty", mend="a line for each recording: '<name> <file>'")
    for number, (name, file) in enumerate(table.items(), start=1):
        if not file:
            problem = f"expected '<name> <file>', got {name!r} alone"
            raise DataDirError(f"{path}:{number}", problem, mend="name each recording; the same names on both sides")
    return table


def _of_table(path: Path, wav_scp: dict[str, str]) -> DataDir:
    return DataDir.build(path, wav_scp=wav_scp, utt2spk={name: name for name in wav_scp})


def conditions_of(utterance: str, *sides: DataDir) -> dict[str, str]:
    """The group of an utterance in each of DIMENSIONS by the first side that knows it, "" where none does."""
    found = dict.fromkeys(DIMENSIONS, "")
    for name, (table, by_speaker, group) in TABLES.items():
        for data in sides:
            key = data.utt2spk.get(utterance, "") if by_speaker else utterance
            if not found[name] and (value := data.tables.get(table, {}).get(key)):
                found[name] = group(value)
    return found
