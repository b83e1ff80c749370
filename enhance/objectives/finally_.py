"""The objective of FINALLY: its three stages, and the pretraining of the 48 kHz head before the third.

Paper: Babaev et al. 2024 (arXiv:2410.05920); weights as in course_work_baselines.  Scores and layers of the multi-scale
STFT critic are summed over its parts, as in HiFi-GAN.  Differs: the PESQ loss has the sign that lets quality rise, and
everything that hears 16 kHz is given 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from enhance.critics.multi_stft import MultiStftCritic, MultiStftCriticConfig
from enhance.layers.wavlm import WavlmConvolutionsConfig
from enhance.losses.lmos import Lmos
from enhance.losses.pesq import PesqLoss
from enhance.losses.predicted_mos import PredictedMos
from enhance.losses.summed import critic_sum, feature_sum, generator_sum
from enhance.objectives.objective import Objective, weighted_sum

Stage = Literal[1, 2, "3-pretrain", 3]
STAGES = MappingProxyType({  # pesq at stage 3: 2, times the factor 0.5 inside the loss that was used
    1: {"lmos": 1.0},
    2: {"lmos": 20.0, "adversarial": 0.4, "matching": 20.0},
    "3-pretrain": {"lmos": 1.0},
    3: {"lmos": 0.5, "adversarial": 5.0, "matching": 15.0, "predicted_mos": 20.0, "pesq": 1.0},
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FinallyObjectiveConfig:
    """A weight of null (None) is the stage's."""

    stage: Stage = 2
    lmos: float | None = None
    adversarial: float | None = None
    matching: float | None = None  # of the critic's layers
    predicted_mos: float | None = None
    pesq: float | None = None
    wavlm: WavlmConvolutionsConfig = field(default_factory=WavlmConvolutionsConfig)
    predictor: str = "utmos.pt"  # of opinion scores: a TorchScript file, or package.module:function
    critic: MultiStftCriticConfig = field(default_factory=MultiStftCriticConfig)

    def __post_init__(self) -> None:
        if min(self.weights.values()) < 0:
            raise ValueError(f"weights must not be negative, got {self.weights}")
        if self.weights["matching"] > 0 and self.weights["adversarial"] == 0:
            raise ValueError("matching needs a critic: set it to 0 with adversarial")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each part: the field's, or else the stage's."""
        parts = {name: getattr(self, name) for name in ("lmos", "adversarial", "matching", "predicted_mos", "pesq")}
        usual = STAGES[self.stage]
        return {name: usual.get(name, 0.0) if weight is None else weight for name, weight in parts.items()}


class FinallyObjective(Objective):
    """The sum of the parts whose weight is above 0; the others are not built."""

    def __init__(self, config: FinallyObjectiveConfig, sample_rate: int) -> None:
        super().__init__()
        self.config, self.weights = config, config.weights
        self.critic = MultiStftCritic(config.critic) if self.weights["adversarial"] > 0 else None
        self.lmos = Lmos(config.wavlm, sample_rate) if self.weights["lmos"] > 0 else None
        self.pesq = PesqLoss(sample_rate) if self.weights["pesq"] > 0 else None
        predicted = self.weights["predicted_mos"] > 0
        self.predicted_mos = PredictedMos(config.predictor, sample_rate) if predicted else None

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        assert self.critic is not None
        return critic_sum(self.critic(clean, noisy).scores, self.critic(fake, noisy).scores)

    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        parts = {}
        if self.lmos is not None:
            parts["lmos"] = self.lmos(fake, clean)
        if self.pesq is not None:
            parts["pesq"] = self.pesq(fake, clean)
        if self.predicted_mos is not None:
            parts["predicted_mos"] = self.predicted_mos(fake)
        if self.critic is not None and adversarial:
            parts |= self._adversarial(fake, clean, noisy)
        return weighted_sum(parts, self.weights, fake), {name: part.detach() for name, part in parts.items()}

    def _adversarial(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> dict[str, Tensor]:
        assert self.critic is not None
        opinion = self.critic(fake, noisy)
        parts = {"adversarial": generator_sum(opinion.scores)}
        if self.weights["matching"] > 0:
            with torch.no_grad():
                truth = self.critic(clean, noisy).layers
            parts["matching"] = feature_sum(truth, opinion.layers)
        return parts
