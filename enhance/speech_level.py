"""The level of speech over its active frames, in the manner of ITU-T P.56: pauses do not count.

Active frames of 20 ms are those within 15.9 dB (P.56's margin) of the active level itself; the level is found by
starting from the mean over all frames and leaving out quieter ones until nothing changes.  Differs from P.56: frame
energies instead of an envelope, no hangover.  Works alike on numpy arrays and torch tensors.
"""

from __future__ import annotations

from typing import Any

MARGIN = 10 ** (-15.9 / 10)  # power ratio
ROUNDS = 12  # enough for the level to settle: each round can only raise it


def active_power(samples: Any, sample_rate: int = 16000) -> Any:
    """Mean power over the active frames: [..., samples] -> [...].

    samples: numpy array or torch tensor.  A signal shorter than one frame counts as one frame; silence gives 0.
    """
    frame = min(sample_rate // 50, samples.shape[-1])
    whole = samples.shape[-1] // frame * frame
    frames = samples[..., :whole].reshape(*samples.shape[:-1], whole // frame, frame)
    energy = (frames * frames).mean(-1)
    level = energy.mean(-1)
    for _ in range(ROUNDS):
        active = energy >= level[..., None] * MARGIN
        level = (energy * active).sum(-1) / active.sum(-1)
    return level
