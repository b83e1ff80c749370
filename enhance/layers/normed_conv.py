"""Convolutions that keep the length, under weight norm or spectral norm.

Papers: Salimans and Kingma 2016 (arXiv:1602.07868); Miyato et al. 2018 (arXiv:1802.05957).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

Norm = Literal["weight", "spectral", "none"]


def normed(layer: nn.Module, norm: Norm) -> nn.Module:
    """The layer under weight norm, spectral norm, or as it is."""
    match norm:
        case "weight":
            weighted: nn.Module = weight_norm(layer)
            return weighted
        case "spectral":
            return spectral_norm(layer)
        case "none":
            return layer
        case _:
            raise ValueError(f"norm must be weight, spectral or none, got {norm!r}")


def same_conv(ins: int, outs: int, kernel: int, norm: Norm, *, dims: int = 1, dilation: int = 1) -> nn.Module:
    """A convolution that keeps the length; kernel is odd."""
    kind = nn.Conv1d if dims == 1 else nn.Conv2d
    return normed(kind(ins, outs, kernel, dilation=dilation, padding=dilation * (kernel // 2)), norm)


def identity_conv(channels: int, norm: Norm = "weight") -> nn.Module:
    """A 1x1 convolution that starts as the identity; set before the norm, which keeps it."""
    conv = nn.Conv1d(channels, channels, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.eye(channels)[..., None])
        conv.bias.zero_()  # type: ignore[union-attr]
    return normed(conv, norm)
