import json
import sys
import types

import numpy as np
import pytest
import torch

from enhance.run_log import LogConfig, open_logs, spectrogram
from enhance.settings import load_settings
from enhance.train import RunOptions, Trainer
from harness.errors import TrainingError

RATE = 16000
SETTINGS = {"model": "compact", "train": {"rate": 0.5, "seed": 3}}


class Recorder:
    """Stands for a package: every call is kept as (dotted name, positional, named)."""

    def __init__(self, name="", calls=None):
        self.name, self.calls = name, [] if calls is None else calls

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Recorder(f"{self.name}.{name}".lstrip("."), self.calls)

    def __call__(self, *positional, **named):
        self.calls.append((self.name, positional, named))
        return Recorder(f"{self.name}()", self.calls)

    def of(self, name):
        return [(positional, named) for called, positional, named in self.calls if called == name]


def fake(monkeypatch, name):
    recorder = Recorder()
    module = types.ModuleType(name)
    module.__getattr__ = lambda attribute: getattr(recorder, attribute)
    monkeypatch.setitem(sys.modules, name, module)
    return recorder


def write_all(out, kind, resumed_at=0):
    """Losses, scores, a sound with its spectrogram, histograms of a net with a gradient."""
    config = LogConfig(kinds=(kind,), project="children", histograms=True)
    out.mkdir(exist_ok=True)
    logs = open_logs(config, out, SETTINGS, resumed_at=resumed_at)
    logs.losses(10, {"loss": 1.5, "critic": 0.25})
    logs.scores(10, {"score": 2.0})
    logs.example(10, 0, {"noisy": 0.5 * torch.sin(torch.arange(4000) * 0.3)}, RATE)
    net = torch.nn.Linear(2, 1, bias=False)
    net.weight.data = torch.tensor([[1.0, 3.0]])
    net(torch.tensor([5.0, 7.0])).sum().backward()
    logs.nets(10, {"generator": net})
    logs.close()


def test_json_lines_are_always_written(tmp_path):
    logs = open_logs(LogConfig(), tmp_path, SETTINGS)
    logs.losses(10, {"loss": 1.5})
    logs.scores(10, {"score": 2.0})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 10, "loss": 1.5}, {"step": 10, "validation": True, "score": 2.0}]
    assert logs.wanted_examples == 0  # nobody listens to sounds


def test_lines_after_the_checkpoint_and_half_a_line_are_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5, "loss": 1}\n{"step": 10, "loss": 2}\n{"step": 15, "lo')
    open_logs(LogConfig(), tmp_path, SETTINGS).lines.cut_after(5)
    assert path.read_text() == '{"step": 5, "loss": 1}\n'


def test_tensorboard_gets_scalars_sounds_pictures_and_histograms(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_all(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"histograms": 0})
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(10, 1.5)]
    assert [(event.step, event.value) for event in events.Scalars("validation/score")] == [(10, 2.0)]
    (sound,) = events.Audio("noisy/0")
    assert (sound.sample_rate, sound.length_frames, sound.step) == (RATE, 4000, 10)
    (picture,) = events.Images("noisy_spectrogram/0")
    assert (picture.height, picture.width) == tuple(spectrogram(torch.zeros(4000)).shape)
    weight = events.Histograms("generator/weight")[0].histogram_value
    gradient = events.Histograms("generator/weight.gradient")[0].histogram_value
    assert (weight.min, weight.max, weight.num) == (1.0, 3.0, 2)
    assert (gradient.min, gradient.max) == (5.0, 7.0)


def test_wandb_gets_the_settings_and_all_of_it_in_the_same_run_again(tmp_path, monkeypatch):
    recorder = fake(monkeypatch, "wandb")
    write_all(tmp_path / "run", "wandb")
    write_all(tmp_path / "run", "wandb", resumed_at=10)
    (_, first), (_, again) = recorder.of("init")
    assert (first["project"], first["name"], first["config"]) == ("children", "run", SETTINGS)
    assert first["id"] == again["id"] and first["resume"] == "allow"
    logged = recorder.of("init().log")
    assert logged[0] == (({"loss": 1.5, "critic": 0.25},), {"step": 10})
    assert logged[1] == (({"validation/score": 2.0},), {"step": 10})
    ((samples,), named) = recorder.of("Audio")[0]
    assert samples.shape == (4000,) and named == {"sample_rate": RATE}
    ((picture,), _) = recorder.of("Image")[0]
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    counts, edges = recorder.of("Histogram")[0][1]["np_histogram"]
    assert counts.sum() == 2 and (edges[0], edges[-1]) == (1.0, 3.0)
    assert len(recorder.of("init().finish")) == 2


def test_clearml_gets_titles_and_series(tmp_path, monkeypatch):
    recorder = fake(monkeypatch, "clearml")
    write_all(tmp_path / "run", "clearml", resumed_at=4)
    ((_, named),) = recorder.of("Task.init")
    assert (named["project_name"], named["task_name"], named["continue_last_task"]) == ("children", "run", True)
    assert recorder.of("Task.init().connect") == [((SETTINGS,), {})]
    scalars = [named for _, named in recorder.of("Task.init().get_logger().report_scalar")]
    assert scalars[0] == {"title": "training", "series": "loss", "value": 1.5, "iteration": 10}
    assert scalars[2] == {"title": "validation", "series": "score", "value": 2.0, "iteration": 10}
    ((_, media),) = recorder.of("Task.init().get_logger().report_media")
    assert (media["title"], media["file_extension"]) == ("noisy", ".wav")
    assert media["stream"].getvalue()[:4] == b"RIFF"
    ((_, picture),) = recorder.of("Task.init().get_logger().report_image")
    assert (picture["title"], picture["series"], picture["iteration"]) == ("noisy_spectrogram", "0", 10)
    histograms = [named for _, named in recorder.of("Task.init().get_logger().report_histogram")]
    assert [(named["series"], named["values"].sum()) for named in histograms] == [("weight", 2), ("weight.gradient", 2)]
    assert recorder.of("Task.init().close")


def test_mlflow_gets_parameters_metrics_and_artifacts_and_goes_on_in_its_run(tmp_path, monkeypatch):
    recorder = fake(monkeypatch, "mlflow")
    write_all(tmp_path / "run", "mlflow")
    assert recorder.of("set_experiment") == [(("children",), {})]
    assert recorder.of("start_run") == [((), {"run_name": "run"})]
    assert recorder.of("log_params") == [(({"model": "compact", "train.rate": "0.5", "train.seed": "3"},), {})]
    assert recorder.of("log_metrics")[0] == (({"loss": 1.5, "critic": 0.25},), {"step": 10})
    ((path,), named) = recorder.of("log_artifact")[0]
    assert path.endswith("noisy_0_00000010.wav") and named == {"artifact_path": "audio"}
    assert recorder.of("log_image")[0][1] == {"artifact_file": "images/noisy_spectrogram_0_00000010.png"}
    ((bars, name), _) = recorder.of("log_dict")[1]
    assert name == "histograms/generator/weight.gradient_00000010.json" and sum(bars["counts"]) == 2
    (tmp_path / "run" / "mlflow_run_id").write_text("abc123\n")
    write_all(tmp_path / "run", "mlflow", resumed_at=10)
    assert recorder.of("start_run")[1] == ((), {"run_id": "abc123"})
    assert len(recorder.of("log_params")) == 1
    assert len(recorder.of("end_run")) == 2


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "clearml", "mlflow"])
def test_a_log_whose_package_is_missing_says_what_to_install(tmp_path, monkeypatch, kind):
    for module in (kind, "torch.utils.tensorboard") if kind == "tensorboard" else (kind,):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TrainingError, match=rf"(?s)--log {kind}: is not installed.*pip install {kind}"):
        open_logs(LogConfig(kinds=(kind,)), tmp_path, SETTINGS)


def test_an_unknown_log_is_answered_with_the_list():
    with pytest.raises(ValueError, match="one of tensorboard, wandb, clearml, mlflow, got 'visdom'"):
        LogConfig(kinds=("visdom",))


def test_a_spectrogram_shows_a_tone_at_its_frequency():
    picture = spectrogram(torch.sin(2 * torch.pi * 4000 * torch.arange(8000) / RATE))
    assert picture.shape[0] == 257
    assert picture.amin() >= 0 and picture.amax() <= 1
    loudest = picture[:, 10:-10].mean(1).argmax()
    assert 256 - loudest == 128  # a bin is 31.25 Hz


def test_a_run_logs_examples_and_histograms_only_where_asked(tmp_path, train_sounds, tiny_run, monkeypatch):
    recorder = fake(monkeypatch, "wandb")
    settings = load_settings(None, [*tiny_run, "train.steps=2", "train.validate_every=2"])
    for name, config in (("some", LogConfig(kinds=("wandb",), examples=1)),
                         ("more", LogConfig(kinds=("wandb",), examples=2, histograms=True))):  # fmt: skip
        recorder.calls.clear()
        Trainer(settings, *train_sounds, tmp_path / name, RunOptions(logs=config)).run()
        names = {name for positional, _ in recorder.of("init().log") for name in positional[0]}
        assert {"loss", "critic", "rate", "validation/score", "enhanced/0", "clean_spectrogram/0"} <= names
        assert ("noisy/1" in names) == (name == "more")
        assert any(name.startswith("generator/") for name in names) == (name == "more")
        assert any(name.startswith("critic/") for name in names) == (name == "more")
