import os

import numpy as np
import pytest
import soundfile

from enhance.mixing import MixConfig, cut_noise, mix, mix_data_dir, mix_utterance
from harness.errors import AudioError, DataDirError, DiskError
from kaldi_bridge.data_dir import DataDir

RATE = 16000


def test_the_noise_lies_the_asked_decibels_below_the_speech():
    rng = np.random.default_rng(0)
    speech, noise = (0.01 * rng.standard_normal((2, RATE))).astype(np.float32)  # steady: every frame is active
    noisy, scale = mix(speech, 0.3 * noise, 7.0)
    assert scale == 1
    ratio = 10 * np.log10(np.mean(speech**2.0) / np.mean((noisy - speech) ** 2.0))
    assert ratio == pytest.approx(7.0, abs=0.01)


def test_pauses_of_the_speech_do_not_change_the_noise():
    rng = np.random.default_rng(0)
    speech, noise = (0.01 * rng.standard_normal((2, RATE))).astype(np.float32)
    with_pause = np.concatenate([speech, np.zeros(RATE, np.float32)])
    noisy, _ = mix(with_pause, np.tile(noise, 2), 0.0)
    assert np.mean((noisy - with_pause) ** 2.0) == pytest.approx(np.mean(speech**2.0), rel=0.01)


def test_a_sum_that_would_clip_is_scaled_down_with_its_speech():
    rng = np.random.default_rng(1)
    speech, noise = (0.5 * rng.standard_normal((2, RATE))).astype(np.float32)
    noisy, scale = mix(speech, noise, 0.0)
    assert scale < 1
    assert np.abs(noisy).max() == pytest.approx(0.99, abs=1e-4)
    ratio = np.mean((noisy / scale - speech) ** 2.0) / np.mean(speech**2.0)
    assert ratio == pytest.approx(1.0, rel=0.01)


def test_a_short_noise_is_looped():
    np.testing.assert_array_equal(cut_noise(np.arange(3), 2, 8), [2, 0, 1, 2, 0, 1, 2, 0])


def test_a_draw_depends_on_seed_and_id_alone(noise_dir, make_voice):
    speech = make_voice(0, 1.0)
    first = mix_utterance("ann-1", speech, str(noise_dir), MixConfig(seed=3))
    again = mix_utterance("ann-1", speech, str(noise_dir), MixConfig(seed=3))
    np.testing.assert_array_equal(first.samples, again.samples)
    others = {
        (mixture.snr, mixture.noise, mixture.offset)
        for mixture in (mix_utterance(f"u{i}", speech, str(noise_dir), MixConfig(seed=3)) for i in range(20))
    }
    assert len(others) > 15
    assert {snr for snr, _, _ in others} == {0.0, 5.0, 10.0, 15.0}


def test_a_mixed_directory_is_complete_and_records_every_draw(clean_dir, noise_dir, tmp_path, audio_of):
    out = mix_data_dir(clean_dir, noise_dir, tmp_path / "noisy", MixConfig(snr=(5.0,), seed=1), jobs=1)
    noisy, clean = DataDir.read(out), DataDir.read(clean_dir)
    assert noisy.utterances == clean.utterances
    assert noisy.text == clean.text
    assert noisy.spk2age == clean.spk2age
    speech, mixed = audio_of(clean_dir), audio_of(out)
    for utterance in clean.utterances:
        name, offset = noisy.tables["utt2noise"][utterance].split()
        assert noisy.tables["utt2snr"][utterance] == "5"
        noise, _ = soundfile.read(noise_dir / name, dtype="float32")
        piece = np.take(noise, int(offset) + np.arange(len(speech[utterance])), mode="wrap")
        rest = mixed[utterance] / float(noisy.tables["utt2scale"][utterance]) - speech[utterance]
        assert np.corrcoef(rest, piece)[0, 1] > 0.999


def test_the_number_of_jobs_does_not_change_a_byte(clean_dir, noise_dir, tmp_path):
    one = mix_data_dir(clean_dir, noise_dir, tmp_path / "one", MixConfig(), jobs=1)
    two = mix_data_dir(clean_dir, noise_dir, tmp_path / "two", MixConfig(), jobs=2)
    for wav in sorted((one / "wav").iterdir()):
        assert wav.read_bytes() == (two / "wav" / wav.name).read_bytes()
    assert (one / "utt2noise").read_bytes() == (two / "utt2noise").read_bytes()


def test_a_rerun_keeps_what_a_killed_run_finished(clean_dir, noise_dir, tmp_path, monkeypatch):
    import enhance.mixing

    real, seen = enhance.mixing.mix_utterance, []

    def dies_at_the_third(utterance, *rest):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(utterance)
        return real(utterance, *rest)

    monkeypatch.setattr(enhance.mixing, "mix_utterance", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        mix_data_dir(clean_dir, noise_dir, tmp_path / "noisy", MixConfig(), jobs=1)
    assert not (tmp_path / "noisy").exists()
    again = []
    monkeypatch.setattr(enhance.mixing, "mix_utterance", lambda utt, *rest: again.append(utt) or real(utt, *rest))
    out = mix_data_dir(clean_dir, noise_dir, tmp_path / "noisy", MixConfig(), jobs=1)
    assert seen + again == DataDir.read(clean_dir).utterances
    monkeypatch.undo()
    whole = mix_data_dir(clean_dir, noise_dir, tmp_path / "whole", MixConfig(), jobs=1)
    assert (out / "utt2noise").read_bytes() == (whole / "utt2noise").read_bytes()
    assert sorted(os.listdir(out)) == sorted(os.listdir(whole))


def test_an_existing_directory_of_another_request_is_not_touched(clean_dir, noise_dir, tmp_path):
    mix_data_dir(clean_dir, noise_dir, tmp_path / "noisy", MixConfig(seed=1), jobs=1)
    with pytest.raises(DiskError, match="already exists"):
        mix_data_dir(clean_dir, noise_dir, tmp_path / "noisy", MixConfig(seed=2), jobs=1)


@pytest.mark.parametrize("changed", ["noise", "text", "segments"])
def test_a_mixture_of_what_has_changed_since_is_not_taken_for_done(noise_dir, tmp_path, make_voice, changed):
    soundfile.write(tmp_path / "r.wav", make_voice(1, 3.0), RATE, "PCM_16")
    tables = {"wav_scp": {"ann": str(tmp_path / "r.wav")}, "utt2spk": {"ann-1": "ann"}, "text": {"ann-1": "ONE"}}
    data = DataDir.build(tmp_path / "clean", **tables, segments={"ann-1": "ann 0 1"}).write()
    out = mix_data_dir(data.path, noise_dir, tmp_path / "noisy", MixConfig(), jobs=1)
    (data.path / "utt2dur").write_text("ann-1 1.0\n")  # as features bring it
    assert mix_data_dir(data.path, noise_dir, out, MixConfig(), jobs=1) == out
    match changed:
        case "noise":
            soundfile.write(noise_dir / "hum.wav", 0.1 * np.cos(np.arange(RATE) * 0.05), RATE, "PCM_16")
        case "text":
            (data.path / "text").write_text("ann-1 TWO\n")
        case "segments":
            (data.path / "segments").write_text("ann-1 ann 1 2.5\n")
    with pytest.raises(DiskError, match="already exists"):
        mix_data_dir(data.path, noise_dir, out, MixConfig(), jobs=1)


@pytest.mark.parametrize("name", ["ann/../../../x", "..", "/x"])
def test_an_id_that_leads_out_of_the_output_is_refused(noise_dir, tmp_path, make_voice, name):
    soundfile.write(tmp_path / "x.wav", make_voice(1, 1.0), RATE, "PCM_16")
    tables = {"wav_scp": {name: str(tmp_path / "x.wav")}, "utt2spk": {name: name}, "text": {name: "ONE"}}
    data = DataDir.build(tmp_path / "data", **tables).write()
    with pytest.raises(DataDirError, match="would lead out of the output directory"):
        mix_data_dir(data.path, noise_dir, tmp_path / "o" / "o", MixConfig(), jobs=1)
    assert not (tmp_path / "o").exists()


def test_ids_with_slashes_are_mixed_each_into_its_own_file(noise_dir, tmp_path, make_voice, audio_of):
    for number in (1, 2):
        soundfile.write(tmp_path / f"{number}.wav", make_voice(number, 1.0), RATE, "PCM_16")
    wav_scp = {"ann": str(tmp_path / "1.wav"), "ann/b": str(tmp_path / "2.wav")}
    data = DataDir.build(
        tmp_path / "d", wav_scp=wav_scp, utt2spk={n: n for n in wav_scp}, text=dict.fromkeys(wav_scp, "A")
    )
    mixed = audio_of(mix_data_dir(data.write().path, noise_dir, tmp_path / "out", MixConfig(snr=(40.0,)), jobs=1))
    for name, clean in audio_of(data.path).items():
        assert np.corrcoef(mixed[name], clean)[0, 1] > 0.99


def test_an_empty_noise_directory_is_refused(clean_dir, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(AudioError, match=r"nothing: the noise directory holds no audio files"):
        mix_data_dir(clean_dir, tmp_path / "nothing", tmp_path / "noisy", MixConfig(), jobs=1)
    assert not (tmp_path / "noisy").exists()


@pytest.mark.parametrize(
    ("samples", "rate", "problem"),
    [
        (np.zeros(8000), 8000, "has 8000 Hz, not 16000"),
        (np.zeros((8000, 2)), 16000, "has 2 channels"),
        (np.full(8000, np.nan), 16000, "NaN|not finite"),
        (np.zeros(8000), 16000, "silent"),
    ],
)
def test_a_noise_that_cannot_be_used_is_named(clean_dir, tmp_path, samples, rate, problem):
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "bad.wav", samples.astype(np.float32), rate, "FLOAT")
    with pytest.raises(AudioError, match=problem) as caught:
        mix_data_dir(clean_dir, tmp_path / "noise", tmp_path / "noisy", MixConfig(), jobs=1)
    assert "noise" in caught.value.where


def test_silent_speech_is_named(noise_dir):
    with pytest.raises(AudioError, match="ann-1: is silent"):
        mix_utterance("ann-1", np.zeros(16000, np.float32), str(noise_dir), MixConfig())
