"""Exported graphs, judged by onnxruntime and torch.export at lengths that the exporter did not see."""

import numpy as np
import pytest
import torch

from enhance.export import export_model
from enhance.models import MODELS
from enhance.models.advanced_segan import AdvancedSeganConfig
from enhance.models.compact import CompactConfig
from enhance.models.demucs import DemucsConfig
from enhance.models.dwave import DWaveConfig
from enhance.models.segan import SeganConfig
from enhance.models.segan_plus import SeganPlusConfig
from enhance.models.wave_u_net import WaveUNetConfig
from enhance.weights import load_generator, save_generator
from harness.errors import ConfigError, ModelError

UNSEEN = (2048, 7777, 20000, 48000)  # samples
CONFIGS = {
    "compact": CompactConfig(channels=8, dual_paths=1, dilations=(1, 2)),
    "segan_plus": SeganPlusConfig(channels=(4, 6, 8)),
    "segan": SeganConfig(channels=(4, 4, 6, 8)),
    "dwave": DWaveConfig(dilations=(1, 4), kernels=4),
    "advanced_segan": AdvancedSeganConfig(channels=(4, 4, 6, 8)),
    "wave_u_net": WaveUNetConfig(levels=4, filters=3),
    "demucs": DemucsConfig(hidden=4, depth=3),
}


@pytest.fixture
def checkpoint(tmp_path):
    def make(name):
        torch.manual_seed(0)
        model = MODELS[name][1](CONFIGS[name])
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        save_generator(tmp_path / f"{name}.pt", name, model, {"step": 1})
        return tmp_path / f"{name}.pt"

    return make


def signals(lengths):
    rng = np.random.default_rng(3)
    return [(0.1 * rng.standard_normal((1, count))).astype(np.float32) for count in lengths]


def assert_same(run, model, lengths):
    for noisy in signals(lengths):
        with torch.no_grad():
            expected = model(torch.from_numpy(noisy)).numpy()
        np.testing.assert_allclose(run(noisy), expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def onnx_of(path):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda noisy: session.run(None, {"noisy": noisy})[0]


def torch_export_of(path):
    module = torch.export.load(path).module()
    return lambda noisy: module(torch.from_numpy(noisy)).detach().numpy()


@pytest.mark.parametrize("name", ["compact", "segan_plus", "segan", "advanced_segan", "wave_u_net", "dwave"])
def test_onnx_says_the_same_at_any_length(tmp_path, checkpoint, name):
    pytest.importorskip("onnx")
    said = export_model(checkpoint(name), "onnx", tmp_path / "model.onnx")
    assert f"{name}, within" in said
    assert_same(onnx_of(tmp_path / "model.onnx"), load_generator(checkpoint(name))[1], UNSEEN)


@pytest.mark.parametrize("name", ["segan_plus", "dwave"])
def test_torch_export_says_the_same_at_any_length(tmp_path, checkpoint, name):
    export_model(checkpoint(name), "torch-export", tmp_path / "model.pt2")
    run = torch_export_of(tmp_path / "model.pt2")
    assert_same(run, load_generator(checkpoint(name))[1], UNSEEN)


@pytest.mark.parametrize("name", ["compact", "demucs"])
def test_recurrent_models_go_into_torch_export_at_one_length(tmp_path, checkpoint, name):
    with pytest.raises(ModelError, match=r"recurrent layers, which torch unrolls") as refused:
        export_model(checkpoint(name), "torch-export", tmp_path / "model.pt2")
    assert "--samples" in refused.value.mend
    assert not (tmp_path / "model.pt2").exists()
    export_model(checkpoint(name), "torch-export", tmp_path / "model.pt2", samples=2048)
    run = torch_export_of(tmp_path / "model.pt2")
    assert_same(run, load_generator(checkpoint(name))[1], [2048])


def test_safetensors_holds_every_tensor(tmp_path, checkpoint):
    export_model(checkpoint("compact"), "safetensors", tmp_path / "model.safetensors")
    paths = checkpoint("compact"), tmp_path / "model.safetensors"
    ours, theirs = (load_generator(path)[1].state_dict() for path in paths)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_an_unknown_form_is_answered_with_the_list(tmp_path, checkpoint):
    with pytest.raises(ConfigError, match=r"--to tflite: is no form that is known"):
        export_model(checkpoint("compact"), "tflite", tmp_path / "model")


def test_a_graph_that_says_something_else_is_not_written(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr("enhance.export.FADED", 4)  # the de-emphasis breaks off much too early
    with pytest.raises(ModelError, match="the graph differs by"):
        export_model(checkpoint("segan_plus"), "torch-export", tmp_path / "model.pt2")
    assert not (tmp_path / "model.pt2").exists()
