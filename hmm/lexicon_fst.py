"""The lexicon as a transducer from phones to words, with optional silence between words: L and L_disambig.

Source: kaldi's utils/lang/make_lexicon_fst.py and add_lex_disambig.pl.  States: 0 start, 1 loop (words enter and
leave), 2 silence owed (a word that is followed by silence ends here).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from hmm.lexicon import Pronunciation
from kaldi_bridge.fsts import FstArrays

ArcRow = tuple[int, int, int, int, float]  # source, next state, input label, output label, cost


def add_disambiguation(entries: Sequence[Pronunciation]) -> tuple[list[Pronunciation], int]:
    """Pronunciations that end in #1, #2, ... where they would equal or begin another; and the highest number used."""
    count = Counter(entry.phones for entry in entries)
    prefixes = {entry.phones[:end] for entry in entries for end in range(len(entry.phones))}
    last: Counter[tuple[str, ...]] = Counter()
    marked = []
    for entry in entries:
        if count[entry.phones] > 1 or entry.phones in prefixes:
            last[entry.phones] += 1
            entry = entry._replace(phones=(*entry.phones, f"#{last[entry.phones]}"))
        marked.append(entry)
    return marked, max(last.values(), default=0)


def lexicon_fst(
    entries: Sequence[Pronunciation], phones: Mapping[str, int], words: Mapping[str, int], *, silence_phone: str,
    silence_prob: float, silence_disambig: str | None = None, pass_through: tuple[str, str] | None = None,
) -> FstArrays:  # fmt: skip
    """The transducer in the state numbering of Kaldi's, its arcs sorted by word.

    silence_prob: of silence at the start and after each word; 0 for no optional silence.
    silence_disambig: symbol after silence in L_disambig.  pass_through: (phone, word) symbols of a self-loop on every
    state that words enter or leave, which lets the #0 of G through.
    """
    rows, states = _silence_arcs(
        silence_prob, phones[silence_phone], phones[silence_disambig] if silence_disambig else None
    )
    loop = 1 if silence_prob > 0 else 0
    ends = [(loop, 0.0)]
    if silence_prob > 0:
        ends = [(loop, -math.log(1 - silence_prob)), (2, -math.log(silence_prob))]
    for entry in entries:
        source, cost, word = loop, -math.log(entry.probability), words[entry.word]
        for phone in entry.phones[:-1]:
            rows.append((source, states, phones[phone], word, cost))
            source, states, cost, word = states, states + 1, 0.0, 0
        rows += [(source, end, phones[entry.phones[-1]], word, cost + end_cost) for end, end_cost in ends]
    finals = np.full(states, np.inf, np.float32)
    finals[loop] = 0
    if pass_through:
        rows += _pass_through_arcs(rows, finals, phones[pass_through[0]], words[pass_through[1]])
    source_, target, ilabel, olabel, cost_ = (np.array(column) for column in zip(*rows, strict=True))
    return _sorted_by_word(FstArrays.from_arcs(0, finals, source_, ilabel, olabel, cost_, target))


def _silence_arcs(silence_prob: float, silence: int, disambig: int | None) -> tuple[list[ArcRow], int]:
    """Start and silence; returns the arcs and the number of states used."""
    if silence_prob <= 0:
        return [], 1
    rows = [(0, 1, 0, 0, -math.log(1 - silence_prob)), (0, 2, 0, 0, -math.log(silence_prob))]
    if disambig is None:
        return [*rows, (2, 1, silence, 0, 0.0)], 3
    return [*rows, (2, 3, silence, 0, 0.0), (3, 1, disambig, 0, 0.0)], 4


def _pass_through_arcs(rows: list[ArcRow], finals: np.ndarray, phone: int, word: int) -> list[ArcRow]:
    """A self-loop wherever a word can start or the sentence end: kaldi's fstaddselfloops."""
    states = {source for source, _, _, olabel, _ in rows if olabel != 0} | set(
        np.flatnonzero(np.isfinite(finals)).tolist()
    )
    return [(state, state, phone, word, 0.0) for state in sorted(states)]


def _sorted_by_word(fst: FstArrays) -> FstArrays:
    import kaldifst

    from kaldi_bridge.fsts import from_kaldifst, to_kaldifst

    made = to_kaldifst(fst)
    kaldifst.arcsort(made, "olabel")
    return from_kaldifst(made)
