"""Crystaliser: each sample driven away from the one before, which sharpens and roughens (FFmpeg's crystalizer)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.chance import Chance, check_range
from enhance.augment.ffmpeg import filtered


@dataclass(frozen=True, kw_only=True)
class CrystalizerConfig(Chance):
    intensity: tuple[float, float] = (1.0, 4.0)  # uniform; as FINALLY has it

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("intensity", self.intensity, 0, 10)


def crystalize(
    samples: np.ndarray, sample_rate: int, config: CrystalizerConfig, rng: np.random.Generator
) -> np.ndarray:
    """[samples] -> [samples]."""
    return filtered(samples, sample_rate, "crystalizer", f"i={rng.uniform(*config.intensity):.4f}")
