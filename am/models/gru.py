"""Bidirectional GRU baseline on torch's own kernels (cuDNN on a GPU).

Paper: Cho et al. 2014, arXiv:1406.1078.  Dropout lies between layers, as nn.GRU has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from am.models.packing import Packing


@dataclass(frozen=True, kw_only=True)
class GRUConfig:
    """Size of the GRU trunk; five layers of 550 per direction, so that only the cell differs from the Li-GRU."""

    layers: int = 5
    units: int = 550  # per direction
    bidirectional: bool = True
    dropout: float = 0.2  # between layers

    def __post_init__(self) -> None:
        if self.layers < 1 or self.units < 1:
            raise ValueError(f"layers and units must be at least 1, got {self.layers} and {self.units}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")


class GRU(nn.Module):
    """nn.GRU on packed rows."""

    def __init__(self, input_dim: int, config: GRUConfig) -> None:
        super().__init__()
        self.directions = 2 if config.bidirectional else 1
        self.output_dim = self.directions * config.units
        between = config.dropout if config.layers > 1 else 0.0
        self.recurrent = nn.GRU(
            input_dim, config.units, config.layers, bidirectional=config.bidirectional, dropout=between
        )

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, output_dim]."""
        states: Tensor = self.recurrent(PackedSequence(rows, packing.batch_sizes))[0].data
        return states
