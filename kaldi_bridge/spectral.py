"""MFCC and log mel energies with Kaldi's numbers, whole utterances at a time in numpy.

Follows Kaldi's feat/feature-window.cc, mel-computations.cc, feature-mfcc.cc and feature-fbank.cc.  The differences to
compute-mfcc-feats are those of single precision (kaldi-native-fbank has the same), at some 2 times its speed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kaldi_bridge.feature_config import FeatureConfig

Floats = NDArray[np.float32]
FULL_SCALE = 32768.0  # Kaldi computes on 16-bit values
EPSILON = float(np.finfo(np.float32).eps)
CHUNK = 2048  # frames at a time: they stay in the cache, and an hour of audio needs no gigabytes


def compute_features(
    samples: NDArray[np.floating], config: FeatureConfig, *, warp: float = 1.0, rng: np.random.Generator | None = None
) -> Floats:
    """Features [frames, dim] of mono samples [n] in [-1, 1] at config.sample_frequency.

    warp: VTLN factor of the speaker.  rng: needed where config.dither > 0.  Too few samples for a frame give [0, dim].
    """
    if samples.ndim != 1:
        raise ValueError(f"samples must be [n], got {list(samples.shape)}")
    if config.dither and rng is None:
        raise ValueError("dither needs a random generator")
    signal = np.asarray(samples, np.float32) * np.float32(FULL_SCALE)
    total = config.num_frames(len(signal))
    features = np.empty((total, config.dim), np.float32)
    if not total:
        return features
    frames = _frames_of(signal, config)
    for begin in range(0, total, CHUNK):
        part = frames[begin : min(begin + CHUNK, total)].copy()
        if config.dither and rng is not None:
            part += config.dither * rng.standard_normal(part.shape, np.float32)
        features[begin : begin + len(part)] = _features_of(part, config, warp)
    return features


def _frames_of(signal: Floats, config: FeatureConfig) -> Floats:
    """[at least num_frames, window], a view where edges are snipped; mirrored at the ends otherwise."""
    if config.snip_edges:
        return np.lib.stride_tricks.sliding_window_view(signal, config.window)[:: config.shift]
    total, size = config.num_frames(len(signal)), len(signal)
    first = config.shift // 2 - config.window // 2
    index = np.arange(first, first + (total - 1) * config.shift + config.window) % (2 * size)
    mirrored = signal[np.where(index < size, index, 2 * size - 1 - index)]
    return np.lib.stride_tricks.sliding_window_view(mirrored, config.window)[:: config.shift]


def _features_of(frames: Floats, config: FeatureConfig, warp: float) -> Floats:
    if config.remove_dc_offset:
        frames -= frames.mean(axis=1, keepdims=True)
    energy = _log_energy(frames, config) if config.use_energy and config.raw_energy else None
    if config.preemphasis_coefficient:
        weight = np.float32(config.preemphasis_coefficient)
        first = frames[:, 0] * (1 - weight)
        frames[:, 1:] -= weight * frames[:, :-1]
        frames[:, 0] = first
    frames *= _window(config)
    if config.use_energy and not config.raw_energy:
        energy = _log_energy(frames, config)
    spectrum = np.fft.rfft(frames, config.fft_size)
    power: Floats = spectrum.real.astype(np.float32, copy=False) ** 2
    power += spectrum.imag**2
    if config.kind == "fbank" and not config.use_power:
        np.sqrt(power, out=power)
    mel: Floats = power @ _mel_bank(config, warp)
    if config.kind == "mfcc" or config.use_log_fbank:
        np.log(np.maximum(mel, np.float32(EPSILON), out=mel), out=mel)
    return _cepstra(mel, energy, config) if config.kind == "mfcc" else _with_energy(mel, energy, config)


def _log_energy(frames: Floats, config: FeatureConfig) -> Floats:
    energy: Floats = np.log(np.maximum(np.einsum("ij,ij->i", frames, frames), np.float32(EPSILON)))
    if config.energy_floor > 0:
        energy = np.maximum(energy, np.float32(np.log(config.energy_floor)))
    return energy


def _cepstra(mel: Floats, energy: Floats | None, config: FeatureConfig) -> Floats:
    cepstra = mel @ _cosines(config)
    if energy is not None:
        cepstra[:, 0] = energy
    if config.htk_compat:
        last = cepstra[:, :1] if energy is not None else cepstra[:, :1] * np.float32(np.sqrt(2))
        cepstra = np.concatenate([cepstra[:, 1:], last], axis=1)
    return cepstra


def _with_energy(mel: Floats, energy: Floats | None, config: FeatureConfig) -> Floats:
    if energy is None:
        return mel
    parts = [mel, energy[:, None]] if config.htk_compat else [energy[:, None], mel]
    return np.concatenate(parts, axis=1)


@lru_cache(maxsize=16)
def _window(config: FeatureConfig) -> Floats:
    """[window]"""
    size, n = config.window, np.arange(config.window)
    angle = 2 * np.pi * n / (size - 1)
    match config.window_type:
        case "povey":
            window = (0.5 - 0.5 * np.cos(angle)) ** 0.85
        case "hanning":
            window = 0.5 - 0.5 * np.cos(angle)
        case "hamming":
            window = 0.54 - 0.46 * np.cos(angle)
        case "rectangular":
            window = np.ones(size)
        case "sine":
            window = np.sin(0.5 * angle)
        case "blackman":
            a = config.blackman_coeff
            window = a - 0.5 * np.cos(angle) + (0.5 - a) * np.cos(2 * angle)
        case _:
            raise ValueError(f"unknown window_type {config.window_type!r}")
    return window.astype(np.float32)


def _mel(frequency: NDArray[np.floating] | float) -> NDArray[np.float64]:
    return 1127.0 * np.log(1.0 + np.asarray(frequency, np.float64) / 700.0)


@lru_cache(maxsize=256)
def _mel_bank(config: FeatureConfig, warp: float) -> Floats:
    """[fft_size / 2 + 1, num_mel_bins], triangles on the mel scale; the highest bin of the spectrum is not used."""
    bins = config.fft_size // 2
    low, high = _mel(config.low_freq), _mel(config.top_freq)
    edges = low + np.arange(config.num_mel_bins + 2) * (high - low) / (config.num_mel_bins + 1)
    if warp != 1.0:
        edges = _mel(warp_frequencies(700.0 * (np.exp(edges / 1127.0) - 1.0), config, warp))
    left, center, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    mel = _mel(config.sample_frequency / config.fft_size * np.arange(bins))
    weights = np.where(mel <= center, (mel - left) / (center - left), (right - mel) / (right - center))
    bank = np.zeros((config.num_mel_bins, bins + 1), np.float32)
    bank[:, :bins] = np.where((mel > left) & (mel < right), weights, 0)
    if not bank.any(axis=1).all():
        raise ValueError(f"num_mel_bins={config.num_mel_bins} leaves a mel bin without any bin of the spectrum")
    return np.ascontiguousarray(bank.T)


def warp_frequencies(frequency: NDArray[np.float64], config: FeatureConfig, warp: float) -> NDArray[np.float64]:
    """Kaldi's piecewise linear VTLN: f / warp in the middle, and lines to the unmoved ends of the mel bank."""
    low, high = config.low_freq, config.top_freq
    vtln_high = config.vtln_high if config.vtln_high > 0 else config.sample_frequency / 2 + config.vtln_high
    lower, upper = config.vtln_low * max(1.0, warp), vtln_high * min(1.0, warp)
    if not low < lower < upper < high:
        raise ValueError(f"warp {warp} does not fit between {low} and {high} Hz (vtln_low, vtln_high)")
    points, moved = [low, lower, upper, high], [low, lower / warp, upper / warp, high]
    inside = (frequency >= low) & (frequency <= high)
    return np.where(inside, np.interp(frequency, points, moved), frequency)


@lru_cache(maxsize=16)
def _cosines(config: FeatureConfig) -> Floats:
    """[num_mel_bins, num_ceps] of the DCT with the lifter."""
    bins = config.num_mel_bins
    n, k = np.arange(bins)[:, None], np.arange(config.num_ceps)[None]
    cosines = np.sqrt(2 / bins) * np.cos(np.pi / bins * (n + 0.5) * k)
    cosines[:, 0] = np.sqrt(1 / bins)
    if config.cepstral_lifter:
        cosines *= 1 + 0.5 * config.cepstral_lifter * np.sin(np.pi * k / config.cepstral_lifter)
    return np.asarray(cosines, np.float32)
