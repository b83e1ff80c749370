"""HiFi-GAN's multi-period critic: the waveform folded at several periods, each seen by a net of its own.

Paper: Kong et al. 2020 (arXiv:2010.05646), section 2.3; 41.1 M parameters.  It does not look at the noisy signal.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import pad

from enhance.critics.conv_stack import ConvStack, joined
from enhance.critics.critic import Critic, Opinion
from enhance.layers.normed_conv import Norm, normed


@dataclass(frozen=True, kw_only=True)
class MultiPeriodCriticConfig:
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)  # samples
    channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)  # the last layer keeps the length, the others take a third
    norm: Norm = "weight"

    def __post_init__(self) -> None:
        if not self.periods or min(self.periods) < 1:
            raise ValueError(f"periods must be positive, got {list(self.periods)}")
        if not self.channels:
            raise ValueError("channels must name at least one layer")


class MultiPeriodCritic(Critic):
    """A map of scores for each period."""

    def __init__(self, config: MultiPeriodCriticConfig) -> None:
        super().__init__()
        self.config = config
        self.parts = nn.ModuleList(_part(config) for _ in config.periods)

    def forward(self, samples: Tensor, noisy: Tensor) -> Opinion:
        return joined(
            part(folded(samples, period)[:, None]) for period, part in zip(self.config.periods, self.parts, strict=True)
        )


def folded(samples: Tensor, period: int) -> Tensor:
    """[batch, samples] -> [batch, ceil(samples / period), period]; the end is filled up by reflection."""
    whole = pad(samples[:, None], (0, -samples.shape[-1] % period), mode="reflect")[:, 0]
    return whole.view(whole.shape[0], -1, period)


def _part(config: MultiPeriodCriticConfig) -> ConvStack:
    """[batch, 1, rows, period] -> scores [batch, 1, fewer rows, period], by convolutions along the rows."""
    ins, last = (1, *config.channels[:-1]), len(config.channels) - 1
    convs = [
        nn.Conv2d(few, many, (5, 1), (1 if index == last else 3, 1), (2, 0))
        for index, (few, many) in enumerate(zip(ins, config.channels, strict=True))
    ]
    convs.append(nn.Conv2d(config.channels[-1], 1, (3, 1), padding=(1, 0)))
    return ConvStack(normed(conv, config.norm) for conv in convs)
