"""What the training loop asks of an objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from enhance.critics.critic import Critic


class Objective(nn.Module, ABC):
    """Losses of a generator and, where there is one, of its critic.

    critic: None when its weight is 0; then nothing adversarial is computed.
    """

    critic: Critic | None

    def begin_step(self, step: int, done: float) -> None:
        """Called before each step, for weights and noise that change.  step: from 0.  done: share of the run."""

    @abstractmethod
    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        """Scalar that the critic minimises; all [batch, samples], fake without history.  Only where critic is set."""

    @abstractmethod
    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar that the generator minimises, and its parts (unweighted, detached) by name.

        adversarial: False leaves the critic out (before it joins in).
        """


def weighted_sum(parts: Mapping[str, Tensor], weights: Mapping[str, float], fake: Tensor) -> Tensor:
    """The loss of these parts; of none, as before a critic joins in, a 0 that has a gradient."""
    return sum((weights[name] * part for name, part in parts.items()), 0 * fake.sum())
