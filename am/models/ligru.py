"""Li-GRU: a GRU without reset gate, with ReLU candidate and batch-normalised feed-forward terms.

Paper: Ravanelli, Brakel, Omologo, Bengio 2018, "Light gated recurrent units for speech recognition", arXiv:1803.10225.
As in its code (pytorch-kaldi): recurrent dropout with one mask per sequence, orthogonal recurrent weights, feed-forward
weights uniform in +-1/sqrt(fan-in), batch-norm momentum 0.05, and both directions sharing one set of weights.
Differs: no padded frame exists, so none enters the batch norm; dropout is scaled in training rather than at test
(the same expectation); directions may also have weights of their own (tied_directions: false).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from am.models.ligru_step import ligru_recurrence
from am.models.packing import Packing


@dataclass(frozen=True, kw_only=True)
class LiGRUConfig:
    """Size and regularisation of the Li-GRU trunk."""

    layers: int = 5
    units: int = 550  # per direction, as in the paper
    bidirectional: bool = True
    tied_directions: bool = True  # one W, U and batch norm for both directions, as the authors' code does
    dropout: float = 0.2  # of the candidate; one mask per sequence, the same at every step
    norm_momentum: float = 0.05  # of the batch norm's running statistics

    def __post_init__(self) -> None:
        if self.layers < 1 or self.units < 1:
            raise ValueError(f"layers and units must be at least 1, got {self.layers} and {self.units}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if not 0 < self.norm_momentum <= 1:
            raise ValueError(f"norm_momentum must lie in (0, 1], got {self.norm_momentum}")


class LiGRULayer(nn.Module):
    """One layer, its directions side by side."""

    def __init__(self, input_dim: int, config: LiGRUConfig) -> None:
        super().__init__()
        directions = 2 if config.bidirectional else 1
        self.groups = 1 if config.tied_directions else directions
        self.units, self.dropout = config.units, config.dropout
        rows = self.groups * 2 * config.units  # candidate and update gate of each group
        bound = input_dim**-0.5
        self.feedforward = nn.Parameter(torch.empty(rows, input_dim).uniform_(-bound, bound))
        self.recurrent = nn.Parameter(
            torch.stack([torch.cat([_orthogonal(config.units) for _ in range(2)], 1) for _ in range(self.groups)])
        )  # [groups, units, 2 * units]
        self.norm = nn.BatchNorm1d(rows, momentum=config.norm_momentum)

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, directions * units]."""
        projected = self.norm(functional.linear(rows, self.feedforward))
        mask, scale = None, 1.0
        if self.training and self.dropout > 0:
            scale = 1 / (1 - self.dropout)
            drawn = torch.rand(packing.directions * packing.batch, self.units, device=rows.device)
            mask = (drawn >= self.dropout).to(rows.dtype) * scale
        return ligru_recurrence(projected, self.recurrent, mask, scale, packing)


def _orthogonal(units: int) -> Tensor:
    return nn.init.orthogonal_(torch.empty(units, units))


class LiGRU(nn.Module):
    """A stack of Li-GRU layers."""

    def __init__(self, input_dim: int, config: LiGRUConfig) -> None:
        super().__init__()
        self.directions = 2 if config.bidirectional else 1
        self.output_dim = self.directions * config.units
        dims = [input_dim] + [self.output_dim] * (config.layers - 1)
        self.layers = nn.ModuleList([LiGRULayer(dim, config) for dim in dims])

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, output_dim].

        Raises ValueError when the packing was made for another number of directions.
        """
        if packing.directions != self.directions:
            raise ValueError(f"packing has {packing.directions} directions, the model {self.directions}")
        for layer in self.layers:
            rows = layer(rows, packing)
        return rows
