"""The critics.  A new one is a file here, with its frozen Config; the objectives that use it hold that config."""

from __future__ import annotations

from typing import Any

from enhance.critics.critic import Critic
from enhance.critics.segan import SeganCritic, SeganCriticConfig, SeganV1CriticConfig
from enhance.critics.spectrogram import SpectrogramCritic, SpectrogramCriticConfig

CRITICS: dict[str, tuple[Any, Any]] = {
    "segan": (SeganCriticConfig, SeganCritic),
    "segan_v1": (SeganV1CriticConfig, SeganCritic),
    "spectrogram": (SpectrogramCriticConfig, SpectrogramCritic),
}

__all__ = ["CRITICS", "Critic"]
