"""The objective of AM_GAN: that of SEGAN 2017 with a critic whose input noise fades, and L1 that ends with the run.

Source: the system AM_GAN (2019; SEGAN for children's recognition).  It counts in epochs; here an epoch is EPOCH steps,
its 20 hours of speech in half-overlapping windows of 16384 samples, 150 a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from enhance.critics.segan import SeganV1CriticConfig
from enhance.losses.regression import WeightSchedule
from enhance.objectives.segan import SeganObjectiveConfig

EPOCH = 938


@dataclass(frozen=True, kw_only=True)
class AmGanCriticConfig(SeganV1CriticConfig):
    bias: bool = False
    head_bias: bool = False
    noise: float = 0.5
    noise_decay: float = 0.7
    noise_every: int = EPOCH
    noise_from: int = 5 * EPOCH
    noise_least: float = 0.01


@dataclass(frozen=True, kw_only=True)
class AmGanSchedule(WeightSchedule):
    kind: Literal["constant", "linear", "exponential", "step"] = "step"
    start: int = 150 * EPOCH


@dataclass(frozen=True, kw_only=True)
class AmGanObjectiveConfig(SeganObjectiveConfig):
    schedule: AmGanSchedule = field(default_factory=AmGanSchedule)
    critic: AmGanCriticConfig = field(default_factory=AmGanCriticConfig)
