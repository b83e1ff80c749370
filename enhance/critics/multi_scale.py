"""HiFi-GAN's multi-scale critic: three nets over the waveform, at full, half and quarter rate; or all at full rate.

Papers: MelGAN, Kumar et al. 2019 (arXiv:1910.06711); HiFi-GAN, Kong et al. 2020 (arXiv:2010.05646), section 2.3: 29.6 M
parameters, the first net under spectral norm, the others under weight norm.  HiFi++ (arXiv:2203.13086) has all three at
one scale (same_scale).  It does not look at the noisy signal.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

from enhance.critics.conv_stack import ConvStack, joined
from enhance.critics.critic import Critic, Opinion
from enhance.layers.normed_conv import Norm, normed

WIDTHS = (1, 1, 2, 4, 8, 8, 8)  # channels of the layers, in units of the first one's
KERNELS = (15, 41, 41, 41, 41, 41, 5)
STRIDES = (1, 2, 2, 4, 4, 1, 1)
GROUPS = (1, 4, 16, 16, 16, 16, 1)


@dataclass(frozen=True, kw_only=True)
class MultiScaleCriticConfig:
    norms: tuple[Norm, ...] = ("spectral", "weight", "weight")  # a net each
    same_scale: bool = False  # True: all nets at full rate, else each at half the rate of the one before
    channels: int = 128  # of the first layer

    def __post_init__(self) -> None:
        if not self.norms:
            raise ValueError("norms must name at least one net")
        if self.channels < 1 or self.channels % 16:
            raise ValueError(f"channels must be a multiple of 16, got {self.channels}")


class MultiScaleCritic(Critic):
    """A row of scores for each net."""

    def __init__(self, config: MultiScaleCriticConfig) -> None:
        super().__init__()
        self.config = config
        self.parts = nn.ModuleList(_part(config.channels, norm) for norm in config.norms)

    def forward(self, samples: Tensor, noisy: Tensor) -> Opinion:
        signals = [samples[:, None]]
        for _ in self.parts[1:]:
            before = signals[-1]
            signals.append(before if self.config.same_scale else avg_pool1d(before, 4, 2, padding=2))
        return joined(part(signal) for part, signal in zip(self.parts, signals, strict=True))


def _part(channels: int, norm: Norm) -> ConvStack:
    """[batch, 1, samples] -> scores [batch, 1, samples / 64]."""
    outs = [width * channels for width in WIDTHS]
    ins = [1, *outs[:-1]]
    convs = [
        nn.Conv1d(few, many, kernel, stride, kernel // 2, groups=groups)
        for few, many, kernel, stride, groups in zip(ins, outs, KERNELS, STRIDES, GROUPS, strict=True)
    ]
    convs.append(nn.Conv1d(outs[-1], 1, 3, padding=1))
    return ConvStack(normed(conv, norm) for conv in convs)
