"""The objectives: one file a paper, which critic and losses with what weights.  A new one is a file and a line here."""

from __future__ import annotations

from enhance.objectives.compact import CompactObjective, CompactObjectiveConfig
from enhance.objectives.objective import Objective

OBJECTIVES = {
    "compact": (CompactObjectiveConfig, CompactObjective),
}

__all__ = ["OBJECTIVES", "Objective"]
