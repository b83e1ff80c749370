import numpy as np
import pytest
import torch

from enhance.augment import AugmentConfig
from enhance.augment.low_pass import LowPassConfig
from enhance.pack import pack_speech, read_pack
from enhance.pairs import Pairs, PairsConfig
from enhance.sounds import gather, hold_out, no_sounds
from enhance.speech_level import active_power
from harness.errors import AudioError

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
        gather(voices, where="voices", active=True, sample_rate=16000),
        gather(noises, where="noises", active=False, sample_rate=16000),
    )


def pairs_of(sounds, **settings):
    return Pairs(*sounds, PairsConfig(**{"batch": 5, "seconds": 1.0} | settings), sample_rate=16000, seed=1)


def test_a_step_gives_the_same_pairs_whatever_came_before(sounds):
    fresh, used = pairs_of(sounds), pairs_of(sounds)
    for step in range(3):
        used(step)
    for ours, theirs in zip(fresh(3), used(3), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(fresh(3)[0], fresh(4)[0])


def test_every_utterance_comes_once_in_an_epoch(sounds):
    pairs = pairs_of(sounds)
    assert sorted(pairs.utterance_at(i) for i in range(6, 12)) == list(range(6))


def test_noise_lies_at_the_drawn_snr_below_the_active_level_of_the_utterance(sounds):
    pairs = pairs_of(sounds, **PLAIN | {"snr": (3.0, 3.0)})
    noisy, clean = pairs(0)
    for row in range(5):
        power = sounds[0].powers[pairs.utterance_at(row)]
        noise = (noisy[row] - clean[row]).double().square().mean().item()
        scale = 1.0  # nothing clips at these levels
        assert 10 * np.log10(power * scale / noise) == pytest.approx(3.0, abs=0.1)


def test_clean_pairs_are_clean(sounds):
    noisy, clean = pairs_of(sounds, clean_share=1.0)(0)
    assert torch.equal(noisy, clean)


def test_a_plain_pair_holds_a_crop_of_its_utterance(sounds):
    pairs = pairs_of(sounds, **PLAIN | {"clean_share": 1.0, "seconds": 0.1})
    noisy, _ = pairs(0)
    speech = sounds[0]
    for row in range(5):
        index = pairs.utterance_at(row)
        whole = speech.samples[speech.starts[index] : speech.starts[index] + speech.lengths[index]]
        windows = np.lib.stride_tricks.sliding_window_view(whole, 1600)
        assert np.abs(windows - noisy[row].numpy()).max(1).min() < 1e-5


def test_nothing_clips_and_every_kind_of_pair_is_finite(sounds):
    config = {"snr": (-20.0, -20.0), "gain": (20.0, 20.0), "babble": 0.4, "synthetic": 0.4, "second_noise": 1.0}
    noisy, clean = pairs_of(sounds, batch=24, **config)(0)
    assert torch.isfinite(noisy).all()
    assert noisy.abs().max() <= 1
    assert clean.abs().max() <= 1


def test_speed_moves_the_pitch(sounds):
    tone = np.sin(2 * np.pi * 500 * np.arange(32000) / 16000).astype(np.float32)
    speech = gather([("a", "a", tone)], where="tone", active=True, sample_rate=16000)
    config = PairsConfig(**PLAIN | {"clean_share": 1.0, "batch": 1, "seconds": 1.0, "speed": (1.2, 1.2)})
    noisy, _ = Pairs(speech, sounds[1], config, sample_rate=16000, seed=0)(0)
    peak = np.abs(np.fft.rfft(noisy[0].numpy())).argmax()
    assert peak == pytest.approx(600, abs=2)


def test_held_out_speakers_are_kept_apart_and_stay_the_same(sounds):
    kept, held = hold_out(sounds[0], 0.34, 0, "test")
    assert set(kept.groups).isdisjoint(held.groups)
    assert len(kept.names) + len(held.names) == 6
    assert hold_out(sounds[0], 0.34, 0, "test")[1].names == held.names


def test_one_speaker_alone_cannot_be_split(make_voice):
    alone = gather([("a", "x", make_voice(0, 1.0))], where="one", active=True, sample_rate=16000)
    with pytest.raises(AudioError, match="at least two speakers"):
        hold_out(alone, 0.1, 0, "held-out speakers")


def test_samples_that_are_not_finite_are_named():
    with pytest.raises(AudioError, match=r"place: bad: holds samples that are not finite"):
        gather([("bad", "x", np.array([np.nan], np.float32))], where="place", active=True, sample_rate=16000)


def test_a_pack_gives_back_what_went_in(tmp_path, make_voice):
    items = [(f"u{i}", f"s{i % 2}", np.round(make_voice(i, 0.7) * 32768) / 32768) for i in range(5)]
    assert pack_speech(iter(items), tmp_path / "pack", sample_rate=16000, shard_minutes=0.02) == 5
    assert len(list((tmp_path / "pack").glob("*.flac"))) == 3
    for (utterance, speaker, samples), back in zip(items, read_pack(tmp_path / "pack", 16000), strict=True):
        assert (utterance, speaker) == back[:2]
        np.testing.assert_array_equal(samples.astype(np.float32), back[2])


def test_active_level_of_a_gathered_utterance_is_that_of_its_samples(sounds, make_voice):
    assert sounds[0].powers[2] == pytest.approx(float(active_power(make_voice(2, 1.2))))


def test_vocoding_takes_clean_speech_as_its_input(sounds):
    noisy, clean = pairs_of((sounds[0], no_sounds()), task="vocode")(0)
    assert torch.equal(noisy, clean)


def test_bandwidth_extension_takes_low_passed_speech_as_its_input(sounds):
    low = LowPassConfig(cutoffs=(2000.0,))
    pairs = pairs_of((sounds[0], no_sounds()), task="bandwidth", augment=AugmentConfig(low_pass=low))
    noisy, clean = (part.double().numpy() for part in pairs(0))
    ours, whole = (np.abs(np.fft.rfft(part)) ** 2 for part in (noisy, clean))  # a bin a hertz
    np.testing.assert_allclose(ours[:, :1900].sum(1), whole[:, :1900].sum(1), rtol=1e-3)
    assert (ours[:, 2100:].sum(1) < 0.01 * whole[:, 2100:].sum(1)).all()


def test_denoising_without_any_noise_is_refused(sounds):
    with pytest.raises(AudioError, match="neither noise nor noisy speech"):
        pairs_of((sounds[0], no_sounds()))


def test_strided_segments_cover_every_sample_and_keep_tails(sounds):
    pairs = pairs_of((sounds[0], no_sounds()), task="vocode", segments="strided", stride=0.5, seconds=0.25)
    covered = [np.zeros(length, int) for length in sounds[0].lengths]
    for position in range(pairs.pairs_per_epoch):
        index, first = pairs.segment_at(position)
        covered[index][first : first + 4000] += 1
        assert first % 2000 == 0
    assert all((marks >= 1).all() for marks in covered)


def test_a_strided_epoch_shows_every_segment_once_and_pads_short_ones(sounds):
    config = PLAIN | {"task": "vocode", "segments": "strided", "stride": 1.0, "batch": 1, "seconds": 1.0}
    pairs = pairs_of((sounds[0], no_sounds()), **config)
    count = sum(-(-int(length) // 16000) for length in sounds[0].lengths)
    assert pairs.pairs_per_epoch == count
    speech, seen = sounds[0], set()
    for step in range(count):
        index, first = pairs.segment_at(step)
        seen.add((index, first))
        whole = speech.samples[speech.starts[index] : speech.starts[index] + speech.lengths[index]]
        expected = np.pad(whole, (0, 16000))[first : first + 16000]
        np.testing.assert_allclose(pairs(step)[0][0].numpy(), expected, atol=1e-6)
    assert len(seen) == count


def test_snr_floor_raises_low_draws_only(sounds):
    drawn = snrs_of(sounds, snr=(0.0, 20.0))
    floored = snrs_of(sounds, snr=(0.0, 20.0), snr_floor=12.0)
    np.testing.assert_allclose(floored, np.maximum(drawn, 12.0), atol=0.05)
    assert drawn.min() < 12 < drawn.max()


def test_normal_snrs_have_the_asked_mean(sounds):
    drawn = snrs_of(sounds, batch=200, seconds=0.3, snr_normal=(20.0, 4.0))
    assert drawn.mean() == pytest.approx(20.0, abs=1.0)
    assert drawn.std() == pytest.approx(4.0, abs=0.7)


def snrs_of(sounds, **settings):
    """dB of each pair, measured against the active power of its utterance."""
    pairs = pairs_of(sounds, **PLAIN | settings)
    noisy, clean = pairs(0)
    noise = (noisy - clean).double().square().mean(-1).numpy()
    powers = np.array([sounds[0].powers[pairs.utterance_at(row)] for row in range(len(noisy))])
    return 10 * np.log10(powers / noise)
