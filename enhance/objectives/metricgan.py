"""The objective of MetricGAN: a critic learns to predict PESQ or STOI, the generator to earn the best grade.

Papers: Fu et al. 2019 (MetricGAN, arXiv:1905.04874) and 2021 (MetricGAN+, arXiv:2104.03538: noisy speech is graded
too).  Grades lie in [0, 1], clean speech has 1.  PESQ's range is that of the mapping in ITU-T P.862.2.  The metrics are
computed on the CPU at each step; a row that has none (silence, no speech found) is left out and counted.
Differs: no replay of earlier outputs; a spectral distance may stand beside the grade.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from enhance.critics.grading import GradingCritic, GradingCriticConfig
from enhance.losses.stft import compressed_distance
from enhance.metrics.perceptual import pesq_installed, pesq_of, stoi_of
from enhance.objectives.objective import Objective, weighted_sum
from harness.errors import AudioError, ConfigError

SILENCE = 1e-5  # root mean square below which a row is not amplified any further
PESQ_WORST, PESQ_BEST = (0.999 + 4 / (1 + math.exp(-1.3669 * raw + 3.8224)) for raw in (-0.5, 4.5))


@dataclass(frozen=True, kw_only=True)
class MetricganObjectiveConfig:
    metric: Literal["pesq", "stoi"] = "pesq"
    adversarial: float = 1.0  # weight of (grade - target)^2; 0 trains without a critic
    target: float = 1.0  # the grade that the generator aims at
    grade_noisy: bool = True  # the critic learns from noisy speech too, as in MetricGAN+
    spectral: float = 0.0  # weight of the distance of compressed spectra; also trains before the critic joins in
    critic: GradingCriticConfig = field(default_factory=GradingCriticConfig)

    def __post_init__(self) -> None:
        if self.adversarial < 0 or self.spectral < 0 or self.adversarial + self.spectral == 0:
            raise ValueError(
                f"adversarial and spectral are weights, not both 0, got {self.adversarial}, {self.spectral}"
            )
        if not 0 <= self.target <= 1:
            raise ValueError(f"target is a grade in [0, 1], got {self.target}")


class MetricganObjective(Objective):
    """L_D = (D(clean) - 1)^2 + (D(fake) - Q(fake))^2 + (D(noisy) - Q(noisy))^2; L_G = (D(fake) - 1)^2."""

    def __init__(self, config: MetricganObjectiveConfig, sample_rate: int) -> None:
        super().__init__()
        graded_by = config.metric if config.adversarial > 0 else "nothing"
        if graded_by == "pesq" and sample_rate != 16000:
            raise ConfigError("loss.metric", f"pesq needs 16000 Hz, got {sample_rate}", mend="choose metric: stoi")
        if graded_by == "pesq" and not pesq_installed():
            raise ConfigError("loss.metric", "pesq needs the package pesq", mend="pip install pesq==0.0.4")
        self.config, self.sample_rate = config, sample_rate
        self.critic = GradingCritic(config.critic) if config.adversarial > 0 else None
        self.graded: dict[str, Tensor] = {}  # of the last critic loss: mean grade of fake (0: none), rows without one

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        assert self.critic is not None
        loss: Tensor = (self.critic(clean, clean).scores[0] - 1).square().mean()
        grade, ungraded = torch.zeros_like(loss), 0
        for speech in (fake, noisy) if self.config.grade_noisy else (fake,):
            truth = grades(speech, clean, self.config.metric, self.sample_rate)
            has_grade = ~truth.isnan()
            ungraded += int((~has_grade).sum())
            if not has_grade.any():
                continue
            scores = self.critic(speech, clean).scores[0][:, 0]
            loss = loss + (scores - truth)[has_grade].square().mean()
            if speech is fake:
                grade = truth[has_grade].mean()
        self.graded = {"grade": grade, "ungraded": torch.full_like(loss, ungraded)}
        return loss

    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        parts: dict[str, Tensor] = {}
        if self.config.spectral > 0:
            level = noisy.square().mean(-1, keepdim=True).sqrt().clamp(min=SILENCE)
            magnitude, in_complex, _ = compressed_distance(fake / level, clean / level, 512, 128)
            parts["spectral"] = magnitude + in_complex
        if self.critic is not None and adversarial:
            parts["adversarial"] = (self.critic(fake, clean).scores[0] - self.config.target).square().mean()
        loss = weighted_sum(parts, vars(self.config), fake)
        if "adversarial" in parts:
            parts |= self.graded
        return loss, {name: part.detach() for name, part in parts.items()}


def grades(speech: Tensor, clean: Tensor, metric: str, sample_rate: int) -> Tensor:
    """The metric of each row in [0, 1]: [batch, samples] twice -> [batch]; NaN where a row has none."""
    rows = zip(speech.detach().cpu().double().numpy(), clean.detach().cpu().double().numpy(), strict=True)
    values = [_grade(ours, truth, metric, sample_rate) for ours, truth in rows]
    return torch.tensor(values, dtype=torch.float32, device=clean.device)


def _grade(ours: np.ndarray, truth: np.ndarray, metric: str, sample_rate: int) -> float:
    if not (np.abs(ours).max() > 0 and np.abs(truth).max() > 0):
        return math.nan
    try:
        match metric:
            case "pesq":
                grade = (pesq_of(truth, ours, sample_rate) - PESQ_WORST) / (PESQ_BEST - PESQ_WORST)
            case "stoi":
                grade = stoi_of(truth, ours, sample_rate)
            case _:
                raise ValueError(f"metric must be pesq or stoi, got {metric!r}")
    except AudioError:
        return math.nan
    return min(max(grade, 0.0), 1.0) if math.isfinite(grade) else math.nan
