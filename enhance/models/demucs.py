"""Demucs: a waveform encoder-decoder with gated convolutions, additive skips and an LSTM, causal or not.

Paper: Defossez et al. 2020 (arXiv:2006.12847), sizes and layer names as released by its authors.  Causal, it streams
frame by frame (16 ms), the state handed over; else the LSTM runs both ways and long recordings go in windows.
Differs: the level is the root mean square, not the standard deviation about the mean; the stream's resampling looks
ahead as far as its filter reaches, so that it equals the whole file (48 ms instead of 41 ms).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from enhance.layers.filled import parts_of
from enhance.layers.half_band import Doubler, Halver, doubled, halved
from enhance.models.demucs_stream import DemucsStream
from enhance.models.generator import Stream
from enhance.models.window_stream import WindowGenerator, WindowStream

LSTM_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True, kw_only=True)
class DemucsConfig:
    sample_rate: int = 16000
    hidden: int = 48  # channels of the first level
    depth: int = 5  # levels
    kernel_size: int = 8
    stride: int = 4
    growth: float = 2.0  # of the channels from level to level
    max_hidden: int = 10_000  # channels at most
    causal: bool = True  # the LSTM runs forwards only; else both ways, and a linear layer joins them
    resample: Literal[1, 2, 4] = 4  # the network runs at so many times the sample rate
    glu: bool = True  # gates after the 1x1 convolutions; else ReLU
    rescale: float = 0.1  # weights start nearer to this standard deviation; 0 leaves them
    normalize: bool = True  # the network sees the recording at unit level
    floor: float = 1e-3  # added to the level by which the input is divided; the output is multiplied by the level

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.kernel_size:
            raise ValueError(f"stride must lie between 1 and kernel_size, got {self.stride} and {self.kernel_size}")
        if self.depth < 1 or self.hidden < 1:
            raise ValueError(f"depth and hidden must be positive, got {self.depth} and {self.hidden}")
        if self.stride**self.depth % self.resample:
            raise ValueError(f"stride ** depth must be a multiple of resample, got {self.stride} ** {self.depth}")
        if self.floor <= 0 or self.rescale < 0:
            raise ValueError(f"floor must be positive and rescale not negative, got {self.floor} and {self.rescale}")


class Recurrence(nn.Module):
    """Two LSTM layers; both ways, a linear layer brings the directions back to `width` channels."""

    def __init__(self, width: int, *, both_ways: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers=2, bidirectional=both_ways)
        self.linear = nn.Linear(2 * width, width) if both_ways else None

    def forward(
        self, hidden: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[batch, width, frames] -> the same shape, and the state after the last frame."""
        out, state = self.lstm(hidden.permute(2, 0, 1), state)
        if self.linear is not None:
            out = self.linear(out)
        return out.permute(1, 2, 0), state

    def few(self, hidden: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The same, forwards only, step by step: `nn.LSTM` repacks all its weights at each call on a CPU."""
        frames, outputs, memories = list(hidden.permute(2, 0, 1)), [], []
        for layer, (output, memory) in enumerate(zip(*state, strict=True)):
            weights = [getattr(self.lstm, f"{kind}_l{layer}") for kind in LSTM_WEIGHTS]
            for index, frame in enumerate(frames):
                output, memory = torch.lstm_cell(frame, (output, memory), *weights)
                frames[index] = output
            outputs.append(output)
            memories.append(memory)
        return torch.stack(frames, dim=-1), (torch.stack(outputs), torch.stack(memories))


class Demucs(WindowGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: DemucsConfig) -> None:
        super().__init__()
        self.config, self.sample_rate, self.causal = config, config.sample_rate, config.causal
        self.floor = config.floor if config.normalize else None
        widths = [1]
        for level in range(config.depth):
            widths.append(min(int(config.hidden * config.growth**level), config.max_hidden))
        levels = list(pairwise(widths))
        self.encoder = nn.ModuleList(_encode(few, many, config) for few, many in levels)
        self.decoder = nn.ModuleList(_decode(many, few, config, last=few == 1) for few, many in reversed(levels))
        self.lstm = Recurrence(widths[-1], both_ways=not config.causal)
        if config.rescale:
            _rescale(self, config.rescale)

    def forward(self, noisy: Tensor) -> Tensor:
        """[batch, samples] -> [batch, samples]."""
        if self.floor is None:
            return self.net(noisy) if self.causal else super().forward(noisy)
        level = noisy.square().mean(-1, keepdim=True).sqrt()
        scale = level + self.floor
        return self.net(noisy / scale) * level if self.causal else super().forward(noisy) * (level / scale)

    def net(self, samples: Tensor) -> Tensor:
        """[batch, samples] -> [batch, samples] at unit level."""
        count = samples.shape[-1]
        samples = nn.functional.pad(samples, (0, self.valid_length(count) - count))
        for _ in range(self.doublings):
            samples = doubled(samples)
        hidden, skips = samples[:, None], []
        for encode in self.encoder:
            hidden = encode(hidden)
            skips.append(hidden)
        hidden, _ = self.lstm(hidden)
        for decode in self.decoder:
            skip = skips.pop()
            hidden = decode(hidden + skip[..., : hidden.shape[-1]])
        samples = hidden[:, 0]
        for _ in range(self.doublings):
            samples = halved(samples)
        return samples[..., :count]

    @property
    def doublings(self) -> int:
        """Of the sample rate, before the network."""
        return int(math.log2(self.config.resample))

    def frames(self, samples: int) -> int:
        """Frames at the LSTM that cover so many samples."""
        config, frames = self.config, samples * self.config.resample
        for _ in range(config.depth):
            frames = max(1, parts_of(frames - config.kernel_size, config.stride) + 1)
        return frames

    def valid_length(self, samples: int) -> int:
        """The next length whose frames leave no sample over."""
        return parts_of(self._inner_samples(self.frames(samples)), self.config.resample)

    def needed(self, frames: int) -> int:
        """Samples that a stream must have for its first `frames` frames, those that the resampling looks ahead too."""
        samples = self._inner_samples(frames)
        for _ in range(self.doublings):
            samples = Doubler.needed(samples)
        return samples

    @property
    def latency(self) -> float:
        """Seconds: of a causal stream, a frame and what the resampling looks ahead; else of a window."""
        if not self.causal:
            return super().latency
        frames = 100  # any number past the start
        given = (frames - 1) * int(self.config.stride**self.config.depth)
        for _ in range(self.doublings):
            given = Halver.given(given)
        return (self.needed(frames) - given) / self.sample_rate

    def _inner_samples(self, frames: int) -> int:
        """Samples at the network's rate that so many frames cover."""
        for _ in range(self.config.depth):
            frames = (frames - 1) * self.config.stride + self.config.kernel_size
        return frames

    def open_stream(self, level: float) -> Stream:
        """Causal: a stream that waits for a frame and the resampling; else one in windows."""
        scale, back = (1.0, 1.0) if self.floor is None else (level + self.floor, level)
        return DemucsStream(self, scale, back) if self.causal else WindowStream(self, scale, back)


def _encode(few: int, many: int, config: DemucsConfig) -> nn.Sequential:
    """[batch, few, n] -> [batch, many, (n - kernel_size) / stride + 1]."""
    return nn.Sequential(nn.Conv1d(few, many, config.kernel_size, config.stride), nn.ReLU(), *_pointwise(many, config))


def _decode(many: int, few: int, config: DemucsConfig, *, last: bool) -> nn.Sequential:
    """[batch, many, n] -> [batch, few, (n - 1) stride + kernel_size]."""
    up = nn.ConvTranspose1d(many, few, config.kernel_size, config.stride)
    return nn.Sequential(*_pointwise(many, config), up, *([] if last else [nn.ReLU()]))


def _pointwise(channels: int, config: DemucsConfig) -> tuple[nn.Module, nn.Module]:
    if config.glu:
        return nn.Conv1d(channels, 2 * channels, 1), nn.GLU(dim=1)
    return nn.Conv1d(channels, channels, 1), nn.ReLU()


@torch.no_grad()
def _rescale(module: nn.Module, reference: float) -> None:
    """Divide each convolution by the root of its weights' deviation over the reference: halfway there in decibels."""
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
            scale = (part.weight.std() / reference).sqrt()
            part.weight /= scale
            if part.bias is not None:
                part.bias /= scale
