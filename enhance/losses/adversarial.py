"""The adversarial games: least squares, cross entropy, and Wasserstein with a gradient penalty.

Papers: Mao et al. 2017 (LSGAN, arXiv:1611.04076), Goodfellow et al. 2014 (arXiv:1406.2661, the generator's
non-saturating form), Gulrajani et al. 2017 (WGAN-GP, arXiv:1704.00028).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

if TYPE_CHECKING:
    from enhance.critics.critic import Critic

GameName = Literal["least_squares", "cross_entropy", "wasserstein"]


@dataclass(frozen=True)
class Game:
    """What one score costs, element by element; scores are unbounded (before any sigmoid), high is real.

    real: for the critic on clean speech, given the score and the label that stands for real.  fake: for the critic on
    anything else.  generator: for the generator on its own output.
    """

    real: Callable[[Tensor, float], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]

    def critic_cost(self, real: Sequence[Tensor], *fakes: Sequence[Tensor], label: float = 1.0) -> Tensor:
        """Cost of the real scores plus that of each kind of fake ones, each a mean over the critic's parts.  Scalar."""
        good = _mean([self.real(score, label) for score in real])
        return good + sum(_mean([self.fake(score) for score in fake]) for fake in fakes)

    def generator_cost(self, fake: Sequence[Tensor]) -> Tensor:
        """Mean over the critic's parts.  Scalar."""
        return _mean([self.generator(score) for score in fake])


GAMES = {
    "least_squares": Game(
        lambda score, label: (score - label).square(), lambda score: score.square(), lambda score: (score - 1).square()
    ),
    "cross_entropy": Game(
        lambda score, label: label * softplus(-score) + (1 - label) * softplus(score), softplus,
        lambda score: softplus(-score),
    ),
    "wasserstein": Game(lambda score, label: -label * score, lambda score: score, lambda score: -score),
}  # fmt: skip


def critic_least_squares(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """What a critic minimises: real scores near 1, fake ones near 0; mean over the critic's parts.  Scalar."""
    return GAMES["least_squares"].critic_cost(real, fake)


def generator_least_squares(fake: Sequence[Tensor]) -> Tensor:
    """What the generator minimises: fake scores near 1.  Scalar."""
    return GAMES["least_squares"].generator_cost(fake)


def gradient_penalty(critic: Critic, clean: Tensor, fake: Tensor, noisy: Tensor, mix: Tensor | None = None) -> Tensor:
    """Mean squared distance from 1 of the norm of a row's gradient, at points between clean and fake speech.  Scalar.

    clean, fake, noisy: [batch, samples].  mix: [batch], share of clean in each point; drawn evenly from [0, 1] if not
    given.  A row's score is the mean of all its scores; each part of the critic has a penalty of its own, the mean
    counts.  The critic must judge a row by itself (no batch norm), scores [batch, ...].
    """
    share = torch.rand(clean.shape[0], device=clean.device) if mix is None else mix
    between = (share[:, None] * clean + (1 - share[:, None]) * fake).detach().requires_grad_()
    penalties = []
    for score in critic(between, noisy).scores:
        total = score.flatten(1).mean(1).sum()
        (gradient,) = torch.autograd.grad(total, between, create_graph=True)
        norm = (gradient.square().sum(-1) + 1e-12).sqrt()  # with a slope at zero
        penalties.append((norm - 1).square().mean())
    return torch.stack(penalties).mean()


def feature_distance(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of a critic's layers, relative to their size (MelGAN, arXiv:1910.06711).  Scalar."""
    return torch.stack(
        [(bad - good).abs().mean() / good.abs().mean().clamp(min=1e-4) for good, bad in zip(real, fake, strict=True)]
    ).mean()


def _mean(costs: list[Tensor]) -> Tensor:
    return torch.stack([cost.mean() for cost in costs]).mean()
