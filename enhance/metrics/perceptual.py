"""PESQ and STOI, by the packages that the field uses; whole utterances.

PESQ: ITU-T P.862.2 wide band at 16 kHz, P.862 narrow band (mapped by P.862.1) at 8 kHz; package pesq, which is compiled
at installation and may be missing.  STOI: Taal et al. 2011; extended: Jensen and Taal 2016; package pystoi, 10 kHz.
Other rates are converted first (soxr HQ).  A value that a package gives for sounds it cannot judge (pystoi's 1e-5,
pesq's -1) is an error here.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from typing import Any, Literal

import numpy as np

from harness.errors import AudioError
from kaldi_bridge.audio import resample

WIDE, NARROW = 16000, 8000  # Hz
LONGEST = 60  # seconds for PESQ: its program has room for 50 stretches of speech, and past them it crashes


def pesq_installed() -> bool:
    """PESQ is compiled at installation; without a compiler it is not there."""
    return importlib.util.find_spec("pesq") is not None


def pesq_of(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Wide-band PESQ, 1.04 to 4.64; NaN where the package is missing.  Raises AudioError where it gives no score."""
    if sample_rate < WIDE:
        problem = f"wide band needs {WIDE} Hz, not {sample_rate}"
        raise AudioError("PESQ", problem, mend="use pesq_nb for telephone speech")
    return _pesq(clean, estimate, sample_rate, "wb")


def pesq_narrow_of(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Narrow-band PESQ, 1.02 to 4.55; NaN where the package is missing.  Raises AudioError where it gives no score."""
    return _pesq(clean, estimate, sample_rate, "nb")


def _pesq(clean: np.ndarray, estimate: np.ndarray, sample_rate: int, mode: Literal["wb", "nb"]) -> float:
    if not pesq_installed():
        return math.nan
    from pesq import PesqError, pesq

    if len(clean) > LONGEST * sample_rate:
        problem = f"judges {LONGEST} s at most, and this has {len(clean) / sample_rate:.0f} s"
        raise AudioError("PESQ", problem, mend="cut it into utterances: a segments file does")
    rate = WIDE if mode == "wb" else NARROW
    try:
        return float(pesq(rate, _at(clean, sample_rate, rate), _at(estimate, sample_rate, rate), mode))
    except (PesqError, ValueError) as error:
        detail: Any = error.args[0] if error.args else error
        detail = detail.decode(errors="replace") if isinstance(detail, bytes) else detail
        raise AudioError("PESQ", f"gives no score ({detail})", mend="leave it out") from error


def stoi_of(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Short-time objective intelligibility, at most 1; raises AudioError where it gives no score."""
    return _stoi(clean, estimate, sample_rate, extended=False)


def extended_stoi_of(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Extended STOI, at most 1; raises AudioError where it gives no score."""
    return _stoi(clean, estimate, sample_rate, extended=True)


def _stoi(clean: np.ndarray, estimate: np.ndarray, sample_rate: int, *, extended: bool) -> float:
    from pystoi import stoi

    name = "extended STOI" if extended else "STOI"
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # too short for STOI: pystoi warns and returns 1e-5
        try:
            state = np.random.get_state()  # extended STOI adds noise of 1e-16 from numpy's own generator
            np.random.seed(0)
            return float(stoi(clean, estimate, sample_rate, extended))
        except (RuntimeWarning, ValueError) as problem:  # the latter for less than a frame
            raise AudioError(name, f"gives no score ({str(problem)[:80]})", mend="leave it out") from None
        finally:
            np.random.set_state(state)


def _at(samples: np.ndarray, sample_rate: int, rate: int) -> np.ndarray:
    return samples if sample_rate == rate else resample(samples, sample_rate, rate)
