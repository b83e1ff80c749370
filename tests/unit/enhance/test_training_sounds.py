"""Where training takes its sounds from: paired directories, other rates, and the cache on disk."""

import multiprocessing
import threading

import numpy as np
import pytest
import soundfile
import torch

from enhance.pairs import Pairs, PairsConfig
from enhance.settings import load_settings
from enhance.sound_cache import cached
from enhance.sounds import gather, hold_out, no_sounds
from enhance.train import RunOptions, Trainer
from enhance.training_sounds import Sources, load_noises, load_speech, with_noisy
from harness.errors import AudioError, ConfigError, DiskError, TrainingError
from tests.full_disk import largest_file

LENGTHS = {"ann-1": 0.6, "ann-2": 0.5, "bob-1": 0.7}
PLAIN = {"clean_share": 0.0, "gain": (0.0, 0.0), "equalise": 0.0, "speed": (1.0, 1.0)}


@pytest.fixture
def clean_sounds(make_voice):
    items = [(name, name[:3], make_voice(number, seconds)) for number, (name, seconds) in enumerate(LENGTHS.items())]
    return gather(items, where="clean", active=True, sample_rate=16000)


def noisy_items(clean, level=0.05):
    rng = np.random.default_rng(3)
    for name, start, length in zip(clean.names, clean.starts, clean.lengths, strict=True):
        yield name, clean.samples[start : start + length] + level * rng.standard_normal(length).astype(np.float32)


def test_noisy_recordings_lie_beside_the_clean_ones_and_stay_there(clean_sounds):
    noisy = dict(noisy_items(clean_sounds))
    both = with_noisy(clean_sounds, reversed(noisy.items()), where="noisy", clean_ids=LENGTHS)
    kept, held = hold_out(both, 0.5, 0, "speakers")
    for part in (kept, held):
        for name, start, length in zip(part.names, part.starts, part.lengths, strict=True):
            np.testing.assert_array_equal(part.noisy[start : start + length], noisy[name])


def test_pairs_of_recorded_noise_are_the_recordings(clean_sounds):
    both = with_noisy(clean_sounds, noisy_items(clean_sounds), where="noisy", clean_ids=LENGTHS)
    config = PairsConfig(batch=3, seconds=0.03, **PLAIN)
    noisy, clean = Pairs(both, no_sounds(), config, sample_rate=16000, seed=0)(0)
    for row in range(3):
        windows = [np.lib.stride_tricks.sliding_window_view(part, 480) for part in (both.noisy, both.samples)]
        place = int(np.abs(windows[1] - clean[row].numpy()).max(1).argmin())
        np.testing.assert_allclose(windows[1][place], clean[row].numpy(), atol=1e-6)
        np.testing.assert_allclose(windows[0][place], noisy[row].numpy(), atol=1e-6)
    untouched, same = Pairs(both, no_sounds(), PairsConfig(batch=3, seconds=0.5, clean_share=1.0), sample_rate=16000,
                            seed=0)(0)  # fmt: skip
    assert torch.equal(untouched, same)


def test_ids_without_a_partner_and_other_lengths_are_named(clean_sounds):
    noisy = dict(noisy_items(clean_sounds))
    without = {name: samples for name, samples in noisy.items() if name != "bob-1"}
    with pytest.raises(AudioError, match=r"noisy: 1 utterances have no noisy recording: bob-1"):
        with_noisy(clean_sounds, without.items(), where="noisy", clean_ids=LENGTHS)
    with pytest.raises(AudioError, match=r"1 utterances have no clean recording: cyd-9"):
        with_noisy(clean_sounds, (noisy | {"cyd-9": noisy["ann-1"]}).items(), where="noisy", clean_ids=LENGTHS)
    with pytest.raises(AudioError, match=r"differ in length: ann-2 \(8000 samples clean, 7999 noisy\)"):
        with_noisy(clean_sounds, (noisy | {"ann-2": noisy["ann-2"][1:]}).items(), where="noisy", clean_ids=LENGTHS)
    silent = [*LENGTHS, "dan-1"]  # its clean recording was silent and left out
    with_noisy(clean_sounds, (noisy | {"dan-1": noisy["ann-1"]}).items(), where="noisy", clean_ids=silent)
    with pytest.raises(AudioError, match=r"noisy: ann-1: holds samples that are not finite"):
        with_noisy(clean_sounds, (noisy | {"ann-1": noisy["ann-1"] * np.nan}).items(), where="noisy", clean_ids=LENGTHS)


def test_data_directories_are_paired_by_id(tmp_path, make_data_dir):
    clean = make_data_dir(tmp_path / "clean", LENGTHS)
    noisy = make_data_dir(tmp_path / "noisy", LENGTHS)
    speech = load_speech(Sources(data=clean, noisy=noisy))
    np.testing.assert_array_equal(speech.noisy, speech.samples)
    other = make_data_dir(tmp_path / "other", LENGTHS | {"ann-1": 0.4})
    with pytest.raises(AudioError, match=r"differ in length: ann-1 \(9600 samples clean, 6400 noisy\)"):
        load_speech(Sources(data=clean, noisy=other))


@pytest.mark.parametrize(("places", "words"), [
    ({}, "either --data or --pack"), ({"data": "a", "pack": "b"}, "either --data or --pack"),
    ({"data": "a", "noisy": "b", "noise": "c"}, "--noise has no place"), ({"pack": "a", "noisy": "b"}, "with --data"),
])  # fmt: skip
def test_places_that_do_not_fit_together_are_refused(places, words):
    with pytest.raises(ConfigError, match=words):
        Sources(**places)


def test_other_rates_are_refused_or_resampled(tmp_path, make_data_dir, noise_dir):
    clean = make_data_dir(tmp_path / "clean", LENGTHS)
    with pytest.raises(AudioError, match="16000 samples a second where 8000"):
        load_speech(Sources(data=clean, sample_rate=8000))
    with pytest.raises(AudioError, match="has 16000 Hz, not 8000"):
        load_noises(Sources(data=clean, noise=noise_dir, sample_rate=8000))
    sources = Sources(data=clean, noise=noise_dir, sample_rate=8000, resample=True)
    assert load_speech(sources).lengths.tolist() == [round(8000 * seconds) for seconds in LENGTHS.values()]
    hum = load_noises(sources)
    row = hum.names.index("hum.wav")
    piece = hum.samples[hum.starts[row] : hum.starts[row] + hum.lengths[row]]
    assert np.abs(np.fft.rfft(piece)).argmax() == round(0.02 * 16000 / (2 * np.pi))  # Hz, as before


def test_the_cache_gives_back_what_was_read(tmp_path, make_data_dir, noise_dir):
    clean, noisy = (make_data_dir(tmp_path / name, LENGTHS) for name in ("clean", "noisy"))
    plain, kept = (Sources(data=clean, noisy=noisy, cache=cache) for cache in (None, tmp_path / "cache"))
    expected = load_speech(plain)
    for found in (load_speech(kept), load_speech(kept)):
        assert (found.names, found.groups) == (expected.names, expected.groups)
        for part in ("samples", "starts", "lengths", "powers", "noisy"):
            np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))
    assert load_noises(Sources(data=clean, noise=noise_dir, cache=tmp_path / "cache")).noisy is None
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_second_run_reads_the_cache_alone(tmp_path, make_voice):
    calls = []

    def make():
        calls.append(1)
        return gather([("a", "a", make_voice(0, 0.3))], where="a", active=True, sample_rate=16000)

    for request in ({"rate": 1}, {"rate": 1}, {"rate": 2}):
        cached(tmp_path, request, make)
    assert len(calls) == 2
    config = PairsConfig(task="vocode", batch=1, seconds=0.1, **PLAIN)
    noisy, _ = Pairs(cached(tmp_path, {"rate": 1}, make), no_sounds(), config, sample_rate=16000, seed=0)(0)
    assert noisy.abs().max() > 0


def test_everything_that_shapes_the_sounds_makes_another_entry(tmp_path, make_data_dir):
    clean, cache = make_data_dir(tmp_path / "clean", LENGTHS), tmp_path / "cache"

    def entries(**changed):
        load_speech(Sources(**{"data": clean, "cache": cache} | changed))
        return len(list(cache.iterdir()))

    assert entries() == entries() == 1
    assert entries(sample_rate=8000, resample=True) == 2
    assert entries(noisy=make_data_dir(tmp_path / "noisy", LENGTHS)) == 3
    samples, rate = soundfile.read(clean / "audio" / "ann-1.wav")
    soundfile.write(clean / "audio" / "ann-1.wav", samples[:-1], rate)
    assert entries() == 4
    (clean / "segments").write_text("ann-1 ann-1 0.0 0.3\nann-2 ann-2 0.0 0.3\nbob-1 bob-1 0.0 0.3\n")
    (clean / "utt2dur").unlink(missing_ok=True)
    assert entries() == 5


def test_two_runs_may_fill_the_cache_at_once(tmp_path, make_voice):
    barrier, found = threading.Barrier(2), []

    def make():
        sounds = gather([("a", "a", make_voice(0, 0.3))], where="a", active=True, sample_rate=16000)
        barrier.wait(timeout=20)  # both have found nothing
        return sounds

    threads = [threading.Thread(target=lambda: found.append(cached(tmp_path, {}, make))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    np.testing.assert_array_equal(found[0].samples, found[1].samples)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_entry_is_named(tmp_path, make_voice):
    def make():
        return gather([("a", "a", make_voice(0, 0.3))], where="a", active=True, sample_rate=16000)

    cached(tmp_path, {}, make)
    [entry] = tmp_path.iterdir()
    (entry / "samples.npy").write_bytes(b"x")
    with pytest.raises(AudioError, match="is damaged") as error:
        cached(tmp_path, {}, make)
    assert "remove this directory" in error.value.mend


def test_a_disk_that_is_full_is_said_and_leaves_no_entry(tmp_path, make_voice):
    def make():
        return gather([("a", "a", make_voice(0, 0.3))], where="a", active=True, sample_rate=16000)

    with largest_file(10_000), pytest.raises(DiskError, match=r"could not be written whole \(4800 requested"):
        cached(tmp_path, {}, make)
    assert not list(tmp_path.iterdir())


def test_training_on_paired_speech_is_the_same_with_workers(tmp_path, clean_sounds):
    both = with_noisy(clean_sounds, noisy_items(clean_sounds), where="noisy", clean_ids=LENGTHS)
    changes = ["generator.channels=8", "generator.dual_paths=1", "generator.dilations=[1]", "pairs.batch=2",
               "pairs.seconds=0.2", "pairs.augment.crusher.probability=0.5", "train.steps=3", "train.warmup=1",
               "train.validate_every=3", "train.validation_batches=1"]  # fmt: skip
    settings = load_settings(None, [*changes, "objective=denoiser"])
    runs = [
        Trainer(settings, both, no_sounds(), tmp_path / str(workers), RunOptions(workers=workers)) for workers in (0, 2)
    ]
    weights = []
    for run in runs:
        run.run()
        weights.append(torch.cat([parameter.flatten() for parameter in run.model.parameters()]))
    assert torch.equal(*weights)


def test_a_worker_that_was_killed_is_reported(clean_sounds):
    config = PairsConfig(task="vocode", batch=1, seconds=0.1)
    pairs = Pairs(clean_sounds, no_sounds(), config, sample_rate=16000, seed=0, workers=1)
    pairs(0)
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(TrainingError, match=r"step [1-9].*died"):
        for step in range(1, 9):
            pairs(step)
