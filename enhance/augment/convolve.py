"""Rows of sound through rows of filters, in the Fourier domain, on whatever device they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def convolved(samples: Tensor, kernels: Sequence[np.ndarray], lead: int = 0) -> Tensor:
    """[rows, samples] with kernel r on row r -> [rows, samples]; silence lies before and after.

    lead: place in the kernels that leaves a sound where it is; what stands before it comes ahead of the sound.
    """
    rows, length = samples.shape
    longest = max(len(kernel) for kernel in kernels)
    table = np.zeros((rows, longest), np.float32)
    for row, kernel in enumerate(kernels):
        table[row, : len(kernel)] = kernel
    size = _fast_size(length + longest)
    spectrum = torch.fft.rfft(samples, n=size) * torch.fft.rfft(torch.from_numpy(table).to(samples), n=size)
    whole: Tensor = torch.fft.irfft(spectrum, n=size)
    return whole[:, lead : lead + length]


def _fast_size(least: int) -> int:
    """The next product of 2, 3 and 5: Fourier transforms of these lengths are fast."""
    best = 1 << (least - 1).bit_length()
    for fives in (1, 5, 25, 125):
        for threes in (1, 3, 9, 27, 81):
            odd = fives * threes
            best = min(best, odd << max(0, (-(-least // odd) - 1).bit_length()))
    return best
