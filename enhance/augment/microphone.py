"""Recorded impulse responses of microphones, on the input alone: the colour of cheap capsules.

The response is turned so that its peak leaves sounds where they are, and scaled so that white noise keeps its power.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from enhance.augment.chance import Chance
from enhance.augment.responses import Response, load_responses


@dataclass(frozen=True, kw_only=True)
class MicrophoneConfig(Chance):
    files: Path | None = None  # directory of impulse responses

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probability and self.files is None:
            raise ValueError("files must name a directory of impulse responses")


def draw_microphone(config: MicrophoneConfig, sample_rate: int, rng: np.random.Generator) -> Response:
    """One of the recorded responses at unit energy."""
    assert config.files is not None  # as the config has made sure
    responses = _at_unit_energy(config.files, sample_rate)
    return responses[rng.integers(len(responses))]


@lru_cache(maxsize=4)
def _at_unit_energy(files: Path, sample_rate: int) -> tuple[Response, ...]:
    return tuple(
        Response(taps=one.taps / np.sqrt(np.sum(np.square(one.taps, dtype=np.float64))), lead=one.lead)
        for one in load_responses(files, sample_rate)
    )
