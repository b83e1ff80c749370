"""Noises dealt out anew among the pairs of a batch (denoiser's Remix)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.chance import Chance


@dataclass(frozen=True, kw_only=True)
class RemixConfig(Chance):
    """probability: of a batch.  A noise keeps the level that its own pair set: the SNR changes."""


def dealt(rows: int, config: RemixConfig, rng: np.random.Generator) -> np.ndarray:
    """[rows] for each pair, whose noise it gets."""
    return rng.permutation(rows) if config.hits(rng) else np.arange(rows)
