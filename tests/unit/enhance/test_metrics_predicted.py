"""Predictors of opinion scores given as files or functions, judged by what they were made to compute."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from enhance.metrics import chosen, measure, predictor
from enhance.metrics.predicted import predicted_score
from harness.errors import AudioError, CheckpointError, ConfigError

RATE = 16000


class Loudness(nn.Module):
    """A score that is known: 1 + the mean square times 100."""

    def forward(self, sound: Tensor) -> Tensor:
        return 1 + 100 * sound.square().mean(-1)


def loudness():
    return Loudness()


def random_crop():
    return lambda sound: sound[:, int(torch.randint(0, sound.shape[1] - 100, ())) :].mean(1)


def two_scores():
    return lambda sound: torch.zeros(2)


def broken():
    def fail(sound):
        raise RuntimeError("needs 9 seconds")

    return fail


@pytest.fixture
def here(monkeypatch):
    """This file as a module that can be named."""
    import sys

    monkeypatch.setitem(sys.modules, "predictors_of_the_test", sys.modules[__name__])
    return "predictors_of_the_test"


def sine(amplitude: float, rate: int = RATE) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.float32)


def test_a_torchscript_file_scores_what_its_module_computes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(Loudness(), torch.zeros(1, RATE)).save(str(tmp_path / "net.pt"))
    assert predicted_score(str(tmp_path / "net.pt"), sine(0.2), RATE) == pytest.approx(1 + 100 * 0.02, rel=1e-4)


def test_an_onnx_file_scores_what_its_graph_computes(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["sound", "sound"], ["square"]),
            helper.make_node("ReduceMean", ["square"], ["score"], keepdims=0),
        ],
        "loudness",
        [helper.make_tensor_value_info("sound", onnx.TensorProto.FLOAT, [1, "samples"])],
        [helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert predicted_score(str(tmp_path / "net.onnx"), sine(0.2), RATE) == pytest.approx(0.02, rel=1e-4)


def test_a_function_of_a_module_is_a_metric_beside_the_others(here):
    metrics = chosen(["plain_snr"], {"loudness": f"{here}:loudness"})
    values, problems = measure(metrics, sine(0.2), sine(0.1), RATE)
    assert problems == {}
    assert values["loudness"] == pytest.approx(1 + 100 * 0.005, rel=1e-4)
    assert values["plain_snr"] == pytest.approx(6.0206, abs=1e-3)


def test_other_rates_are_brought_to_16_khz_first(here):
    assert predicted_score(f"{here}:loudness", sine(0.2, 48000), 48000) == pytest.approx(3.0, abs=0.05)


def test_a_predictor_that_crops_at_random_scores_the_same_sound_the_same(here):
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    scores = {predicted_score(f"{here}:random_crop", noise, RATE) for _ in range(3)}
    assert len(scores) == 1


def test_what_is_no_score_or_fails_is_an_error_of_that_file(here):
    with pytest.raises(AudioError, match=r"gave \[0.0, 0.0\] instead of one score"):
        predicted_score(f"{here}:two_scores", sine(0.1), RATE)
    _, problems = measure({"mos": predictor(f"{here}:broken")}, None, sine(0.1), RATE)
    assert "needs 9 seconds" in problems["mos"]


def test_a_file_that_is_not_there_or_damaged_is_refused(tmp_path):
    for name in ("net.pt", "net.onnx"):
        with pytest.raises(CheckpointError, match="no such predictor"):
            predicted_score(str(tmp_path / name), sine(0.1), RATE)
        (tmp_path / name).write_bytes(b"no net at all")
        with pytest.raises(CheckpointError, match="cannot be read"):
            predicted_score(str(tmp_path / name), sine(0.1), RATE)


def test_a_predictor_may_not_take_the_name_of_a_metric(here):
    with pytest.raises(ConfigError, match="'pesq' is a metric of ours"):
        chosen([], {"pesq": f"{here}:loudness"})
