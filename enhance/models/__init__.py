"""The generators.  A new one is a file here and a line in MODELS."""

from __future__ import annotations

from enhance.models.compact import Compact, CompactConfig
from enhance.models.generator import Generator, Stream

MODELS = {
    "compact": (CompactConfig, Compact),
}

__all__ = ["MODELS", "Generator", "Stream"]
