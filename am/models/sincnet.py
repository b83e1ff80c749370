"""SincNet: the first convolution hears bands; it learns two numbers a filter, where the band begins and how wide it is.

Paper: Ravanelli, Bengio 2018, "Speaker recognition from raw waveform with SincNet", arXiv:1808.00158.  The features are
raw samples, one window a frame (200 ms every 10 ms in pytorch-kaldi); otherwise it is the CNN of cnn.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from am.models.cnn import CNN, CNNConfig


@dataclass(frozen=True, kw_only=True)
class SincNetConfig(CNNConfig):
    """As pytorch-kaldi's TIMIT system on windows of 3200 samples."""

    context: int = 0  # a feature vector is a window of samples already
    filters: tuple[int, ...] = (128, 60, 60, 60)
    widths: tuple[int, ...] = (129, 5, 5, 3)
    pools: tuple[int, ...] = (3, 3, 3, 2)
    input_norm: bool = True
    layers: int = 5
    sample_rate: int = 16000  # Hz
    min_low: float = 50.0  # Hz, least lower edge of a band
    min_band: float = 50.0  # Hz, least width of a band

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.widths[0] % 2 == 0:
            raise ValueError(f"widths must begin with an odd number, got {self.widths[0]}: a sinc filter is symmetric")
        if self.min_low < 0 or self.min_band <= 0:
            raise ValueError(f"min_low must not be negative and min_band positive, got {self.min_low}, {self.min_band}")
        if self.min_low + self.min_band + FIRST_EDGE >= self.sample_rate / 2:
            raise ValueError(f"sample_rate is too low for min_low and min_band, got {self.sample_rate}")


FIRST_EDGE = 30.0  # Hz, where the bands begin at the start


class SincConv(nn.Module):
    """Band-pass filters of `taps`, each divided by its largest value, under a Hamming window."""

    window: Tensor
    times: Tensor

    def __init__(self, filters: int, taps: int, config: SincNetConfig) -> None:
        super().__init__()
        self.least_low, self.least_band = config.min_low / config.sample_rate, config.min_band / config.sample_rate
        last = config.sample_rate / 2 - (config.min_low + config.min_band)
        edges = _from_mel(torch.linspace(_mel(FIRST_EDGE), _mel(last), filters + 1, dtype=torch.float64))
        edges = (edges / config.sample_rate).float()
        self.low = nn.Parameter(edges[:-1, None])  # [filters, 1] cycles a sample, beyond least_low
        self.band = nn.Parameter(edges.diff()[:, None])  # [filters, 1] beyond least_band
        self.register_buffer("window", torch.hamming_window(taps, periodic=False), persistent=False)
        self.register_buffer("times", torch.arange(taps) - (taps - 1) / 2, persistent=False)  # samples

    def filters(self) -> Tensor:
        """[filters, 1, taps]: 2 high sinc(2 high t) - 2 low sinc(2 low t), scaled and windowed."""
        low = self.least_low + self.low.abs()
        high = low + self.least_band + self.band.abs()
        bands = 2 * high * torch.sinc(2 * high * self.times) - 2 * low * torch.sinc(2 * low * self.times)
        return (bands / bands.amax(1, keepdim=True) * self.window)[:, None]

    def forward(self, samples: Tensor) -> Tensor:
        """samples: [frames, 1, samples].  Returns [frames, filters, samples - taps + 1]."""
        return functional.conv1d(samples, self.filters())


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _from_mel(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)


class SincNet(CNN):
    """The CNN whose first convolution is a SincConv."""

    def convolution(self, index: int, channels: int, filters: int, taps: int, config: CNNConfig) -> nn.Module:
        """The convolution of a block."""
        if index == 0:
            assert isinstance(config, SincNetConfig)
            return SincConv(filters, taps, config)
        return super().convolution(index, channels, filters, taps, config)
