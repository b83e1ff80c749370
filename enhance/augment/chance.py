"""What all augmentations share: a probability, off by default, and a draw that depends on names alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Chance:
    probability: float = 0.0  # share of the pairs that get it; 0 leaves it out

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {self.probability}")

    def hits(self, rng: np.random.Generator) -> bool:
        """Whether this pair gets it; takes one number from rng."""
        return float(rng.random()) < self.probability


def check_range(name: str, values: tuple[float, float], low: float, high: float) -> None:
    """Raise ValueError unless low <= values[0] <= values[1] <= high."""
    if not low <= values[0] <= values[1] <= high:
        raise ValueError(f"{name} must rise and lie in [{low:g}, {high:g}], got {list(values)}")
