"""Child-like voices, measured on a synthetic vowel of known pitch and resonances."""

import numpy as np
import pytest
from scipy import signal

from enhance.augment.child import ChildConfig, Voice, revoiced, stretched

RATE = 16000


def vowel(pitch: float, formants: tuple[float, ...], seconds: float = 1.0) -> np.ndarray:
    """Pulses through resonators of 80 Hz bandwidth."""
    time = np.arange(round(seconds * RATE)) / RATE
    samples = np.sum([np.cos(2 * np.pi * pitch * k * time) for k in range(1, int(7500 / pitch))], axis=0)
    for formant in formants:
        radius, angle = np.exp(-np.pi * 80 / RATE), 2 * np.pi * formant / RATE
        samples = signal.lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], samples)
    return (0.3 * samples / np.abs(samples).max()).astype(np.float32)


def pitch_of(samples: np.ndarray) -> float:
    """Hz, by the autocorrelation of the middle."""
    middle = samples[len(samples) // 4 : len(samples) // 4 + 4096].astype(float)
    products = np.correlate(middle, middle, "full")[4095:]
    low = RATE // 500
    return RATE / (low + int(products[low : RATE // 70].argmax()))


def formant_of(samples: np.ndarray, low: float, high: float) -> float:
    """Hz of the highest peak between, in the spectrum smoothed over two harmonics."""
    middle = samples[len(samples) // 4 : len(samples) // 4 + 8192] * np.hanning(8192)
    power = np.abs(np.fft.rfft(middle)) ** 2
    smooth = signal.fftconvolve(power, np.hanning(201), "same")
    hertz = np.fft.rfftfreq(8192, 1 / RATE)
    inside = (hertz > low) & (hertz < high)
    return float(hertz[inside][smooth[inside].argmax()])


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.37, 2.0])
def test_stretching_changes_the_length_and_not_the_pitch(factor):
    original = vowel(125.0, (700.0, 1200.0))
    longer = stretched(original, factor, RATE)
    assert len(longer) == round(len(original) * factor)
    assert pitch_of(longer) == pytest.approx(125, rel=0.02)
    assert np.std(longer) == pytest.approx(np.std(original), rel=0.1)


def test_stretching_by_one_changes_next_to_nothing():
    original = vowel(125.0, (700.0, 1200.0), 0.5)
    np.testing.assert_allclose(stretched(original, 1.0, RATE), original, atol=1e-3)


def test_pitch_rate_and_formants_follow_their_own_factors():
    original = vowel(125.0, (750.0, 2200.0))
    child = revoiced(original, RATE, Voice(pitch=1.6, formants=1.2, rate=0.8))
    assert len(child) == pytest.approx(len(original) / 0.8, rel=0.01)
    assert pitch_of(child) == pytest.approx(200, rel=0.02)
    assert formant_of(child, 400, 1500) == pytest.approx(900, abs=100)  # the nearest harmonic
    assert formant_of(child, 1800, 3800) == pytest.approx(2640, abs=100)
    assert np.std(child) == pytest.approx(np.std(original), rel=0.01)


def test_pitch_alone_leaves_the_formants():
    original = vowel(125.0, (750.0, 2200.0))
    higher = revoiced(original, RATE, Voice(pitch=1.5, formants=1.0, rate=1.0))
    assert pitch_of(higher) == pytest.approx(187.5, rel=0.02)
    assert formant_of(higher, 1500, 3800) == pytest.approx(2200, abs=94)  # the nearest harmonic


def test_voices_are_drawn_within_their_ranges():
    config = ChildConfig(pitch=(1.3, 1.4), formants=(1.1, 1.2), rate=(0.8, 0.9))
    voices = [Voice.draw(config, np.random.default_rng(seed)) for seed in range(50)]
    for name in ("pitch", "formants", "rate"):
        low, high = getattr(config, name)
        drawn = [getattr(voice, name) for voice in voices]
        assert low <= min(drawn) < low + 0.02 < high - 0.02 < max(drawn) <= high


def test_silence_and_short_clips_stay_finite():
    voice = Voice(pitch=1.5, formants=1.2, rate=0.9)
    for samples in (np.zeros(4000, np.float32), vowel(200.0, (800.0,), 0.02)):
        assert np.isfinite(revoiced(samples, RATE, voice)).all()
