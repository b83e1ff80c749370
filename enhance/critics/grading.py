"""The critic that grades: it learns to say what a quality metric would, from a pair of spectrograms.

Papers: Fu et al. 2019 (MetricGAN, arXiv:1905.04874) and 2021 (MetricGAN+, arXiv:2104.03538): convolutions over
(speech under test, clean), a mean over all places, three linear layers, spectral norm throughout so that the grade
moves gently.  Sizes (four times 15 channels of 5 x 5, then 50, 10, 1 units, slope 0.3) as MetricGAN+'s authors have
them in SpeechBrain (lobes/models/MetricGAN.py).  Differs: magnitudes are log(1 + m) at the clean speech's unit level
instead of batch norm on the input, edges are padded (any length goes), and an optional self-attention over frames
(SAGAN, arXiv:1805.08318) before the mean relates moments to one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from enhance.critics.critic import Critic, Opinion
from enhance.layers.self_attention import SelfAttention
from enhance.losses.stft import spectrum

SLOPE = 0.3  # of the leaky units
SILENCE = 1e-5  # root mean square below which speech is not amplified any further


@dataclass(frozen=True, kw_only=True)
class GradingCriticConfig:
    channels: int = 15
    levels: int = 4  # convolutions
    kernel: int = 5  # bins and frames
    hidden: tuple[int, ...] = (50, 10)  # units of the linear layers before the last
    size: int = 512  # samples a window; the hop is half of it
    attention: bool = False  # over frames, before the mean

    def __post_init__(self) -> None:
        if self.channels < 1 or self.levels < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            given = f"{self.channels}, {self.levels}, {self.kernel}"
            raise ValueError(f"channels and levels must be positive and kernel odd, got {given}")
        if self.size < 32 or self.size % 2:
            raise ValueError(f"size must be even and at least 32, got {self.size}")


class GradingCritic(Critic):
    """forward(samples, clean): the second signal is the clean reference, not the noisy input.  Scores [batch, 1]."""

    def __init__(self, config: GradingCriticConfig) -> None:
        super().__init__()
        self.config = config
        ins = (2, *(config.channels,) * (config.levels - 1))
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv2d(few, config.channels, config.kernel, padding=config.kernel // 2)) for few in ins
        )
        self.attention = SelfAttention(config.channels, spectral=True) if config.attention else None
        units = (config.channels, *config.hidden)
        layers: list[nn.Module] = []
        for few, many in pairwise(units):
            layers += [spectral_norm(nn.Linear(few, many)), nn.LeakyReLU(SLOPE)]
        self.head = nn.Sequential(*layers, spectral_norm(nn.Linear(units[-1], 1)))

    def forward(self, samples: Tensor, noisy: Tensor) -> Opinion:
        level = noisy.square().mean(-1, keepdim=True).sqrt().clamp(min=SILENCE)
        size = self.config.size
        pair = [spectrum(signal / level, size, size // 2) for signal in (samples, noisy)]
        hidden = torch.stack([_magnitude(values).log1p() for values in pair], dim=1)  # [batch, 2, bins, frames]
        layers = []
        for convolution in self.convolutions:
            hidden = nn.functional.leaky_relu(convolution(hidden), SLOPE)
            layers.append(hidden)
        frames = hidden.mean(2)
        if self.attention is not None:
            frames = self.attention(frames)
        return Opinion([self.head(frames.mean(2))], layers)


def _magnitude(values: Tensor) -> Tensor:
    return (values.real.square() + values.imag.square() + 1e-8).sqrt()
