"""The objective of AEWSEGAN and of SEAE, the auto-encoders of the SEGAN lineage: a distance to clean, no critic.

Papers: as of WSEGAN (Pascual et al. 2018, arXiv:1808.10687) and SEGAN (2017, arXiv:1703.09452); pre-emphasised domain.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from enhance.layers.emphasis import pre_emphasis
from enhance.losses.regression import DistanceName, distance
from enhance.objectives.objective import Objective


@dataclass(frozen=True, kw_only=True)
class AewseganObjectiveConfig:
    distance: DistanceName = "l1"
    huber_delta: float = 0.1  # where Huber's cost turns straight
    emphasis: float = 0.95

    def __post_init__(self) -> None:
        if self.huber_delta <= 0 or not 0 <= self.emphasis < 1:
            raise ValueError(f"huber_delta must be positive, emphasis in [0, 1), got {self.huber_delta}")


class AewseganObjective(Objective):
    """L_G = |fake - clean|."""

    def __init__(self, config: AewseganObjectiveConfig, sample_rate: int) -> None:
        super().__init__()
        self.config, self.critic = config, None

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        raise AssertionError("there is no critic")

    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        ours, truth = pre_emphasis(fake, config.emphasis), pre_emphasis(clean, config.emphasis)
        loss = distance(config.distance, ours, truth, huber_delta=config.huber_delta)
        return loss, {"regression": loss.detach()}
