"""The least-squares adversarial game (LSGAN, Mao et al. 2017, arXiv:1611.04076)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def critic_least_squares(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """What a critic minimises: real scores near 1, fake ones near 0; mean over the critic's parts.  Scalar."""
    return torch.stack(
        [(1 - good).square().mean() + bad.square().mean() for good, bad in zip(real, fake, strict=True)]
    ).mean()


def generator_least_squares(fake: Sequence[Tensor]) -> Tensor:
    """What the generator minimises: fake scores near 1.  Scalar."""
    return torch.stack([(1 - score).square().mean() for score in fake]).mean()


def feature_distance(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of a critic's layers, relative to their size (MelGAN, arXiv:1910.06711).  Scalar."""
    return torch.stack(
        [(bad - good).abs().mean() / good.abs().mean().clamp(min=1e-4) for good, bad in zip(real, fake, strict=True)]
    ).mean()
