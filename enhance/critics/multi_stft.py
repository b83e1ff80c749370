"""Multi-scale STFT critic of FINALLY (arXiv:2410.05920), after EnCodec's (Defossez et al. 2022, arXiv:2210.13438).

Each part sees real and imaginary values of one spectrogram as two channels over frames and bins: convolutions of 3
frames by 9 bins, dilated over frames and strided over bins.  It does not look at the noisy input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from enhance.critics.critic import Critic, Opinion


@dataclass(frozen=True, kw_only=True)
class MultiStftCriticConfig:
    sizes: tuple[int, ...] = (2048, 1024, 512, 256, 128)  # samples a window; doubled for 48 kHz; hops are a quarter
    filters: int = 64
    dilations: tuple[int, ...] = (1, 2, 4)  # over frames, one a strided layer
    slope: float = 0.2  # of the leaky rectifiers

    def __post_init__(self) -> None:
        if not self.sizes or any(size < 16 or size % 4 for size in self.sizes):
            raise ValueError(f"sizes must be multiples of 4 from 16 on, got {list(self.sizes)}")
        if self.filters < 1 or min(self.dilations, default=1) < 1:
            raise ValueError(f"filters and dilations must be positive, got {self.filters}, {list(self.dilations)}")


class MultiStftCritic(Critic):
    """One StftPart a window size."""

    def __init__(self, config: MultiStftCriticConfig) -> None:
        super().__init__()
        self.config = config
        self.discriminators = nn.ModuleList(StftPart(size, config) for size in config.sizes)

    def forward(self, samples: Tensor, noisy: Tensor) -> Opinion:
        """Scores [batch, 1, frames, bins / 2 ** dilations] and layers of each size, the longest window first."""
        scores, layers = [], []
        for part in self.discriminators:
            *inner, score = part(samples)
            scores.append(score)
            layers += inner
        return Opinion(scores, layers)


class StftPart(nn.Module):
    """[batch, samples] -> the activations of every layer, the scores last."""

    window: Tensor

    def __init__(self, size: int, config: MultiStftCriticConfig) -> None:
        super().__init__()
        self.size, self.slope = size, config.slope
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        wide = config.filters
        convs: list[nn.Module] = [nn.Conv2d(2, wide, (3, 9), padding=(1, 4))]  # not normalised, as released
        convs += [
            weight_norm(nn.Conv2d(wide, wide, (3, 9), (1, 2), padding=(dilation, 4), dilation=(dilation, 1)))
            for dilation in config.dilations
        ]
        self.convs = nn.ModuleList([*convs, weight_norm(nn.Conv2d(wide, wide, 3, padding=1))])
        self.conv_post = weight_norm(nn.Conv2d(wide, 1, 3, padding=1))

    def forward(self, samples: Tensor) -> list[Tensor]:
        hidden = self._spectrogram(samples)
        layers = []
        for conv in self.convs:
            hidden = nn.functional.leaky_relu(conv(hidden), self.slope)
            layers.append(hidden)
        return [*layers, self.conv_post(hidden)]

    def _spectrogram(self, samples: Tensor) -> Tensor:
        """[batch, 2, frames, bins], scaled so that white noise keeps its power in each bin."""
        samples = nn.functional.pad(samples, (0, max(0, self.size - samples.shape[-1])))
        values = torch.stft(
            samples, self.size, self.size // 4, window=self.window, center=False, return_complex=True
        ) / self.window.square().sum().sqrt()  # fmt: skip
        return torch.stack([values.real, values.imag], dim=1).transpose(2, 3)
