"""Word errors: counts and alignments with the tie rules of Kaldi's compute-wer and align-text, and their lines.

compute-wer breaks ties forward (insertion before deletion before substitution), align-text in its traceback (match or
substitution before deletion before insertion): the totals agree, the split may not.  Both are kept.  NIST's sclite
weighs a substitution 4 and a word too many or too few 3, and prefers an insertion to a deletion; its traceback is at
hand too, so that figures of other houses can be met exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import kaldialign

from harness.errors import DataDirError

GAP = "***"  # stands for the missing word of an insertion or deletion


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the errors of an alignment cost, and which step back it takes where a word too many costs as one too few."""

    substitution: int
    gap: int  # an insertion or a deletion
    insertion_first: bool


KALDI = Weights(substitution=1, gap=1, insertion_first=False)
SCLITE = Weights(substitution=4, gap=3, insertion_first=True)
WEIGHTS = {"kaldi": KALDI, "sclite": SCLITE}


@dataclass(frozen=True, kw_only=True)
class ErrorCounts:
    """Errors against a reference of ``words`` words."""

    words: int = 0
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    @property
    def errors(self) -> int:
        return self.insertions + self.deletions + self.substitutions

    @property
    def percent(self) -> float:
        """Word error rate in percent; 0 where there is neither a word nor an error."""
        return 100.0 * self.errors / self.words if self.words else 100.0 * (self.errors > 0)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            words=self.words + other.words,
            insertions=self.insertions + other.insertions,
            deletions=self.deletions + other.deletions,
            substitutions=self.substitutions + other.substitutions,
        )

    def line(self) -> str:
        """As compute-wer prints it: %WER 49.25 [ 33 / 67, 10 ins, 6 del, 17 sub ]."""
        detail = f"{self.errors} / {self.words}, {self.insertions} ins, {self.deletions} del, {self.substitutions} sub"
        return f"%WER {self.percent:.2f} [ {detail} ]"


def count_errors(reference: Sequence[str], hypothesis: Sequence[str], weights: Weights = KALDI) -> ErrorCounts:
    """Errors of one utterance; Kaldi's weights break ties as compute-wer does, others as align_words."""
    if weights != KALDI:
        return count_pairs(align_words(reference, hypothesis, weights))
    counts = kaldialign.edit_distance(list(reference), list(hypothesis))
    return ErrorCounts(
        words=len(reference), insertions=counts["ins"], deletions=counts["del"], substitutions=counts["sub"]
    )


def count_pairs(pairs: Iterable[tuple[str, str]]) -> ErrorCounts:
    """The errors of aligned pairs."""
    words = insertions = deletions = substitutions = 0
    for reference, hypothesis in pairs:
        words += reference != GAP
        insertions += reference == GAP
        deletions += hypothesis == GAP
        substitutions += GAP not in (reference, hypothesis) and reference != hypothesis
    return ErrorCounts(words=words, insertions=insertions, deletions=deletions, substitutions=substitutions)


def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """The sum of the counts."""
    words = insertions = deletions = substitutions = 0
    for one in counts:
        words, insertions = words + one.words, insertions + one.insertions
        deletions, substitutions = deletions + one.deletions, substitutions + one.substitutions
    return ErrorCounts(words=words, insertions=insertions, deletions=deletions, substitutions=substitutions)


def count_set(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, Sequence[str]]
) -> dict[str, ErrorCounts]:
    """Errors of each utterance of the references; one without hypothesis counts as all deleted.

    Raises DataDirError where a hypothesis has no reference.
    """
    strange = sorted(hypotheses.keys() - references.keys())
    if strange:
        raise DataDirError(
            "text", f"{len(strange)} decoded utterances have no transcript (first: {strange[0]})",
            mend="score against the text of the data directory that was decoded",
        )  # fmt: skip
    return {utterance: count_errors(words, hypotheses.get(utterance, ())) for utterance, words in references.items()}


def refuse_gap(where: str | Path, utterance: str, words: Sequence[str]) -> None:
    """Raise DataDirError where a transcript holds GAP as a word, as align-text does with its special symbol."""
    if GAP in words:
        problem = f"utterance {utterance} holds the word {GAP}, which stands for a missing one in alignments"
        raise DataDirError(where, problem, mend="write it in another way, as <xxx>")


def align_words(reference: Sequence[str], hypothesis: Sequence[str], weights: Weights = KALDI) -> list[tuple[str, str]]:
    """Pairs (reference word, hypothesis word) with GAP for a missing one, as align-text (or sclite) pairs them."""
    changed, gap = weights.substitution, weights.gap
    rows, columns = len(reference), len(hypothesis)
    cost = [[gap * n for n in range(columns + 1)]]
    for m in range(1, rows + 1):
        above, row, word = cost[-1], [gap * m], reference[m - 1]
        for n in range(1, columns + 1):
            same = above[n - 1] + changed * (word != hypothesis[n - 1])
            row.append(min(same, above[n] + gap, row[-1] + gap))
        cost.append(row)
    pairs: list[tuple[str, str]] = []
    m, n = rows, columns
    while m or n:
        here = cost[m][n]
        deleted, inserted = m > 0 and here == cost[m - 1][n] + gap, n > 0 and here == cost[m][n - 1] + gap
        if m and n and here == cost[m - 1][n - 1] + changed * (reference[m - 1] != hypothesis[n - 1]):
            m, n = m - 1, n - 1
            pairs.append((reference[m], hypothesis[n]))
        elif deleted and not (inserted and weights.insertion_first):
            m -= 1
            pairs.append((reference[m], GAP))
        else:
            n -= 1
            pairs.append((GAP, hypothesis[n]))
    return pairs[::-1]
