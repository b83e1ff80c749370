"""What the options of the verbs that take sound do: mix, denoise, stream, pipe, serve, score, compare, statistics."""

import csv
import io
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
import torch

from kaldi_bridge.data_dir import DataDir
from tests.unit.enhance.called import ran, refused

RATE = 16000


def wav(samples, rate=RATE):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, "PCM_16", format="WAV")
    return buffer.getvalue()


def half_rate(folder):
    """The recordings of a data directory at 8 kHz."""
    for path in (folder / "audio").glob("*.wav"):
        samples, _ = soundfile.read(path)
        soundfile.write(path, samples[::2], RATE // 2, "PCM_16")


@pytest.fixture
def alone(monkeypatch):
    """No GPU; what a verb sets for its whole process is left as it was.  Returns the numbers of threads asked for."""
    counts = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(torch, "set_flush_denormal", lambda on: None)
    monkeypatch.setattr("enhance.verbs_stream.signal.signal", lambda *words: None)
    return counts


def test_mixing_draws_by_its_seed_and_replaces_only_when_forced(clean_dir, noise_dir, tmp_path):
    mixed = ["mix", "--data", clean_dir, "--noise", noise_dir, "--out", tmp_path / "noisy", "--jobs", 1]
    ran(*mixed)
    first = (tmp_path / "noisy" / "utt2noise").read_text()
    assert "--force" in refused(*mixed, "--seed", 1)
    assert (tmp_path / "noisy" / "utt2noise").read_text() == first
    ran(*mixed, "--seed", 1, "--force")
    assert (tmp_path / "noisy" / "utt2noise").read_text() != first


def test_mixing_takes_one_rate(clean_dir, noise_dir, tmp_path):
    mixed = ["mix", "--data", clean_dir, "--noise", noise_dir, "--out", tmp_path / "noisy", "--jobs", 1]
    assert "16000" in refused(*mixed, "--sample-rate", 8000)
    assert not (tmp_path / "noisy").exists()


def test_denoising_converts_and_replaces_only_when_asked(clean_dir, tmp_path, small_model):
    asked = ["denoise", "--data", clean_dir, "--model", small_model, "--out", tmp_path / "out", "--jobs", 1]
    half_rate(clean_dir)
    assert "or pass --resample" in refused(*asked)
    ran(*asked, "--resample")
    before = (tmp_path / "out" / "wav" / "ann-1.wav").read_bytes()
    assert "--force" in refused(*asked, "--resample", "--mix", 0.5)
    ran(*asked, "--resample", "--mix", 0.5, "--force")
    assert (tmp_path / "out" / "wav" / "ann-1.wav").read_bytes() != before


def test_denoising_bears_a_stated_share_of_failures(clean_dir, tmp_path, small_model):
    (clean_dir / "audio" / "bob-1.wav").write_bytes(b"no wav")
    asked = ["denoise", "--data", clean_dir, "--model", small_model, "--out", tmp_path / "out", "--jobs", 1]
    assert "bob-1" in refused(*asked)
    assert "4 recordings, 1 left out" in ran(*asked, "--max-failed", 0.2).output


def test_a_channel_is_chosen_of_plain_recordings_that_have_several(tmp_path, small_model, make_voice):
    left, right, mono = make_voice(1, 0.5), make_voice(2, 0.5), make_voice(3, 0.5)
    for name, sound in (("in/both.wav", np.stack([left, right], 1)), ("in/mono.wav", mono), ("right.wav", right)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, sound, RATE, "PCM_16")
    asked = ["denoise", "--in", tmp_path / "in", "--model", small_model, "--out", tmp_path / "out", "--jobs", 1]
    assert "has 2 channels and none is chosen" in refused(*asked)
    assert "has no channel 2, only 2" in refused(*asked, "--channel", 2)
    assert "channel must be 0 or more" in refused(*asked, "--channel", -1)
    ran(*asked, "--channel", 1)
    ran("denoise", "--in", tmp_path / "right.wav", "--model", small_model, "--out", tmp_path / "alone.wav")
    assert (tmp_path / "out" / "both.wav").read_bytes() == (tmp_path / "alone.wav").read_bytes()
    assert soundfile.info(tmp_path / "out" / "mono.wav").frames == len(mono)


def test_a_second_identical_run_does_not_claim_to_have_written(clean_dir, tmp_path, small_model, caplog):
    asked = ["denoise", "--data", clean_dir, "--model", small_model, "--out", tmp_path / "out", "--jobs", 1]
    first = ran(*asked).output
    with caplog.at_level("INFO", logger="schoolyard.enhance"):
        again = ran(*asked).output
    assert f"{tmp_path / 'out'}: 5 recordings, 0 left out" in first and "wrote" not in again
    assert again.splitlines()[-1] == first.splitlines()[-1]
    assert "is there already, made by the same request" in caplog.text


def test_a_stream_is_of_the_stated_rate_mix_threads_and_device(alone, small_model, make_voice):
    sound = (make_voice(1, 0.5) * 32767).astype("<i2").tobytes()
    asked = ["stream", "--model", small_model, "--raw", "s16le", "--level", 0.05]
    plain = ran(*asked, stdin=sound).stdout_bytes
    assert ran(*asked, "--rate", RATE, "--threads", 3, "--device", "cpu", stdin=sound).stdout_bytes == plain
    assert alone == [1, 3]
    assert "has 8000 Hz, the model 16000 Hz" in refused(*asked, "--rate", 8000, stdin=sound)
    assert "sees no GPU" in refused(*asked, "--device", "cuda", stdin=sound)
    mixed = np.frombuffer(ran(*asked, "--mix", 0.5, stdin=sound).stdout_bytes, "<i2").astype(float)
    half = (np.frombuffer(plain, "<i2").astype(float) + np.frombuffer(sound, "<i2")) / 2
    assert np.abs(mixed - half).max() <= 1.5
    assert np.abs(half - np.frombuffer(plain, "<i2")).max() > 100


def test_a_pipe_converts_only_when_asked_and_says_where_it_runs(alone, small_model, make_voice):
    slow = wav(make_voice(1, 0.5)[::2], RATE // 2)
    asked = ["pipe", "--model", small_model]
    assert "8000" in refused(*asked, stdin=slow)
    assert "sees no GPU" in refused(*asked, "--device", "cuda", stdin=slow)
    samples, rate = soundfile.read(io.BytesIO(ran(*asked, "--resample", "--device", "cpu", stdin=slow).stdout_bytes))
    assert (rate, len(samples)) in ((RATE, RATE // 2), (RATE // 2, RATE // 4))


def test_a_server_has_as_many_models_as_jobs_and_converts_only_when_asked(alone, small_model, monkeypatch, make_voice):
    slow, answers = wav(make_voice(1, 0.5)[::2], RATE // 2), []

    def answer_once(server, ready):
        try:
            answers.append((server.models.qsize(), server.enhanced(slow)))
        finally:
            server.server_close()

    monkeypatch.setattr("enhance.serve.serve", answer_once)
    with TemporaryDirectory() as folder:  # a socket's path must be short
        asked = ["serve", "--socket", Path(folder) / "s", "--model", small_model]
        assert "8000" in refused(*asked)
        ran(*asked, "--resample", "--jobs", 2, "--device", "cpu")
        assert "sees no GPU" in refused(*asked, "--device", "cuda")
    assert answers[0][0] == 2
    assert len(soundfile.read(io.BytesIO(answers[0][1]))[0]) > 0


def loudness():
    """A predictor of one's own: the level in dB."""
    return lambda samples: 10 * samples.square().mean(-1).log10()


@pytest.fixture
def scored(clean_dir, noise_dir, tmp_path):
    """Words that score a mixture, and its folder."""
    ran("mix", "--data", clean_dir, "--noise", noise_dir, "--out", tmp_path / "noisy", "--jobs", 1)
    places = ["--reference", clean_dir, "--estimate", tmp_path / "noisy", "--out", tmp_path / "s", "--jobs", 1]
    return ["score", *places, "--metrics", "plain_snr"], tmp_path / "s"


def test_scoring_adds_a_predictor_of_ones_own(scored):
    words, out = scored
    ran(*words, "--predictor", f"loud={__name__}:loudness")
    with open(out / "scores.csv", newline="") as stream:
        assert all(-60 < float(row["loud"]) < 0 for row in csv.DictReader(stream))


def test_intervals_of_a_scoring_are_drawn_by_its_seed(scored):
    words, out = scored
    intervals = []
    for seed in (0, 0, 1):
        ran(*words, "--seed", seed)
        group = json.loads((out / "summary.json").read_text())["groups"][0]["metrics"]["plain_snr"]
        intervals.append((group["mean"], group["low"], group["high"]))
        shutil.rmtree(out)
    assert intervals[0] == intervals[1]
    assert intervals[2][0] == intervals[0][0]


def test_scoring_judges_at_one_rate_and_converts_only_when_asked(scored):
    words, out = scored
    assert "16000" in refused(*words, "--sample-rate", 8000)
    shutil.rmtree(out)
    usual = ran(*words).output
    assert ran(*words, "--sample-rate", 8000, "--resample").output != usual


def test_scoring_bears_a_stated_share_of_failures(scored, tmp_path):
    words, _ = scored
    (tmp_path / "noisy" / "wav" / "bob-1.wav").write_bytes(b"no wav")
    assert "1 of 5 utterances have no score" in refused(*words)
    assert "1 without a score" in ran(*words, "--max-failed", 0.2).output


def test_a_comparison_is_of_the_asked_metrics(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        rows = [f"u{i},s{i % 4},{rng.normal():.3f},{rng.normal():.3f}," for i in range(12)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["utterance,speaker,pesq,stoi,problem", *rows]) + "\n")
    words = ["compare", "--systems", f"one={tmp_path}/one.csv", "--systems", f"two={tmp_path}/two.csv"]
    both, single = ran(*words).output, ran(*words, "--metrics", "stoi").output
    assert "pesq" in both and "stoi" in both
    assert "pesq" not in single and "stoi" in single


def test_statistics_are_taken_at_one_rate(clean_dir):
    words = ["statistics", "--clean", clean_dir, "--noisy", clean_dir]
    assert "16000" in refused(*words, "--sample-rate", 8000)
    half_rate(clean_dir)
    assert "clean_mean" in ran(*words, "--sample-rate", 8000).output
    assert len(DataDir.read(clean_dir).utterances) == 5
