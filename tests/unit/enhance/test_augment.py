"""Augmentations within pairs: each does what its definition says, changes something, and comes from the seed alone."""

from dataclasses import fields, replace

import numpy as np
import pytest
import soundfile
import torch
from scipy import signal

from enhance.augment import BY_SAMPLE, AugmentConfig
from enhance.augment.bandmask import BandMaskConfig, band_stop, band_stop_lead, draw_band
from enhance.augment.chain import EFFECTS
from enhance.augment.low_pass import LowPass, LowPassConfig, low_passed
from enhance.augment.remix import RemixConfig, dealt
from enhance.augment.reverb_echo import ReverbEchoConfig, draw_echoes
from enhance.augment.shift import ShiftConfig, draw_shift
from enhance.pairs import Pairs, PairsConfig
from enhance.sounds import gather, no_sounds
from harness.config import load_config

RATE = 16000
NAMES = [field.name for field in fields(AugmentConfig)]
PLAIN = {
    "clean_share": 0.0, "second_noise": 0.0, "babble": 0.0, "synthetic": 0.0, "gain": (0.0, 0.0), "equalise": 0.0,
    "speed": (1.0, 1.0),
}  # fmt: skip


@pytest.fixture
def sounds(make_voice):
    voices = [(f"s{i % 3}-{i}", f"s{i % 3}", make_voice(i, 0.6 + 0.3 * i)) for i in range(6)]
    rng = np.random.default_rng(0)
    noises = [(f"n{i}", f"n{i}", rng.standard_normal(4000 * (i + 1)).astype(np.float32)) for i in range(4)]
    return (
        gather(voices, where="voices", active=True, sample_rate=RATE),
        gather(noises, where="noises", active=False, sample_rate=RATE),
    )


@pytest.fixture
def responses(tmp_path):
    soundfile.write(tmp_path / "one.wav", np.array([0.0, 1.0, 0.5, -0.3, 0.1]), RATE)
    return tmp_path


def pairs_of(sounds, augment, workers=0, **settings):
    config = PairsConfig(**{"batch": 4, "seconds": 0.5} | PLAIN | settings, augment=AugmentConfig(**augment))
    return Pairs(*sounds, config, sample_rate=RATE, seed=1, workers=workers)


def switched_on(name, responses, probability=1.0):
    config = replace(getattr(AugmentConfig(), name), **{"files": responses} if name == "microphone" else {})
    return {name: replace(config, probability=probability)}


@pytest.mark.parametrize("name", NAMES)
def test_every_augmentation_changes_pairs_and_comes_from_the_seed(name, sounds, responses):
    plain = pairs_of(sounds, {})(2)
    assert torch.equal(pairs_of(sounds, switched_on(name, responses, probability=0.0))(2)[0], plain[0])
    augment = switched_on(name, responses)
    ours, again = pairs_of(sounds, augment), pairs_of(sounds, augment)
    again(0)
    (noisy, clean), (noisy_again, clean_again) = ours(2), again(2)
    assert not torch.equal(noisy, plain[0])
    assert torch.equal(noisy, noisy_again) and torch.equal(clean, clean_again)
    assert torch.isfinite(noisy).all()
    assert max(noisy.abs().max(), clean.abs().max()) <= 1


@pytest.mark.parametrize("name", ["room", "low_pass", "microphone", *EFFECTS])
def test_what_degrades_the_input_leaves_the_target(name, sounds, responses):
    gentle = {"gain": (-20.0, -20.0)}  # so that nothing clips
    _, plain = pairs_of(sounds, {}, **gentle)(0)
    noisy, clean = pairs_of(sounds, switched_on(name, responses), **gentle)(0)
    scale = (clean * plain).sum(-1, keepdim=True) / plain.square().sum(-1, keepdim=True)
    torch.testing.assert_close(clean, plain * scale, atol=1e-6, rtol=1e-4)
    assert noisy.shape == clean.shape


def test_a_probability_is_the_share_of_pairs(sounds):
    plain = pairs_of(sounds, {}, batch=200, seconds=0.05)(0)[0]
    some = pairs_of(sounds, {"bandmask": BandMaskConfig(probability=0.3)}, batch=200, seconds=0.05)(0)[0]
    share = ((some - plain).abs().amax(-1) > 1e-6).double().mean().item()
    assert share == pytest.approx(0.3, abs=0.1)


def test_batches_are_the_same_whatever_the_number_of_workers(sounds):
    augment = {name: replace(getattr(AugmentConfig(), name), probability=0.5) for name in ("child", "crusher", "room")}
    alone, helped, crowd = (pairs_of(sounds, augment, workers=workers) for workers in (0, 1, 3))
    for step in (0, 1, 2, 7):  # the last one was not made ahead
        expected = alone(step)
        for pairs in (helped, crowd):
            for ours, theirs in zip(pairs(step), expected, strict=True):
                assert torch.equal(ours, theirs)


def test_what_goes_by_sample_is_made_on_the_cpu(sounds):
    on = {"crusher": replace(AugmentConfig().crusher, probability=0.1)}
    assert AugmentConfig(**on).any_of(BY_SAMPLE) == "crusher"
    config = PairsConfig(batch=2, seconds=0.1, augment=AugmentConfig(**on))
    assert Pairs(*sounds, config, sample_rate=RATE, seed=0, device="meta").device == "cpu"


def test_remix_deals_the_noises_out_anew(sounds):
    noisy, clean = pairs_of(sounds, {}, batch=6)(0)
    mixed, same = pairs_of(sounds, {"remix": RemixConfig(probability=1.0)}, batch=6)(0)
    assert torch.equal(clean, same)
    noise, dealt_out = (noisy - clean).numpy(), (mixed - same).numpy()
    partners = [int(np.abs(noise - row).max(1).argmin()) for row in dealt_out]
    assert sorted(partners) == list(range(6)) != partners
    np.testing.assert_allclose(dealt_out, noise[partners], atol=1e-6)
    assert sorted(dealt(50, RemixConfig(probability=1.0), np.random.default_rng(0))) == list(range(50))


def test_shift_moves_speech_and_noise_together_or_apart():
    rng = np.random.default_rng(0)
    together = [draw_shift(ShiftConfig(probability=1.0, seconds=0.1), RATE, rng) for _ in range(200)]
    assert all(speech == noise for speech, noise in together)
    assert 1400 < max(together)[0] <= 1600
    apart = [draw_shift(ShiftConfig(probability=1.0, same=False), RATE, rng) for _ in range(50)]
    assert sum(speech != noise for speech, noise in apart) > 45


def test_shifted_segments_are_read_later(sounds):
    vocode = {"task": "vocode", "segments": "strided", "seconds": 0.1}
    shift = ShiftConfig(probability=1.0, seconds=0.05)
    pairs = pairs_of((sounds[0], no_sounds()), {"shift": shift}, **vocode)
    speech = sounds[0]
    noisy, _ = pairs(0)
    moves = set()
    for row in range(4):
        index, first = pairs.segment_at(row)
        start = speech.starts[index]
        whole = np.pad(speech.samples[start : start + speech.lengths[index]], (0, 3200))
        windows = np.lib.stride_tricks.sliding_window_view(whole, 1600)[first : first + 801]
        distance = np.abs(windows - noisy[row].numpy()).max(1)
        assert distance.min() < 1e-5
        moves.add(int(distance.argmin()))
    assert len(moves) > 1


def test_masked_bands_are_gone_and_the_rest_stays():
    band, lead = (1000.0, 2000.0), band_stop_lead(RATE)
    frequencies, response = signal.freqz(band_stop(band, RATE), worN=np.array([100, 500, 800, 1200, 1500, 1800, 2300,
                                                                               5000]), fs=RATE)  # fmt: skip
    expected = np.where((frequencies > 1000) & (frequencies < 2000), 0, 1)
    np.testing.assert_allclose(np.abs(response), expected, atol=0.02)
    assert len(band_stop(band, RATE)) == 2 * lead + 1
    np.testing.assert_allclose(band_stop(band, RATE), band_stop(band, RATE)[::-1], atol=1e-7)  # linear phase


def test_bands_are_drawn_within_their_width_on_the_mel_scale():
    config, rng = BandMaskConfig(width=0.1, bands=40), np.random.default_rng(0)
    widths = []
    for _ in range(300):
        low, high = draw_band(config, RATE, rng)
        assert 39.9 <= low < high <= 8001
        widths.append((np.log1p(high / 700) - np.log1p(low / 700)) / (np.log1p(8000 / 700) - np.log1p(40 / 700)) * 40)
    assert round(min(widths)) == 1 and round(max(widths)) == 4


def test_echoes_fall_by_sixty_decibels_in_rt60():
    config = ReverbEchoConfig(rt60=(0.5, 0.5), first_delay=(0.02, 0.02), repeats=1, jitter=0.0)
    taps, _ = draw_echoes(config, RATE, 20000, np.random.default_rng(0))
    places = np.flatnonzero(taps)
    np.testing.assert_array_equal(np.diff(places), 321)
    decibels = 20 * np.log10(taps[places] / taps[places[0]])
    np.testing.assert_allclose(decibels, -60 * (places - places[0]) / (321 * 0.5 / 0.02), atol=1e-3)
    assert decibels[-1] == pytest.approx(-60, abs=2.5)


def test_echoes_jitter_and_differ_for_speech_and_noise():
    steady = ReverbEchoConfig(repeats=1, jitter=0.0)
    of_speech, of_noise = draw_echoes(steady, RATE, 20000, np.random.default_rng(0))
    np.testing.assert_array_equal(of_speech, of_noise)
    of_speech, of_noise = draw_echoes(replace(steady, jitter=0.2), RATE, 20000, np.random.default_rng(0))
    assert not np.array_equal(of_speech, of_noise)
    one, three = (draw_echoes(replace(steady, repeats=n), RATE, 20000, np.random.default_rng(0))[0] for n in (1, 3))
    assert three.sum() == pytest.approx(3 * one.sum(), rel=1e-4)


def test_echoes_of_speech_join_the_noise_but_for_what_is_kept(sounds):
    quiet = {"snr": (60.0, 60.0), "gain": (-20.0, -20.0)}
    plain = pairs_of(sounds, {}, **quiet)(0)[1]
    for keep in (0.0, 1.0):
        config = ReverbEchoConfig(probability=1.0, keep_clean=keep)
        noisy, clean = pairs_of(sounds, {"reverb_echo": config}, **quiet)(0)
        echoes = (noisy - plain).square().sum().item()
        left = (clean - plain).square().sum().item()
        assert left == pytest.approx(keep * echoes, rel=0.02, abs=1e-9)
        assert echoes > 1e-3


def test_rooms_keep_the_direct_sound_on_the_target(sounds):
    near = replace(AugmentConfig().room, probability=1.0, distance=(0.3, 0.4), rt60=(0.2, 0.3))
    noisy, clean = pairs_of(sounds, {"room": near}, snr=(60.0, 60.0), gain=(-20.0, -20.0))(0)
    for ours, target in zip(noisy.numpy(), clean.numpy(), strict=True):
        products = np.correlate(ours, target, "full")
        assert products.argmax() == len(target) - 1
        assert products.max() / np.sum(target**2) == pytest.approx(1, abs=0.25)


def test_early_reflections_stay_in_the_target_when_asked(sounds):
    quiet = {"snr": (60.0, 60.0), "gain": (-20.0, -20.0)}
    room = replace(AugmentConfig().room, probability=1.0)
    dry, early, late = (
        pairs_of(sounds, {"room": one}, **quiet)(0)
        for one in (room, replace(room, target="early"), replace(room, target="early", early=2.0))
    )
    errors = [(noisy - clean).square().sum().item() for noisy, clean in (dry, early, late)]
    assert errors[0] > 1.5 * errors[1] > 1.5 * errors[2]
    assert torch.equal(dry[0], early[0])


def test_rooms_may_take_the_noise_in(sounds):
    room = replace(AugmentConfig().room, probability=1.0)
    speech, mixture = (pairs_of(sounds, {"room": replace(room, where=where)})(0)[0] for where in ("speech", "mixture"))
    assert not torch.equal(speech, mixture)


@pytest.mark.parametrize(("kind", "sections"), [
    ("butterworth", signal.butter(4, 2000, fs=RATE, output="sos")),
    ("chebyshev", signal.cheby1(4, 0.05, 2000, fs=RATE, output="sos")),
    ("elliptic", signal.ellip(4, 0.05, 60, 2000, fs=RATE, output="sos")),
    ("bessel", signal.bessel(4, 2000, norm="mag", fs=RATE, output="sos")),
])  # fmt: skip
def test_low_passes_are_scipys_run_both_ways(kind, sections):
    noise = np.random.default_rng(0).standard_normal((1, 6000))
    ours = low_passed(torch.from_numpy(noise), [LowPass(kind, 4, 2000.0)], RATE, decimate=False)[0].numpy()
    theirs = signal.sosfiltfilt(sections, noise[0], padtype=None)
    np.testing.assert_allclose(ours[1000:-1000], theirs[1000:-1000], atol=1e-3)


def test_decimation_folds_what_a_soft_filter_lets_pass():
    time = np.arange(8000) / RATE
    tone = torch.from_numpy(np.sin(2 * np.pi * 2300 * time))[None]
    kept, folded = (
        low_passed(tone, [LowPass("butterworth", 2, 2000.0)], RATE, decimate=decimate)[0, 2000:6000].numpy()
        for decimate in (False, True)
    )
    assert np.abs(np.fft.rfft(kept * np.hanning(4000))).argmax() * 4 == pytest.approx(2300, abs=8)
    assert np.abs(np.fft.rfft(folded * np.hanning(4000))).argmax() * 4 == pytest.approx(1700, abs=8)
    assert low_passed(tone, [LowPass("sinc", 1, 9000.0)], RATE, decimate=False).sub(tone).abs().max() < 1e-5


def test_low_passes_are_drawn_from_what_is_listed():
    config = LowPassConfig(cutoffs=(1000.0, 3000.0), filters=("bessel", "elliptic"), order=(3, 4))
    drawn = {LowPass.draw(config, np.random.default_rng(seed)) for seed in range(100)}
    assert drawn == {LowPass(kind, order, cutoff) for kind in ("bessel", "elliptic") for order in (3, 4)
                     for cutoff in (1000.0, 3000.0)}  # fmt: skip


def test_vocoding_refuses_what_would_change_its_input():
    with pytest.raises(ValueError, match=r"augment\.codec would change"):
        PairsConfig(task="vocode", augment=AugmentConfig(codec=replace(AugmentConfig().codec, probability=0.1)))
    with pytest.raises(ValueError, match=r"no noise for augment\.remix"):
        PairsConfig(task="bandwidth", augment=AugmentConfig(remix=RemixConfig(probability=0.1)))


def test_validation_pairs_are_plain_and_keep_the_task(sounds):
    low = LowPassConfig(probability=0.5, cutoffs=(3000.0,))
    augment = AugmentConfig(low_pass=low, remix=RemixConfig(probability=1.0))
    plain = PairsConfig(augment=augment, segments="strided", snr_floor=3.0).plain(snr=(0.0, 15.0))
    assert plain.augment == AugmentConfig(low_pass=replace(low, probability=0.0))
    assert (plain.snr, plain.snr_floor, plain.segments, plain.gain) == ((0.0, 15.0), None, "random", (0.0, 0.0))


def test_a_yaml_switches_augmentations_on(tmp_path):
    path = tmp_path / "pairs.yaml"
    path.write_text("augment:\n  codec:\n    probability: 0.45\n    codecs: [mp3]\n  room:\n    files: rooms\n")
    config = load_config(PairsConfig, path)
    assert config.augment.codec.probability == 0.45
    assert config.augment.codec.codecs == ("mp3",)
    assert str(config.augment.room.files) == "rooms"
