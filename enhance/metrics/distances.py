"""Distances between two waveforms and between their spectra: SNR, SI-SDR, LSD, log-mel error.

A perfect copy is infinitely near; SNR and SI-SDR then stop at the energy floor and stay finite.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from harness.errors import AudioError

ENERGY_FLOOR = 1e-20  # of a residual, so that a perfect copy has a finite score
LSD_WINDOW, LSD_HOP = 0.128, 0.032  # seconds: 2048 and 512 samples at 16 kHz, as HiFi++ has them
LSD_FLOOR = 1e-10  # of power; a sine at full scale has 1
BLOCK = 512  # frames held at once


def snr(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Energy of clean over that of (estimate - clean), in dB; neither mean nor scale is taken off."""
    signal, noise = clean.astype(np.float64), estimate.astype(np.float64) - clean
    return float(10 * np.log10(signal @ signal / max(noise @ noise, ENERGY_FLOOR)))


def si_sdr(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, means taken off (Le Roux et al. 2019, arXiv:1811.02508).

    Raises AudioError where one of them is constant.
    """
    import torch

    from enhance.losses.waveform import si_sdr as of_batch

    torch.set_num_threads(1)
    for name, sound in (("estimate", estimate), ("reference", clean)):  # once its mean is taken off, it is silence
        if not np.ptp(sound):
            raise AudioError("SI-SDR", f"gives no score (the {name} is constant)", mend="leave it out")
    both = torch.from_numpy(np.stack([estimate, clean]).astype(np.float64))
    return float(of_batch(both[:1], both[1:])[0])


def log_spectral_distance(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Root mean square over bins of the difference of log power spectra in dB, averaged over frames.

    Hann windows of 128 ms every 32 ms, whole frames only (a shorter sound is one frame, zeros behind it); powers
    below -100 dB of a full-scale sine count as that.  Gray and Markel 1976; windows as in HiFi++ (arXiv:2203.13086),
    whose figures are in log10 units, a tenth of these.
    """
    size, hop = round(LSD_WINDOW * sample_rate), round(LSD_HOP * sample_rate)
    window = np.hanning(size + 1)[:-1]
    gain = 2 / window.sum()  # a full-scale sine has power 1
    ours, theirs = (np.pad(x.astype(np.float64), (0, max(0, size - len(x)))) for x in (estimate, clean))
    total, starts = 0.0, range(0, len(ours) - size + 1, hop)
    for first in range(0, len(starts), BLOCK):
        place = np.array(starts[first : first + BLOCK])[:, None] + np.arange(size)
        logs = [10 * np.log10(np.maximum(_power(x[place] * window, gain), LSD_FLOOR)) for x in (ours, theirs)]
        total += float(np.sqrt(np.mean((logs[0] - logs[1]) ** 2, axis=1)).sum())
    return total / len(starts)


def _power(frames: np.ndarray, gain: float) -> np.ndarray:
    return np.asarray(np.abs(gain * np.fft.rfft(frames, axis=1)) ** 2)


def log_mel_error(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Mean absolute difference of Kaldi's 40 log-mel energies, in nepers: it ordered enhancers as their WER did."""
    import torch

    torch.set_num_threads(1)
    both = torch.from_numpy(np.stack([estimate, clean]).astype(np.float32))
    try:
        mel = _log_mel(sample_rate)(both)
    except ValueError as error:
        raise AudioError("log-mel error", f"gives no score ({error})", mend="leave it out") from error
    return float((mel[0] - mel[1]).abs().mean())


@lru_cache(maxsize=2)
def _log_mel(sample_rate: int) -> Any:
    from enhance.losses.mel import LogMel

    return LogMel(sample_rate=sample_rate)
