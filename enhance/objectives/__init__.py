"""The objectives: one file a paper, which critic and losses with what weights.  A new one is a file and a line here."""

from __future__ import annotations

from typing import Any

from enhance.objectives.advanced_segan import AdvancedSeganObjective, AdvancedSeganObjectiveConfig
from enhance.objectives.aewsegan import AewseganObjective, AewseganObjectiveConfig
from enhance.objectives.am_gan import AmGanObjectiveConfig
from enhance.objectives.compact import CompactObjective, CompactObjectiveConfig
from enhance.objectives.denoiser import DenoiserObjective, DenoiserObjectiveConfig
from enhance.objectives.finally_ import FinallyObjective, FinallyObjectiveConfig
from enhance.objectives.hifi_gan import HiFiGANObjective, HiFiGANObjectiveConfig
from enhance.objectives.hifi_plusplus import HiFiPlusPlusObjective, HiFiPlusPlusObjectiveConfig
from enhance.objectives.metricgan import MetricganObjective, MetricganObjectiveConfig
from enhance.objectives.objective import Objective
from enhance.objectives.segan import SeganObjective, SeganObjectiveConfig, SeganV1ObjectiveConfig
from enhance.objectives.wsegan import WseganObjective, WseganObjectiveConfig

OBJECTIVES: dict[str, tuple[Any, Any]] = {
    "advanced_segan": (AdvancedSeganObjectiveConfig, AdvancedSeganObjective),
    "aewsegan": (AewseganObjectiveConfig, AewseganObjective),
    "am_gan": (AmGanObjectiveConfig, SeganObjective),
    "compact": (CompactObjectiveConfig, CompactObjective),
    "denoiser": (DenoiserObjectiveConfig, DenoiserObjective),
    "finally": (FinallyObjectiveConfig, FinallyObjective),
    "metricgan": (MetricganObjectiveConfig, MetricganObjective),
    "hifi_gan": (HiFiGANObjectiveConfig, HiFiGANObjective),
    "hifi_plusplus": (HiFiPlusPlusObjectiveConfig, HiFiPlusPlusObjective),
    "segan": (SeganObjectiveConfig, SeganObjective),
    "segan_v1": (SeganV1ObjectiveConfig, SeganObjective),
    "wsegan": (WseganObjectiveConfig, WseganObjective),
}

__all__ = ["OBJECTIVES", "Objective"]
