"""Bit crusher: samples rounded to a few bits, as cheap converters do (FFmpeg's acrusher)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.chance import Chance, check_range
from enhance.augment.ffmpeg import filtered


@dataclass(frozen=True, kw_only=True)
class CrusherConfig(Chance):
    bits: tuple[float, float] = (1.0, 9.0)  # uniform; as FINALLY has it
    mix: float = 0.5  # share of the crushed in the output; FFmpeg's default

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits", self.bits, 1, 64)
        if not 0 < self.mix <= 1:
            raise ValueError(f"mix must lie in (0, 1], got {self.mix}")


def crush(samples: np.ndarray, sample_rate: int, config: CrusherConfig, rng: np.random.Generator) -> np.ndarray:
    """[samples] -> [samples]."""
    # FFmpeg's mix is the share of the input, whatever its manual's name suggests.
    bits = rng.uniform(*config.bits)
    return filtered(samples, sample_rate, "acrusher", f"bits={bits:.4f}:mix={1 - config.mix:.4f}")
