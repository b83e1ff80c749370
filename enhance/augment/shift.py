"""Crops moved by a random time: the same for speech and noise, or each by its own (denoiser's Shift).

It matters for strided segments and recorded noise, whose places are fixed; drawn crops lie anywhere as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.chance import Chance


@dataclass(frozen=True, kw_only=True)
class ShiftConfig(Chance):
    seconds: float = 0.5  # largest move
    same: bool = True  # speech and noise together

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seconds <= 0:
            raise ValueError(f"seconds must be positive, got {self.seconds}")


def draw_shift(config: ShiftConfig, sample_rate: int, rng: np.random.Generator) -> tuple[int, int]:
    """Samples by which speech and noise are read later."""
    if not config.hits(rng):
        return 0, 0
    speech, noise = (int(move) for move in rng.integers(round(config.seconds * sample_rate) + 1, size=2))
    return speech, speech if config.same else noise
