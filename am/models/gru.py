"""Bidirectional GRU baseline on torch's own kernels (cuDNN on a GPU).

Paper: Cho et al. 2014, arXiv:1406.1078.  Dropout lies between layers, as nn.GRU has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from am.models.torch_recurrent import TorchRecurrent


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


class GRU(TorchRecurrent):
    """nn.GRU in both directions."""

    def __init__(self, input_dim: int, config: GRUConfig) -> None:
        directions = 2 if config.bidirectional else 1
        super().__init__(nn.GRU, input_dim, config.layers, config.units, directions, config.dropout)
