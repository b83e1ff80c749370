"""Files of denoiser, judged by its Demucs stated anew with its key names."""

import json
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional

from enhance.foreign import import_checkpoint
from enhance.weights import load_generator
from harness.errors import CheckpointError

ZEROS = 56


def half_sample_kernel():
    """Facts: a sinc half a sample off, 56 zeros a side, under a Hann window."""
    place = torch.arange(-ZEROS, ZEROS, dtype=torch.float64) + 0.5
    window = 0.5 + 0.5 * torch.cos(math.pi * place / ZEROS)
    return (torch.sinc(place) * window)[None, None].float()


def doubled(x):
    between = functional.conv1d(x, half_sample_kernel(), padding=ZEROS)[..., 1:]
    return torch.stack([x, between], dim=-1).flatten(-2)


def halved(x):
    x = functional.pad(x, (0, x.shape[-1] % 2))
    between = functional.conv1d(x[..., 1::2], half_sample_kernel(), padding=ZEROS)[..., :-1]
    return 0.5 * (x[..., ::2] + between)


class Bottleneck(nn.Module):
    def __init__(self, width, causal):
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers=2, bidirectional=not causal)
        self.linear = None if causal else nn.Linear(2 * width, width)

    def forward(self, x):
        x, _ = self.lstm(x)
        return x if self.linear is None else self.linear(x)


class Demucs(nn.Module):
    """Facts: Conv 8/stride, ReLU, 1x1, GLU, doubling channels; mirrored, additive skips; LSTM; over its deviation."""

    def __init__(self, hidden=4, depth=3, stride=4, resample=4, causal=True, kernel_size=8, **_):
        super().__init__()
        self.stride, self.resample, self.kernel = stride, resample, kernel_size
        self.encoder, self.decoder, few = nn.ModuleList(), nn.ModuleList(), 1
        for level in range(depth):
            many = hidden * 2**level
            self.encoder.append(nn.Sequential(
                nn.Conv1d(few, many, kernel_size, stride), nn.ReLU(), nn.Conv1d(many, 2 * many, 1), nn.GLU(1)
            ))  # fmt: skip
            up = nn.ConvTranspose1d(many, few, kernel_size, stride)
            layers = [nn.Conv1d(many, 2 * many, 1), nn.GLU(1), up, *([nn.ReLU()] if level else [])]
            self.decoder.insert(0, nn.Sequential(*layers))
            few = many
        self.lstm = Bottleneck(few, causal)

    def length(self, count):
        count *= self.resample
        for _ in self.encoder:
            count = max(math.ceil((count - self.kernel) / self.stride) + 1, 1)
        for _ in self.encoder:
            count = (count - 1) * self.stride + self.kernel
        return math.ceil(count / self.resample)

    def forward(self, samples):
        deviation = samples.std(-1, keepdim=True)[:, None]
        x = samples[:, None] / (1e-3 + deviation)
        x = functional.pad(x, (0, self.length(x.shape[-1]) - x.shape[-1]))
        for _ in range(int(math.log2(self.resample))):
            x = doubled(x)
        skips = []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        x = self.lstm(x.permute(2, 0, 1)).permute(1, 2, 0)
        for layer in self.decoder:
            x = layer(x + skips.pop()[..., : x.shape[-1]])
        for _ in range(int(math.log2(self.resample))):
            x = halved(x)
        return (deviation * x)[:, 0, : samples.shape[-1]]


class Settings(dict):
    """In the place of denoiser's configuration objects."""


def package(model, arguments):
    return {"class": Demucs, "args": (), "kwargs": arguments | {"sample_rate": 16000}, "state": model.state_dict()}


def whole(model, arguments):
    """checkpoint.th: the package of the last epoch, and the best epoch's weights apart."""
    last = OrderedDict((key, torch.zeros_like(value)) for key, value in model.state_dict().items())
    settings = Settings(demucs=Settings(arguments))
    return {
        "model": package(model, arguments) | {"state": last}, "optimizer": {"state": {}}, "history": [{"train": 0.5}],
        "best_state": model.state_dict(), "args": settings,
    }  # fmt: skip


ARGUMENTS = {
    "causal": {"hidden": 4, "depth": 3, "stride": 4, "resample": 4, "causal": True},
    "both ways": {"hidden": 6, "depth": 2, "stride": 2, "resample": 2, "causal": False},
}
FILES = {"hub": lambda model, _: model.state_dict(), "best.th": package, "checkpoint.th": whole}


@pytest.mark.parametrize("kind", ARGUMENTS)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "before torch 1.6"])
def test_an_imported_demucs_says_what_the_original_says(tmp_path, kind, file, as_zip):
    original = Demucs(**ARGUMENTS[kind]).eval()
    content = FILES[file](original, ARGUMENTS[kind])
    torch.save(content, tmp_path / "a.th", _use_new_zipfile_serialization=as_zip)
    found = import_checkpoint("denoiser", tmp_path / "a.th", tmp_path / "best.pt")
    name, model = load_generator(tmp_path / "best.pt")
    assert name == "demucs"
    samples = torch.randn(2, 20000)
    samples = 0.1 * (samples - samples.mean(-1, keepdim=True))
    with torch.no_grad():
        torch.testing.assert_close(model(samples), original(samples), atol=1e-5, rtol=1e-3)
        assert original(samples).abs().max() > 1e-3
    assert any("are assumed" in note for note in found.notes) == (file == "hub")
    assert any("best epoch" in note for note in found.notes) == (file == "checkpoint.th")


def test_options_tell_the_stride_of_a_bare_file(tmp_path):
    original = Demucs(hidden=4, depth=2, stride=2, resample=4).eval()
    torch.save(original.state_dict(), tmp_path / "a.th")
    (tmp_path / "o.json").write_text(json.dumps({"stride": 2, "resample": 4, "quality": 3}))
    found = import_checkpoint("denoiser", tmp_path / "a.th", tmp_path / "best.pt", tmp_path / "o.json")
    assert (found.config.stride, found.config.resample) == (2, 4)
    assert found.notes == ["options without a meaning here: quality"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"hidden": 48}, "hidden is 4 by the tensors"),
        ({"chin": 2}, "has 2 channels in"),
        ({"stride": 99}, "stride must"),
    ],
)
def test_options_that_contradict_the_tensors_are_refused(tmp_path, options, problem):
    torch.save(Demucs().state_dict(), tmp_path / "a.th")
    (tmp_path / "o.json").write_text(
        json.dumps(options | {"resample": 4} | ({} if "stride" in options else {"stride": 4}))
    )
    with pytest.raises(Exception, match=problem) as refused:
        import_checkpoint("denoiser", tmp_path / "a.th", tmp_path / "best.pt", tmp_path / "o.json")
    assert "a.th" in str(refused.value)


def test_every_key_that_does_not_fit_is_named(tmp_path):
    state = Demucs().state_dict()
    del state["lstm.lstm.bias_hh_l1"]
    torch.save(state | {"odd": torch.zeros(1)}, tmp_path / "a.th")
    with pytest.raises(CheckpointError, match=r"1 missing: lstm.lstm.bias_hh_l1; 1 unexpected: odd"):
        import_checkpoint("denoiser", tmp_path / "a.th", tmp_path / "best.pt")


@pytest.mark.parametrize("damage", ["a scalar", "half of a norm"])
def test_a_layout_that_no_reader_expects_is_said_with_the_file(tmp_path, damage):
    state = Demucs().state_dict()
    if damage == "a scalar":
        state["encoder.0.0.weight"] = torch.zeros(())
    else:
        state["encoder.0.0.weight_g"] = torch.zeros(1)
    torch.save(state, tmp_path / "a.th")
    for kind in ("denoiser", "hifi-gan"):
        with pytest.raises(CheckpointError, match=r"a\.th: "):
            import_checkpoint(kind, tmp_path / "a.th", tmp_path / "best.pt")
    assert not (tmp_path / "best.pt").exists()
