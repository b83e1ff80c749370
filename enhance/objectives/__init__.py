"""The objectives: one file a paper, which critic and losses with what weights.  A new one is a file and a line here."""

from __future__ import annotations

from typing import Any

from enhance.objectives.compact import CompactObjective, CompactObjectiveConfig
from enhance.objectives.objective import Objective
from enhance.objectives.segan import SeganObjective, SeganObjectiveConfig

OBJECTIVES: dict[str, tuple[Any, Any]] = {
    "compact": (CompactObjectiveConfig, CompactObjective),
    "segan": (SeganObjectiveConfig, SeganObjective),
}

__all__ = ["OBJECTIVES", "Objective"]
