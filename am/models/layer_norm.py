"""Layer normalisation as pytorch-kaldi has it: by the unbiased deviation of the last dimension, plus epsilon.

Paper: Ba, Kiros, Hinton 2016, arXiv:1607.06450.  torch's own divides by the root of the biased variance plus epsilon.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-6


class DeviationLayerNorm(nn.Module):
    """scale * (x - mean) / (deviation + 1e-6) + shift; scale and shift may span the last few dimensions."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))

    def forward(self, values: Tensor) -> Tensor:
        """values: [..., *shape], at least two in the last dimension."""
        deviation, mean = torch.std_mean(values, -1, keepdim=True)
        return self.scale * (values - mean) / (deviation + EPSILON) + self.shift
