"""Pronunciation dictionaries: Kaldi's dict directory, read and validated by the rules of utils/validate_dict_dir.pl.

A dict directory holds lexicon.txt ('WORD phone phone ...') or lexiconp.txt ('WORD probability phone ...'),
silence_phones.txt, nonsilence_phones.txt (phones that share a tree root on one line), optional_silence.txt and
extra_questions.txt.  Every breach is named with its file and line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.errors import LexiconError

FORBIDDEN_WORDS = frozenset({"<s>", "</s>", "<eps>", "#0"})
RESERVED_PHONE = re.compile(r"^#|_[BESI]$|^<eps>$")  # read as disambiguation symbol, word position or epsilon
FOREIGN_SPACE = re.compile(r"[^\S \t\n\r]")  # white space that str.split and Kaldi's tools disagree about
SHOWN = 10  # breaches listed in one error
REFUSED = {
    "lexiconp_silprob.txt": "silence probabilities per word are not modelled; remove the file to use lexiconp.txt",
    "nonterminals.txt": "grammar decoding is not supported; remove the file",
}


class Pronunciation(NamedTuple):
    """One way to say a word."""

    word: str
    phones: tuple[str, ...]
    probability: float = 1.0


Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class DictDir:
    """A validated dict directory."""

    path: Path
    pronunciations: tuple[Pronunciation, ...]  # in the order of the file
    silence_phones: Groups  # one line each
    nonsilence_phones: Groups  # one line each: the phones that share a tree root
    optional_silence: str
    extra_questions: Groups

    @property
    def words(self) -> list[str]:
        """Every word once, in C-locale order, as in words.txt."""
        return sorted({entry.word for entry in self.pronunciations})

    @classmethod
    def read(cls, path: str | Path) -> DictDir:
        """Reads and validates. Raises LexiconError that lists the first breaches with file and line."""
        return _Reader(Path(path)).read()


class _Reader:
    """Collects breaches file by file, so that one error names them all."""

    def __init__(self, path: Path) -> None:
        self.path, self.breaches = path, list[tuple[str, str]]()

    def read(self) -> DictDir:
        if not self.path.is_dir():
            raise LexiconError(self.path, "is no directory", mend="make a dict directory first (prepare-dict)")
        for name, reason in REFUSED.items():
            if (self.path / name).exists():
                raise LexiconError(self.path / name, "cannot be used", mend=reason)
        silence = self._phones("silence_phones.txt")
        nonsilence = self._phones("nonsilence_phones.txt")
        both = _flat(silence) & _flat(nonsilence)
        if both:
            self._breach(
                "nonsilence_phones.txt", None, f"phones stand in silence_phones.txt too: {' '.join(sorted(both))}"
            )
        optional = self._optional_silence(_flat(silence))
        known = _flat(silence) | _flat(nonsilence)
        questions = self._questions(known)
        self._indistinct(nonsilence, questions)
        entries = self._lexicon(known)
        self._raise()
        return DictDir(
            path=self.path, pronunciations=tuple(entries), silence_phones=silence, nonsilence_phones=nonsilence,
            optional_silence=optional, extra_questions=questions,
        )  # fmt: skip

    def _breach(self, name: str, line: int | None, problem: str) -> None:
        self.breaches.append((f"{self.path / name}:{line}" if line else str(self.path / name), problem))

    def _raise(self) -> None:
        if not self.breaches:
            return
        where, problem = self.breaches[0]
        more = "".join(f"\n  {place}: {text}" for place, text in self.breaches[1:SHOWN])
        if len(self.breaches) > SHOWN:
            more += f"\n  ... and {len(self.breaches) - SHOWN} more"
        raise LexiconError(where, problem + more, mend="correct these lines of the dict directory")

    def _lines(self, name: str, *, required: bool = True) -> list[list[str]]:
        """The fields of each line; form breaches are noted."""
        path = self.path / name
        if not path.is_file() or path.stat().st_size == 0:
            if required:
                self._breach(name, None, "is missing or empty")
            return []
        try:
            text = path.read_bytes().decode()  # read_text would hide carriage returns
        except UnicodeDecodeError as error:
            self._breach(name, path.read_bytes()[: error.start].count(b"\n") + 1, "is not UTF-8")
            return []
        if "\r" in text:
            self._breach(
                name, text[: text.index("\r")].count("\n") + 1, "contains carriage returns (Windows line ends)"
            )
        if not text.endswith("\n"):
            self._breach(name, text.count("\n") + 1, "the last line does not end in a newline")
        rows = []
        for number, line in enumerate(text.split("\n")[: None if not text.endswith("\n") else -1], 1):
            if (found := FOREIGN_SPACE.search(line)) is not None:
                self._breach(
                    name, number, f"holds the white-space character U+{ord(found.group()):04X}; use space or tab"
                )
            if not line.split():
                self._breach(name, number, "is an empty line")
            rows.append(re.split(r"[ \t\r]+", line.strip(" \t\r")) if line.split() else [])
        return rows

    def _phones(self, name: str) -> Groups:
        seen: set[str] = set()
        rows = self._lines(name)
        for number, row in enumerate(rows, 1):
            for phone in row:
                if phone in seen:
                    self._breach(name, number, f"phone {phone!r} stands there twice")
                if RESERVED_PHONE.search(phone):
                    self._breach(
                        name, number, f"phone {phone!r} has a reserved form (#..., <eps>, or ending in _B _E _I _S)"
                    )
                seen.add(phone)
        return tuple(tuple(row) for row in rows if row)

    def _optional_silence(self, silence: set[str]) -> str:
        name = "optional_silence.txt"
        rows = self._lines(name)
        if rows and (len(rows) > 1 or len(rows[0]) != 1):
            self._breach(name, 2 if len(rows) > 1 else 1, "must hold exactly one phone")
        phone = rows[0][0] if rows and rows[0] else ""
        if phone and phone not in silence:
            self._breach(name, 1, f"phone {phone!r} is not in silence_phones.txt")
        return phone

    def _questions(self, known: set[str]) -> Groups:
        name = "extra_questions.txt"
        rows = self._lines(name, required=False)
        for number, row in enumerate(rows, 1):
            for phone in sorted(set(row) - known):
                self._breach(name, number, f"phone {phone!r} is in neither phone list")
        return tuple(tuple(row) for row in rows if row)

    def _indistinct(self, nonsilence: Groups, questions: Groups) -> None:
        """Phones that share a root are told apart by extra questions alone: such a question must exist."""
        name = "nonsilence_phones.txt"
        asked = [set(question) for question in questions]
        for number, row in enumerate(nonsilence, 1):
            for index, one in enumerate(row):
                for other in row[index + 1 :]:
                    if not any((one in question) != (other in question) for question in asked):
                        problem = f"phones {one!r} and {other!r} share a tree root, but no extra question parts them"
                        self._breach(name, number, problem)

    def _lexicon(self, known: set[str]) -> list[Pronunciation]:
        plain = (self.path / "lexicon.txt").is_file()
        with_probs = (self.path / "lexiconp.txt").is_file()
        if not plain and not with_probs:
            self._breach("lexicon.txt", None, "neither lexicon.txt nor lexiconp.txt is there")
            return []
        entries = self._entries("lexiconp.txt", known, probabilities=True) if with_probs else None
        if plain:
            bare = self._entries("lexicon.txt", known, probabilities=False)
            if entries is None:
                return bare
            self._same(bare, entries)
        return entries or []

    def _entries(self, name: str, known: set[str], *, probabilities: bool) -> list[Pronunciation]:
        entries, seen = [], set[tuple[str, ...]]()
        for number, row in enumerate(self._lines(name), 1):
            if not row:
                continue
            if tuple(row) in seen:
                self._breach(name, number, f"the line is repeated: {' '.join(row)}")
            seen.add(tuple(row))
            if row[0] in FORBIDDEN_WORDS:
                self._breach(name, number, f"{row[0]!r} cannot be a word: the symbol is reserved")
            probability = self._probability(name, number, row) if probabilities else 1.0
            phones = tuple(row[2:] if probabilities else row[1:])
            if not phones:
                self._breach(name, number, f"word {row[0]!r} has no pronunciation")
            for phone in sorted(set(phones) - known):
                self._breach(
                    name, number, f"phone {phone!r} is in neither silence_phones.txt nor nonsilence_phones.txt"
                )
            entries.append(Pronunciation(row[0], phones, probability))
        return entries

    def _probability(self, name: str, number: int, row: list[str]) -> float:
        try:
            value = float(row[1])
        except (IndexError, ValueError):
            value = -1.0
        if not 0 < value <= 1:
            self._breach(name, number, f"the second field must be a probability in (0, 1], in {' '.join(row)!r}")
            return 1.0
        return value

    def _same(self, bare: list[Pronunciation], entries: list[Pronunciation]) -> None:
        for number, (one, other) in enumerate(zip(bare, entries, strict=False), 1):
            if one[:2] != other[:2]:
                self._breach(
                    "lexiconp.txt",
                    number,
                    f"differs from lexicon.txt: {other.word!r} against {one.word!r}; remove one file",
                )
                return
        if len(bare) != len(entries):
            self._breach(
                "lexiconp.txt", None, f"has {len(entries)} lines, but lexicon.txt has {len(bare)}; remove one file"
            )


def _flat(groups: Groups) -> set[str]:
    return {phone for group in groups for phone in group}
