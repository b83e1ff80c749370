"""What was taken for what: confusions of words and, where pronunciations are known, of phones.

Phones: each word of an alignment is replaced by a pronunciation (of a substituted pair the two that differ least, so
that a variant is no error; else the first of the lexicon), and the phone strings of the utterance are aligned anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from am.wer import GAP, ErrorCounts, align_words, count_errors, count_pairs, total
from harness.errors import DataDirError
from kaldi_bridge.text_tables import fields_of, text_lines

Pairs = Sequence[tuple[str, str]]
Pronunciations = Mapping[str, Sequence[tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """How often each pair (reference, hypothesis) was aligned, right ones included; and the sums."""

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    counts: ErrorCounts = field(default_factory=ErrorCounts)
    left_out: tuple[str, ...] = ()  # utterances with a word without pronunciation

    def as_json(self) -> dict[str, Any]:
        """Substitutions [reference, hypothesis, times], deletions and insertions [word, times], most frequent first."""
        kinds: dict[str, list[list[str | int]]] = {"substitutions": [], "deletions": [], "insertions": []}
        for (reference, hypothesis), times in sorted(self.pairs.items(), key=lambda item: (-item[1], item[0])):
            if hypothesis == GAP:
                kinds["deletions"].append([reference, times])
            elif reference == GAP:
                kinds["insertions"].append([hypothesis, times])
            elif reference != hypothesis:
                kinds["substitutions"].append([reference, hypothesis, times])
        return {"of": self.counts.words, "error_rate": round(self.counts.percent, 4), **kinds}


def word_confusions(alignments: Iterable[Pairs]) -> Confusions:
    """Confusions of aligned words."""
    pairs: Counter[tuple[str, str]] = Counter()
    sums = []
    for alignment in alignments:
        pairs.update(alignment)
        sums.append(count_pairs(alignment))
    return Confusions(pairs=pairs, counts=total(sums))


def phone_confusions(alignments: Mapping[str, Pairs], pronunciations: Pronunciations) -> Confusions:
    """Confusions of phones, {utterance: aligned words}; utterances with an unknown word are left out and listed."""

    @cache
    def spoken(reference: str, hypothesis: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Pronunciations of a pair of words, () for a gap."""
        first = pronunciations[reference] if reference != GAP else [()]
        second = pronunciations[hypothesis] if hypothesis != GAP else [()]
        if GAP in (reference, hypothesis) or reference == hypothesis:
            return tuple(first[0]), tuple(second[0])
        choices = [(count_errors(one, other).errors, n, one, other) for n, one in enumerate(first) for other in second]
        _, _, one, other = min(choices, key=lambda choice: choice[:2])
        return tuple(one), tuple(other)

    phones, left_out = [], []
    for utterance, pairs in alignments.items():
        if any(word != GAP and word not in pronunciations for pair in pairs for word in pair):
            left_out.append(utterance)
            continue
        sides = [spoken(*pair) for pair in pairs]
        phones.append(align_words([p for one, _ in sides for p in one], [p for _, other in sides for p in other]))
    found = word_confusions(phones)
    return Confusions(pairs=found.pairs, counts=found.counts, left_out=tuple(left_out))


def read_pronunciations(path: str | Path) -> dict[str, list[tuple[str, ...]]]:
    """Pronunciations by word, from lexicon.txt ('word phone phone') or a lang directory's phones/align_lexicon.txt.

    Of the latter the word comes twice, and _B, _I, _E and _S are taken off where word_boundary.txt lies beside it.
    """
    path = Path(path)
    aligned = path.name.startswith("align_lexicon")
    positions = aligned and (path.parent / "word_boundary.txt").is_file()
    found: dict[str, list[tuple[str, ...]]] = {}
    for number, line in text_lines(path):
        word, *phones = fields_of(line)[1 if aligned else 0 :] or [""]
        if not phones:
            mend = "give a lexicon of lines 'word phone phone ...'"
            raise DataDirError(f"{path}:{number}", "holds no pronunciation", mend=mend)
        if word == "<eps>":
            continue
        plain = tuple(_without_position(phone) for phone in phones) if positions else tuple(phones)
        if plain not in found.setdefault(word, []):
            found[word].append(plain)
    return found


def _without_position(phone: str) -> str:
    return phone[:-2] if phone[-2:] in ("_B", "_I", "_E", "_S") else phone
