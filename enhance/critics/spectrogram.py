"""A critic of compressed spectrograms at several resolutions (in the manner of UnivNet's, arXiv:2106.07889).

Differs: it sees the noisy spectrogram beside the one under test, so it also judges what was lost, and few channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from enhance.critics.critic import Critic, Opinion
from enhance.losses.stft import EXPONENT, spectrum


@dataclass(frozen=True, kw_only=True)
class SpectrogramCriticConfig:
    sizes: tuple[int, ...] = (512, 1024)  # samples a window; hops are a quarter of them
    channels: int = 16

    def __post_init__(self) -> None:
        if not self.sizes or any(size < 64 or size % 4 for size in self.sizes):
            raise ValueError(f"sizes must be multiples of 4 from 64 on, got {list(self.sizes)}")
        if self.channels < 1:
            raise ValueError(f"channels must be positive, got {self.channels}")


class SpectrogramCritic(Critic):
    """One convolutional critic for each window size."""

    def __init__(self, config: SpectrogramCriticConfig) -> None:
        super().__init__()
        self.sizes = config.sizes
        self.parts = nn.ModuleList(_part(config.channels) for _ in config.sizes)

    def forward(self, samples: Tensor, noisy: Tensor) -> Opinion:
        scores, layers = [], []
        for size, part in zip(self.sizes, self.parts, strict=True):
            hidden = torch.stack([_loudness(samples, size), _loudness(noisy, size)], dim=1)
            for layer in part:  # type: ignore[attr-defined]
                hidden = layer(hidden)
                layers.append(hidden)
            scores.append(layers.pop())
        return Opinion(scores, layers)


def _part(channels: int) -> nn.Sequential:
    """[batch, 2, bins, frames] -> [batch, 1, bins / 8, frames / 8] scores."""
    wide = 2 * channels
    plan = [(2, channels, (5, 3), (2, 1)), (channels, wide, (5, 3), (2, 2)), (wide, wide, (5, 3), (2, 2)),
            (wide, wide, (3, 3), (1, 2))]  # fmt: skip
    blocks = [
        nn.Sequential(
            weight_norm(nn.Conv2d(few, many, kernel, stride, (kernel[0] // 2, kernel[1] // 2))), nn.LeakyReLU(0.2)
        )
        for few, many, kernel, stride in plan
    ]
    return nn.Sequential(*blocks, weight_norm(nn.Conv2d(wide, 1, 3, padding=1)))


def _loudness(samples: Tensor, size: int) -> Tensor:
    """[batch, samples] -> compressed magnitudes [batch, bins, frames]."""
    values = spectrum(samples, size, size // 4)
    return (values.real.square() + values.imag.square() + 1e-8).pow(EXPONENT / 2)
