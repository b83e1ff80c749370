"""The objective of the compact generator: what a recogniser sees first, an adversary beside it.

Compressed spectra as in Braun and Tashev 2020 (arXiv:2009.12286), SI-SDR with a ceiling so that nearly clean input does
not rule the sum, Kaldi's log-mel energies, and a least-squares critic with feature matching (weights may be 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from enhance.critics.spectrogram import SpectrogramCritic, SpectrogramCriticConfig
from enhance.losses.adversarial import critic_least_squares, feature_distance, generator_least_squares
from enhance.losses.mel import LogMel
from enhance.losses.stft import compressed_distance
from enhance.losses.waveform import clipped_si_sdr
from enhance.objectives.objective import Objective

SILENCE = 1e-5  # root mean square below which a row is not amplified any further


@dataclass(frozen=True, kw_only=True)
class CompactObjectiveConfig:
    magnitude: float = 7.0  # compressed magnitudes
    complex: float = 1.5  # compressed complex spectra
    removed: float = 3.0  # compressed magnitudes that fell below clean: lost speech hurts a recogniser most
    si_sdr: float = 0.02  # per dB
    si_sdr_ceiling: float = 25.0  # dB
    log_mel: float = 0.7  # per neper, mean over Kaldi's bands
    log_mel_bands: tuple[int, ...] = (23, 40)  # as the MFCC and the fbank recipes use them
    adversarial: float = 0.03
    matching: float = 0.05  # of the critic's layers
    critic: SpectrogramCriticConfig = field(default_factory=SpectrogramCriticConfig)

    def __post_init__(self) -> None:
        if not self.log_mel_bands:
            raise ValueError("log_mel_bands must name at least one number of bands")
        if self.adversarial == 0 and self.matching > 0:
            raise ValueError("matching needs a critic: set it to 0 with adversarial")


class CompactObjective(Objective):
    """Spectra at the noisy signal's unit level, log-mel energies at the recorded one."""

    def __init__(self, config: CompactObjectiveConfig, sample_rate: int) -> None:
        super().__init__()
        self.config = config
        self.critic = SpectrogramCritic(config.critic) if config.adversarial > 0 else None
        self.log_mels = [LogMel(sample_rate=sample_rate, bands=bands) for bands in config.log_mel_bands]
        for index, log_mel in enumerate(self.log_mels):
            self.add_module(f"log_mel{index}", log_mel)

    def critic_loss(self, fake: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        assert self.critic is not None
        fake, clean, noisy = _at_unit_level(fake, clean, noisy)
        return critic_least_squares(self.critic(clean, noisy).scores, self.critic(fake, noisy).scores)

    def model_loss(
        self, fake: Tensor, clean: Tensor, noisy: Tensor, *, adversarial: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        log_mel = sum((mel(fake) - mel(clean)).abs().mean() for mel in self.log_mels) / len(self.log_mels)
        fake, clean, noisy = _at_unit_level(fake, clean, noisy)
        magnitude, in_complex, removed = compressed_distance(fake, clean, 512, 128)
        si_sdr = clipped_si_sdr(fake, clean, config.si_sdr_ceiling).mean()
        parts = {"magnitude": magnitude, "complex": in_complex, "removed": removed, "log_mel": log_mel}
        loss = sum(getattr(config, name) * part for name, part in parts.items()) - config.si_sdr * si_sdr
        parts["si_sdr"] = si_sdr
        if self.critic is not None and adversarial:
            opinion = self.critic(fake, noisy)
            parts["adversarial"] = generator_least_squares(opinion.scores)
            loss = loss + config.adversarial * parts["adversarial"]
            if config.matching > 0:
                truth = [layer.detach() for layer in self.critic(clean, noisy).layers]
                parts["matching"] = feature_distance(truth, opinion.layers)
                loss = loss + config.matching * parts["matching"]
        return loss, {name: part.detach() for name, part in parts.items()}


def _at_unit_level(fake: Tensor, clean: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    level = noisy.square().mean(-1, keepdim=True).sqrt().clamp(min=SILENCE)
    return fake / level, clean / level, noisy / level
