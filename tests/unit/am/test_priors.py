"""Priors of the pdfs against hand-worked figures."""

from __future__ import annotations

import numpy as np
import pytest

from am.priors import PriorConfig, log_priors


def test_priors_are_smoothed_counts_by_hand():
    """Counts 3, 0, 1 plus one each over 4 + 3 frames: 4/7, 1/7, 2/7."""
    priors = np.exp(log_priors(np.array([0, 0, 2, 0]), 3, PriorConfig(smoothing=1.0, floor=0.0)))
    assert priors == pytest.approx([4 / 7, 1 / 7, 2 / 7], rel=1e-6)


def test_without_smoothing_an_unseen_pdf_gets_the_floor():
    priors = np.exp(log_priors(np.array([0] * 999 + [1]), 3, PriorConfig(smoothing=0.0, floor=0.01)))
    assert priors == pytest.approx(np.array([0.999, 0.01, 0.01]) / 1.019, rel=1e-6)


def test_priors_sum_to_one_and_are_finite_for_many_pdfs():
    rng = np.random.default_rng(0)
    found = log_priors(rng.integers(0, 50, 1000).astype(np.int16), 2000, PriorConfig())
    assert np.isfinite(found).all()
    assert np.exp(found.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("targets", [[], [0, 3], [-1]])
def test_targets_outside_the_model_are_refused(targets):
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 3\)"):
        log_priors(np.array(targets, dtype=np.int64), 3, PriorConfig())


def test_a_prior_of_zero_cannot_be_asked_for():
    with pytest.raises(ValueError, match="must not be negative nor both 0"):
        PriorConfig(smoothing=0.0, floor=0.0)
