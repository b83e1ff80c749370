"""The objective of WSEGAN: SEGAN's, a distance of log power spectra, and further pairs that the critic must refuse.

Paper: Pascual et al. 2018 (arXiv:1808.10687); weights as in the SEGAN+ code.  Misaligned pairs are clean speech beside
clean speech of another row; interference pairs clean speech with a square wave in it.  Differs: the L1 term counts for
all pairs, because all of ours are additive mixtures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from enhance.critics.segan import SeganCriticConfig
from enhance.layers.emphasis import pre_emphasis
from enhance.losses.stft import log_power_distance
from enhance.objectives.segan import SeganObjective, SeganObjectiveConfig

SQUARE_HERTZ = (250.0, 1000.0, 4000.0)
SQUARE_HEIGHTS = (0.01, 0.05, 0.1, 1.0)


@dataclass(frozen=True, kw_only=True)
class WseganCriticConfig(SeganCriticConfig):
    norm: Literal["batch", "spectral", "virtual", "none"] = "spectral"
    initial: Literal["normal", "xavier"] = "xavier"


@dataclass(frozen=True, kw_only=True)
class WseganObjectiveConfig(SeganObjectiveConfig):
    power: float = 1.0e-3  # per dB of log power
    misaligned: bool = True  # pairs (clean, clean of another row) count as fake
    interference: bool = False  # pairs (clean + square wave, noisy) count as fake
    critic: WseganCriticConfig = field(default_factory=WseganCriticConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.power < 0:
            raise ValueError(f"power is a weight, got {self.power}")


class WseganObjective(SeganObjective):
    """The critic's loss is a mean over its kinds of pairs: two, three or four."""

    config: WseganObjectiveConfig

    def __init__(self, config: WseganObjectiveConfig, sample_rate: int) -> None:
        super().__init__(config, sample_rate)
        self.sample_rate = sample_rate

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        fakes = [(fake, noisy)]
        if self.config.misaligned:
            fakes.append((clean, misaligned(clean)))
        if self.config.interference:
            fakes.append((clean + square_waves(clean, self.sample_rate), noisy))
        return self._critic_cost(clean, noisy, *fakes) / (1 + len(fakes))

    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = super().model_loss(fake, clean, noisy, adversarial=adversarial)
        if self.config.power > 0:
            emphasis = self.config.emphasis
            power = log_power_distance(pre_emphasis(fake, emphasis), pre_emphasis(clean, emphasis))
            loss, parts = loss + self.config.power * power, parts | {"power": power.detach()}
        return loss, parts


def misaligned(clean: Tensor) -> Tensor:
    """[batch, samples]: each row is another row of clean; a single row is turned by half its length instead."""
    rows, samples = clean.shape
    if rows == 1:
        return clean.roll(samples // 2, dims=1)
    return clean.roll(int(torch.randint(1, rows, ())), dims=0)


def square_waves(like: Tensor, sample_rate: int) -> Tensor:
    """Shaped as `like` [batch, samples]: in each row a square wave of drawn height and frequency (below Nyquist)."""
    rows, samples = like.shape
    hertz = torch.tensor([value for value in SQUARE_HERTZ if value < sample_rate / 2])
    frequency = hertz[torch.randint(len(hertz), (rows, 1))]
    height = torch.tensor(SQUARE_HEIGHTS)[torch.randint(len(SQUARE_HEIGHTS), (rows, 1))]
    half_periods = torch.floor(2 * frequency * torch.arange(samples) / sample_rate)
    return (height * (1 - 2 * (half_periods % 2))).to(like)
