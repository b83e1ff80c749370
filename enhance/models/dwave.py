"""DWave: gated dilated convolutions at full rate, the generator beside SEGAN's in its TensorFlow release and AM_GAN.

After WaveNet (van den Oord et al. 2016, arXiv:1609.03499): ten blocks of width 3 and dilation 1 to 512, 32 filters and
32 gates, one channel between the blocks, skips summed, LeakyReLU, 1x1 convolution, tanh.  Differs: the release drew
1024 noise channels a sample and could not add them up; here the noise stands beside the signal at every block, one
channel by default.  Its padding made it look back only; here that is the option `causal`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enhance.layers.initial import truncated_normal
from enhance.layers.latent import latent_noise
from enhance.models.context_stream import ContextGenerator

NOISE_PERIOD = 16384  # samples after which the noise repeats when denoising


@dataclass(frozen=True, kw_only=True)
class DWaveConfig:
    sample_rate: int = 16000
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # samples, a block each
    width: int = 3  # taps
    kernels: int = 32  # filters, and as many gates
    channels: int = 1  # between the blocks; 1 is the waveform itself, more are made of it by a 1x1 convolution
    latent: int = 1  # channels of noise, a value a sample; 0 for none
    causal: bool = False  # the taps look back only
    emphasis: float = 0.95
    latent_seed: int = 111  # of the noise that denoising uses

    def __post_init__(self) -> None:
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations must be positive, got {list(self.dilations)}")
        if self.width % 2 == 0:
            raise ValueError(f"width must be odd, got {self.width}")
        if self.channels < 1 or self.kernels < 1 or self.latent < 0:
            raise ValueError(f"channels and kernels must be positive, got {self.channels}, {self.kernels}")
        if not 0 <= self.emphasis < 1:
            raise ValueError(f"emphasis must lie in [0, 1), got {self.emphasis}")


class GatedBlock(nn.Module):
    """tanh of a dilated convolution, let through by the sigmoid of another; a residual and a skip from it.

    The last block's skip is its residual.
    """

    def __init__(self, config: DWaveConfig, dilation: int, *, last: bool) -> None:
        super().__init__()
        reach = dilation * (config.width - 1)
        self.padding = (reach, 0) if config.causal else (reach // 2, reach // 2)
        few, width = config.channels + config.latent, config.width
        self.filter = nn.Conv1d(few, config.kernels, width, dilation=dilation, bias=False)
        self.gate = nn.Conv1d(few, config.kernels, width, dilation=dilation, bias=False)
        self.residual = nn.Conv1d(config.kernels, config.channels, 1, bias=False)
        self.skip = None if last else nn.Conv1d(config.kernels, config.channels, 1, bias=False)

    def forward(self, hidden: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, channels, samples], [batch, latent, samples] -> the next block's input, and the skip."""
        padded = nn.functional.pad(torch.cat([hidden, noise], dim=1), self.padding)
        gated = torch.tanh(self.filter(padded)) * torch.sigmoid(self.gate(padded))
        hidden = hidden + self.residual(gated)
        return hidden, hidden if self.skip is None else self.skip(gated)


class DWave(ContextGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: DWaveConfig) -> None:
        super().__init__()
        self.config, self.sample_rate, self.emphasis = config, config.sample_rate, config.emphasis
        self.causal = config.causal
        self.first = nn.Conv1d(1, config.channels, 1, bias=False) if config.channels > 1 else nn.Identity()
        final = len(config.dilations) - 1
        self.blocks = nn.ModuleList(
            GatedBlock(config, dilation, last=index == final) for index, dilation in enumerate(config.dilations)
        )
        self.last = nn.Conv1d(config.channels, 1, 1, bias=False)
        self.apply(truncated_normal)

    @property
    def alignment(self) -> int:
        """One sample: nothing is decimated."""
        return 1

    @property
    def context(self) -> int:
        """Samples that the blocks reach back; as many ahead, unless causal."""
        reach = (self.config.width - 1) * sum(self.config.dilations)
        return int(reach if self.config.causal else reach // 2)

    @property
    def lookahead(self) -> int:
        """Samples that the blocks reach ahead."""
        return 0 if self.config.causal else self.context

    def raw(self, samples: Tensor, frame: int) -> Tensor:
        """[batch, samples] -> [batch, samples], both pre-emphasised."""
        config = self.config
        hidden = self.first(samples[:, None])
        noise = latent_noise(
            hidden, fresh=self.training, frame=frame, period=NOISE_PERIOD, seed=config.latent_seed,
            channels=config.latent,
        )  # fmt: skip
        total = torch.zeros_like(hidden)
        for block in self.blocks:
            hidden, skip = block(hidden, noise)
            total = total + skip
        return torch.tanh(self.last(nn.functional.leaky_relu(total, 0.3)))[:, 0]
