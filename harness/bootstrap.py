"""The bootstrap over blocks: whole speakers are drawn with replacement, for the utterances of one are not independent.

Papers: Efron 1979; Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation".
A statistic here is a ratio of sums over blocks (errors over words, scores over utterances), so that only the sums of
each block are needed, whatever the number of utterances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.seed import rng_for

REPLICAS = 10_000
FEW = 6  # fewer speakers than these tell no difference from chance: five lean one way in one of 16 cases (2 x 0.5 ** 5)
CELLS = 2_000_000  # drawn numbers held at once


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and its bootstrap confidence interval."""

    value: float
    low: float
    high: float
    blocks: int  # that were drawn: speakers or utterances


def block_numbers(names: Sequence[str]) -> NDArray[np.int64]:
    """The number of the block of each item, from its block's name: [items], from 0, in order of the names."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def block_sums(blocks: NDArray[np.int64], values: ArrayLike) -> NDArray[np.float64]:
    """Sums of values [items] within each block: [blocks]."""
    return np.bincount(blocks, weights=np.asarray(values)).astype(np.float64)


def draw_sums(sums: ArrayLike, replicas: int, seed: int) -> NDArray[np.float64]:
    """Sums over blocks drawn with replacement: [blocks, columns] -> [replicas, columns], one draw for all columns."""
    table = np.asarray(sums, np.float64)
    n = len(table)
    rng = rng_for(seed, "bootstrap", n, replicas)
    drawn_sums = np.empty((replicas, table.shape[1]))
    step = max(1, CELLS // n)
    for begin in range(0, replicas, step):
        rows = min(step, replicas - begin)
        drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)  # how often each block was drawn
        drawn_sums[begin : begin + rows] = counts @ table
    return drawn_sums


def percentiles(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    """The ends of the interval that holds the middle `level` of the values [replicas]."""
    tail = 50.0 * (1 - level)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def two_sided_p(differences: NDArray[np.float64]) -> float:
    """Twice the smaller share of replicas on one side of zero; ties count on both, and it is never zero."""
    one_sided = min(np.count_nonzero(differences >= 0), np.count_nonzero(differences <= 0))
    return float(min(1.0, 2.0 * (one_sided + 1) / (len(differences) + 1)))


def mean_intervals(
    sums: ArrayLike, counts: ArrayLike, *, replicas: int = REPLICAS, level: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Means of all items with their percentile intervals, a column each.

    sums: [blocks, columns], sums of each block's items.  counts: [blocks], items of each block.
    """
    table, items = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    drawn = draw_sums(np.column_stack([table, items]), replicas, seed)
    means = drawn[:, :-1] / np.maximum(drawn[:, -1:], 1)
    found = []
    for column in range(table.shape[1]):
        low, high = percentiles(means[:, column], level)
        value = float(table[:, column].sum() / items.sum())
        found.append(Interval(value=value, low=low, high=high, blocks=len(items)))
    return found
