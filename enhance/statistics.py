"""Mean and standard deviation of all samples of a data directory, which Advanced SEGAN normalises its signals by.

Exact over any number of utterances: the sums of each are merged (Chan et al. 1979), not averaged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import AudioError
from kaldi_bridge.audio import read_utterances
from kaldi_bridge.data_dir import DataDir


@dataclass(frozen=True)
class SampleStatistics:
    """Of samples at full scale 1."""

    count: int
    mean: float
    std: float


def sample_statistics(signals: Iterable[np.ndarray], where: str) -> SampleStatistics:
    """Over all samples [n] of all signals.  Raises AudioError if there are none, or if they are all the same."""
    count, mean, squares = 0, 0.0, 0.0  # squares: of the distances to the mean
    for signal in signals:
        if not len(signal):
            continue
        own = float(signal.mean(dtype=np.float64))
        own_squares = float(np.square(signal - own, dtype=np.float64).sum())
        both, apart = count + len(signal), own - mean
        squares += own_squares + apart**2 * count * len(signal) / both
        mean += apart * len(signal) / both
        count = both
    if not squares > 0:
        raise AudioError(where, "holds no sound", mend="give a data directory of recordings that are not silent")
    return SampleStatistics(count, mean, (squares / count) ** 0.5)


def data_dir_statistics(path: Path, sample_rate: int) -> SampleStatistics:
    """Over all utterances of a Kaldi data directory."""
    utterances = read_utterances(DataDir.read(path, validate=False), sample_rate=sample_rate)
    return sample_statistics((samples for _, samples in utterances), str(path))
