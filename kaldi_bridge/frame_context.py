"""Features from neighbouring frames: deltas as add-deltas, stacked frames as splice-feats.

Beyond the ends of an utterance the first and the last frame are repeated.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def add_deltas(feats: Floats, order: int = 2, window: int = 2) -> Floats:
    """[frames, dim] to [frames, dim * (order + 1)]: the features, their slopes over +-window frames, and on."""
    if order < 0 or window < 1:
        raise ValueError(f"order must not be negative and window be positive, got {order} and {window}")
    frames, dim = feats.shape
    out = np.empty((frames, dim * (order + 1)), np.float32)
    if not frames:
        return out
    reach = order * window
    padded = np.pad(np.asarray(feats, np.float32), ((reach, reach), (0, 0)), mode="edge")
    for power in range(order + 1):
        weights, block = delta_weights(power, window), out[:, power * dim : (power + 1) * dim]
        block[...] = 0
        for offset, weight in enumerate(weights, start=reach - power * window):
            if weight:
                block += np.float32(weight) * padded[offset : offset + frames]
    return out


@lru_cache(maxsize=32)
def delta_weights(order: int, window: int) -> tuple[float, ...]:
    """The filter over frames -order * window .. order * window that makes the deltas of this order."""
    slope = np.arange(-window, window + 1) / np.sum(np.arange(-window, window + 1) ** 2)
    weights = np.ones(1)
    for _ in range(order):
        weights = np.convolve(weights, slope)
    return tuple(float(np.float32(weight)) for weight in weights)


def splice(feats: Floats, left: int = 4, right: int = 4) -> Floats:
    """[frames, dim] to [frames, dim * (left + 1 + right)]: each frame with its neighbours, in order of time."""
    if left < 0 or right < 0:
        raise ValueError(f"left and right must not be negative, got {left} and {right}")
    frames, dim = feats.shape
    if not frames:
        return np.zeros((0, dim * (left + 1 + right)), np.float32)
    neighbours = np.arange(frames)[:, None] + np.arange(-left, right + 1)
    return np.ascontiguousarray(feats[np.clip(neighbours, 0, frames - 1)].reshape(frames, -1), np.float32)
