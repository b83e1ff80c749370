"""Least squares and feature matching as HiFi-GAN adds them up: over all nets of the critics, where others take means.

Papers: Mao et al. 2017 (LSGAN, arXiv:1611.04076); Kong et al. 2020 (HiFi-GAN, arXiv:2010.05646), equations 1, 2 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from enhance.losses.adversarial import critic_least_squares, generator_least_squares


def critic_sum(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """What the critics minimise: the sum over nets of (real - 1)^2 + fake^2.  Scalar."""
    return len(real) * critic_least_squares(real, fake)


def generator_sum(fake: Sequence[Tensor]) -> Tensor:
    """What the generator minimises: the sum over nets of (fake - 1)^2.  Scalar."""
    return len(fake) * generator_least_squares(fake)


def feature_sum(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of each layer, summed over layers and nets.  Scalar."""
    return torch.stack([(bad - good).abs().mean() for good, bad in zip(real, fake, strict=True)]).sum()
