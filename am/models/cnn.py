"""CNN: convolutions along the numbers of a window of frames, then dense layers; every frame by itself.

Paper: Ravanelli, Parcollet, Bengio 2019, arXiv:1811.07453 (pytorch-kaldi's CNN); convolution along frequency as
Abdel-Hamid et al. 2014, doi:10.1109/TASLP.2014.2339736.  A block is convolution, max pooling, norm, ReLU, dropout.
The window's frames lie one after another, so the first convolution slides along frequency and, at a frame's end, into
the next frame, as the original does.  Differs: the first and last frame are repeated beyond an utterance's ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from am.models.layer_norm import DeviationLayerNorm
from am.models.mlp import MLP, MLPConfig
from am.models.packing import Packing


@dataclass(frozen=True, kw_only=True)
class CNNConfig:
    """Convolutions and the dense layers behind; the defaults are those of pytorch-kaldi's TIMIT system."""

    context: int = 5  # frames on each side: a window of 11
    filters: tuple[int, ...] = (80, 60, 60)  # of each convolution
    widths: tuple[int, ...] = (10, 3, 3)  # its taps
    pools: tuple[int, ...] = (3, 2, 1)  # the largest of so many neighbours is kept
    norm: Literal["layer", "batch", "none"] = "layer"  # after the pooling
    input_norm: bool = False  # layer norm of the whole window
    conv_dropout: float = 0.15
    layers: int = 4  # dense ones
    units: int = 1024
    dropout: float = 0.15

    def __post_init__(self) -> None:
        if self.layers < 1 or self.units < 1 or self.context < 0:
            problem = f"got {self.layers}, {self.units} and {self.context}"
            raise ValueError(f"layers and units must be at least 1, context at least 0, {problem}")
        counts = [len(self.filters), len(self.widths), len(self.pools)]
        if len(set(counts)) > 1 or not self.filters:
            raise ValueError(f"filters, widths and pools must be of one length, got {counts}")
        for name in ("filters", "widths", "pools"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {min(getattr(self, name))}")
        for name in ("conv_dropout", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")


class ConvBlock(nn.Module):
    """Convolution, max pooling, norm, ReLU, dropout: [frames, channels, numbers] to the same, fewer numbers."""

    def __init__(self, conv: nn.Module, filters: int, numbers: int, pool: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.conv, self.pool = conv, pool
        self.norm = _norm(norm, filters, numbers)
        self.dropout = nn.Dropout(dropout)

    def forward(self, numbers: Tensor) -> Tensor:
        """numbers: [frames, channels, before].  Returns [frames, filters, after]."""
        pooled = functional.max_pool1d(self.conv(numbers), self.pool)
        output: Tensor = self.dropout(functional.relu(self.norm(pooled)))
        return output


def _norm(name: str, filters: int, numbers: int) -> nn.Module:
    match name:
        case "layer":
            return DeviationLayerNorm(filters, numbers)
        case "batch":
            return nn.BatchNorm1d(filters, momentum=0.05)
        case "none":
            return nn.Identity()
        case _:
            raise ValueError(f"norm must be 'layer', 'batch' or 'none', got {name!r}")


class CNN(nn.Module):
    """Convolutions over a window of frames, then an MLP."""

    def __init__(self, input_dim: int, config: CNNConfig) -> None:
        super().__init__()
        self.directions, self.output_dim, self.context = 1, config.units, config.context
        numbers, channels = (2 * config.context + 1) * input_dim, 1
        self.input_norm = DeviationLayerNorm(numbers) if config.input_norm else nn.Identity()
        blocks = []
        for index, (filters, taps, pool) in enumerate(zip(config.filters, config.widths, config.pools, strict=True)):
            before, numbers = numbers, (numbers - taps + 1) // pool
            if numbers < (2 if config.norm == "layer" else 1):
                raise ValueError(f"widths and pools leave nothing of {before} numbers in convolution {index + 1}")
            conv = self.convolution(index, channels, filters, taps, config)
            blocks.append(ConvBlock(conv, filters, numbers, pool, config.norm, config.conv_dropout))
            channels = filters
        self.blocks = nn.ModuleList(blocks)
        dense = MLPConfig(layers=config.layers, units=config.units, context=0, dropout=config.dropout)
        self.mlp = MLP(channels * numbers, dense)

    def convolution(self, index: int, channels: int, filters: int, taps: int, config: CNNConfig) -> nn.Module:
        """The convolution of a block."""
        return nn.Conv1d(channels, filters, taps)

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, output_dim]."""
        window = [rows[packing.neighbour_rows(shift)] for shift in range(-self.context, self.context + 1)]
        numbers = self.input_norm(torch.cat(window, 1))[:, None]
        for block in self.blocks:
            numbers = block(numbers)
        output: Tensor = self.mlp.dense(numbers.flatten(1))
        return output
