"""The generators.  A new one is a file here and a line in MODELS."""

from __future__ import annotations

from typing import Any

from enhance.models.compact import Compact, CompactConfig
from enhance.models.generator import Generator, Stream
from enhance.models.segan_plus import SeganPlus, SeganPlusConfig

MODELS: dict[str, tuple[Any, Any]] = {
    "compact": (CompactConfig, Compact),
    "segan_plus": (SeganPlusConfig, SeganPlus),
}

__all__ = ["MODELS", "Generator", "Stream"]
