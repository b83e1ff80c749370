"""The objective of HiFi-GAN: the distance of mel spectrograms, multi-period and multi-scale critics, matched features.

Paper: Kong et al. 2020 (arXiv:2010.05646), equations 1 to 6: least squares and (times 2) features, summed over all nets
of the critics, and 45 times the mel distance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from enhance.critics.critic import Critic
from enhance.critics.multi_period import MultiPeriodCritic, MultiPeriodCriticConfig
from enhance.critics.multi_scale import MultiScaleCritic, MultiScaleCriticConfig
from enhance.critics.several import SeveralCritics
from enhance.losses.mel_l1 import MelL1
from enhance.losses.summed import critic_sum, feature_sum, generator_sum
from enhance.objectives.objective import Objective, weighted_sum


@dataclass(frozen=True, kw_only=True)
class HiFiGANObjectiveConfig:
    mel: float = 45.0  # of the mel distance, per neper
    mel_high: float | None = None  # Hz, upper edge of its spectrogram; None for the Nyquist frequency
    adversarial: float = 1.0  # 0 trains without critics
    matching: float = 2.0  # of the critics' layers
    critics: tuple[Literal["multi_period", "multi_scale"], ...] = ("multi_period", "multi_scale")
    multi_period: MultiPeriodCriticConfig = field(default_factory=MultiPeriodCriticConfig)
    multi_scale: MultiScaleCriticConfig = field(default_factory=MultiScaleCriticConfig)

    def __post_init__(self) -> None:
        if min(self.mel, self.adversarial, self.matching) < 0:
            raise ValueError("mel, adversarial and matching are weights: none may be negative")
        if self.adversarial == 0 and self.matching > 0:
            raise ValueError("matching needs critics: set it to 0 with adversarial")
        if self.adversarial > 0 and not self.critics:
            raise ValueError("critics must name one at least; to train without, set adversarial and matching to 0")
        if self.mel == 0 and self.adversarial == 0:
            raise ValueError("mel and adversarial are both 0: nothing is left to train with")


class HiFiGANObjective(Objective):
    """See the module's text.  The critics do not see the noisy signal."""

    def __init__(self, config: HiFiGANObjectiveConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.critic = SeveralCritics(self._critics()) if config.adversarial > 0 else None
        self.mel_distance = MelL1(sample_rate=sample_rate, high=config.mel_high)

    def _critics(self) -> dict[str, Critic]:
        made: dict[str, Critic] = {}
        for name in self.config.critics:
            match name:
                case "multi_period":
                    made[name] = MultiPeriodCritic(self.config.multi_period)
                case "multi_scale":
                    made[name] = MultiScaleCritic(self.config.multi_scale)
                case _:
                    raise ValueError(f"critics must be multi_period or multi_scale, got {name!r}")
        return made

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        assert self.critic is not None
        return critic_sum(self.critic(clean, noisy).scores, self.critic(fake, noisy).scores)

    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        parts: dict[str, Tensor] = {}
        if self.config.mel > 0:
            parts["mel"] = self.mel_distance(fake, clean)
        if self.critic is not None and adversarial:
            opinion = self.critic(fake, noisy)
            parts["adversarial"] = generator_sum(opinion.scores)
            if self.config.matching > 0:
                with torch.no_grad():
                    truth = self.critic(clean, noisy).layers
                parts["matching"] = feature_sum(truth, opinion.layers)
        return weighted_sum(parts, vars(self.config), fake), {name: part.detach() for name, part in parts.items()}
