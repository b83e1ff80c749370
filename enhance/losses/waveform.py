"""Distances between waveforms."""

from __future__ import annotations

import torch
from torch import Tensor


def si_sdr(estimate: Tensor, clean: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, arXiv:1811.02508); higher is better.

    estimate, clean: [batch, samples] at one rate, their means are taken off.  Returns [batch].
    Raises ValueError if a row of clean is silent.
    """
    clean = clean - clean.mean(-1, keepdim=True)
    power = clean.square().sum(-1)
    if bool((power == 0).any()):
        raise ValueError("clean holds a silent row: its SI-SDR is not defined")
    target, rest = _split(estimate, clean, power)
    return 10 * torch.log10(target / rest.clamp(min=1e-20))


def clipped_si_sdr(estimate: Tensor, clean: Tensor, ceiling: float) -> Tensor:
    """SI-SDR in dB that saturates towards `ceiling`, defined for silent rows too; for training.  [batch]."""
    clean = clean - clean.mean(-1, keepdim=True)
    power = clean.square().sum(-1) + 1e-6
    target, rest = _split(estimate, clean, power)
    return 10 * torch.log10((target + 1e-6) / (rest + target * 10 ** (-ceiling / 10) + 1e-6))


def _split(estimate: Tensor, clean: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of the estimate along clean, and of the rest."""
    estimate = estimate - estimate.mean(-1, keepdim=True)
    along = ((estimate * clean).sum(-1) / power)[..., None] * clean
    return along.square().sum(-1), (estimate - along).square().sum(-1)
