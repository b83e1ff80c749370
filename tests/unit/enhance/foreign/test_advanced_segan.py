"""Lightning checkpoints of Advanced-SEGAN, judged by its two generators stated anew with their key names."""

import json

import pytest
import torch
from torch import nn

from enhance.foreign import import_checkpoint
from enhance.layers.latent import latent_noise
from enhance.weights import load_generator
from harness.errors import CheckpointError

DIMENSIONS = (1, 4, 6, 8)
LAST = len(DIMENSIONS) - 2


def sizes(index, *, down):
    if down:
        return DIMENSIONS[index], DIMENSIONS[index + 1]
    back = DIMENSIONS[::-1]
    return 2 * back[index], back[index + 1]


class Basic(nn.Module):
    """Facts: Conv1d 31, stride 2, padding 15, one PReLU slope a layer; [h, z]; skips are the layers' inputs."""

    def __init__(self):
        super().__init__()
        levels = range(LAST + 1)
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv1d(*sizes(i, down=True), 31, 2, 15), nn.PReLU()) for i in levels
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose1d(*sizes(i, down=False), 31, 2, 15, output_padding=1), nn.PReLU())
            for i in levels
        )

    def forward(self, x, z):
        skips = []
        for layer in self.encoder:
            skips.append(x)
            x = layer(x)
        x = torch.cat([x, z], dim=1)
        for layer in self.decoder:
            x = torch.cat([layer(x), skips.pop()], dim=1)
        return x


class Residual(nn.Module):
    """Facts: convolution, batch norm, ReLU; then also a convolution of stride 4 of the former layer's input."""

    def __init__(self, index, *, down):
        super().__init__()
        few, many = sizes(index, down=down)
        before = sizes(index - 1, down=down)[0] if index else None
        if down:
            self.conv1 = nn.Conv1d(few, many, 31, 2, 15)
            self.downsample = nn.Conv1d(before, many, 31, 4, 15) if before else None
        else:
            self.conv1 = nn.ConvTranspose1d(few, many, 31, 2, 15, output_padding=1)
            self.downsample = nn.ConvTranspose1d(before, many, 31, 4, 15, output_padding=3) if before else None
        self.bn1 = nn.BatchNorm1d(many)

    def forward(self, x, before):
        out = torch.relu(self.bn1(self.conv1(x)))
        return out if self.downsample is None else out + self.downsample(before)


class Advanced(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList(Residual(i, down=True) for i in range(LAST + 1))
        blocks = [Residual(i, down=False) for i in range(LAST + 1)]
        last = nn.ModuleList([blocks[-1], nn.BatchNorm1d(1), nn.ReLU(), nn.Conv1d(1, 1, 31, padding=15)])
        self.decoder = nn.ModuleList([*blocks[:-1], last])

    def forward(self, x, z):
        skips, before = [], None
        for layer in self.encoder:
            skips.append(x)
            x, before = layer(x, before), x
        x, before = torch.cat([x, z], dim=1), None
        for index, layer in enumerate(self.decoder):
            if index == LAST:
                y = layer[3](layer[2](layer[1](layer[0](x, before))))
            else:
                y = layer(x, before)
            x, before = torch.cat([y, skips.pop()], dim=1), x
        return x


def lightning(generator):
    """Prefixes, a discriminator and a reference batch beside the generator, hyper-parameters."""
    state = {f"generator.{key}": value for key, value in generator.state_dict().items()}
    extra = {"discriminator.final_conv.weight": torch.zeros(1, 8, 1), "ref_batch": torch.zeros(3, 2, 8)}
    return {"state_dict": state | extra, "epoch": 52, "hyper_parameters": {"lr_gen": 1e-4}, "callbacks": {}}


@pytest.mark.parametrize("kind", [Basic, Advanced])
def test_an_imported_generator_says_what_the_original_says(tmp_path, kind):
    original = kind()
    for _ in range(3):
        original(torch.randn(4, 1, 256), torch.randn(4, 8, 32))  # statistics of batch norm
    original.eval()
    torch.save(lightning(original), tmp_path / "epoch=52.ckpt")
    statistics = {"NOISY_MEAN": 0.01, "NOISY_STD": 0.3, "CLEAN_MEAN": -0.02, "CLEAN_STD": 0.2}
    (tmp_path / "options.json").write_text(json.dumps(statistics))
    found = import_checkpoint(
        "advanced-segan", tmp_path / "epoch=52.ckpt", tmp_path / "best.pt", tmp_path / "options.json"
    )
    assert any("2 tensors beside the generator" in note for note in found.notes)
    name, model = load_generator(tmp_path / "best.pt")
    assert name == ("segan" if kind is Basic else "advanced_segan")
    samples = 0.1 * torch.randn(2, 512)
    period, seed = 16384 // 8, model.config.latent_seed
    z = latent_noise(torch.zeros(2, 8, 64), fresh=False, frame=0, period=period, seed=seed)
    with torch.no_grad():
        if kind is Basic:
            expected = original(samples[:, None], z)[:, 0]
        else:
            expected = original(((samples - 0.01) / 0.3)[:, None], z)[:, 0] * 0.2 - 0.02
        torch.testing.assert_close(model(samples), expected, atol=1e-4, rtol=0)


def test_statistics_that_are_not_told_are_named(tmp_path):
    torch.save(lightning(Advanced()), tmp_path / "a.ckpt")
    found = import_checkpoint("advanced-segan", tmp_path / "a.ckpt", tmp_path / "best.pt")
    assert any("Valentini's" in note for note in found.notes)
    assert found.config.noisy_std == 0.075683


def test_another_network_is_refused(tmp_path):
    torch.save({"state_dict": nn.Linear(2, 2).state_dict()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="holds no generator of Advanced-SEGAN"):
        import_checkpoint("advanced-segan", tmp_path / "a.ckpt", tmp_path / "best.pt")
