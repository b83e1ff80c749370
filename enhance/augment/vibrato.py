"""Vibrato: a delay that swings, and with it the pitch (FFmpeg's vibrato); its mean delay is taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.chance import Chance, check_range
from enhance.augment.ffmpeg import filtered

LINE = 0.005  # seconds of FFmpeg's delay line


@dataclass(frozen=True, kw_only=True)
class VibratoConfig(Chance):
    frequency: tuple[float, float] = (5.0, 8.0)  # Hz of the swing, uniform; as FINALLY has it
    depth: float = 0.5  # of the delay line of 5 ms; FFmpeg's default

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("frequency", self.frequency, 0.1, 20_000)
        if not 0 < self.depth <= 1:
            raise ValueError(f"depth must lie in (0, 1], got {self.depth}")


def vibrate(samples: np.ndarray, sample_rate: int, config: VibratoConfig, rng: np.random.Generator) -> np.ndarray:
    """[samples] -> [samples]."""
    line = int(LINE * sample_rate)
    delay = line - config.depth * (line - 1) / 2  # the swing reaches from the end of the line towards its start
    arguments = f"f={rng.uniform(*config.frequency):.4f}:d={config.depth:.4f}"
    return filtered(samples, sample_rate, "vibrato", arguments, delay=delay)
