"""The general bootstrap: against scipy's, the ratio's own arithmetic, and counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness import bootstrap
from harness.bootstrap import block_numbers, block_sums, draw_sums, mean_intervals, percentiles, two_sided_p


def test_means_over_blocks_have_the_interval_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(0).normal(3, 2, 40)
    (found,) = mean_intervals(values[:, None], np.ones(40))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.05)
    assert found.blocks == 40


def test_a_speaker_with_more_utterances_counts_more() -> None:
    blocks = block_numbers(["b", "a", "b", "b"])
    assert blocks.tolist() == [1, 0, 1, 1]
    sums, counts = block_sums(blocks, [1.0, 5.0, 2.0, 3.0]), block_sums(blocks, np.ones(4))
    assert (sums.tolist(), counts.tolist()) == ([5.0, 6.0], [1.0, 3.0])
    (found,) = mean_intervals(sums[:, None], counts)
    assert found.value == pytest.approx(11 / 4)
    assert (found.low, found.high) == (2.0, 5.0)  # draws of one speaker alone


def test_columns_share_the_draw_so_that_their_difference_is_paired() -> None:
    values = np.random.default_rng(1).normal(0, 1, 30)
    drawn = draw_sums(np.column_stack([values, values + 1, np.ones(30)]), 500, seed=0)
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(np.full(500, 30.0))
    assert drawn[:, 2] == pytest.approx(np.full(500, 30.0))


def test_drawing_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(2).integers(0, 9, (50, 2))
    whole = draw_sums(table, 300, seed=4)
    monkeypatch.setattr(bootstrap, "CELLS", 700)
    assert np.array_equal(draw_sums(table, 300, seed=4), whole)
    assert not np.array_equal(draw_sums(table, 300, seed=5), whole)


def test_p_value_is_twice_the_smaller_side_and_never_zero() -> None:
    assert two_sided_p(np.array([1.0] * 95 + [-1.0] * 4)) == pytest.approx(2 * 5 / 100)
    assert two_sided_p(np.ones(99)) == pytest.approx(0.02)
    assert two_sided_p(np.zeros(10)) == 1.0


def test_percentiles_hold_the_middle() -> None:
    assert percentiles(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))
