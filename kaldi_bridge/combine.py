"""One data directory out of several: Kaldi's utils/combine_data.sh."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.errors import DataDirError
from harness.log import get_logger
from kaldi_bridge.audio import AudioTable
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.text_tables import number_text

SPEAKER_STATISTICS = ("cmvn.scp",)  # of a speaker in two directories they would count half of the speech


def combine(directories: Sequence[DataDir], path: str | os.PathLike[str]) -> DataDir:
    """The directories as one (not yet written).  A table that one of them lacks is left out, and that is said.

    segments and utt2uniq are made for those without, as Kaldi does it.  Raises DataDirError where the same key has two
    values, or frame shifts differ.
    """
    if not directories:
        raise ValueError("nothing to combine")
    parts = [data.tables for data in directories]
    names = sorted({name for tables in parts for name in tables})
    if "segments" in names:
        parts = [_with_segments(data) for data in directories]
    if "utt2uniq" in names:
        parts = [
            {**tables, "utt2uniq": tables.get("utt2uniq") or {u: u for u in tables["utt2spk"]}} for tables in parts
        ]
    merged: dict[str, dict[str, str]] = {}
    for name in names:
        if any(name not in tables for tables in parts):
            lacking = next(data.path for data, tables in zip(directories, parts, strict=True) if name not in tables)
            get_logger("kaldi_bridge").info("%s: %s is left out: %s has none", path, name, lacking)
            continue
        table = _merged(name, [tables[name] for tables in parts], directories)
        if table is not None:
            merged[name] = table
    return DataDir(Path(path), merged, _common_values(directories))


def _merged(name: str, tables: list[dict[str, str]], directories: Sequence[DataDir]) -> dict[str, str] | None:
    merged: dict[str, str] = {}
    home: dict[str, Path] = {}
    for table, data in zip(tables, directories, strict=True):
        for key, value in table.items():
            if merged.get(key, value) != value:
                if name in SPEAKER_STATISTICS:
                    text = "%s is left out: speaker %s has two; compute CMVN again"
                    get_logger("kaldi_bridge").info(text, name, key)
                    return None
                problem = f"{key} is {value!r} here and {merged[key]!r} in {home[key] / name}"
                raise DataDirError(data.path / name, problem, mend="rename one of them, or leave one directory out")
            merged[key] = value
            home[key] = data.path
    return merged


def _with_segments(data: DataDir) -> dict[str, dict[str, str]]:
    """The tables with segments that cover whole recordings, where there were none."""
    if data.segments is not None:
        return data.tables
    audio = AudioTable(data, sample_rate=None) if data.utt2dur is None else None
    seconds = {utt: audio.duration(utt) if audio else float((data.utt2dur or {})[utt]) for utt in data.utterances}
    segments = {utt: f"{utt} 0 {number_text(duration)}" for utt, duration in seconds.items()}
    return {**data.tables, "segments": segments}


def _common_values(directories: Sequence[DataDir]) -> dict[str, str]:
    values: dict[str, str] = {}
    for data in directories:
        for name, value in data.values.items():
            if data.feats_scp is not None and values.setdefault(name, value) != value:
                problem = f"{value} here, {values[name]} elsewhere: these features do not go together"
                raise DataDirError(data.path / name, problem, mend="make all features with one configuration")
    return values
