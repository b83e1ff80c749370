"""HiFi-GAN: speech back from its mel spectrogram (vocoding), versions V1, V2 and V3.

Paper: Kong et al. 2020 (arXiv:2010.05646).  Layer by layer as released; the mel spectrogram is taken inside, so that it
trains and denoises as every generator does.  The defaults are V1's, at 16 kHz.  Differs: long recordings go in blocks,
each with the context that it needs, so blocks equal the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from enhance.layers.hifi_blocks import Upsampler
from enhance.layers.mel_spectrogram import MelSpectrogram
from enhance.layers.normed_conv import Norm, same_conv
from enhance.models.context_stream import ContextGenerator

POST_KERNEL = 7  # samples, of the convolution that gives the waveform


@dataclass(frozen=True, kw_only=True)
class HiFiGANConfig:
    sample_rate: int = 16000
    size: int = 1024  # samples of the mel spectrogram's window; its hop is the product of the rates
    bands: int = 80
    low: float = 0.0  # Hz, of the mel spectrogram
    high: float | None = 8000.0  # Hz; None for the Nyquist frequency
    channels: int = 512  # of the first layer, halved by each upsampling; 512 in V1, 128 in V2, 256 in V3
    pre_kernel: int = 7  # frames, of the first convolution
    rates: tuple[int, ...] = (8, 8, 2, 2)  # of the transposed convolutions
    kernels: tuple[int, ...] = (16, 16, 4, 4)  # of the same
    resblock: Literal[1, 2] = 1  # 2, the smaller one, in V3
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    norm: Norm = "weight"  # of all convolutions

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.kernels) or any(
            kernel < rate or (kernel - rate) % 2 for rate, kernel in zip(self.rates, self.kernels, strict=True)
        ):
            problem = f"each of kernels must exceed its rate by an even number, got {self.kernels} for {self.rates}"
            raise ValueError(problem)
        if self.channels % 2 ** len(self.rates):
            raise ValueError(f"channels must be a multiple of {2 ** len(self.rates)}, got {self.channels}")
        if len(self.resblock_kernels) != len(self.resblock_dilations):
            raise ValueError(
                f"resblock_kernels and resblock_dilations must be as many, got {len(self.resblock_kernels)} and "
                f"{len(self.resblock_dilations)}"
            )
        if any(kernel % 2 == 0 for kernel in (self.pre_kernel, *self.resblock_kernels)):
            raise ValueError(f"resblock_kernels and pre_kernel must be odd, got {self.resblock_kernels}")

    def spectrogram(self) -> MelSpectrogram:
        """The mel spectrogram that the upsampler inverts."""
        return MelSpectrogram(
            sample_rate=self.sample_rate, size=self.size, hop=math.prod(self.rates), bands=self.bands, low=self.low,
            high=self.high,
        )  # fmt: skip

    def upsampler(self, ins: int) -> Upsampler:
        """From `ins` channels a frame to channels a sample."""
        return Upsampler(
            ins, self.channels, rates=self.rates, kernels=self.kernels, resblock=self.resblock,
            resblock_kernels=self.resblock_kernels, resblock_dilations=self.resblock_dilations,
            pre_kernel=self.pre_kernel, norm=self.norm,
        )  # fmt: skip


class HiFiGAN(ContextGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: HiFiGANConfig) -> None:
        super().__init__()
        self.config, self.sample_rate = config, config.sample_rate
        self.mel = config.spectrogram()
        self.upsampler = config.upsampler(config.bands)
        self.conv_post = same_conv(self.upsampler.outs, 1, POST_KERNEL, config.norm)

    @property
    def alignment(self) -> int:
        """Samples a frame of the mel spectrogram."""
        return self.mel.hop

    @property
    def context(self) -> int:
        """Samples on each side that a block needs: the convolutions' reach and that of the spectrogram's window."""
        frames = math.ceil(self.upsampler.reach + POST_KERNEL // 2 / self.mel.hop) + self.mel.reach
        return frames * self.mel.hop

    def raw(self, samples: Tensor, frame: int) -> Tensor:
        """[batch, samples] -> [batch, samples]."""
        return self.vocode(self.mel(samples))[:, : samples.shape[-1]]

    def vocode(self, mel: Tensor) -> Tensor:
        """Log-mel energies [batch, bands, frames] -> [batch, frames * hop]."""
        return torch.tanh(self.conv_post(self.upsampler(mel)))[:, 0]
