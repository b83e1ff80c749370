"""How sure a word error rate is: bootstrap intervals over speakers, and of the difference of two systems.

Paper: Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation" (Kaldi's
compute-wer-bootci).  Differs: whole speakers are drawn, since the utterances of one child are not independent; drawing
utterances is at hand for comparison with Kaldi.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.bootstrap import REPLICAS, Interval, block_numbers, block_sums, draw_sums, percentiles, two_sided_p
from harness.errors import DataDirError

Unit = Literal["speaker", "utterance"]


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of a set, parallel arrays in order of the utterances' names."""

    utterances: tuple[str, ...]
    speakers: tuple[str, ...]
    words: NDArray[np.int64]
    errors: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Mapping[str, tuple[str, int, int]]) -> Errors:
        """From {utterance: (speaker, words, errors)}.  Raises DataDirError where there is no word at all."""
        names = tuple(sorted(rows))
        words = np.array([rows[name][1] for name in names], np.int64)
        if words.sum() == 0:
            raise DataDirError("text", "the references hold no word", mend="score against transcripts")
        errors = np.array([rows[name][2] for name in names], np.int64)
        return cls(utterances=names, speakers=tuple(rows[name][0] for name in names), words=words, errors=errors)

    @property
    def percent(self) -> float:
        return 100.0 * float(self.errors.sum()) / float(self.words.sum())


@dataclass(frozen=True, kw_only=True)
class Difference(Interval):
    """Word error rate of the second system minus that of the first, and how often chance alone goes so far."""

    p_value: float  # two-sided
    improved: float  # share of replicas in which the second system is better


def interval(
    errors: Errors, *, by: Unit = "speaker", replicas: int = REPLICAS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the word error rate."""
    blocks = _blocks(errors, by)
    words, wrong = block_sums(blocks, errors.words), block_sums(blocks, errors.errors)
    drawn_words, drawn_wrong = draw_sums(np.column_stack([words, wrong]), replicas, seed).T
    low, high = percentiles(100.0 * drawn_wrong / np.maximum(drawn_words, 1), level)
    return Interval(value=errors.percent, low=low, high=high, blocks=len(words))


def difference(
    first: Errors, second: Errors, *, by: Unit = "speaker", replicas: int = REPLICAS, level: float = 0.95, seed: int = 0
) -> Difference:
    """Paired bootstrap of the difference second - first in percent absolute, on the same utterances.

    The p-value is twice the smaller share of replicas on one side of zero (ties count on both).  Raises DataDirError
    where the two do not cover the same utterances, words and speakers.
    """
    check_same(first, second)
    blocks = _blocks(first, by)
    words = block_sums(blocks, first.words)
    change = block_sums(blocks, second.errors - first.errors)
    drawn_words, drawn_change = draw_sums(np.column_stack([words, change]), replicas, seed).T
    differences = 100.0 * drawn_change / np.maximum(drawn_words, 1)
    low, high = percentiles(differences, level)
    better, p_value = float(np.mean(differences < 0)), two_sided_p(differences)
    value = second.percent - first.percent
    return Difference(value=value, low=low, high=high, blocks=len(words), p_value=p_value, improved=better)


def check_same(first: Errors, second: Errors) -> None:
    """DataDirError, naming an utterance, where two systems were not scored on the same references."""
    mend = "score both systems on the same data directory"
    only = sorted(set(first.utterances) ^ set(second.utterances))
    if only:
        problem = f"the systems differ in {len(only)} utterances (first: {only[0]})"
        raise DataDirError("compare", problem, mend=mend)
    if first.speakers != second.speakers or not np.array_equal(first.words, second.words):
        names = zip(first.utterances, first.speakers, second.speakers, first.words, second.words, strict=True)
        name = next(u for u, s, t, n, m in names if s != t or n != m)
        raise DataDirError("compare", f"utterance {name} has other speakers or reference words in the two", mend=mend)


def _blocks(errors: Errors, by: Unit) -> NDArray[np.int64]:
    """Number of the block of each utterance."""
    if by == "utterance":
        return np.arange(len(errors.utterances))
    return block_numbers(errors.speakers)


__all__ = ["REPLICAS", "Difference", "Errors", "Interval", "Unit", "check_same", "difference", "interval"]
