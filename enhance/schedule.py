"""The learning rate's course: cosine, exponential, halving on a plateau or constant, after a warm-up."""

from __future__ import annotations

import math

from enhance.train_config import TrainConfig


def rate_factor(config: TrainConfig, *, step: int, done: float, steps_per_epoch: float, halvings: int) -> float:
    """What the rates of both nets are multiplied with.

    step: from 0.  done: share of the run that is over, which the cosine follows (a time limit shortens it).
    halvings: times that the validation stood still (halving).
    """
    rising = min(1.0, (step + 1) / max(1, config.warmup))
    return float(_falling(config, step, done, steps_per_epoch, halvings) * rising**config.warmup_power)


def _falling(config: TrainConfig, step: int, done: float, steps_per_epoch: float, halvings: int) -> float:
    match config.schedule:
        case "cosine":
            half_wave = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
            return config.final_rate + (1 - config.final_rate) * half_wave
        case "exponential":
            return float(config.decay ** math.floor(step / (config.decay_every or steps_per_epoch)))
        case "halving":
            return 0.5**halvings
        case "constant":
            return 1.0
        case _:
            raise ValueError(f"schedule must be cosine, exponential, halving or constant, got {config.schedule!r}")
