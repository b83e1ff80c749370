"""Virtual batch norm: each example is normalised with a fixed reference batch and itself, never with its neighbours.

Paper: Salimans et al. 2016 (arXiv:1606.03498), section 3.5.  Statistics are per channel, over the reference examples
and all frames; the example itself counts as one among `reference + 1`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VirtualBatchNorm(nn.Module):
    """[reference + batch, channels, frames] -> the same shape; the first `reference` examples are the reference.

    The caller sends the reference through its net with every batch, because its hidden layers change with the weights.
    """

    def __init__(self, channels: int, reference: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.reference, self.eps = reference, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.normal_(self.weight, 1.0, 0.02)

    def forward(self, hidden: Tensor) -> Tensor:
        if hidden.shape[0] < self.reference:
            raise ValueError(f"hidden must hold {self.reference} reference examples first, got {hidden.shape[0]}")
        hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))  # squares need it
        reference, batch = hidden[: self.reference], hidden[self.reference :]
        mean, square = reference.mean((0, 2)), reference.square().mean((0, 2))  # [channels]
        own = 1 / (self.reference + 1)
        batch_mean = own * batch.mean(2) + (1 - own) * mean  # [batch, channels]
        batch_square = own * batch.square().mean(2) + (1 - own) * square
        means = torch.cat([mean.expand(self.reference, -1), batch_mean])[..., None]
        squares = torch.cat([square.expand(self.reference, -1), batch_square])[..., None]
        scale = (squares - means.square()).clamp(min=0).add(self.eps).rsqrt()
        return (hidden - means) * scale * self.weight[:, None] + self.bias[:, None]
