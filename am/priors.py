"""Prior probabilities of the pdfs, counted in the training alignments.

A hybrid model gives p(pdf | x); the decoder wants p(x | pdf), which is p(pdf | x) / p(pdf) up to a factor that all
paths share (Bourlard and Morgan 1994).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """How rare pdfs are kept from winning by division through almost nothing."""

    smoothing: float = 1.0  # frames added to every pdf's count; an unseen pdf would have a prior of 0 else
    floor: float = 1.0e-6  # least prior, before the sum is made 1 again

    def __post_init__(self) -> None:
        if self.smoothing < 0 or self.floor < 0 or self.smoothing + self.floor == 0:
            raise ValueError(f"smoothing and floor must not be negative nor both 0, got {self.smoothing}, {self.floor}")


def log_priors(pdfs: NDArray[np.integer], num_pdfs: int, config: PriorConfig) -> NDArray[np.float32]:
    """[num_pdfs] natural logarithm of the prior of each pdf; the priors sum to 1.

    pdfs: [frames] targets of the training set.  Raises ValueError where a target is not in [0, num_pdfs).
    """
    if len(pdfs) == 0 or pdfs.min() < 0 or pdfs.max() >= num_pdfs:
        raise ValueError(f"targets must lie in [0, {num_pdfs}) and not be empty")
    counts = np.bincount(pdfs, minlength=num_pdfs) + config.smoothing
    priors = np.maximum(counts / counts.sum(), config.floor)
    logs: NDArray[np.float32] = np.log(priors / priors.sum()).astype(np.float32)
    return logs
