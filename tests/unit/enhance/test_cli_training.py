"""What the options of train, search and pack-clean hand on."""

import inspect
import types

import pytest
import torch

from enhance.train import RunOptions, Trainer
from kaldi_bridge.sound_files import read_sound
from tests.unit.enhance.called import ran, refused


class Told:
    """In the place of a Trainer: keeps what it was told, and writes nothing."""

    def __init__(self, settings, speech, noise, out, options):
        self.settings, self.speech, self.noise, self.out, self.options = settings, speech, noise, out, options
        self.ranking = types.SimpleNamespace(entries=[(1.0, 1)])

    def run(self):
        if self.options.on_validation is not None:
            self.options.on_validation(1, {"score": self.settings.loss.log_mel})
        return self.out / "best.pt"


@pytest.fixture
def told(monkeypatch):
    """Every Trainer that is made."""
    made = []
    monkeypatch.setattr("enhance.train.Trainer", lambda *words: made.append(Told(*words)) or made[-1])
    return made


@pytest.fixture
def threads(monkeypatch):
    """Numbers of threads that torch is set to."""
    counts = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    return counts


@pytest.fixture
def slow_dir(tmp_path, clean_dir):
    """Speech at 8 kHz."""
    import soundfile

    for path in (clean_dir / "audio").glob("*.wav"):
        samples, _ = soundfile.read(path)
        soundfile.write(path, samples[::2], 8000, "PCM_16")
    return clean_dir


def test_a_training_is_told_how_it_is_carried_out(told, threads, clean_dir, noise_dir, tmp_path, small_model):
    usual = ["train", "--data", clean_dir, "--noise", noise_dir, "--device", "cpu", "--out", tmp_path / "run"]
    ran(*usual)
    assert (told[0].options, threads) == (RunOptions(device="cpu"), [1])
    ran(
        *usual, "--workers", 2, "--max-minutes", 1.5, "--processor-time", "--threads", 3, "--init-generator",
        small_model, "--init-critic", tmp_path / "last.pt", "--log", "tensorboard", "--log", "wandb", "--log-project",
        "children", "--log-examples", 5, "--log-histograms",
    )  # fmt: skip
    options = told[1].options
    assert (options.workers, options.max_minutes, options.processor_time, threads[1]) == (2, 1.5, True, 3)
    assert (options.start.generator, options.start.critic) == (small_model, tmp_path / "last.pt")
    logs = options.logs
    assert (logs.kinds, logs.project, logs.examples, logs.histograms) == (("tensorboard", "wandb"), "children", 5, True)
    assert "a log must be one of" in refused(*usual, "--log", "visdom")
    assert "--max-minutes: must be positive, got 0.0" in refused(*usual, "--max-minutes", 0)


def test_a_training_takes_its_settings_from_file_and_words(told, clean_dir, noise_dir, tmp_path):
    (tmp_path / "own.yaml").write_text("train: {steps: 7, rate: 0.5}\n")
    ran(
        "train", "--data", clean_dir, "--noise", noise_dir, "--out", tmp_path / "run", "--device", "cpu", "--config",
        tmp_path / "own.yaml", "--set", "train.rate=0.25",
    )  # fmt: skip
    assert (told[0].settings.train.steps, told[0].settings.train.rate, told[0].out) == (7, 0.25, tmp_path / "run")


def test_a_training_reads_speech_from_where_it_is_told(told, clean_dir, noise_dir, tmp_path):
    run = ["train", "--device", "cpu", "--out", tmp_path / "run"]
    ran(*run, "--data", clean_dir, "--noisy", clean_dir)
    assert told[0].speech.noisy is not None and not told[0].noise.names
    ran("pack-clean", "--data", clean_dir, "--out", tmp_path / "pack")
    ran(*run, "--pack", tmp_path / "pack", "--noise", noise_dir)
    assert sorted(told[1].speech.names) == sorted(told[0].speech.names)
    assert len(told[1].noise.names) == 3
    ran(*run, "--data", clean_dir, "--noise", noise_dir, "--cache", tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) >= 2  # speech and noise


def test_a_training_converts_other_rates_only_when_asked(told, slow_dir, noise_dir, tmp_path):
    run = ["train", "--data", slow_dir, "--noise", noise_dir, "--device", "cpu", "--out", tmp_path / "run"]
    assert "8000" in refused(*run)
    ran(*run, "--resample")
    assert len(told[0].speech.names) == 5


def test_a_training_starts_anew_only_when_forced(told, clean_dir, noise_dir, tmp_path):
    old = tmp_path / "run" / "last.pt"
    old.parent.mkdir()
    run = ["train", "--data", clean_dir, "--noise", noise_dir, "--device", "cpu", "--out", old.parent]
    for words, stays in (([], True), (["--force"], False)):
        old.write_bytes(b"a run of other settings")
        ran(*run, *words)
        assert old.exists() is stays


def test_a_training_asks_for_a_gpu_where_it_is_told_to(monkeypatch, clean_dir, noise_dir, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = ["train", "--data", clean_dir, "--noise", noise_dir, "--out", tmp_path / "run"]
    assert "sees no GPU" in refused(*run, "--device", "cuda")


def test_a_search_is_told_what_to_look_for_and_where(told, threads, monkeypatch, clean_dir, noise_dir, tmp_path):
    pytest.importorskip("optuna", reason="the search needs the package optuna")
    space, own, out = tmp_path / "space.yaml", tmp_path / "own.yaml", tmp_path / "out"
    space.write_text("trials: 9\nspace: {loss.log_mel: {low: 0.1, high: 3.0}}\n")
    own.write_text("train: {steps: 7, rate: 0.5}\n")
    said = ran(
        "search", "--space", space, "--out", out, "--data", clean_dir, "--noise", noise_dir, "--config", own, "--set",
        "train.rate=0.25", "--trials", 2, "--device", "cpu", "--threads", 3,
    )  # fmt: skip
    assert (len(told), threads) == (2, [3])
    assert {(one.settings.train.steps, one.settings.train.rate) for one in told} == {(7, 0.25)}
    assert len({one.settings.loss.log_mel for one in told}) == 2
    assert told[0].options.device == "cpu"
    assert "best: trial" in said.output and (out / "best.yaml").is_file()
    others = ["search", "--space", space, "--trials", 1, "--device", "cpu"]
    ran(*others, "--out", tmp_path / "recorded", "--data", clean_dir, "--noisy", clean_dir)
    assert told[2].speech.noisy is not None and not told[2].noise.names
    ran("pack-clean", "--data", clean_dir, "--out", tmp_path / "pack")
    ran(*others, "--out", tmp_path / "packed", "--pack", tmp_path / "pack", "--noise", noise_dir)
    assert sorted(told[3].speech.names) == sorted(told[0].speech.names)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asked = [*others[:-1], "cuda", "--out", out, "--data", clean_dir, "--noise", noise_dir]
    assert "sees no GPU" in refused(*asked)


def test_speech_is_packed_in_files_of_the_asked_length_and_rate(clean_dir, tmp_path):
    packed = ["pack-clean", "--data", clean_dir, "--out", tmp_path / "pack"]
    ran(*packed)
    assert len(list((tmp_path / "pack").glob("*.flac"))) == 1
    assert "--force" in refused(*packed, "--shard-minutes", 0.02)
    ran(*packed, "--shard-minutes", 0.02, "--force")
    files = sorted((tmp_path / "pack").glob("*.flac"))
    assert len(files) > 1
    assert read_sound(str(files[0]))[1].rate == 16000
    assert "16000" in refused(*packed, "--force", "--sample-rate", 8000)


def test_the_stand_in_is_asked_as_a_trainer_is():
    assert list(inspect.signature(Trainer).parameters) == list(inspect.signature(Told).parameters)
