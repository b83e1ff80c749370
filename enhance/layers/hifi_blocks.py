"""The blocks of HiFi-GAN and HiFi++: residual blocks, the upsampler, the nets before and after it.

Papers: HiFi-GAN, Kong et al. 2020 (arXiv:2010.05646); HiFi++, Andreev et al. 2023 (arXiv:2203.13086).  Weight (or
spectral) norm on every convolution.  Differs: a skip that starts as the identity is one also under weight norm; weights
start as torch draws them, which is what the released code did in effect (its own draw was undone by the weight norm).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from enhance.layers.filled import lacking
from enhance.layers.mel_spectrogram import mel_to_linear
from enhance.layers.multi_scale import MultiScaleNet, WaveUNet
from enhance.layers.normed_conv import Norm, identity_conv, normed, same_conv
from enhance.layers.short_time import ShortTime

SLOPE = 0.1  # of HiFi-GAN's leaky ReLUs; those of HiFi++'s own blocks have torch's 0.01

Sees = Literal["both", "waveform", "upsampled"]
Order = Literal["wave_first", "mask_first"]


class ResBlock1(nn.Module):
    """HiFi-GAN's larger residual block: to each dilated convolution an undilated one.  Keeps the shape."""

    reach: int  # samples on each side

    def __init__(
        self, channels: int, kernel: int = 3, dilations: Sequence[int] = (1, 3, 5), norm: Norm = "weight"
    ) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, channels, kernel, norm, dilation=step) for step in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, channels, kernel, norm) for _ in dilations)
        self.reach = kernel // 2 * (sum(dilations) + len(dilations))

    def forward(self, hidden: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            hidden = hidden + plain(leaky_relu(dilated(leaky_relu(hidden, SLOPE)), SLOPE))
        return hidden


class ResBlock2(nn.Module):
    """HiFi-GAN's smaller residual block: dilated convolutions only.  Keeps the shape."""

    reach: int  # samples on each side

    def __init__(
        self, channels: int, kernel: int = 3, dilations: Sequence[int] = (1, 3), norm: Norm = "weight"
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_conv(channels, channels, kernel, norm, dilation=step) for step in dilations)
        self.reach = kernel // 2 * sum(dilations)

    def forward(self, hidden: Tensor) -> Tensor:
        for conv in self.convs:
            hidden = hidden + conv(leaky_relu(hidden, SLOPE))
        return hidden


RESBLOCKS: dict[int, type[ResBlock1 | ResBlock2]] = {1: ResBlock1, 2: ResBlock2}


class Upsampler(nn.Module):
    """HiFi-GAN's generator without its last convolution: [batch, ins, frames] -> [batch, outs, frames * hop].

    channels: of the first layer; halved by each transposed convolution (rates, kernels).  After each, the mean of
    residual blocks of several widths (resblock_kernels, resblock_dilations).  pre_kernel: of the first convolution.
    hop: samples a frame.  outs: channels that come out.  reach: frames on each side that a sample depends on, at most.
    """

    def __init__(
        self, ins: int, channels: int, *, rates: Sequence[int] = (8, 8, 2, 2), kernels: Sequence[int] = (16, 16, 4, 4),
        resblock: Literal[1, 2] = 1, resblock_kernels: Sequence[int] = (3, 7, 11),
        resblock_dilations: Sequence[Sequence[int]] = ((1, 3, 5),) * 3, pre_kernel: int = 7, norm: Norm = "weight",
    ) -> None:  # fmt: skip
        super().__init__()
        block: type[ResBlock1 | ResBlock2] = RESBLOCKS[resblock]
        self.conv_pre = same_conv(ins, channels, pre_kernel, norm)
        self.hop, self.reach, self.widths = 1, float(pre_kernel // 2), len(resblock_kernels)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(rates, kernels, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(normed(up, norm))
            channels //= 2
            blocks = [block(channels, *sizes, norm) for sizes in zip(resblock_kernels, resblock_dilations, strict=True)]
            self.resblocks.extend(blocks)
            self.hop *= rate
            self.reach += (kernel + max(one.reach for one in blocks)) / self.hop
        self.outs = channels

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.conv_pre(hidden)
        for index, up in enumerate(self.ups):
            hidden = up(leaky_relu(hidden, SLOPE))
            blocks = self.resblocks[index * self.widths : (index + 1) * self.widths]
            hidden = sum(block(hidden) for block in blocks) / self.widths
        return leaky_relu(hidden)


class SpectralUNet(nn.Module):
    """HiFi++'s net over the mel spectrogram: [batch, bands, frames] -> [batch, outs, frames].

    It works on bins, not bands: the mel spectrogram unfolded by a fixed interpolation, and by a learnt one, and (with
    positions) the bin's place from 0 to 1.  matrix: [bins, bands] of the mel spectrogram.
    """

    unfold: Tensor
    places: Tensor

    def __init__(
        self, matrix: Tensor, outs: int = 128, widths: Sequence[int] = (8, 16, 24, 32, 64), depth: int = 5, *,
        positions: bool = True, norm: Norm = "weight",
    ) -> None:  # fmt: skip
        super().__init__()
        bins, bands = matrix.shape
        self.positions = positions
        self.register_buffer("unfold", mel_to_linear(matrix), persistent=False)
        self.register_buffer("places", torch.linspace(0, 1, bins, device="cpu")[:, None], persistent=False)
        self.learnt_unfold = same_conv(bands, bins, 1, norm)
        self.net = MultiScaleNet(2 + positions, widths[0], widths, depth, kernel=3, scale=2, dims=2, norm=norm)
        self.post_2d = same_conv(widths[0], 1, 1, norm, dims=2)
        self.post_1d = same_conv(bins, outs, 1, norm)

    def forward(self, mel: Tensor) -> Tensor:
        planes = [self.unfold @ mel, self.learnt_unfold(mel)]
        if self.positions:
            planes.insert(1, self.places.expand_as(planes[0]))
        out: Tensor = self.post_1d(self.post_2d(self.net(torch.stack(planes, dim=1)))[:, 0])
        return out


class SpectralMaskNet(nn.Module):
    """HiFi++'s last net: a positive factor for each bin of each channel.  [batch, channels, samples], shape kept.

    size: of the transform; the hop is a quarter.  The lowest bin and the first frame pass as they are.
    """

    def __init__(
        self, channels: int, widths: Sequence[int] = (8, 12, 24, 32), depth: int = 4, *, size: int = 1024,
        norm: Norm = "weight",
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.hop = size, size // 4
        self.net = MultiScaleNet(channels, channels, widths, depth, kernel=3, scale=2, dims=2, norm=norm)
        self.transform = ShortTime(size, self.hop)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, channels, length = hidden.shape
        short = max(lacking(length, self.hop), self.size - length)  # the transform reflects half a window at each end
        rows = nn.functional.pad(hidden, (0, short)).flatten(0, 1)
        around = nn.functional.pad(rows[:, None], (self.size // 2, self.size // 2), mode="reflect")[:, 0]
        real, imag = self.transform(around)
        magnitudes = (real.square() + imag.square() + 1e-9).sqrt()[:, 1:, 1:]
        factors: Tensor = nn.functional.softplus(self.net(magnitudes.view(batch, channels, *magnitudes.shape[1:])))
        mask = nn.functional.pad(factors.flatten(0, 1), (1, 0, 1, 0), value=1.0)
        samples = self.transform.inverse(real * mask, imag * mask, rows.shape[-1])
        return samples.view(batch, channels, -1)[..., :length]


class Refiner(nn.Module):
    """What HiFi++ puts behind the upsampler: WaveUNet and SpectralMaskNet, each beside a learnt skip.

    upsampled [batch, channels, samples], waveform [batch, 1, samples] -> [batch, channels, samples].
    wave_widths, mask_widths: empty leaves the net (and its skip) out.  sees: what the WaveUNet is given.
    order: which of the two comes first.
    """

    def __init__(
        self, channels: int, *, wave_widths: Sequence[int] = (10, 20, 40, 80), wave_depth: int = 4,
        mask_widths: Sequence[int] = (8, 12, 24, 32), mask_depth: int = 4, mask_size: int = 1024, skips: bool = True,
        sees: Sees = "both", order: Order = "wave_first", norm: Norm = "weight",
    ) -> None:  # fmt: skip
        super().__init__()
        self.sees, self.order = sees, order
        self.waveunet = WaveUNet(channels, wave_widths, wave_depth, norm=norm) if wave_widths else None
        self.masknet = (
            SpectralMaskNet(channels, mask_widths, mask_depth, size=mask_size, norm=norm) if mask_widths else None
        )
        self.wave_skip = identity_conv(channels, norm) if skips and wave_widths else None
        self.mask_skip = identity_conv(channels, norm) if skips and mask_widths else None
        ins = {"both": 1 + channels, "waveform": 1, "upsampled": 0}[sees]
        self.wave_pre = same_conv(ins, channels, 1, norm) if ins and wave_widths else None

    def forward(self, upsampled: Tensor, waveform: Tensor) -> Tensor:
        if self.order == "mask_first":
            return self._wave(self._mask(upsampled), waveform)
        return self._mask(self._wave(upsampled, waveform))

    def _wave(self, hidden: Tensor, waveform: Tensor) -> Tensor:
        if self.waveunet is None:
            return hidden
        if self.wave_pre is not None:
            hidden = self.wave_pre(torch.cat([hidden, waveform], dim=1) if self.sees == "both" else waveform)
        out: Tensor = self.waveunet(hidden)
        return out if self.wave_skip is None else out + self.wave_skip(hidden)

    def _mask(self, hidden: Tensor) -> Tensor:
        if self.masknet is None:
            return hidden
        out: Tensor = self.masknet(hidden)
        return out if self.mask_skip is None else out + self.mask_skip(hidden)
