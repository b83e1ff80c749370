"""Diagonal-covariance Gaussian mixtures: likelihoods, expectation, maximisation, splitting.

Equations and constants are Kaldi's (gmm-acc-stats-ali, gmm-acc-stats-twofeats, gmm-est, gmm-boost-silence), so that a
model trained here and one trained there from the same alignment differ only by the random direction of a split.
Statistics are summed in float64, features and model parameters are float32.

All kernels see a mixture set as flat arrays: the Gaussians of pdf p are the rows offsets[p]:offsets[p + 1] of
gconsts [gaussians], means_invvars and inv_vars [gaussians, dim].
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit

from harness.errors import ModelError
from kaldi_bridge.models import AmDiagGmm, TransitionModel

LOOSE = {"reassoc", "contract", "arcp", "nsz"}  # lets a dot product use vector registers; NaN and infinity keep meaning


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """What gmm-est asks before it trusts a Gaussian, with its defaults."""

    min_occupancy: float = 10.0  # frames a Gaussian must have seen to be re-estimated
    min_weight: float = 1.0e-5
    min_variance: float = 0.001
    remove_low_count: bool = True  # False keeps Gaussian-for-Gaussian correspondence (alignment models)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How Gaussians are shared out over pdfs when mixtures grow."""

    power: float = 0.25  # a pdf's share grows with occupancy ** power
    min_count: float = 20.0  # frames per Gaussian below which a pdf is not split further
    perturb: float = 0.01  # standard deviations by which the two halves move apart


@dataclass
class GmmStats:
    """Sufficient statistics of one pass; add up with +=."""

    occupancy: np.ndarray  # [gaussians]
    first: np.ndarray  # [gaussians, dim] sum of gamma x
    second: np.ndarray  # [gaussians, dim] sum of gamma x^2
    log_likelihood: float = 0.0
    frames: int = 0

    @staticmethod
    def zeros(gaussians: int, dim: int) -> GmmStats:
        """Empty statistics."""
        return GmmStats(np.zeros(gaussians), np.zeros((gaussians, dim)), np.zeros((gaussians, dim)))

    def __iadd__(self, other: GmmStats) -> Self:
        self.occupancy += other.occupancy
        self.first += other.first
        self.second += other.second
        self.log_likelihood += other.log_likelihood
        self.frames += other.frames
        return self


@njit(cache=True, nogil=True, fastmath=LOOSE)
def _exponent(feats, t, means_invvars, inv_vars, g):  # type: ignore[no-untyped-def]
    """What depends on frame t in Gaussian g's log likelihood, float32 (indexed in 2-D: slices would cost more)."""
    total = np.float32(0.0)
    for d in range(feats.shape[1]):
        total += feats[t, d] * (means_invvars[g, d] - np.float32(0.5) * inv_vars[g, d] * feats[t, d])
    return total


@njit(cache=True, nogil=True)
def pdf_log_likelihood(feats, t, begin, end, gconsts, means_invvars, inv_vars, values):  # type: ignore[no-untyped-def]
    """Log likelihood of frame t of feats [frames, dim] under the mixture of rows begin:end; values is scratch space."""
    best = -np.inf
    for g in range(begin, end):
        value = float(gconsts[g] + _exponent(feats, t, means_invvars, inv_vars, g))
        values[g - begin] = value
        best = max(best, value)
    if best == -np.inf:
        return best
    total = 0.0
    for k in range(end - begin):
        if values[k] > best - 16.0:  # exp(-16) is the last bit of a float32
            total += np.exp(values[k] - best)
    return best + np.log(total)


@njit(cache=True, nogil=True)
def _log_likelihoods(feats, wanted, offsets, gconsts, means_invvars, inv_vars, out):  # type: ignore[no-untyped-def]
    values = np.empty(len(gconsts))
    for i in range(wanted.shape[0]):
        begin, end = offsets[wanted[i]], offsets[wanted[i] + 1]
        for t in range(feats.shape[0]):
            out[t, i] = pdf_log_likelihood(feats, t, begin, end, gconsts, means_invvars, inv_vars, values)


@njit(cache=True, nogil=True, fastmath=LOOSE)
def _add_frame(gamma, feats, t, first, second, g):  # type: ignore[no-untyped-def]
    for d in range(feats.shape[1]):
        value = np.float64(feats[t, d])
        weighted = gamma * value
        first[g, d] += weighted
        second[g, d] += weighted * value


@njit(cache=True, nogil=True)
def posteriors(feats, t, begin, end, gconsts, means_invvars, inv_vars, gamma):  # type: ignore[no-untyped-def]
    """Fill gamma[:end - begin] with the posteriors of the rows begin:end at frame t; returns the log likelihood.

    A posterior below float32's last bit becomes 0.
    """
    best = -np.inf
    for g in range(begin, end):
        value = float(gconsts[g] + _exponent(feats, t, means_invvars, inv_vars, g))
        gamma[g - begin] = value
        best = max(best, value)
    total = 0.0
    for k in range(end - begin):
        gamma[k] = np.exp(gamma[k] - best) if gamma[k] > best - 16.0 else 0.0
        total += gamma[k]
    for k in range(end - begin):
        gamma[k] /= total
    return best + np.log(total)


@njit(cache=True, nogil=True)
def _accumulate(  # type: ignore[no-untyped-def]
    feats, stat_feats, pdfs, offsets, gconsts, means_invvars, inv_vars, occupancy, first, second
):
    gamma = np.empty(len(gconsts))
    log_likelihood = 0.0
    for t in range(feats.shape[0]):
        begin, end = offsets[pdfs[t]], offsets[pdfs[t] + 1]
        log_likelihood += posteriors(feats, t, begin, end, gconsts, means_invvars, inv_vars, gamma)
        for k in range(end - begin):
            if gamma[k] > 0.0:
                occupancy[begin + k] += gamma[k]
                _add_frame(gamma[k], stat_feats, t, first, second, begin + k)
    return log_likelihood


def log_likelihoods(am: AmDiagGmm, feats: np.ndarray, pdfs: np.ndarray | None = None) -> np.ndarray:
    """Log likelihood of each frame under each pdf.

    feats: [frames, dim].  pdfs: pdf ids wanted, all of them if None.  Returns float32 [frames, pdfs].
    Raises ModelError if the dimensions differ.
    """
    _check_dim(am, feats)
    wanted = np.arange(am.num_pdfs, dtype=np.int32) if pdfs is None else np.asarray(pdfs, np.int32)
    out = np.empty((len(feats), len(wanted)), np.float32)
    feats = np.ascontiguousarray(feats, np.float32)
    _log_likelihoods(feats, wanted, am.offsets, am.gconsts, am.means_invvars, am.inv_vars, out)
    return out


def accumulate(am: AmDiagGmm, feats: np.ndarray, pdfs: np.ndarray, *, stat_feats: np.ndarray | None = None) -> GmmStats:
    """Expectation step over aligned frames (gmm-acc-stats-ali).

    feats: [frames, dim] give the posteriors; stat_feats, if given, are summed in their place (gmm-acc-stats-twofeats).
    pdfs: [frames] the aligned pdf of each frame.
    """
    _check_dim(am, feats)
    stats = GmmStats.zeros(am.num_gauss, am.dim)
    feats = np.ascontiguousarray(feats, np.float32)
    other = feats if stat_feats is None else np.ascontiguousarray(stat_feats, np.float32)
    stats.log_likelihood = _accumulate(
        feats,
        other,
        np.ascontiguousarray(pdfs, np.int32),
        am.offsets,
        am.gconsts,
        am.means_invvars,
        am.inv_vars,
        stats.occupancy,
        stats.first,
        stats.second,
    )
    stats.frames = len(feats)
    return stats


@njit(cache=True, nogil=True)
def _all_posteriors(feats, begin, end, gconsts, means_invvars, inv_vars, out):  # type: ignore[no-untyped-def]
    gamma = np.empty(end - begin)
    for t in range(feats.shape[0]):
        posteriors(feats, t, begin, end, gconsts, means_invvars, inv_vars, gamma)
        for k in range(end - begin):
            out[t, k] = gamma[k]


def gaussian_posteriors(am: AmDiagGmm, feats: np.ndarray, pdf: int) -> np.ndarray:
    """Posteriors of the Gaussians of one pdf, float32 [frames, Gaussians of the pdf]."""
    begin, end = int(am.offsets[pdf]), int(am.offsets[pdf + 1])
    out = np.empty((len(feats), end - begin), np.float32)
    _all_posteriors(np.ascontiguousarray(feats, np.float32), begin, end, am.gconsts, am.means_invvars, am.inv_vars, out)
    return out


def update(am: AmDiagGmm, stats: GmmStats, config: UpdateConfig | None = None) -> AmDiagGmm:
    """Maximisation step (MleDiagGmmUpdate): new weights, means and variances.

    A Gaussian below the occupancy or weight limit is removed, unless it is its pdf's last or removal is off, in which
    case it keeps mean and variance and only its weight follows the counts.
    """
    config = config or UpdateConfig()
    occupancy, pdf_of = stats.occupancy, np.repeat(np.arange(am.num_pdfs), np.diff(am.offsets))
    totals = np.bincount(pdf_of, occupancy, minlength=am.num_pdfs)[pdf_of]
    share = np.where(totals > 0, occupancy / np.maximum(totals, 1.0e-300), 1.0 / np.diff(am.offsets)[pdf_of])
    trusted = (occupancy > config.min_occupancy) & (share > config.min_weight)
    keep = np.ones(len(occupancy), bool)
    if config.remove_low_count:
        keep = trusted.copy()
        trusted_in_pdf = np.bincount(pdf_of, trusted, minlength=am.num_pdfs)
        for p in np.flatnonzero(trusted_in_pdf == 0):
            keep[am.offsets[p + 1] - 1] = True  # the last Gaussian of a pdf always stays
    weights = np.where(trusted, share, np.maximum(share, config.min_weight))
    count = np.where(trusted, occupancy, 1.0)[:, None]
    new_means = stats.first / count
    new_vars = np.maximum(stats.second / count - new_means**2, config.min_variance)
    means = np.where(trusted[:, None], new_means, am.means)
    inv_vars = np.where(trusted[:, None], 1.0 / new_vars, am.inv_vars)
    weights, means, inv_vars, pdf_of = weights[keep], means[keep], inv_vars[keep], pdf_of[keep]
    if config.remove_low_count:
        weights = weights / np.bincount(pdf_of, weights, minlength=am.num_pdfs)[pdf_of]
    offsets = np.searchsorted(pdf_of, np.arange(am.num_pdfs + 1)).astype(np.int64)
    return _model(weights, means, inv_vars, offsets)


def pdf_occupancies(am: AmDiagGmm, stats: GmmStats) -> np.ndarray:
    """Frames each pdf has seen, float64 [pdfs]."""
    return np.add.reduceat(stats.occupancy, am.offsets[:-1])


def split_targets(occupancies: np.ndarray, target: int, config: SplitConfig) -> np.ndarray:
    """Gaussians each pdf should have so that they are `target` in all (Kaldi's GetSplitTargets)."""
    sizes = np.ones(len(occupancies), np.int64)
    queue = [(-(float(count) ** config.power), p) for p, count in enumerate(occupancies)]
    heapq.heapify(queue)
    total = len(sizes)
    while total < target and queue[0][0] != 0:
        _, p = heapq.heappop(queue)
        if (sizes[p] + 1) * config.min_count >= occupancies[p]:
            heapq.heappush(queue, (0.0, p))  # saturated
            continue
        sizes[p] += 1
        total += 1
        heapq.heappush(queue, (-(float(occupancies[p]) ** config.power) / int(sizes[p]), p))
    return sizes


def split(
    am: AmDiagGmm, occupancies: np.ndarray, target: int, rng: np.random.Generator, config: SplitConfig | None = None
) -> AmDiagGmm:
    """Grow the mixtures towards `target` Gaussians: the heaviest Gaussian of a pdf becomes two, moved apart."""
    config = config or SplitConfig()
    weights, means, inv_vars, sizes = [], [], [], []
    for p, wanted in enumerate(split_targets(occupancies, target, config)):
        rows = slice(am.offsets[p], am.offsets[p + 1])
        w, m, v = (list(part[rows].astype(np.float64)) for part in (am.weights, am.means, am.inv_vars))
        while len(w) < wanted:
            heaviest = int(np.argmax(w))
            w[heaviest] /= 2
            move = config.perturb * rng.standard_normal(am.dim) / np.sqrt(v[heaviest])
            w.append(w[heaviest])
            m.append(m[heaviest] + move)
            v.append(v[heaviest])
            m[heaviest] = m[heaviest] - move
        weights += w
        means += m
        inv_vars += v
        sizes.append(len(w))
    return _model(np.array(weights), np.array(means), np.array(inv_vars), np.cumsum([0, *sizes]).astype(np.int64))


def boost_silence(am: AmDiagGmm, pdfs: np.ndarray, factor: float) -> AmDiagGmm:
    """Multiply the weights of the given pdfs (gmm-boost-silence); used while aligning only."""
    if factor == 1.0:
        return am
    weights = am.weights.copy()
    for p in pdfs:
        weights[am.offsets[p] : am.offsets[p + 1]] *= factor
    return _model(weights, am.means, am.inv_vars, am.offsets)


def transform_means(am: AmDiagGmm, matrix: np.ndarray) -> AmDiagGmm:
    """Means in a linearly transformed feature space (gmm-transform-means).  matrix: [dim, dim]."""
    return _model(am.weights, am.means @ matrix.T, am.inv_vars, am.offsets)


def single_gaussians(
    counts: np.ndarray, first: np.ndarray, second: np.ndarray, *, variance_floor: float = 0.01
) -> AmDiagGmm:
    """One Gaussian a pdf from statistics [pdfs], [pdfs, dim], [pdfs, dim]; a pdf without frames gets the global one."""
    total = counts.sum()
    if total <= 0:
        raise ModelError("initial model", "no frames to estimate it from", mend="check the alignments")
    seen = counts > 0
    safe = np.maximum(counts, 1.0)[:, None]
    means = np.where(seen[:, None], first / safe, first.sum(axis=0) / total)
    squares = np.where(seen[:, None], second / safe, second.sum(axis=0) / total)
    variances = np.maximum(squares - means**2, variance_floor)
    offsets = np.arange(len(counts) + 1, dtype=np.int64)
    return _model(np.ones(len(counts)), means, 1.0 / variances, offsets)


def update_transitions(
    tm: TransitionModel, counts: np.ndarray, *, floor: float = 0.01, min_count: float = 5.0
) -> TransitionModel:
    """Transition probabilities from counts of transition ids [ids + 1] (MleTransitionUpdateConfig's defaults)."""
    log_probs = np.array(tm.log_probs, np.float32)
    for begin, end in zip(tm.first_id[1:-1], tm.first_id[2:], strict=True):
        seen = counts[begin:end].sum()
        if end - begin < 2 or seen < min_count:
            continue
        probs = counts[begin:end] / seen
        for _ in range(3):
            probs = np.maximum(probs / probs.sum(), floor)
        log_probs[begin:end] = np.log(probs)
    return tm.with_log_probs(log_probs)


def _check_dim(am: AmDiagGmm, feats: np.ndarray) -> None:
    if feats.ndim != 2 or feats.shape[1] != am.dim:
        problem = f"features must be [frames, {am.dim}], got {list(feats.shape)}"
        raise ModelError("GMM", problem, mend="use the features (deltas, splice, final.mat) the model was trained on")


def _model(weights: np.ndarray, means: np.ndarray, inv_vars: np.ndarray, offsets: np.ndarray) -> AmDiagGmm:
    return AmDiagGmm.from_parameters(offsets, weights, means, 1.0 / inv_vars.astype(np.float64))
