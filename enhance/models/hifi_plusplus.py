"""HiFi++: HiFi-GAN behind a net over the spectrum, before nets over waveform and masks; denoises or extends the band.

Paper: Andreev et al. 2023 (arXiv:2203.13086).  Layer by layer as released (1.7 M parameters): there the WaveUNet sees
the input waveform too (sees: both); with sees: upsampled it is the paper's vocoder, which has only the mel spectrogram.
Differs: input is filled up with silence to whole frames of the deepest layer and trimmed back; long recordings go in
cross-faded windows, because the nets see about six seconds either way; the level is as recorded unless asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from enhance.layers.filled import lacking
from enhance.layers.hifi_blocks import Order, Refiner, Sees, SpectralUNet
from enhance.layers.normed_conv import same_conv
from enhance.models.hifi_gan import POST_KERNEL, HiFiGANConfig
from enhance.models.window_stream import WindowGenerator


@dataclass(frozen=True, kw_only=True)
class HiFiPlusPlusConfig(HiFiGANConfig):
    channels: int = 128
    pre_kernel: int = 1
    spectral_widths: tuple[int, ...] = (8, 16, 24, 32, 64)  # of the SpectralUNet, a level each; none leaves it out
    spectral_depth: int = 5  # convolutions a block
    spectral_outs: int = 128  # channels to the upsampler
    positions: bool = True  # whether the SpectralUNet is told each bin's place
    wave_widths: tuple[int, ...] = (10, 20, 40, 80)  # of the WaveUNet; none leaves it out
    wave_depth: int = 4
    sees: Sees = "both"  # what the WaveUNet is given: the upsampled signal, the input waveform, or both
    mask_widths: tuple[int, ...] = (8, 12, 24, 32)  # of the SpectralMaskNet; none leaves it out
    mask_depth: int = 4
    order: Order = "wave_first"
    skips: bool = True  # learnt ones beside WaveUNet and SpectralMaskNet, identities at the start
    level: float | None = None  # root mean square at which the nets see a recording; None leaves it as it is
    window: float = 10.24  # seconds that the nets see at once
    overlap: float = 1.024  # seconds that two windows share, cross-faded

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.overlap < self.window:
            raise ValueError(f"overlap must lie between 0 and window ({self.window:g} s), got {self.overlap:g}")
        if self.mask_widths and self.size % 4:
            raise ValueError(f"size must be a multiple of 4, the overlap of the masked spectra, got {self.size}")
        if self.sees == "waveform" and not self.wave_widths:
            raise ValueError("sees: waveform needs a WaveUNet: give wave_widths")
        if self.level is not None and not 0 < self.level < 1:
            raise ValueError(f"level must lie in (0, 1), got {self.level}")


class HiFiPlusPlus(WindowGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: HiFiPlusPlusConfig) -> None:
        super().__init__()
        self.config, self.sample_rate = config, config.sample_rate
        self.window, self.overlap = round(config.window * self.sample_rate), round(config.overlap * self.sample_rate)
        self.floor = None if config.level is None else 1e-5
        self.mel = config.spectrogram()
        self.upsampler = config.upsampler(config.spectral_outs if config.spectral_widths else config.bands)
        self.spectralunet = None
        if config.spectral_widths:
            self.spectralunet = SpectralUNet(
                self.mel.matrix, config.spectral_outs, config.spectral_widths, config.spectral_depth,
                positions=config.positions, norm=config.norm,
            )  # fmt: skip
        self.refiner = Refiner(
            self.upsampler.outs, wave_widths=config.wave_widths, wave_depth=config.wave_depth,
            mask_widths=config.mask_widths, mask_depth=config.mask_depth, mask_size=config.size, skips=config.skips,
            sees=config.sees, order=config.order, norm=config.norm,
        )  # fmt: skip
        self.conv_post = same_conv(self.upsampler.outs, 1, POST_KERNEL, config.norm)

    @property
    def alignment(self) -> int:
        """Samples a frame of the SpectralUNet's deepest level; 4096 as released."""
        return int(self.mel.hop * 2 ** max(0, len(self.config.spectral_widths) - 1))

    def net(self, samples: Tensor) -> Tensor:
        """[batch, samples] -> [batch, samples]."""
        count, level = samples.shape[-1], self.config.level or 1.0
        waveform = torch.nn.functional.pad(samples * level, (0, lacking(count, self.alignment)))
        hidden = self.mel(waveform)
        if self.spectralunet is not None:
            hidden = self.spectralunet(hidden)
        hidden = self.refiner(self.upsampler(hidden), waveform[:, None])
        return torch.tanh(self.conv_post(hidden))[:, 0, :count] / level
