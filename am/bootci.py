"""Kaldi's compute-wer-bootci, draw for draw: its intervals and its probability of improvement, to the last digit.

Paper: Bisani and Ney 2004 (as Kaldi has it).  Utterances are drawn one by one with the C library's rand() (GNU libc's,
unseeded), sums are kept in single precision, and the interval is 1.96 standard deviations about the mean of the
replicas.  It serves agreement with published Kaldi results: am/bootstrap.py, which draws whole speakers, is more honest
where a child speaks more than one utterance.
"""

# Compiled functions carry no annotations: numba infers their types.
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from am.bootstrap import Errors, check_same

REPLICATIONS = 10_000  # compute-wer-bootci's default


@dataclass(frozen=True, kw_only=True)
class KaldiInterval:
    """Mean of the replicas and half the width of the interval, both as fractions."""

    mean: float
    half: float

    def line(self, name: str) -> str:
        """As compute-wer-bootci prints it: Set1: %WER 49.34 95% Conf Interval [ 37.48, 61.21 ]."""
        low, high = 100 * (self.mean - self.half), 100 * (self.mean + self.half)
        return f"{name}: %WER {100 * self.mean:.2f} 95% Conf Interval [ {low:.2f}, {high:.2f} ]"


@njit(cache=True)
def _unseeded():
    """State of GNU libc's rand() before its first number: 31 words, then the places of the two that are added."""
    state = np.zeros(33, np.int64)
    state[0] = 1
    for i in range(1, 31):
        state[i] = (16807 * state[i - 1]) % 2147483647
    state[31], state[32] = 3, 0
    for _ in range(310):
        _rand(state)
    return state


@njit(cache=True)
def _rand(state):
    """The next number of rand(), 0 to 2**31 - 1: an additive feedback generator, r[i] = r[i - 3] + r[i - 31]."""
    front, rear = state[31], state[32]
    state[front] = (state[front] + state[rear]) & 0xFFFFFFFF
    state[31], state[32] = (front + 1) % 31, (rear + 1) % 31
    return state[front] >> 1


@njit(cache=True, error_model="numpy")  # a replica without a word has no rate, as in Kaldi
def _replicas(state, errors, words, replications):
    """Sums of the replicas' error rates and of their squares, in single precision as Kaldi keeps them."""
    n = len(errors)
    rates, squares = np.float32(0), np.float32(0)
    for _ in range(replications):
        wrong, spoken = 0, 0
        for _ in range(n):
            place = _rand(state) % n if n > 1 else 0  # one utterance needs no draw
            wrong += errors[place]
            spoken += words[place]
        rate = np.float32(np.float32(wrong) / np.float32(spoken))
        rates = np.float32(rates + rate)
        squares = np.float32(squares + np.float32(rate * rate))
    return rates, squares


@njit(cache=True)
def _better(state, change, replications):
    n = len(change)
    better = 0
    for _ in range(replications):
        difference = 0
        for _ in range(n):
            difference += change[_rand(state) % n if n > 1 else 0]
        better += difference > 0
    return better


def _interval(state: NDArray[np.int64], errors: Errors, replications: int) -> KaldiInterval:
    rates, squares = _replicas(state, errors.errors, errors.words, replications)
    mean = np.float32(rates) / np.float32(replications)
    variance = float(np.float32(squares) / np.float32(replications) - mean * mean)
    return KaldiInterval(mean=float(mean), half=1.96 * math.sqrt(max(variance, 0.0)))


def kaldi_interval(errors: Errors, replications: int = REPLICATIONS) -> KaldiInterval:
    """The interval that compute-wer-bootci gives for one system (order of the utterances as in Errors: by name)."""
    return _interval(_unseeded(), errors, replications)


def kaldi_comparison(
    first: Errors, second: Errors, replications: int = REPLICATIONS
) -> tuple[KaldiInterval, KaldiInterval, float]:
    """Intervals of both systems, and the share of replicas in which the second has fewer errors than the first.

    Raises DataDirError where the two were not scored on the same references.
    """
    check_same(first, second)
    state = _unseeded()
    one, other = _interval(state, first, replications), _interval(state, second, replications)
    better = _better(state, first.errors - second.errors, replications)
    return one, other, float(better) / replications
