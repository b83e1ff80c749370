"""Impulse responses from files, with the direct sound at a known place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from harness.errors import AudioError
from kaldi_bridge.audio import read_sound, resample

BEFORE = 0.002  # seconds kept before the peak: rise of the direct sound, ringing of anti-aliasing filters
LONGEST = 2.0  # seconds kept after it


@dataclass(frozen=True)
class Response:
    """taps: float [n].  lead: place of the direct sound, which stays where it is in time."""

    taps: np.ndarray
    lead: int


def aligned(samples: np.ndarray, sample_rate: int) -> Response:
    """A response whose peak is its direct sound: positive one, with BEFORE ahead of it.

    Raises ValueError for a silent one.
    """
    peak = int(np.abs(samples).argmax())
    if not abs(float(samples[peak])) > 0:
        raise ValueError("holds silence only")
    lead = round(BEFORE * sample_rate)
    whole = np.concatenate([np.zeros(lead, np.float32), samples])[peak : peak + lead + round(LONGEST * sample_rate)]
    return Response(taps=whole / samples[peak], lead=lead)


@lru_cache(maxsize=4)
def load_responses(directory: Path, sample_rate: int) -> tuple[Response, ...]:
    """Every response below a directory, sorted by path, first channel, resampled where needed.

    Raises AudioError: no directory, no audio, a file that is silent or unreadable.
    """
    from enhance.sounds import sound_files

    responses = []
    for path in sound_files(directory, what="impulse response"):
        samples, info = read_sound(str(path), where=str(path), allow_commands=False)
        mono = np.ascontiguousarray(samples[:, 0])
        if info.rate != sample_rate:
            mono = resample(mono, info.rate, sample_rate)
        try:
            responses.append(aligned(mono, sample_rate))
        except ValueError as error:
            raise AudioError(path, str(error), mend="remove this file") from error
    return tuple(responses)
