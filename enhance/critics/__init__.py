"""The critics.  A new one is a file here, with its frozen Config; the objectives that use it hold that config."""

from __future__ import annotations

from enhance.critics.critic import Critic
from enhance.critics.spectrogram import SpectrogramCritic, SpectrogramCriticConfig

CRITICS = {
    "spectrogram": (SpectrogramCriticConfig, SpectrogramCritic),
}

__all__ = ["CRITICS", "Critic"]
