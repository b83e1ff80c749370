"""Bands on the ERB scale: low bins stay as they are, high bins share triangular bands (as in GTCRN, ICASSP 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def erb_of(hertz: Tensor) -> Tensor:
    """Number of equivalent rectangular bandwidths below a frequency (Glasberg and Moore 1990)."""
    return 21.4 * torch.log10(1.0 + 0.00437 * hertz)


def band_matrices(bins: int, low_bins: int, high_bands: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Matrices to bands [bins, bands] and back [bands, bins], bands = low_bins + high_bands.

    To bands, each band is a weighted mean of its bins; back, each bin is a weighted mean of its bands (so a constant
    stays the same constant both ways).  Raises ValueError if the bins do not suffice.
    """
    if not 0 < low_bins < bins or not 1 < high_bands <= bins - low_bins:
        raise ValueError(f"low_bins ({low_bins}) and high_bands ({high_bands}) must fit into {bins} bins")
    hertz = torch.linspace(0.0, sample_rate / 2, bins, device="cpu")
    erb = erb_of(hertz)
    centres = torch.linspace(float(erb[low_bins]), float(erb[-1]), high_bands, device="cpu")
    width = (centres[1] - centres[0]).item()
    triangles = (1 - (erb[low_bins:, None] - centres[None]).abs() / width).clamp(min=0)
    matrix = torch.zeros(bins, low_bins + high_bands, device="cpu")
    matrix[:low_bins, :low_bins] = torch.eye(low_bins, device="cpu")
    matrix[low_bins:, low_bins:] = triangles
    if not math.isfinite(width) or bool((matrix.sum(0) == 0).any()):
        raise ValueError(f"high_bands ({high_bands}) leaves bands without a bin; take fewer, or more low_bins")
    to_bands = matrix / matrix.sum(0, keepdim=True)
    back = (matrix / matrix.sum(1, keepdim=True)).T.contiguous()
    return to_bands, back
