"""Self-attention over all frames that starts as the identity (attention.py has the bounded one, which can stream).

Paper: Zhang et al. 2019 (SAGAN, arXiv:1805.08318): queries and keys of an eighth of the channels, the result added with
a learnt weight that is 0 at first.  Differs: dot products are divided by the square root of their length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class SelfAttention(nn.Module):
    """[batch, channels, frames] -> the same shape; every frame sees every other one."""

    def __init__(self, channels: int, *, spectral: bool = False) -> None:
        super().__init__()
        narrow = max(1, channels // 8)
        layers = [nn.Conv1d(channels, many, 1) for many in (narrow, narrow, channels)]
        self.query, self.key, self.value = (spectral_norm(layer) if spectral else layer for layer in layers)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = (layer(hidden).transpose(1, 2) for layer in (self.query, self.key, self.value))
        seen = nn.functional.scaled_dot_product_attention(query, key, value)  # [batch, frames, channels]
        return hidden + self.weight * seen.transpose(1, 2)
