"""What every critic promises: scores, and the inner layers that led to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Opinion:
    """scores: one tensor a part of the critic, any shape; high is real.  layers: inner activations, to be matched."""

    scores: list[Tensor]
    layers: list[Tensor]


class Critic(nn.Module, ABC):
    """Tells clean speech from a generator's output."""

    def begin_step(self, step: int) -> None:
        """For what changes with the training step (from 0); the objective calls it from its own begin_step."""

    def keep_reference(self, clean: Tensor, noisy: Tensor) -> None:
        """For norms with a reference batch; the objective shows each batch of real pairs, as judged, before judging."""

    @abstractmethod
    def forward(self, samples: Tensor, noisy: Tensor) -> Opinion:
        """samples: the speech under test, noisy: what the generator was given; both [batch, samples]."""
