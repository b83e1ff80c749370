"""Mends a data directory as Kaldi's utils/fix_data_dir.sh: sorts, removes duplicates, keeps what all tables have.

The old files are kept in .backup.  Beyond Kaldi: Windows line ends and empty lines go; spk2age counts as spk2gender.
"""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from pathlib import Path

from harness.errors import DataDirError
from harness.log import get_logger
from kaldi_bridge.data_dir import DataDir, key_kind
from kaldi_bridge.text_tables import fields_of, key_and_value, text_lines

REQUIRED_OF_UTTERANCES = (
    "feats.scp",
    "text",
    "segments",
    "utt2lang",
    "utt2dur",
    "utt2num_frames",
)  # as fix_data_dir.sh
REQUIRED_OF_SPEAKERS = ("cmvn.scp", "spk2gender", "spk2age")
POSITIVE = ("utt2dur", "utt2num_frames")  # an utterance whose value is not a positive number goes

Tables = dict[str, dict[str, str]]


def fix_data_dir(path: str | os.PathLike[str]) -> DataDir:
    """Mend the files in ``path``; returns the directory as it then is.  Says on the log what went.

    Raises DataDirError, with nothing changed, where no utterance would remain or speakers are out of order.
    """
    directory = Path(path)
    if not (directory / "utt2spk").is_file():
        raise DataDirError(directory / "utt2spk", "no such file", mend="make utt2spk; it cannot be guessed")
    before = {file.name: file.read_bytes() for file in sorted(directory.iterdir()) if _is_table(file)}
    tables = {name: _read_leniently(directory / name) for name in before if name != "spk2utt"}
    total = len(tables["utt2spk"])
    kept = keep_common(tables, directory)
    _refuse_unsorted_speakers(kept["utt2spk"], directory)
    _keep_backup(directory, before)
    fixed = DataDir(directory, kept)
    fixed.write_tables(directory)
    _report(directory, tables, kept, total)
    return DataDir.read(directory, validate=False)


def keep_common(tables: Tables, directory: Path) -> Tables:
    """Tables filtered to the utterances, speakers and recordings that all of them have."""
    tables = {name: dict(table) for name, table in tables.items()}
    while True:
        utterances, speakers, recordings = _common(tables, directory)
        keep = {"utterance": utterances, "speaker": speakers, "recording": recordings}
        filtered = {
            name: {key: value for key, value in table.items() if key in keep[key_kind(name) or "utterance"]}
            for name, table in tables.items()
        }
        if filtered == tables:
            return filtered
        tables = filtered


def _common(tables: Tables, directory: Path) -> tuple[set[str], set[str], set[str]]:
    """(utterances, speakers, recordings) that no table lacks; one round, to be repeated until nothing changes."""
    utt2spk, segments = tables["utt2spk"], tables.get("segments")
    if segments is not None and "wav.scp" not in tables:
        raise DataDirError(directory / "segments", "segments without wav.scp", mend="add wav.scp, keyed by recording")
    utterances = {utterance for utterance, speaker in utt2spk.items() if speaker}
    for name in REQUIRED_OF_UTTERANCES + (("wav.scp",) if segments is None else ()):
        if name in tables:
            table = tables[name]
            utterances &= {key for key, value in table.items() if name not in POSITIVE or _is_positive(value)}
    if segments is not None:
        recording_of = {utterance: (fields_of(value) or [""])[0] for utterance, value in segments.items()}
        utterances = {utterance for utterance in utterances if recording_of[utterance] in tables["wav.scp"]}
    speakers = {utt2spk[utterance] for utterance in utterances}
    for name in REQUIRED_OF_SPEAKERS:
        if name in tables:
            speakers &= tables[name].keys()
    utterances = {utterance for utterance in utterances if utt2spk[utterance] in speakers}
    if not utterances:
        mend = "compare the keys of its tables: some table has none of the others' utterances or speakers"
        raise DataDirError(directory, "no utterance is in all tables, so none would remain", mend=mend)
    recordings = utterances if segments is None else {recording_of[utterance] for utterance in utterances}
    return utterances, speakers, recordings


def _read_leniently(path: Path) -> dict[str, str]:
    """Like read_text_table, but empty lines go and the first of several lines of a key stays."""
    table: dict[str, str] = {}
    for _, line in text_lines(path):
        key, value = key_and_value(line.replace("\r", ""))
        if key:
            table.setdefault(key, value)
    return table


def _is_table(file: Path) -> bool:
    return file.is_file() and (key_kind(file.name) is not None or file.name == "spk2utt")


def _is_positive(value: str) -> bool:
    try:
        return float(value) > 0
    except ValueError:
        return False


def _refuse_unsorted_speakers(utt2spk: dict[str, str], directory: Path) -> None:
    """Kaldi's programs read utterances and speakers in step: both orders must agree."""
    speakers = [utt2spk[utterance] for utterance in sorted(utt2spk)]
    for before, after in pairwise(speakers):
        if after < before:
            problem = f"sorted by utterance, the speakers are not in order: {after} after {before}"
            mend = "make the speaker id a prefix of its utterance ids; this cannot be mended here"
            raise DataDirError(directory / "utt2spk", problem, mend=mend)


def _keep_backup(directory: Path, before: dict[str, bytes]) -> None:
    backup = directory / ".backup"
    backup.mkdir(exist_ok=True)
    for name in before:
        shutil.copy2(directory / name, backup / name)


def _report(directory: Path, tables: Tables, kept: Tables, total: int) -> None:
    logger = get_logger("kaldi_bridge")
    for name, table in tables.items():
        if lost := len(table) - len(kept[name]):
            first = min(set(table) - set(kept[name]))
            logger.info("%s: %s: %d of %d lines removed (first: %s)", directory, name, lost, len(table), first)
    left = len(kept["utt2spk"])
    text = f"all {left} utterances" if left == total else f"{left} of {total} utterances"
    logger.info("%s: kept %s; old files are in %s", directory, text, directory / ".backup")
