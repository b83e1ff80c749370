"""The objective of Advanced SEGAN: SEGAN's game at half weight, the critic sees signals of zero mean and unit power.

Source: the system Advanced-SEGAN (2024), statistics of the 28-speaker Valentini set.  Its L1 weight, 100 times the
standard deviation of clean speech on normalised signals, is 100 on signals as they are.  Differs: the reference batch
of virtual batch norm is of pairs (clean, noisy), as the critic judges them, and its statistics are per channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from enhance.critics.segan import SeganV1CriticConfig
from enhance.objectives.segan import SeganObjective, SeganObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class AdvancedSeganObjectiveConfig(SeganObjectiveConfig):
    adversarial: float = 0.5
    emphasis: float = 0.0
    clean_mean: float = -3.028e-5  # of the corpus, full scale 1; what the critic takes off ...
    clean_std: float = 0.0621301  # ... and divides by
    noisy_mean: float = -1.0704e-4
    noisy_std: float = 0.075683
    critic: SeganV1CriticConfig = field(default_factory=SeganV1CriticConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clean_std <= 0 or self.noisy_std <= 0:
            raise ValueError(f"clean_std and noisy_std must be positive, got {self.clean_std}, {self.noisy_std}")


class AdvancedSeganObjective(SeganObjective):
    """L_D = 1/2 [(D(clean) - 1)^2 + D(fake)^2]; L_G = 1/2 (D(fake) - 1)^2 + 100 |fake - clean|."""

    config: AdvancedSeganObjectiveConfig

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        return super().critic_loss(fake, clean, noisy) / 2

    def _seen(self, speech: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
        config = self.config
        speech, noisy = super()._seen(speech, noisy)
        return (speech - config.clean_mean) / config.clean_std, (noisy - config.noisy_mean) / config.noisy_std
