"""Weights of segan_pytorch, judged by its generator and critic stated anew with its key names."""

import json

import pytest
import torch
from torch import nn

from enhance.foreign import import_checkpoint
from enhance.weights import load_generator
from harness.errors import CheckpointError

CHANNELS = (6, 8, 10)


class Skip(nn.Module):
    def __init__(self, channels, kind, bias):
        super().__init__()
        if kind == "conv":
            self.skip_k = nn.Conv1d(channels, channels, 11, padding=5, bias=bias)
        else:
            self.skip_k = nn.Parameter(torch.randn(1, channels, 1))

    def forward(self, hidden):
        return self.skip_k(hidden) if isinstance(self.skip_k, nn.Module) else self.skip_k * hidden


class Original(nn.Module):
    """Facts: width 31, stride 4, reflect padding (14, 15), PReLU a channel, [z, h], skips before the activation."""

    def __init__(self, *, merge="concat", kind="alpha", latent=True, bias=True, spectral=False):
        super().__init__()
        self.merge, self.latent = merge, latent
        normed = nn.utils.spectral_norm if spectral else lambda layer: layer
        self.enc_blocks, self.dec_blocks = nn.ModuleList(), nn.ModuleList()
        for few, many in zip((1, *CHANNELS[:-1]), CHANNELS, strict=True):
            block = nn.Module()
            block.conv, block.act = normed(nn.Conv1d(few, many, 31, 4, bias=bias)), nn.PReLU(many, init=0.3)
            self.enc_blocks.append(block)
        for index, channels in enumerate(CHANNELS[:-1]):
            self.add_module(f"alpha_{index}", Skip(channels, kind, bias))
        twice = 2 if merge == "concat" else 1
        ins = [CHANNELS[-1] * (2 if latent else 1), *(twice * channels for channels in CHANNELS[-2::-1])]
        outs = [*CHANNELS[-2::-1], 1]
        for index, (many, few) in enumerate(zip(ins, outs, strict=True)):
            block = nn.Module()
            block.deconv = normed(nn.ConvTranspose1d(many, few, 31, 4, padding=13))
            if index < len(outs) - 1:
                block.act = nn.PReLU(few, init=0.2)
            self.dec_blocks.append(block)

    def forward(self, hidden, z):
        skips = []
        for index, block in enumerate(self.enc_blocks):
            hidden = block.conv(nn.functional.pad(hidden, (14, 15), mode="reflect"))
            if index < len(CHANNELS) - 1:
                skips.append(getattr(self, f"alpha_{index}")(hidden))
            hidden = block.act(hidden)
        if self.latent:
            hidden = torch.cat([z.expand(len(hidden), -1, -1), hidden], dim=1)
        for index, block in enumerate(self.dec_blocks):
            hidden = block.deconv(hidden)[..., :-1]
            if index == len(self.dec_blocks) - 1:
                return torch.tanh(hidden)
            hidden = block.act(hidden)
            skip = skips.pop()
            hidden = torch.cat([hidden, skip], dim=1) if self.merge == "concat" else hidden + skip
        raise AssertionError


def emphasised(samples, coefficient=0.95):
    return torch.cat([samples[..., :1], samples[..., 1:] - coefficient * samples[..., :-1]], dim=-1)


def cleaned(original, model, samples):
    """The original on one pre-emphasised window, with the latent noise that our model uses."""
    place = samples.shape[-1] // 4 ** len(CHANNELS)
    piece = torch.randn(CHANNELS[-1], 16, generator=torch.Generator().manual_seed(model.config.latent_seed))
    out = original(emphasised(samples)[:, None], piece[None, :, torch.arange(place) % 16])[:, 0]
    whole = torch.zeros_like(out)  # de-emphasis, step by step
    for index in range(out.shape[-1]):
        whole[:, index] = out[:, index] + (0.95 * whole[:, index - 1] if index else 0)
    return whole


VARIANTS = [
    {}, {"merge": "sum"}, {"kind": "conv"}, {"latent": False}, {"bias": False}, {"spectral": True},
    {"merge": "sum", "kind": "conv", "latent": False, "bias": False},
]  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "bare"])
@torch.no_grad()
def test_an_imported_generator_says_what_the_original_says(tmp_path, variant, wrapped):
    original = Original(**variant)
    original(torch.randn(1, 1, 1024), torch.randn(1, CHANNELS[-1], 16))  # a step of spectral norm's power iteration
    original.eval()
    state = original.state_dict()
    torch.save({"step": 7, "state_dict": state, "optimizer": {}} if wrapped else state, tmp_path / "G.ckpt")
    import_checkpoint("segan-pytorch", tmp_path / "G.ckpt", tmp_path / "best.pt")
    name, model = load_generator(tmp_path / "best.pt")
    samples = 0.2 * torch.randn(2, 2048)
    assert name == "segan_plus"
    torch.testing.assert_close(model(samples), cleaned(original, model, samples), atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_layout_of_the_first_releases_is_read(tmp_path):
    original = Original().eval()
    old = {
        key.replace("enc_blocks", "gen_enc").replace("dec_blocks", "gen_dec").replace("deconv", "conv"): value
        for key, value in original.state_dict().items()
    }
    torch.save({"state_dict": old}, tmp_path / "G.ckpt")
    import_checkpoint("segan-pytorch", tmp_path / "G.ckpt", tmp_path / "best.pt")
    model = load_generator(tmp_path / "best.pt")[1]
    samples = 0.2 * torch.randn(1, 1024)
    torch.testing.assert_close(model(samples), cleaned(original, model, samples), atol=1e-4, rtol=0)


def test_options_tell_what_tensors_do_not(tmp_path):
    state = {key: value for key, value in Original().state_dict().items() if "alpha" not in key}
    torch.save(state, tmp_path / "G.ckpt")
    options = {"preemph": 0.9, "skip_type": 2, "skip_init": 1, "skip_merge": 1, "l1_loss": True}
    (tmp_path / "train.opts").write_text(json.dumps(options))
    found = import_checkpoint("segan-pytorch", tmp_path / "G.ckpt", tmp_path / "best.pt")
    assert found.config.emphasis == 0.9
    assert found.config.skip == "constant"
    assert any("no skip factors" in note for note in found.notes)
    assert any("merge is concat by the tensors" in note for note in found.notes)
    skip = load_generator(tmp_path / "best.pt")[1].skips[0].skip_k
    assert bool((skip == 1).all())


def test_every_key_that_does_not_fit_is_named(tmp_path):
    state = Original().state_dict()
    del state["enc_blocks.1.act.weight"], state["dec_blocks.2.deconv.bias"]
    state["stranger.weight"] = torch.zeros(3)
    state["alpha_1.skip_k"] = torch.zeros(1, 3, 1)
    torch.save(state, tmp_path / "G.ckpt")
    with pytest.raises(CheckpointError) as refused:
        import_checkpoint("segan-pytorch", tmp_path / "G.ckpt", tmp_path / "best.pt")
    assert "2 missing: enc_blocks.1.act.weight, dec_blocks.2.deconv.bias" in str(refused.value)
    assert "1 unexpected: stranger.weight" in str(refused.value)
    assert "1 misshapen: alpha_1.skip_k [1, 3, 1] for [1, 8, 1]" in str(refused.value)
    assert not (tmp_path / "best.pt").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"no_skip": True}, "without skips"),
        ({"genc_poolings": [2, 2]}, "genc_poolings is"),
        ({"gkwidth": 15}, "gkwidth"),
    ],
)
def test_what_our_model_cannot_be_is_refused(tmp_path, options, problem):
    torch.save(Original().state_dict(), tmp_path / "G.ckpt")
    (tmp_path / "o.json").write_text(json.dumps(options))
    with pytest.raises(CheckpointError, match=problem):
        import_checkpoint("segan-pytorch", tmp_path / "G.ckpt", tmp_path / "best.pt", tmp_path / "o.json")
