"""Linear transforms shared by all speakers: LDA over spliced frames and MLLT; and how transforms compose.

Programs: acc-lda/est-lda, gmm-acc-mllt/est-mllt, compose-transforms.  MLLT (Gales 1999, "Semi-tied covariance matrices
for hidden Markov models") is estimated row by row; random pruning, which Kaldi needs for speed, is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import TrainingError
from hmm.gmm import gaussian_posteriors
from kaldi_bridge.models import AmDiagGmm


@dataclass
class LdaStats:
    """Sums of frames by class; add up with add()."""

    counts: np.ndarray  # [classes]
    first: np.ndarray  # [classes, dim]
    second: np.ndarray  # [dim, dim] over all classes

    @staticmethod
    def zeros(classes: int, dim: int) -> LdaStats:
        """Empty statistics."""
        return LdaStats(np.zeros(classes), np.zeros((classes, dim)), np.zeros((dim, dim)))

    def add(self, feats: np.ndarray, classes: np.ndarray) -> None:
        """feats: [frames, dim]; classes: [frames]."""
        if len(feats) == 0:
            return
        frames = feats.astype(np.float64)
        order = np.argsort(classes, kind="stable")
        ranked = classes[order]
        begins = np.concatenate([[0], np.flatnonzero(np.diff(ranked)) + 1])
        self.counts[ranked[begins]] += np.diff(np.append(begins, len(ranked)))
        self.first[ranked[begins]] += np.add.reduceat(frames[order], begins, axis=0)
        self.second += frames.T @ frames


def estimate_lda(stats: LdaStats, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """(first `dim` rows, all rows) of the LDA matrix: within-class covariance becomes the unit matrix.

    Rows are ordered by between-class variance.  Raises TrainingError if the frames do not span the space.
    """
    total = stats.counts.sum()
    size = stats.second.shape[0]
    if total < size or dim > size:
        problem = f"{int(total)} frames of dimension {size} cannot give {dim} LDA dimensions"
        raise TrainingError("LDA", problem, mend="use more data, or fewer dimensions")
    mean = stats.first.sum(axis=0) / total
    covariance = stats.second / total - np.outer(mean, mean)
    seen = stats.counts > 0
    class_means = stats.first[seen] / stats.counts[seen, None]
    between = (class_means * (stats.counts[seen, None] / total)).T @ class_means - np.outer(mean, mean)
    try:
        whitening = np.linalg.inv(np.linalg.cholesky(covariance - between))
    except np.linalg.LinAlgError:
        problem = "the within-class covariance is singular"
        raise TrainingError("LDA", problem, mend="check that the features vary in every dimension") from None
    values, vectors = np.linalg.eigh(whitening @ between @ whitening.T)
    rows = vectors[:, np.argsort(-values, kind="stable")].T @ whitening
    rows *= np.sign(rows[np.arange(size), np.abs(rows).argmax(axis=1)])[:, None]  # one sign whatever the library gave
    return rows[:dim].astype(np.float32), rows.astype(np.float32)


@dataclass
class MlltStats:
    """G[d] = sum over Gaussians of inv_var[d] times the scatter of its frames about its mean; add up with +=."""

    G: np.ndarray  # [dim, dim, dim]
    frames: float = 0.0

    def __iadd__(self, other: MlltStats) -> MlltStats:
        self.G += other.G
        self.frames += other.frames
        return self


def accumulate_mllt(am: AmDiagGmm, feats: np.ndarray, pdfs: np.ndarray) -> MlltStats:
    """MLLT statistics of aligned frames.  feats: [frames, dim]; pdfs: [frames]."""
    dim = am.dim
    stats = MlltStats(np.zeros((dim, dim, dim)), float(len(feats)))
    order = np.argsort(pdfs, kind="stable")
    ranked = pdfs[order]
    edges = np.searchsorted(ranked, np.arange(am.num_pdfs + 1))
    scatters, inv_vars = [], []
    means = am.means
    for p in np.flatnonzero(np.diff(edges)):
        frames = np.ascontiguousarray(feats[order[edges[p] : edges[p + 1]]], np.float32)
        gamma = gaussian_posteriors(am, frames, int(p))
        for k, g in enumerate(range(am.offsets[p], am.offsets[p + 1])):
            centred = frames - means[g]
            scatters.append(((centred * gamma[:, k : k + 1]).T @ centred).ravel())
            inv_vars.append(am.inv_vars[g])
    if scatters:
        stats.G += (np.array(inv_vars, np.float64).T @ np.array(scatters, np.float64)).reshape(dim, dim, dim)
    return stats


def estimate_mllt(stats: MlltStats, *, iterations: int = 200) -> tuple[np.ndarray, float]:
    """(matrix [dim, dim], gain in log likelihood per frame), starting from the unit matrix.

    Raises TrainingError if there are too few frames.
    """
    dim = stats.G.shape[0]
    if stats.frames < 10 * dim:
        raise TrainingError("MLLT", f"only {stats.frames:g} frames", mend="use more data")
    inverse = np.linalg.inv(stats.G)
    matrix = np.eye(dim)
    start = _mllt_objective(matrix, stats)
    for _ in range(iterations):
        before = matrix.copy()
        for row in range(dim):
            cofactor = np.linalg.inv(matrix)[:, row]
            direction = inverse[row] @ cofactor
            matrix[row] = direction * np.sqrt(stats.frames / (cofactor @ direction))
        if np.abs(matrix - before).max() < 1.0e-7:
            break
    return matrix, (_mllt_objective(matrix, stats) - start) / stats.frames


def _mllt_objective(matrix: np.ndarray, stats: MlltStats) -> float:
    quadratic = np.einsum("ij,ijk,ik->", matrix, stats.G, matrix, optimize=True)
    return float(stats.frames * np.linalg.slogdet(matrix)[1] - 0.5 * quadratic)


def compose(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The transform that applies `before`, then `after`; each [dim, dim] or affine [dim, dim + 1].

    The result is affine if either is (compose-transforms --b-is-affine=true).
    """
    dim = after.shape[0]
    linear, offset = after[:, :dim], after[:, dim:]
    inner = before.shape[0]
    if before.shape[1] == inner + 1 and inner == dim:
        shift = linear @ before[:, -1:] + (offset if offset.size else 0.0)
        return np.hstack([linear @ before[:, :-1], shift])
    product = linear @ before
    return np.hstack([product, offset]) if offset.size else product


def apply_transform(feats: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Features [frames, n] through a linear [m, n] or affine [m, n + 1] matrix, float32 (transform-feats).

    Raises TrainingError if the sizes do not fit.
    """
    columns = feats.shape[1]
    if matrix.shape[1] not in (columns, columns + 1):
        problem = f"a matrix of {matrix.shape[1]} columns for features of dimension {columns}"
        raise TrainingError("transform", problem, mend="use the final.mat and transforms made for these features")
    out = feats @ np.asarray(matrix[:, :columns], np.float32).T
    if matrix.shape[1] == columns + 1:
        out += np.asarray(matrix[:, columns], np.float32)
    return out.astype(np.float32, copy=False)
