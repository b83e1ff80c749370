"""Random numbers that depend on names, not on order: the same draw for an utterance whatever the number of workers."""

from __future__ import annotations

import hashlib
import random

import numpy as np


def rng_for(seed: int, *keys: str | int) -> np.random.Generator:
    """A numpy generator seeded by SHA-256 of the seed and the keys (an utterance id, an epoch, a purpose)."""
    text = "\x1f".join([str(seed), *map(str, keys)])
    words = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype=np.uint32)
    return np.random.default_rng(words)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy's legacy generator and, where it is loaded, torch."""
    import sys

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
