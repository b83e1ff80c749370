"""Kaldi's text tables: one entry a line, ``key value``, sorted by the bytes of the key (the C locale).

utt2spk, text, wav.scp, spk2gender ... all have this form.  Fields are separated by spaces and tabs alone, as Kaldi does
it: a no-break space belongs to a word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harness.atomic import write_whole
from harness.errors import DataDirError, SchoolyardError

BLANKS = " \t"
_SEPARATOR = re.compile(r"[ \t]+")


def fields_of(text: str) -> list[str]:
    """The fields of a value or a line, split at spaces and tabs."""
    return [field for field in _SEPARATOR.split(text.strip("\r\n \t")) if field]


def key_and_value(line: str) -> tuple[str, str]:
    """``"u1  a b \\n"`` as ``("u1", "a b")``; the value may be empty."""
    parts = _SEPARATOR.split(line.strip("\r\n \t"), maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else ""


def text_lines(path: str | os.PathLike[str], error: type[SchoolyardError] = DataDirError) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line with its newline); a missing file or text that is not UTF-8 raises ``error``."""
    try:
        with open(path, "rb") as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    yield number, raw.decode("utf-8")
                except UnicodeDecodeError as bad:
                    where = f"{os.fspath(path)}:{number}"
                    problem = f"byte {bad.start + 1} is not UTF-8 text"
                    raise error(where, problem, mend="convert the file to UTF-8 (iconv -t UTF-8)") from bad
    except FileNotFoundError as missing:
        raise error(path, "no such file", mend="check the path, or make the file first") from missing
    except IsADirectoryError as folder:
        raise error(path, "is a directory, not a table", mend="give the file in it") from folder


def read_text_table(path: str | os.PathLike[str], error: type[SchoolyardError] = DataDirError) -> dict[str, str]:
    """A table as {key: value}, in file order.  An empty line or a key that comes twice raises ``error`` at its line."""
    table: dict[str, str] = {}
    for number, line in text_lines(path, error):
        key, value = key_and_value(line)
        where = f"{os.fspath(path)}:{number}"
        if not key:
            raise error(where, "empty line", mend="remove it")
        if key in table:
            raise error(where, f"key {key!r} comes twice", mend="keep one of the lines")
        table[key] = value
    return table


def write_text_table(path: str | os.PathLike[str], table: Mapping[str, str]) -> None:
    """Write {key: value} sorted by key; an empty value leaves the key alone on its line."""
    with write_whole(path) as stream:
        stream.writelines(f"{key} {table[key]}".rstrip(BLANKS) + "\n" for key in sorted(table))


def group_by_speaker(utt2spk: Mapping[str, str]) -> dict[str, list[str]]:
    """spk2utt of a utt2spk: {speaker: sorted utterances}, speakers sorted."""
    groups: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk):
        groups.setdefault(utt2spk[utterance], []).append(utterance)
    return {speaker: groups[speaker] for speaker in sorted(groups)}


def read_list(path: str | os.PathLike[str]) -> list[str]:
    """The first field of every line: a list of utterances or speakers, or the keys of a table."""
    return [key for _, line in text_lines(path) if (key := key_and_value(line)[0])]


def number_text(value: float, digits: int = 6) -> str:
    """A number as tables hold it: at most ``digits`` decimals, no trailing zeros."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def files_named(directory: Path, names: Iterable[str]) -> list[Path]:
    """Those of ``names`` that exist in ``directory``."""
    return [directory / name for name in names if (directory / name).is_file()]
