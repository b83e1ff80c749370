"""fMLLR (constrained MLLR): one affine transform of the features per speaker that fits the speaker to the model.

Gales 1998, "Maximum likelihood linear transformations for HMM-based speech recognition", section 2.2: the auxiliary
function beta log|A| + tr(W K') - 1/2 sum_i w_i G_i w_i' is climbed row by row (gmm-est-fmllr, 40 sweeps, at least 500
frames).  The inverse that a row needs is kept up to date by Sherman and Morrison's formula instead of inverting anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from hmm.gmm import posteriors
from kaldi_bridge.models import AmDiagGmm

BLOCK = 1024  # frames whose products are summed in float32 before they go to float64


@dataclass(frozen=True, kw_only=True)
class FmllrConfig:
    """Defaults of gmm-est-fmllr."""

    sweeps: int = 40
    min_frames: float = 500.0  # speakers with less speech keep the unit transform
    silence_weight: float = 0.0  # of silence frames; Kaldi's decoding scripts use 0.01


@dataclass
class FmllrStats:
    """Statistics of one speaker; add up with +=."""

    beta: float  # frames
    K: np.ndarray  # [dim, dim + 1]
    G: np.ndarray  # [dim, dim + 1, dim + 1]

    @staticmethod
    def zeros(dim: int) -> FmllrStats:
        """Empty statistics."""
        return FmllrStats(0.0, np.zeros((dim, dim + 1)), np.zeros((dim, dim + 1, dim + 1)))

    def __iadd__(self, other: FmllrStats) -> FmllrStats:
        self.beta += other.beta
        self.K += other.K
        self.G += other.G
        return self


@njit(cache=True, nogil=True)
def _expected(  # type: ignore[no-untyped-def]
    feats, pdfs, weights, offsets, gconsts, means_invvars, inv_vars, to_means_invvars, to_inv_vars, a, b
):
    """a, b [frames, dim]: posterior-weighted mean / variance and 1 / variance of each frame."""
    gamma = np.empty(len(gconsts))
    dim = feats.shape[1]
    for t in range(feats.shape[0]):
        begin, end = offsets[pdfs[t]], offsets[pdfs[t] + 1]
        posteriors(feats, t, begin, end, gconsts, means_invvars, inv_vars, gamma)
        for d in range(dim):
            a[t, d] = 0.0
            b[t, d] = 0.0
        for k in range(end - begin):
            share = np.float32(gamma[k] * weights[t])
            if share > 0:
                for d in range(dim):
                    a[t, d] += share * to_means_invvars[begin + k, d]
                    b[t, d] += share * to_inv_vars[begin + k, d]


def accumulate_fmllr(
    am: AmDiagGmm,
    feats: np.ndarray,
    pdfs: np.ndarray,
    weights: np.ndarray,
    *,
    posterior_model: AmDiagGmm | None = None,
) -> FmllrStats:
    """Statistics of frames with a pdf and a weight each; frames may appear more than once.

    feats: [frames, dim] to be transformed.  pdfs, weights: [frames].
    posterior_model: gives the posteriors of the Gaussians if not `am` itself (gmm-post-to-gpost with final.alimdl).
    """
    used = np.flatnonzero(weights > 0)
    stats = FmllrStats.zeros(am.dim)
    source = posterior_model or am
    rows, columns = np.triu_indices(am.dim + 1)
    products = np.zeros((am.dim, len(rows)))
    for begin in range(0, len(used), BLOCK):
        chosen = used[begin : begin + BLOCK]
        x = np.ascontiguousarray(feats[chosen], np.float32)
        a, b = np.empty_like(x), np.empty_like(x)
        _expected(
            x, np.ascontiguousarray(pdfs[chosen], np.int32), np.ascontiguousarray(weights[chosen], np.float32),
            source.offsets, source.gconsts, source.means_invvars, source.inv_vars, am.means_invvars, am.inv_vars, a, b,
        )  # fmt: skip
        extended = np.hstack([x, np.ones((len(x), 1), np.float32)])
        stats.beta += float(weights[chosen].sum())
        stats.K += a.T @ extended
        products += b.T @ (extended[:, rows] * extended[:, columns])
    stats.G[:, rows, columns] = products
    stats.G[:, columns, rows] = products
    return stats


def fmllr_objective(transform: np.ndarray, stats: FmllrStats) -> float:
    """The auxiliary function, without its constant."""
    dim = transform.shape[0]
    quadratic = np.einsum("ij,ijk,ik->", transform, stats.G, transform, optimize=True)
    return float(stats.beta * np.linalg.slogdet(transform[:, :dim])[1] + (transform * stats.K).sum() - 0.5 * quadratic)


@njit(cache=True, nogil=True)
def _sweep(transform, inverse_of_A, inverse_of_G, K, beta):  # type: ignore[no-untyped-def]
    """One pass over the rows; transform [dim, dim + 1] and inverse_of_A [dim, dim] are updated in place."""
    dim = transform.shape[0]
    direction, base = np.empty(dim + 1), np.empty(dim + 1)
    for i in range(dim):
        along, across = 0.0, 0.0
        for r in range(dim + 1):
            total, other = 0.0, 0.0
            for c in range(dim):
                total += inverse_of_G[i, r, c] * inverse_of_A[c, i]
            for c in range(dim + 1):
                other += inverse_of_G[i, r, c] * K[i, c]
            direction[r], base[r] = total, other
        for c in range(dim):
            along += inverse_of_A[c, i] * direction[c]
            across += inverse_of_A[c, i] * base[c]
        # the root of along alpha^2 + across alpha - beta = 0 with the larger objective
        root = np.sqrt(across * across + 4.0 * along * beta)
        best, step = -np.inf, 0.0
        for sign in (1.0, -1.0):
            alpha = (-across + sign * root) / (2.0 * along)
            value = beta * np.log(abs(alpha * along + across)) - 0.5 * alpha * alpha * along
            if value > best:
                best, step = value, alpha
        ratio = 0.0
        for c in range(dim + 1):
            transform[i, c] = step * direction[c] + base[c]
        for c in range(dim):
            ratio += transform[i, c] * inverse_of_A[c, i]
        # A changes in row i only: inverse -= inverse[:, i] (new row . inverse - e_i) / ratio
        for c in range(dim):
            if c == i:
                continue
            dot = 0.0
            for k in range(dim):
                dot += transform[i, k] * inverse_of_A[k, c]
            for k in range(dim):
                inverse_of_A[k, c] -= inverse_of_A[k, i] * dot / ratio
        for k in range(dim):
            inverse_of_A[k, i] /= ratio


def estimate_fmllr(
    stats: FmllrStats, config: FmllrConfig | None = None, *, start: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """(transform float64 [dim, dim + 1], gain of the auxiliary function per frame).

    start: the first guess, the unit transform if None.  Too few frames, or singular statistics, give it back unchanged.
    """
    config = config or FmllrConfig()
    dim = stats.K.shape[0]
    transform = np.eye(dim, dim + 1) if start is None else np.array(start, np.float64)
    if stats.beta < max(config.min_frames, 1.0e-10):
        return transform, 0.0
    try:
        inverse_of_G = np.linalg.inv(stats.G)
    except np.linalg.LinAlgError:
        return transform, 0.0
    before, guess = fmllr_objective(transform, stats), transform.copy()
    for _ in range(config.sweeps):
        inverse_of_A = np.linalg.inv(guess[:, :dim])  # anew each sweep, so that rounding does not add up
        _sweep(guess, inverse_of_A, inverse_of_G, stats.K, stats.beta)
    gain = (fmllr_objective(guess, stats) - before) / stats.beta
    return (guess, gain) if np.isfinite(gain) and gain > 0 else (transform, 0.0)
