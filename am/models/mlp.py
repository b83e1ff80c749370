"""Feed-forward baseline: a window of frames through dense layers with batch norm, as hybrid systems began.

Paper: Dahl, Yu, Deng, Acero 2012, doi:10.1109/TASL.2011.2134090; batch norm and ReLU as in pytorch-kaldi's MLP.
The first and last frame are repeated beyond an utterance's ends.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from am.models.packing import Packing


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """Size of the MLP trunk."""

    layers: int = 5
    units: int = 1024
    context: int = 5  # frames on each side: a window of 11
    dropout: float = 0.15

    def __post_init__(self) -> None:
        if self.layers < 1 or self.units < 1 or self.context < 0:
            problem = f"got {self.layers}, {self.units} and {self.context}"
            raise ValueError(f"layers and units must be at least 1, context at least 0, {problem}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")


class MLP(nn.Module):
    """Dense layers over a window of frames."""

    def __init__(self, input_dim: int, config: MLPConfig) -> None:
        super().__init__()
        self.directions = 1
        self.output_dim = config.units
        self.context = config.context
        dims = [(2 * config.context + 1) * input_dim] + [config.units] * config.layers
        blocks: list[nn.Module] = []
        for dim, units in itertools.pairwise(dims):
            blocks += [nn.Linear(dim, units, bias=False), nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(config.dropout)]
        self.dense = nn.Sequential(*blocks)

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, output_dim]."""
        window = [rows[packing.neighbour_rows(shift)] for shift in range(-self.context, self.context + 1)]
        output: Tensor = self.dense(torch.cat(window, 1))
        return output
