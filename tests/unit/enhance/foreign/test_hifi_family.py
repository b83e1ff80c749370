"""HiFi-GAN, HiFi++ and FINALLY, judged by their generators stated anew with their key names, in both weight norms.

The nested key names come from how the originals nest torch's containers, so the restatement nests them the same way.
"""

import json
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate, leaky_relu

from enhance.foreign import import_checkpoint
from enhance.layers.mel_spectrogram import MelSpectrogram, mel_to_linear
from enhance.weights import load_generator
from harness.errors import CheckpointError


def old(layer):
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.utils.weight_norm(layer)


NORMS = {"weight_g": old, "original0": nn.utils.parametrizations.weight_norm}


class ResBlock(nn.Module):
    """Type 1: convs1 dilated, convs2 not.  Type 2: convs."""

    def __init__(self, kind, channels, kernel, dilations, norm):
        super().__init__()

        def row(steps):
            layers = [nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel // 2)) for d in steps]
            return nn.ModuleList(map(norm, layers))

        if kind == 1:
            self.convs1, self.convs2 = row(dilations), row([1] * len(dilations))
        else:
            self.convs = row(dilations)

    def forward(self, x):
        if hasattr(self, "convs"):
            for conv in self.convs:
                x = x + conv(leaky_relu(x, 0.1))
            return x
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(leaky_relu(dilated(leaky_relu(x, 0.1)), 0.1))
        return x


class Backbone(nn.Module):
    def __init__(self, ins, channels, rates, kernels, kind, widths, dilations, pre, norm):
        super().__init__()
        self.conv_pre = norm(nn.Conv1d(ins, channels, pre, padding=pre // 2))
        self.ups, self.resblocks, self.widths = nn.ModuleList(), nn.ModuleList(), len(widths)
        for rate, kernel in zip(rates, kernels, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, (kernel - rate) // 2)
            self.ups.append(norm(up))
            channels //= 2
            self.resblocks.extend(
                ResBlock(kind, channels, *sizes, norm) for sizes in zip(widths, dilations, strict=True)
            )
        self.out_channels = channels

    def forward(self, x):
        x = self.conv_pre(x)
        for index, up in enumerate(self.ups):
            x = up(leaky_relu(x, 0.1))
            blocks = self.resblocks[index * self.widths : (index + 1) * self.widths]
            x = sum(block(x) for block in blocks) / self.widths
        return leaky_relu(x)


class HiFiGan(Backbone):
    """The vocoder has the last convolution beside the rest."""

    def __init__(self, *sizes, norm):
        super().__init__(*sizes, norm)
        self.conv_post = norm(nn.Conv1d(self.out_channels, 1, 7, padding=3))

    def forward(self, mel):
        return torch.tanh(self.conv_post(super().forward(mel)))[:, 0]


class Skip(nn.Module):
    def __init__(self, net, join):
        super().__init__()
        self.net, self.join = net, join

    def forward(self, x):
        return x + self.net(x) if self.join == "add" else torch.cat([x, self.net(x)], dim=1)


class UNet(nn.Module):
    """net = Sequential(first, nested levels, last)."""

    def __init__(self, ins, outs, widths, depth, dims, norm):
        super().__init__()
        conv, kernel, scale = (nn.Conv1d, 5, 4) if dims == 1 else (nn.Conv2d, 3, 2)

        def block(width):
            return nn.Sequential(*(
                Skip(nn.Sequential(nn.LeakyReLU(), norm(conv(width, width, kernel, padding=kernel // 2))), "add")
                for _ in range(depth)
            ))  # fmt: skip

        net = block(widths[-1])
        for wide, wider in zip(widths[-2::-1], widths[:0:-1], strict=True):
            up = nn.Sequential(nn.Upsample(scale_factor=scale), norm(conv(wider, wide, 1)))
            net = nn.Sequential(block(wide), norm(conv(wide, wider, scale, scale)), net, up, block(wide))
            net = nn.Sequential(Skip(net, "concat"), norm(conv(2 * wide, wide, 1)))
        first, last = (norm(conv(*io, kernel, padding=kernel // 2)) for io in ((ins, widths[0]), (widths[0], outs)))
        self.net, self.dims, self.out_dims = nn.Sequential(first, net, last), dims, outs

    def forward(self, x):
        if self.dims == 1:
            return self.net(x)
        rows = x.shape[-2]
        return self.net(nn.functional.pad(x, (0, 0, 0, 16 - rows % 16)))[:, :, :rows]


class SpectralUNet(nn.Module):
    def __init__(self, outs, widths, depth, norm):
        super().__init__()
        self.learnable_mel2linspec = norm(nn.Conv1d(80, 513, 1))
        self.net = UNet(3, widths[0], widths, depth, 2, norm)
        self.post_conv_2d = nn.Sequential(norm(nn.Conv2d(widths[0], 1, 1)))
        self.post_conv_1d = nn.Sequential(norm(nn.Conv1d(513, outs, 1)))

    def forward(self, mel):
        fixed = mel_to_linear(MelSpectrogram().matrix) @ mel
        places = torch.linspace(0, 1, 513)[:, None].expand_as(fixed)
        planes = torch.stack([fixed, places, self.learnable_mel2linspec(mel)], dim=1)
        return self.post_conv_1d(self.post_conv_2d(self.net(planes))[:, 0])


class MaskNet(nn.Module):
    def __init__(self, channels, widths, depth, norm):
        super().__init__()
        self.net = UNet(channels, channels, widths, depth, 2, norm)

    def forward(self, x):
        window = torch.hann_window(1024)
        values = torch.stft(x.flatten(0, 1), 1024, 256, window=window, return_complex=True)
        magnitudes = (values.abs().square() + 1e-9).sqrt()[:, 1:, 1:]
        assert magnitudes.shape[-1] % 8 == 0  # else the original pads both ends of the frames, and we one
        factors = torch.ones_like(values.real)
        factors[:, 1:, 1:] = nn.functional.softplus(self.net(magnitudes.view(*x.shape[:2], 512, -1))).flatten(0, 1)
        return torch.istft(values * factors, 1024, 256, window=window).view(x.shape)


class HiFiPlusPlus(nn.Module):
    def __init__(self, norm, *, spectral=(4, 6, 8), wave=(4, 6), mask=(4, 6), outs=8, ins=None, channels=32):
        super().__init__()
        sizes = (channels, (8, 8, 2, 2), (16, 16, 4, 4), 1, (3, 7, 11), ((1, 3, 5),) * 3, 1)
        self.hifi = Backbone(ins or outs, *sizes, norm)
        width = self.hifi.out_channels
        self.spectralunet = SpectralUNet(outs, spectral, 2, norm)
        self.waveunet = UNet(width, width, wave, 2, 1, norm)
        self.spectralmasknet = MaskNet(width, mask, 1, norm)
        self.waveunet_skip_connect = norm(nn.Conv1d(width, width, 1))
        self.spectralmasknet_skip_connect = norm(nn.Conv1d(width, width, 1))
        self.conv_post = norm(nn.Conv1d(width, 1, 7, padding=3))
        self.waveunet_conv_pre = norm(nn.Conv1d(1 + width, width, 1))

    def told(self, spectral):
        return spectral

    def end(self, hidden):
        return torch.tanh(self.conv_post(hidden))[:, 0]

    def forward(self, samples):
        hidden = self.hifi(self.told(self.spectralunet(MelSpectrogram()(samples))))
        hidden = self.waveunet_conv_pre(torch.cat([hidden, samples[:, None]], dim=1))
        hidden = self.waveunet(hidden) + self.waveunet_skip_connect(hidden)
        return self.end(self.spectralmasknet(hidden) + self.spectralmasknet_skip_connect(hidden))


class Head(nn.Module):
    """UpsampleWaveUNet: 16 to 48 kHz."""

    def __init__(self, width, norm):
        super().__init__()
        self.waveunet = UNet(width, 6, (4, 6), 1, 1, norm)
        self.upsample_block = nn.Sequential(norm(nn.ConvTranspose1d(6, 1, 3, 3)))

    def forward(self, x):
        return self.upsample_block(leaky_relu(self.waveunet(x), 0.1))


class Finally(HiFiPlusPlus):
    """HiFi++ told by WavLM features [batch, frames, channels]."""

    def __init__(self, norm, *, wide, heard=12):
        super().__init__(norm, outs=32)
        both = 32 + heard
        self.pre_upsampler_proccessing = nn.Sequential(
            ResBlock(1, both, 3, (1, 3, 5), norm), nn.LeakyReLU(0.1), norm(nn.Conv1d(both, 32, 1))
        )
        self.upsamplewaveunet = Head(self.hifi.out_channels, norm) if wide else None
        self.features = torch.randn(1, 25, heard)

    def told(self, spectral):
        heard = interpolate(self.features.transpose(1, 2), size=spectral.shape[-1], mode="nearest")
        return self.pre_upsampler_proccessing(torch.cat([heard, spectral], dim=1))

    def end(self, hidden):
        return (self.conv_post if self.upsamplewaveunet is None else self.upsamplewaveunet)(hidden)[:, 0]


def shaken(module):
    """Norms of weights that are not those of their directions."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
    return module.eval()


VERSIONS = {
    1: ((8, 16, (8, 4), (16, 8), 1, (3, 5), ((1, 3), (1, 3)), 7), "1"),
    2: ((10, 16, (8, 8, 4), (16, 16, 8), 2, (3, 5, 7), ((1, 2), (2, 6), (3, 12)), 7), "2"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_an_imported_hifi_gan_says_what_the_original_says(tmp_path, version, norm):
    sizes, kind = VERSIONS[version]
    original = shaken(HiFiGan(*sizes, norm=NORMS[norm]))
    torch.save({"generator": original.state_dict()}, tmp_path / "g_00000001")
    names = ("num_mels", "upsample_initial_channel", "upsample_rates", "upsample_kernel_sizes")
    told = dict(zip(names, sizes[:4], strict=True)) | {
        "resblock": kind, "resblock_kernel_sizes": sizes[5], "resblock_dilation_sizes": sizes[6], "n_fft": 512,
        "win_size": 512, "hop_size": math.prod(sizes[2]), "sampling_rate": 16000, "fmin": 0, "fmax": 7000,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(told))
    found = import_checkpoint("hifi-gan", tmp_path / "g_00000001", tmp_path / "best.pt")
    assert found.notes == []
    name, model = load_generator(tmp_path / "best.pt")
    assert (name, model.sample_rate, model.config.high) == ("hifi_gan", 16000, 7000.0)
    mel = torch.randn(1, sizes[0], 20)
    with torch.no_grad():
        torch.testing.assert_close(model.vocode(mel), original(mel), atol=1e-4, rtol=0)


def test_without_a_config_hifi_gan_is_as_released_and_that_is_said(tmp_path):
    sizes, _ = VERSIONS[2]
    torch.save({"generator": HiFiGan(*sizes, norm=lambda layer: layer).state_dict()}, tmp_path / "g_1")
    found = import_checkpoint("hifi-gan", tmp_path / "g_1", tmp_path / "best.pt")
    assert found.config.rates == (8, 8, 4)
    assert found.config.resblock_dilations == ((1, 2), (2, 6), (3, 12))
    assert found.config.sample_rate == 22050
    assert "no config.json" in found.notes[0]


@pytest.mark.parametrize(
    ("told", "problem"), [({"win_size": 800}, "window of 800 samples"), ({"hop_size": 100}, "hop_size is 100")]
)
def test_a_config_of_another_hifi_gan_is_refused(tmp_path, told, problem):
    sizes, _ = VERSIONS[2]
    torch.save(HiFiGan(*sizes, norm=lambda layer: layer).state_dict(), tmp_path / "g_1")
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=problem):
        import_checkpoint("hifi-gan", tmp_path / "g_1", tmp_path / "best.pt")


@pytest.mark.parametrize(("kind", "norm"), [("hifi-plusplus", "weight_g"), ("course-work", "original0")])
def test_an_imported_hifi_plusplus_says_what_the_original_says(tmp_path, kind, norm):
    original = shaken(HiFiPlusPlus(NORMS[norm]))
    state = original.state_dict()
    content = state if kind == "hifi-plusplus" else {"state_dict": state, "optimizer_state_dict": {}}
    torch.save(content, tmp_path / "a.pth")
    import_checkpoint(kind, tmp_path / "a.pth", tmp_path / "best.pt")
    name, model = load_generator(tmp_path / "best.pt")
    assert name == "hifi_plusplus"
    samples = 0.1 * torch.randn(1, 8192)  # 32 frames, a power of two, so the original pads nothing
    with torch.no_grad():
        torch.testing.assert_close(model(samples), original(samples), atol=1e-4, rtol=0)


@pytest.mark.parametrize("wide", [False, True], ids=["16 kHz", "48 kHz"])
def test_an_imported_finally_says_what_the_original_says(tmp_path, wide):
    original = shaken(Finally(NORMS["original0"], wide=wide))
    torch.save({"state_dict": original.state_dict() | {"wavlm.x": torch.zeros(2)}}, tmp_path / "a.pth")
    found = import_checkpoint("course-work", tmp_path / "a.pth", tmp_path / "best.pt")
    assert found.notes == ["1 tensors of WavLM are left: ours is given apart"]
    name, model = load_generator(tmp_path / "best.pt")
    assert (name, model.sample_rate) == ("finally", 48000 if wide else 16000)
    assert not model.config.wavlm.normalise  # the original's WavLM heard its input as it was
    model.wavlm.hidden = lambda samples: original.features
    samples = 0.1 * torch.randn(1, 8192)
    model.decimate = nn.Identity()  # the original is given 16 kHz
    with torch.no_grad():
        out = model.conv_post(model.backbone(samples)) if not wide else model.wide(model.backbone(samples))
        torch.testing.assert_close(out[:, 0], original(samples), atol=1e-4, rtol=0)


def test_a_discriminators_file_is_no_generator(tmp_path):
    torch.save({"mpd": {"a": torch.zeros(1)}, "msd": {}}, tmp_path / "do_1")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        import_checkpoint("hifi-gan", tmp_path / "do_1", tmp_path / "best.pt")
