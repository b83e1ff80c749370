"""The objective of SEGAN: an adversarial game and a distance to clean speech, in the pre-emphasised domain.

Papers: Pascual et al. 2017 (arXiv:1703.09452) and SEGAN+ (arXiv:1904.03418): least squares, L1 weight 100.  The two
differ in their critics: `segan_v1` has the first one's, `segan` that of SEGAN+.  Gradient penalty: 10, as WGAN-GP's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from enhance.critics.segan import SeganCritic, SeganCriticConfig, SeganV1CriticConfig
from enhance.layers.emphasis import pre_emphasis
from enhance.losses.adversarial import GAMES, GameName, gradient_penalty
from enhance.losses.regression import DistanceName, WeightSchedule, distance
from enhance.objectives.objective import Objective


@dataclass(frozen=True, kw_only=True)
class SeganObjectiveConfig:
    regression: float = 100.0  # weight of the distance to clean
    distance: DistanceName = "l1"
    huber_delta: float = 0.1  # where Huber's cost turns straight; speech is mostly below
    schedule: WeightSchedule = field(default_factory=WeightSchedule)  # of regression; SEGAN+: linear from epoch 100
    adversarial: float = 1.0  # 0 trains without a critic
    game: GameName = "least_squares"
    penalty: float = 10.0  # weight of the gradient penalty, of game: wasserstein
    real_label: float = 1.0  # what the critic is to say of clean speech; below 1 smooths (not in wasserstein)
    emphasis: float = 0.95
    critic: SeganCriticConfig = field(default_factory=SeganCriticConfig)

    def __post_init__(self) -> None:
        if self.adversarial < 0 or self.regression < 0 or self.penalty < 0:
            raise ValueError(
                f"adversarial, regression and penalty are weights, got {self.adversarial}, {self.regression}, "
                f"{self.penalty}"
            )
        if self.huber_delta <= 0 or not 0 <= self.emphasis < 1:
            raise ValueError(f"huber_delta must be positive, emphasis in [0, 1), got {self.huber_delta}")
        if not 0.5 < self.real_label <= 1:
            raise ValueError(f"real_label must lie in (0.5, 1], got {self.real_label}")
        if self.game == "wasserstein" and self.real_label != 1:
            raise ValueError("game: wasserstein has no labels: leave real_label at 1")
        if self.game == "wasserstein" and self.critic.norm == "batch" and self.adversarial > 0:
            raise ValueError("game: wasserstein penalises each row by itself: critic.norm must not be batch")


@dataclass(frozen=True, kw_only=True)
class SeganV1ObjectiveConfig(SeganObjectiveConfig):
    """SEGAN 2017."""

    critic: SeganV1CriticConfig = field(default_factory=SeganV1CriticConfig)


class SeganObjective(Objective):
    """L_D = (D(clean) - 1)^2 + D(fake)^2; L_G = (D(fake) - 1)^2 + 100 |fake - clean|; or another game and distance."""

    def __init__(self, config: SeganObjectiveConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.game = GAMES[config.game]
        self.critic = SeganCritic(config.critic, sample_rate) if config.adversarial > 0 else None
        self.regression = config.regression  # as of this step

    def begin_step(self, step: int, done: float) -> None:
        self.regression = self.config.schedule.weight(self.config.regression, step)
        if self.critic is not None:
            self.critic.begin_step(step)

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        return self._critic_cost(clean, noisy, (fake, noisy))

    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        ours, truth = pre_emphasis(fake, config.emphasis), pre_emphasis(clean, config.emphasis)
        parts = {"regression": distance(config.distance, ours, truth, huber_delta=config.huber_delta)}
        loss = self.regression * parts["regression"]
        if self.critic is not None and adversarial:
            parts["adversarial"] = self.game.generator_cost(self.critic(*self._seen(fake, noisy)).scores)
            loss = loss + config.adversarial * parts["adversarial"]
        return loss, {name: part.detach() for name, part in parts.items()}

    def _critic_cost(self, clean: Tensor, noisy: Tensor, *fakes: tuple[Tensor, Tensor]) -> Tensor:
        """Cost of the pair (clean, noisy) plus that of each fake pair."""
        assert self.critic is not None
        truth, given = self._seen(clean, noisy)
        self.critic.keep_reference(truth, given)
        real = self.critic(truth, given).scores
        judged = [self.critic(*self._seen(*pair)).scores for pair in fakes]
        cost = self.game.critic_cost(real, *judged, label=self.config.real_label)
        if self.config.game == "wasserstein" and self.config.penalty > 0:
            fake, _ = self._seen(*fakes[0])
            cost = cost + self.config.penalty * gradient_penalty(self.critic, truth, fake, given)
        return cost

    def _seen(self, speech: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
        """A pair as the critic sees it."""
        return pre_emphasis(speech, self.config.emphasis), pre_emphasis(noisy, self.config.emphasis)
