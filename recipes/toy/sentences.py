"""What the synthetic children say: digit strings and short commands, and how each word is pronounced."""

from __future__ import annotations

import numpy as np

from harness.seed import rng_for
from recipes.toy.speech import Sentence

DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
THINGS = ("BALL", "BOX", "BOOK", "CAT", "CUP", "DOG", "DOOR", "DUCK", "LAMP", "LIGHT", "SONG", "SHIP")
COLOURS = ("RED", "BLUE", "GREEN", "WHITE", "BLACK")

# Pronunciations by hand, in the phones of the CMU dictionary without stress; a second one where accents differ.
LEXICON = """
ZERO Z IH R OW
ZERO Z IY R OW
ONE W AH N
TWO T UW
THREE TH R IY
FOUR F AO R
FOUR F AO
FIVE F AY V
SIX S IH K S
SEVEN S EH V AH N
EIGHT EY T
NINE N AY N
BALL B AO L
BOX B AA K S
BOOK B UH K
CAT K AE T
CUP K AH P
DOG D AO G
DOG D AA G
DOOR D AO R
DOOR D AO
DUCK D AH K
LAMP L AE M P
LIGHT L AY T
SONG S AO NG
SONG S AA NG
SHIP SH IH P
RED R EH D
BLUE B L UW
GREEN G R IY N
WHITE W AY T
BLACK B L AE K
GO G OW
LEFT L EH F T
RIGHT R AY T
UP AH P
DOWN D AW N
BACK B AE K
STOP S T AA P
START S T AA R T
START S T AA T
AGAIN AH G EH N
TURN T ER N
THE DH AH
THE DH IY
ON AA N
OFF AO F
OFF AA F
OPEN OW P AH N
CLOSE K L OW Z
FIND F AY N D
SHOW SH OW
ME M IY
TAKE T EY K
AND AE N D
AND AH N D
PLEASE P L IY Z
YES Y EH S
NO N OW
"""


def draw_sentences(speaker: str, count: int, seed: int) -> list[Sentence]:
    """``count`` sentences of a speaker: half of them digit strings; speed and pitch vary from one to the next."""
    rng = rng_for(seed, "sentences", speaker)
    return [
        Sentence(
            text=_digits(rng) if number % 2 else _command(rng),
            speed=float(rng.uniform(0.85, 1.2)),
            pitch=int(rng.integers(42, 59)),
            liveliness=int(rng.integers(25, 80)),
        )
        for number in range(count)
    ]


def _digits(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(DIGITS, size=rng.integers(3, 6)))


def _command(rng: np.random.Generator) -> str:
    thing, colour, number = rng.choice(THINGS), rng.choice(COLOURS), rng.choice(DIGITS[2:])
    match rng.integers(7):
        case 0:
            words = f"GO {rng.choice(['LEFT', 'RIGHT', 'UP', 'DOWN', 'BACK'])} {number}"
        case 1:
            words = f"TURN THE {colour} {rng.choice(['LIGHT', 'LAMP'])} {rng.choice(['ON', 'OFF'])}"
        case 2:
            words = f"{rng.choice(['OPEN', 'CLOSE'])} THE {colour} {rng.choice(['DOOR', 'BOX', 'BOOK'])}"
        case 3:
            words = f"FIND THE {thing} AND THE {rng.choice(THINGS)}"
        case 4:
            words = f"SHOW ME THE {colour} {thing}"
        case 5:
            words = f"TAKE THE {thing} {rng.choice(['UP', 'DOWN', 'BACK'])}"
        case _:
            words = f"{rng.choice(['YES', 'NO'])} {rng.choice(['START', 'STOP'])} {rng.choice(['THE SONG', 'AGAIN'])}"
    return f"{words} PLEASE" if rng.random() < 0.2 else words
