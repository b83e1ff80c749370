"""The objective of Demucs for denoising: a distance between waveforms, spectra at three resolutions beside it.

Paper: Defossez et al. 2020 (arXiv:2006.12847): L1, spectral convergence and log magnitudes.  The released causal models
for Valentini's data were trained with 0.1 instead of 0.5 for the latter two, those for the DNS data without.  Differs:
a game with one of our critics may come on top; its weight is 0 by default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from enhance.critics.critic import Critic
from enhance.critics.multi_stft import MultiStftCritic, MultiStftCriticConfig
from enhance.critics.segan import SeganCritic, SeganCriticConfig
from enhance.critics.spectrogram import SpectrogramCritic, SpectrogramCriticConfig
from enhance.losses.adversarial import critic_least_squares, feature_distance, generator_least_squares
from enhance.losses.regression import DistanceName, distance
from enhance.losses.stft import multi_resolution_distance
from enhance.objectives.objective import Objective, weighted_sum


@dataclass(frozen=True, kw_only=True)
class DenoiserObjectiveConfig:
    regression: float = 1.0  # weight of the distance between waveforms
    distance: DistanceName = "l1"
    huber_delta: float = 1.0  # where Huber's cost turns straight
    convergence: float = 0.5  # weight of the spectral convergence
    magnitude: float = 0.5  # weight of the log-magnitude distance
    resolutions: tuple[tuple[int, int, int], ...] = (  # transform, hop and window of both, in samples
        (1024, 120, 600), (2048, 240, 1200), (512, 50, 240),
    )  # fmt: skip
    adversarial: float = 0.0  # weight of the least-squares game; 0 trains without a critic
    matching: float = 0.0  # weight of the distance between the critic's layers
    critic: Literal["spectrogram", "multi_stft", "segan"] = "spectrogram"
    spectrogram: SpectrogramCriticConfig = field(default_factory=SpectrogramCriticConfig)
    multi_stft: MultiStftCriticConfig = field(default_factory=MultiStftCriticConfig)
    segan: SeganCriticConfig = field(default_factory=SeganCriticConfig)

    def __post_init__(self) -> None:
        weights = (self.regression, self.convergence, self.magnitude, self.adversarial, self.matching)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError(f"weights must not be negative nor all 0, got {', '.join(map(str, weights))}")
        if self.matching > 0 and self.adversarial == 0:
            raise ValueError("matching needs a critic: set it to 0 with adversarial")
        if not self.resolutions or any(not 0 < hop <= width <= size for size, hop, width in self.resolutions):
            raise ValueError(f"resolutions are (size, hop, window) with hop <= window <= size, got {self.resolutions}")


class DenoiserObjective(Objective):
    """L = |fake - clean| + 0.5 convergence + 0.5 log magnitude [+ a game]."""

    def __init__(self, config: DenoiserObjectiveConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.critic = _critic(config, sample_rate) if config.adversarial > 0 else None

    def begin_step(self, step: int, done: float) -> None:
        if self.critic is not None:
            self.critic.begin_step(step)

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        assert self.critic is not None
        self.critic.keep_reference(clean, noisy)
        return critic_least_squares(self.critic(clean, noisy).scores, self.critic(fake, noisy).scores)

    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        parts = {"regression": distance(config.distance, fake, clean, huber_delta=config.huber_delta)}
        if config.convergence > 0 or config.magnitude > 0:
            parts["convergence"], parts["magnitude"] = multi_resolution_distance(fake, clean, config.resolutions)
        if self.critic is not None and adversarial:
            opinion = self.critic(fake, noisy)
            parts["adversarial"] = generator_least_squares(opinion.scores)
            if config.matching > 0:
                truth = [layer.detach() for layer in self.critic(clean, noisy).layers]
                parts["matching"] = feature_distance(truth, opinion.layers)
        return weighted_sum(parts, vars(config), fake), {name: part.detach() for name, part in parts.items()}


def _critic(config: DenoiserObjectiveConfig, sample_rate: int) -> Critic:
    match config.critic:
        case "spectrogram":
            return SpectrogramCritic(config.spectrogram)
        case "multi_stft":
            return MultiStftCritic(config.multi_stft)
        case "segan":
            return SeganCritic(config.segan, sample_rate)
        case _:
            raise ValueError(f"critic must be spectrogram, multi_stft or segan, got {config.critic!r}")
