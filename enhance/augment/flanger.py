"""Flanger: a copy whose delay swings, added to the sound: a comb that sweeps (FFmpeg's flanger)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.chance import Chance, check_range
from enhance.augment.ffmpeg import filtered


@dataclass(frozen=True, kw_only=True)
class FlangerConfig(Chance):
    depth: tuple[float, float] = (1.0, 8.0)  # ms of swing, uniform; as FINALLY has it

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("depth", self.depth, 0, 10)


def flange(samples: np.ndarray, sample_rate: int, config: FlangerConfig, rng: np.random.Generator) -> np.ndarray:
    """[samples] -> [samples]."""
    return filtered(samples, sample_rate, "flanger", f"depth={rng.uniform(*config.depth):.4f}")
