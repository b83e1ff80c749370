"""FINALLY: HiFi++ at full size, told by a frozen WavLM what is said; 16 kHz, or 48 kHz made from what lies below 8 kHz.

Paper: Babaev et al. 2024 (arXiv:2410.05920); layer sizes as in course_work_baselines: 77,004,982 parameters at 16 kHz,
80,857,271 at 48 kHz, WavLM not counted.  Differs: WavLM hears its input at zero mean and unit variance, and what the
net sees (the training segment, a window when denoising) instead of a wider context; the 48 kHz model takes 48 kHz in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from enhance.layers.decimate import Decimate, factor_to
from enhance.layers.hifi_blocks import SLOPE, Refiner, ResBlock1, SpectralUNet, Upsampler
from enhance.layers.mel_spectrogram import MelSpectrogram
from enhance.layers.multi_scale import WaveUNet
from enhance.layers.normed_conv import normed, same_conv
from enhance.layers.wavlm import Wavlm, WavlmConfig
from enhance.models.window_stream import WindowGenerator

MULTIPLE = 1024  # samples at 16 kHz: what all the nets' scales divide


@dataclass(frozen=True, kw_only=True)
class FinallyConfig:
    sample_rate: Literal[16000, 48000] = 16000
    wavlm: WavlmConfig = field(default_factory=WavlmConfig)
    channels: int = 512  # of the upsampler's first layer and of the spectral net's output; a multiple of 16
    spectral_widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    spectral_depth: int = 4
    wave_widths: tuple[int, ...] = (128, 128, 256, 512)
    wave_depth: int = 4
    mask_widths: tuple[int, ...] = (64, 128, 256, 512)
    mask_depth: int = 1
    wide_widths: tuple[int, ...] = (128, 128, 128, 128, 256)  # of the 48 kHz head
    wide_depth: int = 3
    wide_channels: int = 512
    tanh: bool = False  # bounds the output to [-1, 1]; not so as released
    freeze_backbone: bool = False  # trains the 48 kHz head only
    window: float = 10.24  # seconds that are denoised at once
    overlap: float = 1.024  # seconds

    def __post_init__(self) -> None:
        if self.channels < 16 or self.channels % 16:
            raise ValueError(f"channels must be a multiple of 16, got {self.channels}")
        if self.freeze_backbone and self.sample_rate != 48000:
            raise ValueError("freeze_backbone leaves nothing to train at 16 kHz: it is for sample_rate 48000")
        if not 0 < self.overlap < self.window:
            raise ValueError(f"overlap must be shorter than window ({self.window} s), got {self.overlap}")


class Finally(WindowGenerator):
    """Mel spectrogram and WavLM's view of it -> upsampler -> nets over waveform and spectrum -> speech."""

    def __init__(self, config: FinallyConfig) -> None:
        super().__init__()
        self.config, self.sample_rate = config, config.sample_rate
        self.window, self.overlap = (round(s * config.sample_rate) for s in (config.window, config.overlap))
        self.wavlm = Wavlm(config.wavlm)  # no submodule: see its text
        self.decimate = Decimate(factor_to(config.sample_rate))
        self.mel = MelSpectrogram()
        channels, both = config.channels, config.channels + config.wavlm.channels
        self.spectralunet = SpectralUNet(self.mel.matrix, channels, config.spectral_widths, config.spectral_depth)
        self.mixed = ResBlock1(both)
        self.narrow = same_conv(both, channels, 1, "weight")
        self.upsampler = Upsampler(channels, channels, pre_kernel=1)
        outs = self.upsampler.outs
        self.refiner = Refiner(
            outs, wave_widths=config.wave_widths, wave_depth=config.wave_depth, mask_widths=config.mask_widths,
            mask_depth=config.mask_depth,
        )  # fmt: skip
        self.conv_post = same_conv(outs, 1, 7, "weight")
        self.wide = WideHead(outs, config) if config.sample_rate == 48000 else None
        self._freeze()

    def _freeze(self) -> None:
        """At 48 kHz the 16 kHz head is kept for its weights' sake, but speaks no more."""
        if self.wide is not None:
            self.conv_post.requires_grad_(False)
        if self.config.freeze_backbone:
            assert self.wide is not None
            self.requires_grad_(False)
            self.wide.requires_grad_()

    def completed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """A 16 kHz model's weights serve at 48 kHz, where the wide head begins as drawn."""
        if self.wide is None or any(name.startswith("wide.") for name in weights):
            return weights
        return weights | {name: value for name, value in self.state_dict().items() if name.startswith("wide.")}

    def net(self, samples: Tensor) -> Tensor:
        heard = self.decimate(samples)
        heard = nn.functional.pad(heard, (0, -heard.shape[-1] % MULTIPLE))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_backbone):
            hidden = self.backbone(heard)
        out = self.conv_post(hidden) if self.wide is None else self.wide(hidden)
        out = out[:, 0, : samples.shape[-1]]
        return torch.tanh(out) if self.config.tanh else out

    def backbone(self, heard: Tensor) -> Tensor:
        """[batch, samples] at 16 kHz, a multiple of 1024 -> [batch, channels / 16, samples]."""
        spectral = self.spectralunet(self.mel(heard))
        said = interpolate(self.wavlm.hidden(heard).transpose(1, 2), size=spectral.shape[-1], mode="nearest")
        hidden = leaky_relu(self.mixed(torch.cat([said, spectral], dim=1)), SLOPE)
        refined: Tensor = self.refiner(self.upsampler(self.narrow(hidden)), heard[:, None])
        return refined


class WideHead(nn.Module):
    """UpsampleWaveUNet: [batch, channels, samples] at 16 kHz -> [batch, 1, 3 * samples] at 48 kHz."""

    def __init__(self, channels: int, config: FinallyConfig) -> None:
        super().__init__()
        self.waveunet = WaveUNet(channels, config.wide_widths, config.wide_depth, outs=config.wide_channels)
        self.up = normed(nn.ConvTranspose1d(config.wide_channels, 1, 3, 3), "weight")

    def forward(self, hidden: Tensor) -> Tensor:
        samples: Tensor = self.up(leaky_relu(self.waveunet(hidden), SLOPE))
        return samples
