"""Rows of fading echoes with jitter, a cheap room (denoiser's RevEcho).

Paper: Defossez et al. 2020, arXiv:2006.12847.  Echoes of speech mostly join the noise: the model learns to take them
out.  Every echo is the sound later and weaker, so a draw is a sparse filter.  Differs: drawn for each pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.chance import Chance, check_range

FAINTEST = 1e-3  # an echo below this share of the first one ends the row


@dataclass(frozen=True, kw_only=True)
class ReverbEchoConfig(Chance):
    initial: float = 0.3  # gain of the first echo, uniform from 0
    rt60: tuple[float, float] = (0.3, 1.3)  # seconds to fall by 60 dB, uniform
    first_delay: tuple[float, float] = (0.01, 0.03)  # seconds between echoes, uniform
    repeats: int = 3  # rows of echoes, one over the other
    jitter: float = 0.1  # of delays and gains, as a share
    keep_clean: float = 0.1  # share of the speech's echoes that stays in the target

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rt60", self.rt60, 0.01, 10)
        check_range("first_delay", self.first_delay, 0.001, 1)
        if self.repeats < 1 or not 0 < self.initial <= 1:
            raise ValueError("repeats must be at least 1, and initial lie in (0, 1]")
        if not 0 <= self.jitter < 1 or not 0 <= self.keep_clean <= 1:
            raise ValueError("jitter must lie in [0, 1) and keep_clean in [0, 1]")


def draw_echoes(
    config: ReverbEchoConfig, sample_rate: int, longest: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Filters [at most longest] of the echoes of speech and of noise: the same room, other jitter."""
    initial, rt60 = rng.uniform(0, config.initial), rng.uniform(*config.rt60)
    delay = rng.uniform(*config.first_delay)
    first, second = (_echoes(config, initial, delay, rt60, sample_rate, longest, rng) for _ in range(2))
    return first, second


def _echoes(
    config: ReverbEchoConfig, initial: float, delay: float, rt60: float, sample_rate: int, longest: int,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    taps = np.zeros(longest, np.float32)
    for _ in range(config.repeats):
        place, fraction = 0, 1.0
        while fraction > FAINTEST:
            place += 1 + int((1 + config.jitter * rng.uniform(-1, 1)) * delay * sample_rate)
            if place >= longest:
                break
            taps[place] += initial * fraction
            fraction *= 10 ** (-3 * (1 + config.jitter * rng.uniform(-1, 1)) * delay / rt60)
    return taps
