"""FFmpeg's filters and the codecs: length, alignment, and what each must do by its definition."""

import sys

import numpy as np
import pytest
from scipy import signal

from enhance.augment.codec import CodecConfig, transcode
from enhance.augment.crusher import CrusherConfig, crush
from enhance.augment.crystalizer import CrystalizerConfig, crystalize
from enhance.augment.flanger import FlangerConfig, flange
from enhance.augment.vibrato import VibratoConfig, vibrate
from harness.errors import ConfigError

RATE = 16000


def low_noise(samples: int, rate: int = RATE) -> np.ndarray:
    """Noise below 1.5 kHz, which even poor codecs keep."""
    sections = signal.butter(4, 1500, fs=rate, output="sos")
    return (0.2 * signal.sosfilt(sections, np.random.default_rng(1).standard_normal(samples))).astype(np.float32)


def lag_of(changed: np.ndarray, original: np.ndarray) -> tuple[int, float]:
    """Samples by which `changed` comes later, and the correlation there."""
    products = np.correlate(changed, original, "full")
    scale = np.sqrt(np.sum(changed**2) * np.sum(original**2))
    return int(products.argmax()) - len(original) + 1, float(products.max() / scale)


@pytest.mark.parametrize("codec", ["mp3", "vorbis", "opus"])
@pytest.mark.parametrize(("rate", "samples"), [(16000, 20011), (48000, 30000), (22050, 9999)])
def test_codecs_keep_length_and_alignment(codec, rate, samples):
    original = low_noise(samples, rate)
    config = CodecConfig(codecs=(codec,), mp3=(64,), opus=(32,), vorbis=(0.4,))
    back = transcode(original, rate, config, np.random.default_rng(0))
    assert len(back) == samples
    lag, correlation = lag_of(back, original)
    assert abs(lag) <= rate // 16000 - 1  # Opus moves 48 kHz by two samples, a twenty-fourth of a millisecond
    assert correlation > 0.9
    assert not np.array_equal(back, original)


@pytest.mark.parametrize("codec", ["mp3", "vorbis", "opus"])
def test_codecs_take_the_shortest_clips(codec):
    config = CodecConfig(codecs=(codec,))
    assert len(transcode(low_noise(100), RATE, config, np.random.default_rng(0))) == 100


@pytest.mark.parametrize(("poor", "good"), [
    ({"mp3": (8,)}, {"mp3": (64,)}), ({"opus": (6,)}, {"opus": (64,)}), ({"vorbis": (0.0,)}, {"vorbis": (0.9,)}),
])  # fmt: skip
def test_fewer_bits_make_larger_errors(poor, good):
    original = np.random.default_rng(3).standard_normal(16000).astype(np.float32) * 0.1
    errors = []
    for settings in (poor, good):
        config = CodecConfig(codecs=tuple(settings), **settings)
        errors.append(np.mean((transcode(original, RATE, config, np.random.default_rng(0)) - original) ** 2))
    assert errors[0] > 2 * errors[1]


def test_crushed_samples_lie_on_the_steps_of_their_bits():
    ramp = np.linspace(-1, 1, 4001).astype(np.float32)
    crushed = crush(ramp, RATE, CrusherConfig(bits=(3.0, 3.0), mix=1.0), np.random.default_rng(0))
    step = 1 / (2**3 - 1)
    assert np.abs(crushed - ramp).max() <= step / 2 + 1e-6
    assert np.abs(crushed - ramp).max() > step / 5
    half = crush(ramp, RATE, CrusherConfig(bits=(3.0, 3.0), mix=0.5), np.random.default_rng(0))
    np.testing.assert_allclose(half, (ramp + crushed) / 2, atol=1e-5)


def test_crystaliser_drives_samples_from_the_one_before():
    original = low_noise(3000)
    sharp = crystalize(original, RATE, CrystalizerConfig(intensity=(2.0, 2.0)), np.random.default_rng(0))
    before = np.concatenate([[0], original[:-1]])
    np.testing.assert_allclose(sharp, np.clip(original + 2 * (original - before), -1, 1), atol=1e-5)


def test_vibrato_swings_the_delay_at_its_frequency_around_none():
    time = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * 200 * time).astype(np.float32)
    config = VibratoConfig(frequency=(6.0, 6.0), depth=0.5)
    swung = vibrate(tone, RATE, config, np.random.default_rng(0))
    phase = np.unwrap(np.angle(signal.hilbert(swung) * np.conj(signal.hilbert(tone))))
    delay = (-phase / (2 * np.pi * 200) * RATE)[RATE // 2 : -RATE // 2]  # samples, over six swings
    assert abs(delay.mean()) < 0.6
    assert np.ptp(delay) == pytest.approx(0.5 * 0.005 * RATE, abs=1)
    spectrum = np.abs(np.fft.rfft(delay - delay.mean()))
    assert spectrum.argmax() == 6  # of one second


def test_flanger_adds_a_copy_with_a_delay_that_swings_within_its_depth():
    click = np.zeros(RATE, np.float32)
    click[2000::2000] = 0.5
    flanged = flange(click, RATE, FlangerConfig(depth=(4.0, 4.0)), np.random.default_rng(0))
    delays = []
    for place in range(2000, RATE - 2000, 2000):
        assert flanged[place] > 0.1
        copies = np.flatnonzero(flanged[place + 1 : place + 1000] > 0.02) + 1
        delays.append(copies.mean() / RATE * 1000)
    assert 0 <= min(delays) < max(delays) <= 4.1
    assert np.ptp(delays) > 2


@pytest.mark.parametrize(("effect", "config"), [
    (crush, CrusherConfig()), (crystalize, CrystalizerConfig()), (flange, FlangerConfig()), (vibrate, VibratoConfig()),
    (transcode, CodecConfig()),
])  # fmt: skip
def test_effects_keep_the_length_and_give_the_same_twice(effect, config):
    original = low_noise(5001)
    once, twice = (effect(original, RATE, config, np.random.default_rng(7)) for _ in range(2))
    assert once.shape == original.shape
    assert once.dtype == np.float32
    np.testing.assert_array_equal(once, twice)
    assert np.isfinite(once).all()


def test_without_pyav_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"need the package av\n  mend: pip install av"):
        crush(low_noise(100), RATE, CrusherConfig(), np.random.default_rng(0))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: CodecConfig(mp3=(4,)), "mp3 takes 8 to 320"),
    (lambda: CodecConfig(opus=(5,)), "opus takes 6 to 256"),
    (lambda: CodecConfig(codecs=()), "at least one choice"),
    (lambda: CrusherConfig(probability=1.5), "probability must lie"),
    (lambda: CrusherConfig(bits=(9.0, 1.0)), "bits must rise"),
    (lambda: VibratoConfig(depth=0.0), "depth must lie"),
])  # fmt: skip
def test_wrong_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
