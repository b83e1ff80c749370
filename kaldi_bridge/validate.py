"""Refuses what Kaldi's utils/validate_data_dir.sh refuses in a data directory; each as file:line, problem, mend.

Stricter than Kaldi in a few points, each a trap in practice: text in any table must be UTF-8, carriage returns and
empty lines are refused everywhere, numbers must be numbers, segments are compared with utt2spk also without text, a
wav.scp line needs a value, spk2age must give each speaker a positive number.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataDirError
from harness.log import get_logger
from kaldi_bridge.text_tables import fields_of, group_by_speaker, key_and_value

ILLEGAL_WORDS = ("<s>", "</s>", "#0")
SORT_MEND = "sort it by bytes (LC_ALL=C sort), or run: python -m kaldi_bridge fix"
LIST_MEND = "run: python -m kaldi_bridge fix (keeps what all tables have), or add the missing lines"
ABSENT_MENDS = {
    "utt2spk": "make utt2spk: one line '<utterance> <speaker>' an utterance",
    "spk2utt": "make it from utt2spk: python -m kaldi_bridge fix",
    "text": "make text, or pass --no-text",
    "wav.scp": "make wav.scp, or pass --no-wav",
    "feats.scp": "make feats.scp (python -m kaldi_bridge features), or pass --no-feats",
}  # of the tables that may be required
LINE_ENDS_MEND = "convert the line ends (sed -i 's/\\r$//')"


@dataclass(frozen=True, kw_only=True)
class ValidateOptions:
    """What must be present (a file that is present is always judged), as the options of validate_data_dir.sh."""

    feats: bool = True  # --no-feats
    text: bool = True  # --no-text
    wav: bool = True  # --no-wav
    speaker_sort: bool = True  # --no-spk-sort
    printable: bool = True  # --non-print
    ignore: tuple[str, ...] = ()  # tables that are not judged, for they will be replaced

    @classmethod
    def as_present(cls, ignore: tuple[str, ...] = ()) -> ValidateOptions:
        """Judge what is there and demand nothing but utt2spk and spk2utt."""
        return cls(feats=False, text=False, wav=False, ignore=ignore)


@dataclass(frozen=True)
class Problem:
    """One refusal."""

    where: str
    problem: str
    mend: str

    def error(self, more: int = 0) -> DataDirError:
        """As an error; more: how many problems follow."""
        counted = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
        return DataDirError(self.where, self.problem + counted, mend=self.mend)


@dataclass
class _Table:
    """A table as its lines: number, key, value, raw line."""

    path: Path
    rows: list[tuple[int, str, str, str]]

    @property
    def keys(self) -> list[str]:
        return [key for _, key, _, _ in self.rows]

    def at(self, number: int) -> str:
        return f"{self.path}:{number}"


def validate_data_dir(path: str | os.PathLike[str], options: ValidateOptions | None = None) -> None:
    """Raise DataDirError for the first problem, with the count of all."""
    found = problems(path, options)
    if found:
        raise found[0].error(more=len(found) - 1)


def problems(path: str | os.PathLike[str], options: ValidateOptions | None = None) -> list[Problem]:
    """Everything that is wrong with a data directory, in the order of Kaldi's checks."""
    return list(_Judge(Path(path), options or ValidateOptions()).all_problems())


class _Judge:
    def __init__(self, directory: Path, options: ValidateOptions) -> None:
        self.directory, self.options = directory, options
        self.utterances: list[str] = []
        self.speakers: list[str] = []

    def all_problems(self) -> Iterator[Problem]:
        if not self.directory.is_dir():
            yield Problem(
                str(self.directory), "no such data directory", "check the path, or run the stage that makes it"
            )
            return
        yield from self.speaker_maps()
        yield from self.transcripts()
        yield from self.recordings()
        yield from self.features()
        yield from self.speaker_tables()
        yield from self.utterance_tables()

    # ---- the files in Kaldi's order

    def speaker_maps(self) -> Iterator[Problem]:
        utt2spk, found = self.load("utt2spk", required=True)
        yield from found
        for row in utt2spk.rows if utt2spk else ():
            if len(fields_of(row[3])) != 2:
                problem = f"expected '<utterance> <speaker>', got {len(fields_of(row[3]))} fields"
                yield Problem(utt2spk.at(row[0]), problem, "remove the extra columns, or add the speaker")  # type: ignore[union-attr]
        if utt2spk is None:
            return
        self.utterances = utt2spk.keys
        if self.options.speaker_sort:
            yield from _speaker_order(utt2spk)
        spk2utt, found = self.load("spk2utt", required=True)
        yield from found
        grouped = group_by_speaker({key: value for _, key, value, _ in utt2spk.rows})
        self.speakers = sorted(grouped)
        if spk2utt is not None:
            given = {key: fields_of(value) for _, key, value, _ in spk2utt.rows}
            if given != grouped:
                differs = next(s for s in sorted(grouped.keys() | given.keys()) if grouped.get(s) != given.get(s))
                problem = f"does not match utt2spk (first at speaker {differs})"
                yield Problem(str(spk2utt.path), problem, "make it from utt2spk: python -m kaldi_bridge fix")

    def transcripts(self) -> Iterator[Problem]:
        text, found = self.load("text", required=self.options.text)
        yield from found
        if text is None:
            return
        for number, _, _, line in text.rows:
            yield from _odd_characters(text.at(number), line, self.options.printable)
            for word in ILLEGAL_WORDS:
                if word in line and re.search(rf"(?<![A-Za-z0-9_]){re.escape(word)}(?![A-Za-z0-9_])", line):
                    yield Problem(
                        text.at(number), f"holds the symbol {word}, which means itself to the decoder", "remove it"
                    )
        yield from self.same_list(text, self.utterances, "utterance")

    def recordings(self) -> Iterator[Problem]:
        segments, found = self.load("segments")
        yield from found
        wav, found = self.load("wav.scp", required=self.options.wav)
        yield from found
        if segments is not None:
            yield from self.each(segments, "'<utterance> <recording> <start> <end>', end after start", _is_segment)
            yield from self.same_list(segments, self.utterances, "utterance")
            if wav is None and not self.options.wav:
                yield Problem(str(segments.path), "segments without wav.scp", "add wav.scp, keyed by recording")
        if segments is None:
            recordings, kind = self.utterances, "utterance"
        else:
            recordings, kind = sorted({fields_of(value)[0] for _, _, value, _ in segments.rows if value}), "recording"
        if wav is not None:
            yield from self.same_list(wav, recordings, kind)
            for number, key, value, _ in wav.rows:
                if not value:
                    yield Problem(wav.at(number), f"no file for {key}", "add a path or a command ending in |")
                elif value.startswith("~"):
                    yield Problem(
                        wav.at(number), "the path starts with ~, which programs do not expand", "write it out"
                    )
        channels, found = self.load("reco2file_and_channel")
        yield from found
        if channels is not None:
            yield from self.each(channels, "'<recording> <file> A' (or B)", _is_channel)
            yield from self.same_list(channels, recordings, kind)
            if any(fields_of(value)[-1:] == ["1"] for _, _, value, _ in channels.rows):
                get_logger("kaldi_bridge").warning("%s: the channel should be A or B, not 1", channels.path)
        yield from self.numbers(
            "reco2dur", recordings, kind, lambda seconds: seconds > 0, "a positive number of seconds"
        )

    def features(self) -> Iterator[Problem]:
        for name, keys, kind in (
            ("feats.scp", self.utterances, "utterance"), ("cmvn.scp", self.speakers, "speaker"),
        ):  # fmt: skip
            table, found = self.load(name, required=name == "feats.scp" and self.options.feats)
            yield from found
            if table is not None:
                yield from self.same_list(table, keys, kind)

    def speaker_tables(self) -> Iterator[Problem]:
        gender, found = self.load("spk2gender")
        yield from found
        if gender is not None:
            yield from self.each(gender, "'<speaker> m' or '<speaker> f'", lambda value: value in (["m"], ["f"]))
            yield from self.same_list(gender, self.speakers, "speaker")
        yield from self.numbers("spk2age", self.speakers, "speaker", lambda age: age > 0, "a positive number of years")
        warp = "a warp factor between 0.5 and 1.5"
        yield from self.numbers("spk2warp", self.speakers, "speaker", lambda x: 0.5 < x < 1.5, warp)
        yield from self.numbers("utt2warp", self.utterances, "utterance", lambda x: 0.5 < x < 1.5, warp)

    def utterance_tables(self) -> Iterator[Problem]:
        for name in ("vad.scp", "utt2lang", "utt2uniq"):
            table, found = self.load(name)
            yield from found
            if table is not None:
                yield from self.same_list(table, self.utterances, "utterance")
        seconds = "a positive number of seconds"
        yield from self.numbers("utt2dur", self.utterances, "utterance", lambda x: x > 0, seconds)
        frames = "a positive whole number of frames"
        yield from self.numbers("utt2num_frames", self.utterances, "utterance", lambda x: x > 0 and x % 1 == 0, frames)

    # ---- the kinds of check

    def load(self, name: str, required: bool = False) -> tuple[_Table | None, list[Problem]]:
        """A table and what is wrong with its form; None where it is absent or empty."""
        path = self.directory / name
        if name in self.options.ignore:
            return None, []
        if not path.is_file():
            return None, [Problem(str(path), "no such file", ABSENT_MENDS[name])] if required else []
        raw = path.read_bytes()
        if not raw:
            must_hold = required or name == "text"
            return None, [Problem(str(path), "the file is empty", f"make {name} again")] if must_hold else []
        rows, found = [], []
        for number, line in enumerate(raw.split(b"\n")[: None if raw[-1:] != b"\n" else -1], start=1):
            problem = _bad_line(line)
            if problem:
                found.append(Problem(f"{path}:{number}", *problem))
            text = line.decode("utf-8", "replace").rstrip("\r")
            if text.strip(" \t"):
                rows.append((number, *key_and_value(text), text))
        if raw[-1:] != b"\n":
            found.append(
                Problem(f"{path}:{len(rows)}", "the last line has no newline", "add one, or make the file again")
            )
        found += _order(path, rows)
        return _Table(path, rows), found

    def same_list(self, table: _Table, keys: list[str], kind: str) -> Iterator[Problem]:
        have, want = set(table.keys), set(keys)
        source = {"speaker": "spk2utt", "recording": "segments"}.get(kind, "utt2spk")
        if lacking := sorted(want - have):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            yield Problem(str(table.path), f"lacks {kind} {lacking[0]}{more} of {source}", LIST_MEND)
        strange = [(number, key) for number, key, _, _ in table.rows if key not in want]
        if strange:
            more = f" (and {len(strange) - 1} more like it)" if len(strange) > 1 else ""
            yield Problem(table.at(strange[0][0]), f"{kind} {strange[0][1]} is not in {source}{more}", LIST_MEND)

    def each(self, table: _Table, form: str, good: Callable[[list[str]], bool]) -> Iterator[Problem]:
        for number, _, value, line in table.rows:
            if not good(fields_of(value)):
                yield Problem(table.at(number), f"expected {form}, got {line!r}", "correct the line")

    def numbers(
        self, name: str, keys: list[str], kind: str, good: Callable[[float], bool], form: str
    ) -> Iterator[Problem]:
        table, found = self.load(name)
        yield from found
        if table is not None:
            yield from self.same_list(table, keys, kind)
            yield from self.each(table, form, lambda value: len(value) == 1 and _holds(value[0], good))


def _holds(text: str, good: Callable[[float], bool]) -> bool:
    try:
        return good(float(text))
    except ValueError:
        return False


def _is_segment(value: list[str]) -> bool:
    return len(value) == 3 and _holds(value[1], lambda start: _holds(value[2], lambda end: end > start >= 0))


def _is_channel(value: list[str]) -> bool:
    return len(value) == 2 and value[1] in ("A", "B", "1")


def _bad_line(line: bytes) -> tuple[str, str] | None:
    """(problem, mend) of a line that no table may hold."""
    if b"\r" in line:
        return "carriage return (a Windows line end)", LINE_ENDS_MEND
    if not line.strip(b" \t"):
        return "empty line", "remove it"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is not UTF-8 text", "convert the file to UTF-8 (iconv -t UTF-8)"
    return None


def _order(path: Path, rows: list[tuple[int, str, str, str]]) -> Iterator[Problem]:
    """Keys must rise by their bytes; str compares by code point, which is the order of UTF-8 bytes."""
    seen: dict[str, int] = {}
    unsorted = False
    for (number, key, _, _), before in zip(rows, [None, *rows], strict=False):
        if key in seen:
            yield Problem(f"{path}:{number}", f"key {key} is a duplicate of line {seen[key]}", "keep one of the lines")
        elif before is not None and key < before[1] and not unsorted:
            unsorted = True
            yield Problem(f"{path}:{number}", f"not sorted: {key} comes after {before[1]}", SORT_MEND)
        seen.setdefault(key, number)


def _speaker_order(utt2spk: _Table) -> Iterator[Problem]:
    """Sorted by utterance must be sorted by speaker too (sort -k2): true where utterance ids start with the speaker."""
    order = [(re.sub(r"^[ \t]*[^ \t]*", "", line), line) for _, _, _, line in utt2spk.rows]
    for index in range(1, len(order)):
        if order[index][0] != order[index - 1][0] and order[index] < order[index - 1]:
            number, _, speaker, _ = utt2spk.rows[index]
            problem = (
                f"sorted by utterance, the speakers are not in order: {speaker} after {order[index - 1][0].strip()}"
            )
            yield Problem(utt2spk.at(number), problem, "make the speaker id a prefix of its utterance ids")
            return


def _odd_characters(where: str, line: str, printable: bool) -> Iterator[Problem]:
    if line.replace("\t", " ").isprintable() and line.isascii():
        return
    for letter in line:
        if letter in " \t" or (letter.isascii() and letter.isprintable()):
            continue
        name = f"U+{ord(letter):04X}"
        if letter.isspace() and letter != "\r":
            yield Problem(where, f"holds the white space {name}, which is no separator to Kaldi", "use plain spaces")
            return
        if printable and unicodedata.category(letter) in ("Cc", "Cn", "Cs") and letter != "\r":
            yield Problem(where, f"holds the character {name}, which cannot be printed", "remove it")
            return
