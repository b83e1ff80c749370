"""The objective of SEGAN: a least-squares critic and L1, in the pre-emphasised domain.

Paper: Pascual et al. 2017 (arXiv:1703.09452), L1 weight 100.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from enhance.critics.segan import SeganCritic, SeganCriticConfig
from enhance.layers.emphasis import pre_emphasis
from enhance.losses.adversarial import critic_least_squares, generator_least_squares
from enhance.objectives.objective import Objective


@dataclass(frozen=True, kw_only=True)
class SeganObjectiveConfig:
    regression: float = 100.0  # weight of the distance to clean
    distance: Literal["l1", "l2"] = "l1"
    adversarial: float = 1.0  # 0 trains without a critic
    emphasis: float = 0.95
    critic: SeganCriticConfig = field(default_factory=SeganCriticConfig)

    def __post_init__(self) -> None:
        if self.adversarial < 0 or self.regression < 0:
            raise ValueError(f"adversarial and regression are weights, got {self.adversarial}, {self.regression}")


class SeganObjective(Objective):
    """L_D = (D(clean) - 1)^2 + D(fake)^2; L_G = (D(fake) - 1)^2 + 100 |fake - clean|."""

    def __init__(self, config: SeganObjectiveConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.critic = SeganCritic(config.critic) if config.adversarial > 0 else None

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        assert self.critic is not None
        fake, clean, noisy = self._emphasised(fake, clean, noisy)
        return critic_least_squares(self.critic(clean, noisy).scores, self.critic(fake, noisy).scores)

    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        fake, clean, noisy = self._emphasised(fake, clean, noisy)
        apart = fake - clean
        parts = {"regression": apart.abs().mean() if self.config.distance == "l1" else apart.square().mean()}
        loss = self.config.regression * parts["regression"]
        if self.critic is not None and adversarial:
            parts["adversarial"] = generator_least_squares(self.critic(fake, noisy).scores)
            loss = loss + self.config.adversarial * parts["adversarial"]
        return loss, {name: part.detach() for name, part in parts.items()}

    def _emphasised(self, *signals: Tensor) -> list[Tensor]:
        return [pre_emphasis(signal, self.config.emphasis) for signal in signals]
