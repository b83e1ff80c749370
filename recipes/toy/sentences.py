"""What the synthetic children say: digit strings, short commands, and words in no order at all.

The commands hold words that sound alike (two and to, right and write, four and for, red and read), so that the language
model has work to do, and the words in no order take its help away, so that the acoustic model has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from speech import Sentence

from harness.errors import LexiconError
from harness.seed import rng_for

LEXICON = Path(__file__).with_name("lexicon.txt")
DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
THINGS = ("BALL", "BOX", "BOOK", "CAT", "CAP", "DOG", "DOOR", "DUCK", "LIGHT", "SONG")
COLOURS = ("RED", "BLUE", "GREEN", "WHITE", "BLACK")
# a word in braces stands for any of its group
COMMANDS = (
    "GO {way}",
    "GO {way} {digit}",
    "STOP",
    "START AGAIN",
    "TURN THE {colour} LIGHT {switch}",
    "TURN TO {digit}",
    "READ ME A STORY",
    "READ THE {colour} BOOK TO ME",
    "PLAY A SONG FOR ME",
    "WRITE {digit} {digit}",
    "FIND THE {thing} AND THE {thing}",
    "SHOW ME THE {colour} {thing}",
    "OPEN THE {thing} PLEASE",
)
GROUPS = {
    "way": ("LEFT", "RIGHT", "UP", "DOWN", "BACK"),
    "switch": ("ON", "OFF"),
    "digit": DIGITS,
    "thing": THINGS,
    "colour": COLOURS,
}
KINDS = ("digits", "command", "digits", "command", "digits", "command", "disorder")  # in turn


def draw_sentences(speaker: str, count: int, seed: int) -> list[Sentence]:
    """``count`` sentences of a speaker; speed, pitch and liveliness vary from one to the next."""
    rng = rng_for(seed, "sentences", speaker)
    vocabulary = sorted(read_lexicon())
    return [
        Sentence(
            text=_text(KINDS[number % len(KINDS)], vocabulary, rng),
            speed=float(rng.uniform(0.85, 1.2)),
            pitch=int(rng.integers(42, 59)),
            liveliness=int(rng.integers(25, 80)),
        )
        for number in range(count)
    ]


def _text(kind: str, vocabulary: Sequence[str], rng: np.random.Generator) -> str:
    match kind:
        case "digits":
            return " ".join(rng.choice(DIGITS, size=rng.integers(2, 5)))
        case "command":
            words = COMMANDS[rng.integers(len(COMMANDS))].split()
            return " ".join(str(rng.choice(GROUPS[word[1:-1]])) if word[0] == "{" else word for word in words)
        case "disorder":
            return " ".join(rng.choice(vocabulary, size=rng.integers(3, 6)))
        case _:
            raise ValueError(f"kind must be one of {sorted(set(KINDS))}, got {kind!r}")


def read_lexicon(path: Path = LEXICON) -> dict[str, list[tuple[str, ...]]]:
    """{word: its pronunciations}.  Raises LexiconError for a word without phones."""
    lexicon: dict[str, list[tuple[str, ...]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        word, *phones = line.split() or [""]
        if not phones:
            raise LexiconError(f"{path}:{number}", "expected '<word> <phones>'", mend="give the word a pronunciation")
        lexicon.setdefault(word, []).append(tuple(phones))
    return lexicon
