"""Child-like speech out of adult speech: higher pitch, shorter vocal tract, slower rate, each by its own factor.

A smooth spectral envelope, moved along the frequency axis, first takes the formants to where the rest brings them to
their place: WSOLA (Verhelst & Roelands 1993) stretches time, and resampling raises pitch and formants together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.chance import Chance, check_range

FRAME = 0.03  # seconds that WSOLA joins, half overlapping
SEARCH = 0.008  # seconds around a frame's place in which the best fit is sought: more than half a pitch period
ENVELOPE_FRAME = 0.032  # seconds of the frames whose formants are moved
QUEFRENCY = 0.0025  # seconds: slower ripples of a log spectrum than this are its envelope, faster ones the harmonics
FILLINGS = 12  # rounds that lift the envelope onto the harmonics
LARGEST_GAIN = 10.0  # factor by which moving the envelope may raise or lower a frequency


@dataclass(frozen=True, kw_only=True)
class ChildConfig(Chance):
    pitch: tuple[float, float] = (1.2, 1.8)  # factor of the fundamental, uniform; 120 Hz of a man to 215 Hz
    formants: tuple[float, float] = (1.05, 1.3)  # factor of the resonances, uniform; adult tract 17 cm, child's 13 cm
    rate: tuple[float, float] = (0.8, 1.0)  # factor of the speed of speech, uniform; children speak more slowly

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pitch", "formants", "rate"):
            check_range(name, getattr(self, name), 0.4, 2.5)


@dataclass(frozen=True)
class Voice:
    """Factors of one pair."""

    pitch: float
    formants: float
    rate: float

    @classmethod
    def draw(cls, config: ChildConfig, rng: np.random.Generator) -> Voice:
        return cls(*(float(rng.uniform(*getattr(config, name))) for name in ("pitch", "formants", "rate")))


def revoiced(samples: np.ndarray, sample_rate: int, voice: Voice) -> np.ndarray:
    """[samples] -> float32 [about samples / voice.rate] with pitch, formants and rate changed, at the same power."""
    import soxr

    moved = moved_formants(samples, voice.formants / voice.pitch, sample_rate)
    longer = stretched(moved, voice.pitch / voice.rate, sample_rate)
    higher: np.ndarray = soxr.resample(longer, voice.pitch, 1.0, "HQ")
    level = np.sqrt(np.mean(np.square(samples)) / max(float(np.mean(np.square(higher))), 1e-12))
    return higher * np.float32(min(level, LARGEST_GAIN))


def stretched(samples: np.ndarray, factor: float, sample_rate: int) -> np.ndarray:
    """[samples] -> float32 [round(samples * factor)] at the same pitch: WSOLA."""
    half, search = round(FRAME / 2 * sample_rate), round(SEARCH * sample_rate)
    length = round(len(samples) * factor)
    padded = np.pad(samples.astype(np.float32), (half + search, 3 * half + 2 * search))
    window = np.hanning(2 * half + 1)[:-1].astype(np.float32)
    out = np.zeros(length + 3 * half, np.float32)
    expected = padded[search : search + 2 * half]  # how the sound would go on from the last frame
    for place in range(0, length + half, half):  # the middle of the frame, which starts half a frame earlier in `out`
        first = min(round(place / factor), len(samples))
        around = padded[first : first + 2 * half + 2 * search]
        best = first + int(np.correlate(around, expected, "valid").argmax())
        out[place : place + 2 * half] += window * padded[best : best + 2 * half]
        expected = padded[min(best + half, len(padded) - 2 * half) :][: 2 * half]
    return out[half : half + length]


def moved_formants(samples: np.ndarray, factor: float, sample_rate: int) -> np.ndarray:
    """[samples] -> float32 [samples] with the envelope of each frame's spectrum stretched along frequency."""
    size = 2 ** round(np.log2(ENVELOPE_FRAME * sample_rate))
    hop = size // 4
    window = np.sqrt(np.hanning(size + 1)[:-1])
    padded = np.pad(samples, (size, size + -len(samples) % hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * window
    spectra = np.fft.rfft(frames)
    envelope = _envelopes(np.abs(spectra), sample_rate, size)
    bins = np.arange(size // 2 + 1)
    below = np.minimum(bins / factor, size // 2)
    low = np.minimum(below.astype(int), size // 2 - 1)
    moved = envelope[:, low] * (low + 1 - below) + envelope[:, low + 1] * (below - low)
    limit = np.log(LARGEST_GAIN)
    shaped = np.fft.irfft(spectra * np.exp(np.clip(moved - envelope, -limit, limit)), n=size) * window
    out = np.zeros(len(padded))
    for number, frame in enumerate(shaped):
        out[number * hop : number * hop + size] += frame
    return (out[size : size + len(samples)] / 2).astype(np.float32)  # squared windows at a quarter hop sum to two


def _envelopes(magnitudes: np.ndarray, sample_rate: int, size: int) -> np.ndarray:
    """[frames, bins] natural logarithm of each smooth envelope: the true envelope of Roebel & Rodet 2005.

    Smoothing by the cepstrum runs between the harmonics' tops and valleys; what lies below it is filled up to it and
    smoothed again, until the envelope rests on the tops.
    """
    wanted = np.log(magnitudes + 1e-5 * magnitudes.max(axis=1, keepdims=True) + 1e-9)
    keep = round(QUEFRENCY * sample_rate)
    lifter = np.zeros(size // 2 + 1)
    lifter[:keep] = 1
    lifter[keep : 2 * keep] = 0.5 + 0.5 * np.cos(np.pi * np.arange(keep) / keep)
    lifter = np.concatenate([lifter, lifter[-2:0:-1]])
    filled = wanted
    for _ in range(FILLINGS):
        envelopes: np.ndarray = np.fft.rfft(np.fft.irfft(filled, n=size) * lifter).real
        filled = np.maximum(wanted, envelopes)
    return envelopes
