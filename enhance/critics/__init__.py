"""The critics.  A new one is a file here, with its frozen Config; the objectives that use it hold that config."""

from __future__ import annotations

from typing import Any

from enhance.critics.critic import Critic
from enhance.critics.grading import GradingCritic, GradingCriticConfig
from enhance.critics.multi_period import MultiPeriodCritic, MultiPeriodCriticConfig
from enhance.critics.multi_scale import MultiScaleCritic, MultiScaleCriticConfig
from enhance.critics.multi_stft import MultiStftCritic, MultiStftCriticConfig
from enhance.critics.segan import SeganCritic, SeganCriticConfig, SeganV1CriticConfig
from enhance.critics.spectrogram import SpectrogramCritic, SpectrogramCriticConfig

CRITICS: dict[str, tuple[Any, Any]] = {
    "multi_stft": (MultiStftCriticConfig, MultiStftCritic),
    "grading": (GradingCriticConfig, GradingCritic),
    "multi_period": (MultiPeriodCriticConfig, MultiPeriodCritic),
    "multi_scale": (MultiScaleCriticConfig, MultiScaleCritic),
    "segan": (SeganCriticConfig, SeganCritic),
    "segan_v1": (SeganV1CriticConfig, SeganCritic),
    "spectrogram": (SpectrogramCriticConfig, SpectrogramCritic),
}

__all__ = ["CRITICS", "Critic"]
