"""Wave-U-Net: twelve levels of convolution and decimation by two, straight lines between samples on the way back.

Paper: Stoller et al. 2018 (arXiv:1806.03185), model M1; one output, clean speech, as in Macartney and Weyde 2018
(arXiv:1811.11307).  Level i has 24 i filters.  Differs: long audio is not cut into windows of 16384 samples; each block
gets the context it needs, so blocks equal the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from enhance.models.context_stream import ContextGenerator


@dataclass(frozen=True, kw_only=True)
class WaveUNetConfig:
    sample_rate: int = 16000
    levels: int = 12
    filters: int = 24  # more at each level
    down_width: int = 15  # samples
    up_width: int = 5  # samples
    slope: float = 0.2  # of LeakyReLU below zero
    bounded: bool = True  # a tanh keeps the output in [-1, 1]
    normalize: bool = False  # the network sees the recording at unit level
    floor: float = 1e-3  # added to the level, of normalize

    def __post_init__(self) -> None:
        if self.levels < 1 or self.filters < 1:
            raise ValueError(f"levels and filters must be positive, got {self.levels} and {self.filters}")
        if not self.down_width % 2 or not self.up_width % 2:
            raise ValueError(f"down_width and up_width must be odd, got {self.down_width} and {self.up_width}")
        if self.normalize and self.bounded:
            raise ValueError("bounded cuts speech at unit level: set bounded to false with normalize")


class WaveUNet(ContextGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: WaveUNetConfig) -> None:
        super().__init__()
        self.config, self.sample_rate = config, config.sample_rate
        self.floor = config.floor if config.normalize else None
        widths = [1, *(config.filters * level for level in range(1, config.levels + 2))]
        *levels, bottom = pairwise(widths)
        self.down = nn.ModuleList(_convolution(few, many, config.down_width) for few, many in levels)
        self.bottom = _convolution(*bottom, config.down_width)
        self.up = nn.ModuleList(
            _convolution(across + below, across, config.up_width) for across, below in reversed([*levels[1:], bottom])
        )
        self.act = nn.LeakyReLU(config.slope)
        self.last = nn.Conv1d(config.filters + 1, 1, 1)

    @property
    def alignment(self) -> int:
        """Samples that a sample of the bottom stands for."""
        return int(2**self.config.levels)

    @property
    def context(self) -> int:
        """Samples on each side that a block needs, to the next multiple of alignment."""
        config = self.config
        finer = self.alignment - 1  # sum of the steps of all levels above the bottom
        down = config.down_width // 2 * (finer + self.alignment)
        up = config.up_width // 2 * finer + 2 * finer  # the interpolation needs the next coarse sample
        return -(-(down + up) // self.alignment) * self.alignment

    def raw(self, samples: Tensor, frame: int) -> Tensor:
        """[batch, samples] -> [batch, samples]."""
        count = samples.shape[-1]
        hidden = whole = nn.functional.pad(samples, (0, -count % self.alignment))[:, None]
        skips = []
        for convolution in self.down:
            hidden = self.act(convolution(hidden))
            skips.append(hidden)
            hidden = hidden[..., ::2]
        hidden = self.act(self.bottom(hidden))
        for convolution in self.up:
            hidden = self.act(convolution(torch.cat([interpolated(hidden), skips.pop()], dim=1)))
        out = self.last(torch.cat([hidden, whole], dim=1))[:, 0, :count]
        return torch.tanh(out) if self.config.bounded else out


def interpolated(hidden: Tensor) -> Tensor:
    """[batch, channels, n] -> [batch, channels, 2 n]: each sample, then the mean of it and the next."""
    after = torch.cat([hidden[..., 1:], hidden[..., -1:]], dim=-1)
    return torch.stack([hidden, (hidden + after) / 2], dim=-1).flatten(-2)


def _convolution(few: int, many: int, width: int) -> nn.Conv1d:
    return nn.Conv1d(few, many, width, padding=width // 2)
