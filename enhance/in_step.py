"""Whether what came out of an enhancer is in step with what went in: the same rate, as many samples, no delay.

The delay is the lag at which the cross-correlation of output and input is strongest, over all lags, of either sign: an
output of the opposite polarity is in step too.  Means are taken out first, so that an offset does not hide the speech.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from enhance.metrics.recordings import open_recordings
from harness.errors import AudioError, SchoolyardError
from harness.jobs import map_jobs
from kaldi_bridge.audio import AudioTable


@dataclass(frozen=True, kw_only=True)
class Step:
    """How an utterance came out.  rates: Hz, of input and output.  longer: samples more than the input's (None at other
    rates).  delay: samples that the output lags behind (None at other rates and for a silent input).  problem: why it
    could not be judged, or empty."""

    utterance: str
    rates: tuple[int, int] = (0, 0)
    longer: int | None = None
    delay: int | None = None
    problem: str = ""


def delay_of(sound: np.ndarray, output: np.ndarray) -> int:
    """Samples that the output lags behind the sound [samples] each; negative where it is ahead.

    Raises AudioError where one of them is silent or constant: then there is nothing to compare.
    """
    for name, one in (("input", sound), ("output", output)):
        if _is_silent(one):
            raise AudioError(name, "is silent", mend="leave it out")
    first, second = (one.astype(np.float64) - one.mean(dtype=np.float64) for one in (sound, output))
    size = next_fast_len(len(first) + len(second) - 1, real=True)
    correlation = irfft(rfft(second, size) * np.conj(rfft(first, size)), size)
    lag = int(np.argmax(np.abs(correlation)))
    return lag if lag < len(second) else lag - size


def _is_silent(sound: np.ndarray) -> bool:
    return not len(sound) or float(np.ptp(sound)) < 1e-9


def steps_of(
    reference: str | os.PathLike[str], estimate: str | os.PathLike[str], *, jobs: int | None = None
) -> Iterator[Step]:
    """Every utterance of `reference` that `estimate` has too, in order; both as `enhance score` takes them."""
    truth, judged = open_recordings(reference), open_recordings(estimate)
    common = [utterance for utterance in truth.utterances if utterance in judged.utt2spk]
    _table.cache_clear()  # the place may hold other recordings than at the last call
    work = partial(_step, os.fspath(reference), os.fspath(estimate))
    return map_jobs(work, common, jobs=jobs, label=f"delays of {judged.path.name}")


def _step(reference: str, estimate: str, utterance: str) -> Step:
    try:
        sound, rate = _table(reference).read_native(utterance)
        output, rate_out = _table(estimate).read_native(utterance)
        if rate != rate_out:
            return Step(utterance=utterance, rates=(rate, rate_out))
        step = Step(utterance=utterance, rates=(rate, rate), longer=len(output) - len(sound))
        return step if _is_silent(sound) else replace(step, delay=delay_of(sound, output))
    except SchoolyardError as error:
        return Step(utterance=utterance, problem=f"{error.where}: {error.problem}")


@lru_cache(maxsize=4)
def _table(path: str) -> AudioTable:
    return AudioTable(open_recordings(path, validate=False), sample_rate=None)
