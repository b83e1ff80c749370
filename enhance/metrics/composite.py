"""CSIG, CBAK, COVL and what they are made of: LLR, WSS and segmental SNR, by the published definitions.

Hu and Loizou 2008, "Evaluation of objective quality measures for speech enhancement"; Loizou 2007, chapter 10 and the
programs that came with it, by which the tables in the literature were made.  All three measures take frames of 30 ms
every 7.5 ms (75 % overlap) under the window 0.5 (1 - cos(2 pi n / (N + 1))), n = 1..N, and, as those programs do,
floor(L / hop - N / hop) of them, so that the last whole frame stays out.

- Segmental SNR: each frame's SNR in dB is clipped to -10..35 (Hansen and Pellom 1998).
- LLR: log likelihood ratio, linear prediction of order 16 (10 below 10 kHz) by autocorrelation.  The mean goes over the
  95 % smallest frames and frames are not clipped, as in the composite measure; a perfect copy has 0.
- WSS: weighted spectral slope of 25 critical bands up to 4 kHz (Klatt 1982), K_max 20 and K_loc 1; the mean goes over
  the 95 % smallest frames too.  Differs from Klatt's text as the programs do: on a rising slope, the local peak is the
  band before the top.

Composites are linear in LLR, WSS, segmental SNR and wide-band PESQ, clipped to 1..5.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.errors import AudioError

Frames = NDArray[np.float64]  # [frames, samples]

WINDOW, OVERLAP = 0.030, 4  # seconds; frames that hold a sample
SNR_LIMITS = (-10.0, 35.0)  # dB
KEPT = 0.95  # of the frames, the nearest
BLOCK = 1000  # frames held at once
EPS = float(np.finfo(np.float64).eps)

BANDWIDTHS = (
    70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423, 153.823,
    168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
)  # fmt: skip  # Hz
CENTRES = (
    50.0, 120.0, 190.0, 260.0, 330.0, 400.0, 470.0, 540.0, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30,
    1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
)  # fmt: skip  # Hz
K_MAX, K_LOC = 20.0, 1.0  # dB: weights of the global and of the nearest peak
FILTER_FLOOR = np.exp(-30.0 / (2 * 2.303))  # -30 dB: smaller weights of a band are zero


def csig(pesq: float, llr: float, wss: float) -> float:
    """Predicted rating of signal distortion, 1 to 5."""
    return _rating(3.093 - 1.029 * llr + 0.603 * pesq - 0.009 * wss)


def cbak(pesq: float, wss: float, ssnr: float) -> float:
    """Predicted rating of background intrusiveness, 1 to 5."""
    return _rating(1.634 + 0.478 * pesq - 0.007 * wss + 0.063 * ssnr)


def covl(pesq: float, llr: float, wss: float) -> float:
    """Predicted rating of overall quality, 1 to 5."""
    return _rating(1.594 + 0.805 * pesq - 0.512 * llr - 0.007 * wss)


def _rating(value: float) -> float:
    return value if np.isnan(value) else float(np.clip(value, 1.0, 5.0))


def segmental_snr(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Mean of the frames' SNR in dB, each clipped to -10..35."""
    found = []
    for truth, ours in _frame_blocks(clean, estimate, sample_rate):
        signal, noise = (truth**2).sum(1), ((truth - ours) ** 2).sum(1)
        found.append(np.clip(10 * np.log10(signal / (noise + EPS) + EPS), *SNR_LIMITS))
    return float(np.concatenate(found).mean())


def log_likelihood_ratio(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Distance of the linear predictors: log of their residual energies on the clean frame; 0 for a copy."""
    order = 10 if sample_rate < 10000 else 16
    found = []
    for truth, ours in _frame_blocks(clean + EPS, estimate + EPS, sample_rate):
        correlation = _autocorrelation(truth, order)
        best, other = _predictor(correlation), _predictor(_autocorrelation(ours, order))
        with np.errstate(divide="ignore", invalid="ignore"):  # digital silence may have no predictor
            found.append(
                np.nan_to_num(np.log(_residual(other, correlation) / _residual(best, correlation)), nan=np.inf)
            )
    return _mean_of_nearest(np.concatenate(found), "LLR")


def weighted_spectral_slope(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Weighted squared difference of the slopes of critical-band spectra, in dB squared; 0 for a copy."""
    bands = _critical_bands(sample_rate, _fft_size(sample_rate))
    found = [
        _slope_distance(*(_band_energies(x, bands) for x in both))
        for both in _frame_blocks(clean, estimate, sample_rate)
    ]
    return _mean_of_nearest(np.concatenate(found), "WSS")


def _frame_blocks(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> Iterator[tuple[Frames, Frames]]:
    """Windowed frames of both, some at a time.  Raises AudioError for a sound of less than a frame and a hop."""
    size = round(WINDOW * sample_rate)
    hop = size // OVERLAP
    count = int(len(clean) / hop - size / hop)
    if count < 1:
        problem = f"has {len(clean)} samples, a frame and a hop have {size + hop}"
        raise AudioError("estimate", problem, mend="leave it out")
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, size + 1) / (size + 1)))
    views = [np.lib.stride_tricks.sliding_window_view(x, size)[::hop] for x in (clean, estimate)]
    for first in range(0, count, BLOCK):
        last = min(count, first + BLOCK)
        truth, ours = (view[first:last].astype(np.float64) * window for view in views)
        yield truth, ours


def _mean_of_nearest(values: Frames, name: str) -> float:
    kept = np.sort(values)[: max(1, round(KEPT * len(values)))]
    if not np.isfinite(kept).all():
        raise AudioError(name, f"is not defined in {np.sum(~np.isfinite(values))} frames", mend="leave it out")
    return float(kept.mean())


# ---- linear prediction


def _autocorrelation(frames: Frames, order: int) -> Frames:
    """[frames, order + 1]"""
    size = frames.shape[1]
    return np.stack([np.einsum("fn,fn->f", frames[:, lag:], frames[:, : size - lag]) for lag in range(order + 1)], 1)


def _predictor(correlation: Frames) -> Frames:
    """Levinson and Durbin: prediction error filters [frames, order + 1], the first tap 1."""
    order = correlation.shape[1] - 1
    taps = np.zeros_like(correlation)
    taps[:, 0], error = 1.0, correlation[:, 0].copy()
    for step in range(1, order + 1):
        reflection = -np.einsum("fk,fk->f", taps[:, :step], correlation[:, step:0:-1]) / error
        taps[:, 1 : step + 1] += reflection[:, None] * taps[:, step - 1 :: -1][:, :step]
        error *= 1 - reflection**2
    return taps


def _residual(taps: Frames, correlation: Frames) -> Frames:
    """Energy a' R a that the filters leave of sounds with this autocorrelation: [frames]."""
    order = taps.shape[1] - 1
    own = _autocorrelation(taps, order)
    return np.asarray(own[:, 0] * correlation[:, 0] + 2 * np.einsum("fk,fk->f", own[:, 1:], correlation[:, 1:]))


# ---- weighted spectral slope


def _fft_size(sample_rate: int) -> int:
    return int(2 ** np.ceil(np.log2(2 * round(WINDOW * sample_rate))))


def _critical_bands(sample_rate: int, size: int) -> Frames:
    """Weights [size / 2, bands] of the critical bands, Gaussian in frequency; narrower bands are higher."""
    half = size // 2
    centres = np.floor(np.array(CENTRES) / (sample_rate / 2) * half)
    widths = np.array(BANDWIDTHS) / (sample_rate / 2) * half
    place = (np.arange(half)[:, None] - centres) / widths
    weights = np.exp(-11 * place**2 + np.log(BANDWIDTHS[0]) - np.log(BANDWIDTHS))
    return np.asarray(np.where(weights > FILTER_FLOOR, weights, 0.0))


def _band_energies(frames: Frames, bands: Frames) -> Frames:
    """Energies of the critical bands in dB [frames, bands]."""
    power = np.abs(np.fft.rfft(frames, 2 * len(bands), axis=1)[:, :-1]) ** 2
    return 10 * np.log10(np.maximum(power @ bands, 1e-10))


def _slope_distance(clean: Frames, estimate: Frames) -> Frames:
    """Of energies [frames, bands]: [frames]."""
    weights = (_slope_weights(clean) + _slope_weights(estimate)) / 2
    change = (np.diff(clean) - np.diff(estimate)) ** 2
    return np.asarray((weights * change).sum(1) / weights.sum(1))


def _slope_weights(energies: Frames) -> Frames:
    """Weights of the slopes [frames, bands - 1]: larger near the global and near the nearest local peak."""
    below = energies[:, :-1]
    nearest = np.take_along_axis(energies, _nearest_peaks(np.diff(energies)), axis=1)
    top = energies.max(1, keepdims=True)
    return np.asarray(K_MAX / (K_MAX + top - below) * K_LOC / (K_LOC + nearest - below))


def _nearest_peaks(slopes: Frames) -> NDArray[np.int64]:
    """The band of the nearest peak of each slope: up the hill on either side."""
    frames, count = slopes.shape
    rising = slopes > 0
    end, begin = np.full((frames, count + 1), count), np.full((frames, count + 1), -1)
    for band in range(count - 1, -1, -1):
        end[:, band] = np.where(rising[:, band], end[:, band + 1], band)  # first slope from here that does not rise
    for band in range(count):
        begin[:, band] = np.where(rising[:, band], band, begin[:, band - 1])  # last slope to here that rises
    return np.where(rising, end[:, :-1] - 1, begin[:, :-1] + 1)
