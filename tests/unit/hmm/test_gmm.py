"""GMM likelihoods, statistics, updates and splits, against scipy, plain loops and Kaldi's programs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from harness.errors import ModelError
from hmm.alignment_dir import GmmDir
from hmm.gmm import (
    GmmStats,
    SplitConfig,
    UpdateConfig,
    accumulate,
    boost_silence,
    gaussian_posteriors,
    log_likelihoods,
    pdf_occupancies,
    single_gaussians,
    split,
    split_targets,
    transform_means,
    update,
    update_transitions,
)
from hmm.speaker_features import SpeakerFeatures
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.models import AmDiagGmm, read_model


@pytest.fixture
def small() -> AmDiagGmm:
    """Three pdfs with 1, 3 and 2 Gaussians of 5 dimensions."""
    rng = np.random.default_rng(7)
    weights = np.array([1.0, 0.2, 0.5, 0.3, 0.6, 0.4])
    return AmDiagGmm.from_parameters(
        np.array([0, 1, 4, 6]), weights, rng.normal(size=(6, 5)), rng.uniform(0.5, 2.0, (6, 5))
    )


def _mixture(am: AmDiagGmm, pdf: int, feats: np.ndarray) -> np.ndarray:
    """Log of weight times density of each Gaussian of a pdf, [frames, Gaussians], by scipy."""
    rows = range(am.offsets[pdf], am.offsets[pdf + 1])
    densities = [multivariate_normal(am.means[g], np.diag(am.variances[g])).logpdf(feats) for g in rows]
    return np.stack([np.log(am.weights[g]) + density for g, density in zip(rows, densities, strict=True)], axis=1)


def test_log_likelihoods_are_those_of_scipy(small):
    feats = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    expected = np.stack([logsumexp(_mixture(small, pdf, feats), axis=1) for pdf in range(3)], axis=1)
    np.testing.assert_allclose(log_likelihoods(small, feats), expected, rtol=1e-5, atol=1e-5)
    some = log_likelihoods(small, feats, np.array([2, 0]))
    np.testing.assert_allclose(some, expected[:, [2, 0]], rtol=1e-5, atol=1e-5)


def test_features_of_another_dimension_are_refused(small):
    with pytest.raises(ModelError, match=r"must be \[frames, 5\], got \[3, 4\]"):
        log_likelihoods(small, np.zeros((3, 4), np.float32))


def test_statistics_are_the_posterior_weighted_sums(small):
    rng = np.random.default_rng(2)
    feats, other = rng.normal(size=(2, 60, 5)).astype(np.float32)
    pdfs = rng.integers(0, 3, 60)
    stats = accumulate(small, feats, pdfs, stat_feats=other)
    expected = GmmStats.zeros(6, 5)
    for x, y, pdf in zip(feats, other, pdfs, strict=True):
        joint = _mixture(small, pdf, np.stack([x, x]))[0]  # two frames: scipy drops the axis of a single one
        rows = slice(small.offsets[pdf], small.offsets[pdf + 1])
        gamma = np.exp(joint - logsumexp(joint))
        expected.occupancy[rows] += gamma
        expected.first[rows] += gamma[:, None] * y
        expected.second[rows] += gamma[:, None] * y.astype(np.float64) ** 2
        expected.log_likelihood += float(logsumexp(joint))
    np.testing.assert_allclose(stats.occupancy, expected.occupancy, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats.first, expected.first, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(stats.second, expected.second, rtol=1e-5, atol=1e-5)
    assert stats.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-6)
    assert stats.frames == 60


def test_posteriors_of_a_pdf_add_up_to_one(small):
    feats = np.random.default_rng(3).normal(size=(20, 5)).astype(np.float32)
    joint = _mixture(small, 1, feats)
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(gaussian_posteriors(small, feats, 1), expected, atol=1e-5)


def test_update_never_lowers_the_likelihood(small):
    rng = np.random.default_rng(4)
    feats, pdfs = rng.normal(size=(3000, 5)).astype(np.float32), rng.integers(0, 3, 3000)
    am, before = small, -np.inf
    for _ in range(5):
        stats = accumulate(am, feats, pdfs)
        assert stats.log_likelihood >= before - 1e-3
        before, am = stats.log_likelihood, update(am, stats)


def test_a_gaussian_with_few_frames_is_removed_unless_it_is_the_last(small):
    stats = GmmStats.zeros(6, 5)
    stats.occupancy[:] = [2.0, 50.0, 3.0, 50.0, 2.0, 1.0]
    stats.second[:] = stats.occupancy[:, None]
    kept = update(small, stats)
    assert np.diff(kept.offsets).tolist() == [1, 2, 1]
    np.testing.assert_allclose(kept.weights, [1.0, 0.5, 0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(kept.means[0], small.means[0], rtol=1e-5)  # too few frames: as it was
    same = update(small, stats, UpdateConfig(remove_low_count=False))
    assert same.num_gauss == 6


def test_split_targets_follow_occupancy_by_hand():
    # priorities occ ** 0.5 / n start at 11, 5 and 1; pdf 0 falls to 5.5, then to 3.7, then pdf 1 to 2.5
    occupancies, config = np.array([121.0, 25.0, 1.0]), SplitConfig(power=0.5, min_count=1.0)
    targets = {total: split_targets(occupancies, total, config).tolist() for total in (3, 4, 5, 6, 1000)}
    assert targets[3] == [1, 1, 1]
    assert targets[4] == [2, 1, 1]
    assert targets[5] == [3, 1, 1]
    assert targets[6] == [3, 2, 1]
    assert targets[1000][2] == 1  # (1 + 1) * 1 frames are more than its one


def test_split_stops_where_the_frames_do_not_suffice():
    assert split_targets(np.array([50.0, 0.0]), 100, SplitConfig(min_count=20.0)).tolist() == [2, 1]


def test_a_split_keeps_weights_and_the_middle_of_the_means(small):
    grown = split(small, np.array([1000.0, 1.0, 1.0]), 8, np.random.default_rng(0))
    assert np.diff(grown.offsets).tolist() == [6, 3, 2]  # shares of 8: 6, 1, 1; a pdf never shrinks
    assert grown.weights[:6].sum() == pytest.approx(1.0)
    two = single_gaussians(np.array([100.0]), np.full((1, 5), 30.0), np.full((1, 5), 50.0))
    pair = split(two, np.array([100.0]), 2, np.random.default_rng(0))
    np.testing.assert_allclose(pair.means.mean(axis=0), two.means[0], rtol=1e-5)
    assert not np.allclose(pair.means[0], pair.means[1])


def test_boosted_silence_is_likelier_by_the_factor(small):
    feats = np.zeros((1, 5), np.float32)
    gain = log_likelihoods(boost_silence(small, np.array([1]), 1.5), feats) - log_likelihoods(small, feats)
    np.testing.assert_allclose(gain, [[0.0, np.log(1.5), 0.0]], atol=1e-5)


def test_means_move_with_the_features(small):
    matrix = np.random.default_rng(5).normal(size=(5, 5))
    np.testing.assert_allclose(transform_means(small, matrix).means, small.means @ matrix.T, rtol=1e-4, atol=1e-5)


def test_a_pdf_without_frames_gets_the_global_gaussian():
    counts, first = np.array([10.0, 0.0]), np.array([[20.0], [0.0]])
    am = single_gaussians(counts, first, np.array([[90.0], [0.0]]))
    np.testing.assert_allclose(am.means, [[2.0], [2.0]])
    np.testing.assert_allclose(am.variances, [[5.0], [5.0]], rtol=1e-6)


@pytest.fixture
def golden_mono(golden_dir, golden_data):
    """(model directory, features [frames, dim], transition ids [frames]) of the golden monophones."""
    system = GmmDir.read(golden_dir / "exp/mono_ali")
    feats = SpeakerFeatures.read(DataDir.read(golden_data("train")), system.recipe)
    ali = system.alignments()
    return system, np.concatenate([feats.of(u) for u in ali]), np.concatenate(list(ali.values())), feats


@pytest.mark.kaldi
def test_one_iteration_gives_the_model_of_gmm_est(golden_mono, golden_dir, golden_data, kaldi, tmp_path):
    system, frames, ids, _ = golden_mono
    stats = accumulate(system.am, frames, system.tm.id2pdf[ids])
    ours = update(system.am, stats)
    tm = update_transitions(system.tm, np.bincount(ids, minlength=system.tm.num_transition_ids + 1).astype(float))
    data, exp = golden_data("train"), golden_dir / "exp/mono_ali"
    cmvn = f"apply-cmvn --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp scp:{data}/feats.scp ark:-"
    feats = f"ark:{cmvn} | add-deltas ark:- ark:- |"
    kaldi(shell=f'gmm-acc-stats-ali {exp}/final.mdl "{feats}" "ark:gunzip -c {exp}/ali.1.gz|" {tmp_path}/acc && '
                f"gmm-est {exp}/final.mdl {tmp_path}/acc {tmp_path}/new.mdl")  # fmt: skip
    their_tm, theirs = read_model(tmp_path / "new.mdl")
    assert ours.offsets.tolist() == theirs.offsets.tolist()
    np.testing.assert_allclose(ours.weights, theirs.weights, rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(ours.means, theirs.means, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(ours.variances, theirs.variances, rtol=5e-3)
    np.testing.assert_allclose(tm.log_probs, their_tm.log_probs, atol=1e-5)
    assert pdf_occupancies(system.am, stats).sum() == pytest.approx(len(frames))


def test_transitions_are_floored_counts(golden_mono):
    system, *_ = golden_mono
    counts = np.zeros(system.tm.num_transition_ids + 1)
    begin, end = system.tm.first_id[1], system.tm.first_id[2]
    counts[begin] = 1000.0  # the first transition state's first arc, its others never: floored at 0.01
    tm = update_transitions(system.tm, counts)
    rest = end - begin - 1
    np.testing.assert_allclose(np.exp(tm.log_probs[begin + 1 : end]), np.full(rest, 0.01), rtol=1e-5)
    np.testing.assert_allclose(np.exp(tm.log_probs[begin]), 1.0 / (1.0 + 0.01 * rest), rtol=1e-3)
    np.testing.assert_array_equal(tm.log_probs[end:], system.tm.log_probs[end:])  # fewer than 5 counts: as before
