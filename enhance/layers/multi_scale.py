"""Residual U-Nets over several scales, of a waveform or of a spectrogram, as HiFi++ has them.

Paper: Andreev et al. 2023 (arXiv:2203.13086), whose released generator is the same layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from enhance.layers.filled import lacking
from enhance.layers.normed_conv import Norm, normed, same_conv

ROWS = 16  # frequency bins are filled up to a multiple of it


class Residuals(nn.Module):
    """A row of `depth` convolutions, each added to its input."""

    def __init__(self, channels: int, depth: int, kernel: int, dims: int, norm: Norm) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_conv(channels, channels, kernel, norm, dims=dims) for _ in range(depth))

    def forward(self, hidden: Tensor) -> Tensor:
        for conv in self.convs:
            hidden = hidden + conv(leaky_relu(hidden))
        return hidden


class Level(nn.Module):
    """Residuals, a coarser scale in between, residuals; then the level's input is merged in."""

    def __init__(self, widths: Sequence[int], depth: int, *, kernel: int, scale: int, dims: int, norm: Norm) -> None:
        super().__init__()
        wide, wider = widths[:2]
        down = (nn.Conv1d if dims == 1 else nn.Conv2d)(wide, wider, scale, scale)
        self.before = Residuals(wide, depth, kernel, dims, norm)
        self.down = normed(down, norm)
        self.inner = _levels(widths[1:], depth, kernel=kernel, scale=scale, dims=dims, norm=norm)
        self.up = nn.Upsample(scale_factor=scale)
        self.narrow = same_conv(wider, wide, 1, norm, dims=dims)
        self.after = Residuals(wide, depth, kernel, dims, norm)
        self.merge = same_conv(2 * wide, wide, 1, norm, dims=dims)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.narrow(self.up(self.inner(self.down(self.before(hidden)))))
        merged: Tensor = self.merge(torch.cat([hidden, self.after(inner)], dim=1))
        return merged


def _levels(widths: Sequence[int], depth: int, *, kernel: int, scale: int, dims: int, norm: Norm) -> nn.Module:
    if len(widths) == 1:
        return Residuals(widths[0], depth, kernel, dims, norm)
    return Level(widths, depth, kernel=kernel, scale=scale, dims=dims, norm=norm)


class MultiScaleNet(nn.Module):
    """HiFi++'s U-Net: a level for each width, each `scale` times coarser than the one above.

    dims: 1 for [batch, ins, samples], 2 for [batch, ins, bins, frames]; outs channels come out, the rest of the shape
    is kept.  Lengths are filled up with zeros to what the coarsest level needs; bins by one row at least, as released.
    """

    def __init__(
        self, ins: int, outs: int, widths: Sequence[int], depth: int, *, kernel: int, scale: int, dims: int,
        norm: Norm = "weight",
    ) -> None:  # fmt: skip
        super().__init__()
        self.multiple, self.dims = scale ** (len(widths) - 1), dims
        self.first = same_conv(ins, widths[0], kernel, norm, dims=dims)
        self.levels = _levels(widths, depth, kernel=kernel, scale=scale, dims=dims, norm=norm)
        self.last = same_conv(widths[0], outs, kernel, norm, dims=dims)

    def forward(self, hidden: Tensor) -> Tensor:
        length = hidden.shape[-1]
        short = [0, lacking(length, self.multiple)]
        if self.dims == 2:
            rows, multiple = hidden.shape[-2], max(ROWS, self.multiple)
            short += [0, multiple - rows % multiple]
        hidden = self.last(self.levels(self.first(nn.functional.pad(hidden, short))))
        return hidden[..., :length] if self.dims == 1 else hidden[..., :rows, :length]


class WaveUNet(MultiScaleNet):
    """HiFi++'s net over the waveform: [batch, channels, samples] -> the same shape (or `outs` channels)."""

    def __init__(
        self, channels: int, widths: Sequence[int] = (10, 20, 40, 80), depth: int = 4, *, outs: int | None = None,
        norm: Norm = "weight",
    ) -> None:  # fmt: skip
        super().__init__(channels, outs or channels, widths, depth, kernel=5, scale=4, dims=1, norm=norm)
