"""The objective of HiFi++: HiFi-GAN's, with three critics at one scale instead of several scales and periods.

Paper: Andreev et al. 2023 (arXiv:2203.13086): least squares, features times 2, mel distance times 45.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from enhance.critics.multi_scale import MultiScaleCriticConfig
from enhance.objectives.hifi_gan import HiFiGANObjective, HiFiGANObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class HiFiPlusPlusObjectiveConfig(HiFiGANObjectiveConfig):
    critics: tuple[Literal["multi_period", "multi_scale"], ...] = ("multi_scale",)
    multi_scale: MultiScaleCriticConfig = field(default_factory=lambda: MultiScaleCriticConfig(same_scale=True))


class HiFiPlusPlusObjective(HiFiGANObjective):
    """HiFi-GAN's losses with other critics."""
