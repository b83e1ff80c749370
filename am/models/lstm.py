"""Bidirectional LSTM baseline on torch's own kernels (cuDNN on a GPU).

Paper: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; bidirectional as Graves and Schmidhuber 2005.
Dropout lies between layers, as nn.LSTM has it, not inside the recurrence.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from am.models.torch_recurrent import TorchRecurrent


@dataclass(frozen=True, kw_only=True)
class LSTMConfig:
    """Size of the LSTM trunk; the defaults are those of the paper's comparison (4 layers of 550 per direction)."""

    layers: int = 4
    units: int = 550  # per direction
    bidirectional: bool = True
    dropout: float = 0.2  # between layers

    def __post_init__(self) -> None:
        if self.layers < 1 or self.units < 1:
            raise ValueError(f"layers and units must be at least 1, got {self.layers} and {self.units}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")


class LSTM(TorchRecurrent):
    """nn.LSTM in both directions."""

    def __init__(self, input_dim: int, config: LSTMConfig) -> None:
        directions = 2 if config.bidirectional else 1
        super().__init__(nn.LSTM, input_dim, config.layers, config.units, directions, config.dropout)
