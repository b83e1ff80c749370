"""The latent noise of SEGAN and its kin: fresh while training, a fixed repeating piece otherwise.

So the same recording gives the same samples twice, whatever else is in its batch and however it is cut into blocks.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def latent_noise(
    like: Tensor, *, fresh: bool, frame: int, period: int, seed: int, channels: int | None = None
) -> Tensor:
    """N(0, 1) noise with the batch and frames of `like`: [batch, channels, frames].

    frame: place of the first frame in the recording.  period: frames after which the fixed piece repeats.
    channels: as many as `like` has, if not given.
    """
    batch, same, frames = like.shape
    channels = same if channels is None else channels
    if fresh:
        return torch.randn(batch, channels, frames, device=like.device, dtype=like.dtype)
    piece = _piece(int(channels), period, seed).to(like)  # int: no part of an exported graph
    place = (torch.arange(frames, device=like.device) + frame) % period
    return piece[:, place].expand(batch, -1, -1)


@lru_cache(maxsize=8)
def _piece(channels: int, period: int, seed: int) -> Tensor:
    """The noise that repeats: [channels, period], the same for a seed on every machine."""
    return torch.randn(channels, period, generator=torch.Generator().manual_seed(seed), device="cpu")
