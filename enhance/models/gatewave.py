"""GateWave: a small waveform encoder-decoder of gated convolutions with additive skips and a recurrence at the bottom.

After the report of the wave_wizard project (three levels, widths growing by the golden ratio), whose gates are gated
linear units (Dauphin et al. 2017, arXiv:1612.08083).  Differs: strides of 4 by default, so that the GRU runs 250 times
a second instead of at each of 16000 samples (`stride: 1` brings that back); padding is counted in, no sample is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from enhance.layers.filled import parts_of
from enhance.models.window_stream import WindowGenerator


@dataclass(frozen=True, kw_only=True)
class GateWaveConfig:
    sample_rate: int = 16000
    hidden: int = 32  # channels of the first level
    depth: int = 3  # levels
    growth: float = 1.618  # of the channels from level to level
    kernel_size: int = 7
    padding: int = 2
    stride: int = 4  # 1: the original, a recurrence at every sample, slow beyond use
    block: Literal["gated", "basic"] = "gated"  # basic: ReLU instead of gates
    recurrent: bool = True  # a GRU both ways and a linear layer at the bottom
    normalize: bool = True  # the network sees the recording at unit level
    floor: float = 1e-3  # added to the level, so that silence stays silence

    def __post_init__(self) -> None:
        if self.depth < 1 or self.hidden < 1:
            raise ValueError(f"depth and hidden must be positive, got {self.depth} and {self.hidden}")
        if not 1 <= self.stride <= self.kernel_size or not 0 <= 2 * self.padding < self.kernel_size:
            raise ValueError(
                "stride must lie between 1 and kernel_size, padding below half of that, got "
                f"{self.stride}, {self.kernel_size}, {self.padding}"
            )
        if self.floor <= 0:
            raise ValueError(f"floor must be positive, got {self.floor}")

    def frames(self, samples: int) -> int:
        """Frames of one level that cover so many samples of the level above."""
        return max(1, parts_of(samples + 2 * self.padding - self.kernel_size, self.stride) + 1)

    def samples(self, frames: int) -> int:
        """Samples that so many frames of a level stand for."""
        return (frames - 1) * self.stride + self.kernel_size - 2 * self.padding


class GateWave(WindowGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: GateWaveConfig) -> None:
        super().__init__()
        self.config, self.sample_rate = config, config.sample_rate
        self.floor = config.floor if config.normalize else None
        widths = [1, config.hidden]
        while len(widths) <= config.depth:
            widths.append(int(widths[-1] * config.growth))
        levels = list(pairwise(widths))
        self.encoder = nn.ModuleList(_block(nn.Conv1d, few, many, config) for few, many in levels)
        self.decoder = nn.ModuleList(
            _block(nn.ConvTranspose1d, many, few, config, last=few == 1) for few, many in reversed(levels)
        )
        if config.recurrent:
            self.gru = nn.GRU(widths[-1], widths[-1], bidirectional=True, batch_first=True)
            self.linear = nn.Linear(2 * widths[-1], widths[-1])

    def net(self, samples: Tensor) -> Tensor:
        """[batch, samples] -> [batch, samples]."""
        count = frames = samples.shape[-1]
        for _ in range(self.config.depth):
            frames = self.config.frames(frames)
        for _ in range(self.config.depth):
            frames = self.config.samples(frames)
        hidden, skips = nn.functional.pad(samples, (0, frames - count))[:, None], []
        for encode in self.encoder:
            hidden = encode(hidden)
            skips.append(hidden)
        if self.config.recurrent:
            hidden = self.linear(self.gru(hidden.transpose(1, 2))[0]).transpose(1, 2)
        for decode in self.decoder:
            hidden = decode(hidden + skips.pop())
        return hidden[:, 0, :count]


def _block(
    kind: type[nn.Conv1d | nn.ConvTranspose1d], few: int, many: int, config: GateWaveConfig, *, last: bool = False
) -> nn.Sequential:
    """A convolution with gates: half of its channels are what passes, the other half how much of it."""
    times = 2 if config.block == "gated" else 1
    convolution = kind(few, times * many, config.kernel_size, config.stride, config.padding)
    match config.block:
        case "gated":
            return nn.Sequential(convolution, nn.GLU(dim=1))
        case "basic":
            return nn.Sequential(convolution, *([] if last else [nn.ReLU()]))
        case _:
            raise ValueError(f"block must be gated or basic, got {config.block!r}")
