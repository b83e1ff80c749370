"""Exported graphs, judged by onnxruntime and torch.export at lengths that the exporter did not see."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import torch

from enhance.export import RealShortTime, export_model
from enhance.layers.short_time import ShortTime
from enhance.models import MODELS
from enhance.models.advanced_segan import AdvancedSeganConfig
from enhance.models.compact import CompactConfig
from enhance.models.demucs import DemucsConfig
from enhance.models.dwave import DWaveConfig
from enhance.models.gatewave import GateWaveConfig
from enhance.models.hifi_gan import HiFiGANConfig
from enhance.models.hifi_plusplus import HiFiPlusPlusConfig
from enhance.models.segan import SeganConfig
from enhance.models.segan_plus import SeganPlusConfig
from enhance.models.wave_u_net import WaveUNetConfig
from enhance.weights import load_generator, save_generator
from harness.errors import ConfigError, ModelError
from tests.unit.enhance.test_models import SMALL_FINALLY

UNSEEN = (2048, 7777, 20000, 48000)  # samples
HIFI = {
    "size": 128, "bands": 10, "channels": 16, "rates": (4, 2, 2), "kernels": (8, 4, 4), "resblock_kernels": (3, 5),
    "resblock_dilations": ((1, 3), (1, 3)),
}  # fmt: skip
CONFIGS = {
    "compact": CompactConfig(channels=8, dual_paths=1, dilations=(1, 2)),
    "segan_plus": SeganPlusConfig(channels=(4, 6, 8)),
    "segan": SeganConfig(channels=(4, 4, 6, 8)),
    "dwave": DWaveConfig(dilations=(1, 4), kernels=4),
    "advanced_segan": AdvancedSeganConfig(channels=(4, 4, 6, 8)),
    "wave_u_net": WaveUNetConfig(levels=4, filters=3),
    "demucs": DemucsConfig(hidden=4, depth=3),
    "gatewave": GateWaveConfig(hidden=6, depth=2),
    "hifi_gan": HiFiGANConfig(**HIFI),
    "hifi_plusplus": HiFiPlusPlusConfig(
        **HIFI,
        spectral_widths=(2, 4, 4),
        spectral_depth=1,
        spectral_outs=8,
        wave_widths=(4, 4),
        wave_depth=1,
        mask_widths=(2, 4),
        mask_depth=1,
    ),
}
OTHERS = {
    "demucs": DemucsConfig(hidden=4, depth=3, causal=False, resample=2, stride=2),
    "gatewave": GateWaveConfig(hidden=4, depth=2, stride=3, block="basic"),
    "hifi_gan": HiFiGANConfig(**HIFI | {"resblock": 2, "norm": "spectral", "high": None}),
    "hifi_plusplus": HiFiPlusPlusConfig(**HIFI, spectral_widths=(), wave_widths=(), level=0.1, window=1.3),
    "finally": replace(SMALL_FINALLY, window=1.3, overlap=0.1),  # its WavLM is in the graph
}


@pytest.fixture
def checkpoint(tmp_path):
    def make(name, configs=CONFIGS):
        torch.manual_seed(0)
        model = MODELS[name][1](configs[name])
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


@pytest.mark.parametrize("name", CONFIGS)
def test_onnx_says_the_same_at_any_length(tmp_path, checkpoint, name):
    pytest.importorskip("onnx")
    said = export_model(checkpoint(name), "onnx", tmp_path / "model.onnx")
    assert f"{name}, within" in said
    assert_same(onnx_of(tmp_path / "model.onnx"), load_generator(checkpoint(name))[1], UNSEEN)


@pytest.mark.parametrize("name", OTHERS)
def test_onnx_says_the_same_for_other_settings(tmp_path, checkpoint, name):
    pytest.importorskip("onnx")
    if name == "finally":
        pytest.importorskip("transformers")
    path = checkpoint(name, OTHERS)
    said = export_model(path, "onnx", tmp_path / "model.onnx")
    windowed = name != "hifi_gan"
    assert ("samples at most, the generator's window" in said) == windowed
    assert ("33333" in said) == (name not in ("hifi_plusplus", "finally"))  # their windows are shorter
    assert_same(onnx_of(tmp_path / "model.onnx"), load_generator(path)[1], [count for count in UNSEEN if count < 20800])


def test_a_window_below_the_shortest_length_is_compared_at_the_window(tmp_path, checkpoint):
    pytest.importorskip("onnx")
    path = checkpoint("hifi_plusplus", {"hifi_plusplus": replace(OTHERS["hifi_plusplus"], window=0.1, overlap=0.02)})
    said = export_model(path, "onnx", tmp_path / "model.onnx")
    assert "at 1600 samples; for 1600 samples at most" in said
    assert_same(onnx_of(tmp_path / "model.onnx"), load_generator(path)[1], [700, 1600])


def test_a_graph_that_fails_at_another_length_is_not_written(tmp_path, checkpoint, monkeypatch):
    path = checkpoint("compact")

    def fails(noisy):
        if noisy.shape[-1] != 2048:
            raise RuntimeError("Pad node: wrong size\nat length")
        return load_generator(path)[1](noisy)

    monkeypatch.setattr("enhance.export._write_onnx", lambda *_: fails)
    with pytest.raises(ModelError, match=r"the graph fails at 5001 samples \(Pad node: wrong size\)\n.*--samples"):
        export_model(path, "onnx", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_what_a_graph_computes_instead_of_fourier_transforms_is_scipys(make_voice):
    samples = torch.from_numpy(make_voice(0, 0.3)[:4096])
    real, imag = RealShortTime(ShortTime(256, 64))(samples[None])
    _, _, theirs = scipy.signal.stft(
        samples.numpy(), window="hann", nperseg=256, noverlap=192, boundary=None, padded=False, scaling="spectrum"
    )
    np.testing.assert_allclose(torch.complex(real, imag)[0] / 128, theirs, atol=1e-6)
    around = torch.nn.functional.pad(samples[None, None], (128, 128), mode="reflect")[:, 0]
    back = RealShortTime(ShortTime(256, 64)).inverse(*RealShortTime(ShortTime(256, 64))(around), 4096)
    np.testing.assert_allclose(back[0], samples, atol=1e-6)


@pytest.mark.parametrize("name", ["segan_plus", "dwave", "wave_u_net", "hifi_gan", "hifi_plusplus"])
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
