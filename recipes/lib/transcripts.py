"""What children really said, as words to train and score on: false starts, partial words, noises, unclear speech.

Every corpus marks these in its own way, and every paper treats them in another: a corpus says how it marks them
(`Conventions`), a TranscriptConfig what becomes of each kind, and the counts of all kinds are reported.  Defaults:
fillers and target words of mispronunciations stay, noises go, partial and unclear words become <unk>, which a lexicon
spells as spoken noise; what was made <unk> still counts as a word of the reference.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

Action = Literal["keep", "drop", "unknown", "leave_out"]  # leave_out: the whole utterance
WORDLESS = ("noise", "discard")  # kinds that have no word to keep
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
LARGEST_NUMBER = 999_999  # longer ones are codes, not amounts: spelled digit by digit


@dataclass(frozen=True, kw_only=True)
class TranscriptConfig:
    """What becomes of each kind of event."""

    filler: Action = "keep"  # um, uh
    partial: Action = "unknown"  # bro- (a false start); keep writes the fragment without its mark
    mispronounced: Action = "keep"  # keep writes the word that was meant
    unclear: Action = "unknown"  # not understood by the transcriber; keep writes the guess, if there is one
    noise: Action = "drop"  # breath, laughter, bangs, other speakers
    discard: Action = "leave_out"  # the transcriber says that the recording is of no use
    numbers: Literal["spell", "keep"] = "spell"  # 12 -> twelve
    case: Literal["upper", "lower"] = "upper"
    unknown_word: str = "<unk>"

    def __post_init__(self) -> None:
        for kind in WORDLESS:
            if getattr(self, kind) == "keep":
                raise ValueError(f"{kind} has no word to keep: choose drop, unknown or leave_out")
        if not self.unknown_word or self.unknown_word != "".join(self.unknown_word.split()):
            raise ValueError(f"unknown_word must be one word, got {self.unknown_word!r}")


@dataclass(frozen=True)
class Conventions:
    """How a corpus marks events: (kind, regular expression) tried in order, at the beginning of a token.

    A group of the expression is the word inside, if there is one.  kind: a field of TranscriptConfig, or "nothing" for
    what is left away without a count.  fillers: words that are fillers.  All else up to the next blank is a word.
    """

    marks: tuple[tuple[str, str], ...] = ()
    fillers: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def compiled(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """The marks as patterns."""
        return tuple((kind, re.compile(expression, re.IGNORECASE)) for kind, expression in self.marks)


FILLERS = frozenset(("ah", "eh", "er", "erm", "hm", "hmm", "huh", "mhm", "mm", "uh", "uhm", "um", "umm"))
PLAIN = Conventions(marks=(("partial", r"([\w']+)-(?=\s|$)"), ("partial", r"-([\w']+)(?=\s|$)")), fillers=FILLERS)


@dataclass(frozen=True)
class Transcript:
    """words: [words]; None where the utterance is to be left out, with the reason.  counts: events by kind."""

    words: tuple[str, ...] | None
    reason: str
    counts: Counter[str]

    @property
    def text(self) -> str:
        """The words with a blank between them."""
        return " ".join(self.words or ())


def text_of(path: Path) -> str:
    """A transcript in UTF-8, or else in the Windows encoding of English, whose apostrophes would part no word."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def transcribe(raw: str, conventions: Conventions, config: TranscriptConfig) -> Transcript:
    """The words of a raw transcript; one without any word left is to be left out ("no words")."""
    words: list[str] = []
    counts: Counter[str] = Counter()
    for kind, text in _events(raw, conventions):
        counts[kind] += kind not in ("word", "nothing")
        action: Action = getattr(config, kind, "keep" if kind == "word" else "drop")
        match action:
            case "leave_out":
                return Transcript(None, f"{kind} in the transcript", +counts)
            case "unknown":
                words.append(config.unknown_word)
            case "keep":
                words += clean_words(text, config) or ([config.unknown_word] if kind == "unclear" else [])
            case _:
                pass
    spoken = any(word != config.unknown_word for word in words)
    return Transcript(tuple(words) if spoken else None, "" if spoken else "no words", +counts)


def _events(raw: str, conventions: Conventions) -> Iterator[tuple[str, str]]:
    """(kind, text) of a transcript from left to right."""
    text = unicodedata.normalize("NFKC", raw).translate({0x2018: "'", 0x2019: "'", 0x201C: " ", 0x201D: " "})
    text = text.replace("\ufeff", "")
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        for kind, pattern in conventions.compiled:
            if (found := pattern.match(text, position)) and found.end() > position:
                yield kind, next((group for group in found.groups() if group), "")
                position = found.end()
                break
        else:
            end = position + 1
            while end < len(text) and not text[end].isspace() and not _mark_at(text, end, conventions):
                end += 1
            token = text[position:end]
            yield ("filler" if _bare(token) in conventions.fillers else "word"), token
            position = end


def _mark_at(text: str, place: int, conventions: Conventions) -> bool:
    """Whether a bracketed mark begins in the middle of a token ("dog<noise>")."""
    return text[place] in "<[(" and any(pattern.match(text, place) for _, pattern in conventions.compiled)


def _bare(token: str) -> str:
    return token.strip('.,;:!?"+*').lower()


def clean_words(text: str, config: TranscriptConfig) -> list[str]:
    """Words without punctuation, in one case; hyphens part words, apostrophes stay, numbers are spelled out."""
    text = text.replace("&", " and ").replace("%", " percent ")
    if config.numbers == "spell":
        text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
        text = re.sub(r"(\d)\.(?=\d)", r"\1 point ", text)
        text = re.sub(r"\d+", lambda digits: f" {' '.join(number_words(digits.group()))} ", text)
    words = (re.sub(r"[^\w']", "", word).strip("_").replace("_", "") for word in re.split(r"[\s\-/]+", text))
    kept = [word for word in words if word.strip("'")]
    return [word.upper() if config.case == "upper" else word.lower() for word in kept]


def number_words(digits: str) -> list[str]:
    """The words of a whole number (12 -> twelve); "007" and codes of more than six digits come digit by digit."""
    if int(digits) > LARGEST_NUMBER or (len(digits) > 1 and digits.startswith("0")):
        return [ONES[int(digit)] for digit in digits]
    thousands, rest = divmod(int(digits), 1000)
    if not thousands:
        return _below_thousand(rest)
    return [*_below_thousand(thousands), "thousand", *(_below_thousand(rest) if rest else [])]


def _below_thousand(value: int) -> list[str]:
    hundreds, rest = divmod(value, 100)
    words = [ONES[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        return [*words, TENS[rest // 10], *([ONES[rest % 10]] if rest % 10 else [])]
    return [*words, ONES[rest]] if rest or not words else words
