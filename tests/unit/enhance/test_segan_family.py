from dataclasses import replace

import pytest
import torch
from torch import nn

from enhance.layers.latent import latent_noise
from enhance.models.advanced_segan import AdvancedSegan, AdvancedSeganConfig
from enhance.models.dwave import DWave, DWaveConfig
from enhance.models.segan import Segan, SeganConfig
from enhance.models.segan_plus import SeganPlus, SeganPlusConfig

BASIC = SeganConfig(
    activation="shared_prelu", skip="after", latent_first=False, padding="centred", last="prelu", initial="torch",
    emphasis=0.0,
)  # fmt: skip

FEW = (4, 4, 6, 6)  # channels of small nets
SMALL = {
    Segan: SeganConfig(channels=FEW),
    SeganPlus: SeganPlusConfig(channels=FEW),
    AdvancedSegan: AdvancedSeganConfig(channels=FEW, noisy_std=0.5, clean_std=1.0),
    DWave: DWaveConfig(dilations=(1, 4, 16), kernels=4, channels=3, latent=2),
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def noisy_weights(model, size=0.1):
    """In use, with weights that are no longer as they started."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return model.eval()


def reach(model, samples, place):
    """The first and last sample that the output at `place` depends on."""
    signal = torch.randn(1, samples, dtype=torch.float64, requires_grad=True)
    model.double().raw(signal, 0)[0, place].backward()
    touched = signal.grad[0].nonzero()
    return touched.min().item(), touched.max().item()


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (SeganConfig(), 73_100_049),
        (SeganConfig(encoder_bias=False, decoder_bias=False), 73_096_048),
        (BASIC, 73_096_071),
    ],
)
def test_segan_has_the_published_number_of_parameters(config, parameters):
    with torch.device("meta"):
        assert count(Segan(config)) == parameters


def test_advanced_segan_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert count(AdvancedSegan(AdvancedSeganConfig())) == 117_726_726


def test_dwave_has_as_many_weights_as_its_layers_say():
    block = 2 * (1 + 1) * 3 * 32 + 32  # filter and gate over signal and noise, and the residual
    assert count(DWave(DWaveConfig())) == 10 * block + 9 * 32 + 1


@torch.inference_mode()
def test_a_causal_dwave_answers_at_once_and_never_looks_ahead():
    model = noisy_weights(DWave(DWaveConfig(kernels=4, causal=True)))
    assert model.causal
    assert model.latency == 1 / 16000
    signal = torch.randn(1, 3000)
    later = signal.clone()
    later[:, 2000:] = 0
    torch.testing.assert_close(model(later)[:, :2000], model(signal)[:, :2000])
    stream = model.open_stream(1.0)
    pieces = [stream.push(part) for part in signal[0].split(500)]
    assert [len(piece) for piece in pieces] == [500] * 6
    torch.testing.assert_close(torch.cat(pieces)[None], model(signal), atol=1e-5, rtol=1e-4)


def test_a_centred_dwave_looks_as_far_as_it_says():
    model = noisy_weights(DWave(DWaveConfig(kernels=4)), 0.3)
    assert model.context == 1023
    assert reach(model, 4000, 2000) == (2000 - 1023, 2000 + 1023)


def noise_for(bottleneck, model, period):
    return latent_noise(bottleneck, fresh=False, frame=0, period=period, seed=model.config.latent_seed)


@torch.inference_mode()
def test_segan_in_its_basic_variant_is_what_its_description_says():
    model = noisy_weights(Segan(replace(BASIC, channels=FEW)))
    noisy = torch.randn(2, 1, 256)
    hidden, skips = noisy, []
    for conv, act in zip(model.encoder, model.encoder_act, strict=True):
        skips.append(hidden)
        hidden = nn.functional.conv1d(hidden, conv.weight, conv.bias, 2, padding=15)
        hidden = nn.functional.prelu(hidden, act.weight)
    hidden = torch.cat([hidden, noise_for(hidden, model, 1024)], dim=1)
    for deconv, act in zip(model.decoder, model.decoder_act, strict=True):
        hidden = nn.functional.conv_transpose1d(hidden, deconv.weight, deconv.bias, 2, padding=15, output_padding=1)
        hidden = torch.cat([nn.functional.prelu(hidden, act.weight), skips.pop()], dim=1)
    torch.testing.assert_close(hidden[:, 1], noisy[:, 0])  # the second output channel of the original
    torch.testing.assert_close(model(noisy[:, 0]), hidden[:, 0])


@torch.inference_mode()
def test_segan_as_released_hands_on_what_stands_before_the_activation_and_puts_the_noise_first():
    model = noisy_weights(Segan(replace(SMALL[Segan], emphasis=0.0)))
    noisy = torch.randn(2, 1, 256)
    hidden, skips = noisy, []
    for conv, act in zip(model.encoder, model.encoder_act, strict=True):
        linear = nn.functional.conv1d(nn.functional.pad(hidden, (14, 15)), conv.weight, conv.bias, 2)
        skips.append(linear)
        hidden = nn.functional.prelu(linear, act.weight)
    skips.pop()
    hidden = torch.cat([noise_for(hidden, model, 1024), hidden], dim=1)
    for deconv, act in zip(model.decoder[:-1], model.decoder_act[:-1], strict=True):
        hidden = nn.functional.conv_transpose1d(hidden, deconv.weight, deconv.bias, 2)[..., 14:-15]
        hidden = torch.cat([nn.functional.prelu(hidden, act.weight), skips.pop()], dim=1)
    last = model.decoder[-1]
    wave = torch.tanh(nn.functional.conv_transpose1d(hidden, last.weight, last.bias, 2)[..., 14:-15])
    torch.testing.assert_close(model(noisy[:, 0]), wave[:, 0])


@torch.inference_mode()
def test_advanced_segan_adds_a_shortcut_from_the_input_of_the_layer_before():
    model = noisy_weights(AdvancedSegan(SMALL[AdvancedSegan]))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    config, noisy = model.config, torch.randn(2, 256)
    inputs = [(noisy[:, None] - config.noisy_mean) / config.noisy_std]
    for block in model.encoder:
        out = torch.relu(block.norm(nn.functional.conv1d(inputs[-1], block.conv.weight, block.conv.bias, 2, 15)))
        if block.shortcut is not None:
            out += nn.functional.conv1d(inputs[-2], block.shortcut.weight, block.shortcut.bias, 4, 15)
        inputs.append(out)
    bottleneck = inputs.pop()
    ins = [torch.cat([bottleneck, noise_for(bottleneck, model, 1024)], dim=1)]
    for block in model.decoder:
        out = nn.functional.conv_transpose1d(ins[-1], block.conv.weight, block.conv.bias, 2, 15, 1)
        out = torch.relu(block.norm(out))
        if block.shortcut is not None:
            out += nn.functional.conv_transpose1d(ins[-2], block.shortcut.weight, block.shortcut.bias, 4, 15, 3)
        ins.append(torch.cat([out, inputs.pop()], dim=1))
    wave = model.last(torch.relu(model.last_norm(ins[-1][:, :1])))
    torch.testing.assert_close(model(noisy), wave[:, 0] * config.clean_std + config.clean_mean)


OPTIONS = [
    (Segan, {"activation": "leaky"}),
    (Segan, {"activation": "shared_prelu"}),
    (Segan, {"skip": "after"}),
    (Segan, {"latent": False}),
    (Segan, {"latent_first": False}),
    (Segan, {"latent_seed": 5}),
    (Segan, {"upsampling": "nearest"}),
    (Segan, {"padding": "centred"}),
    (Segan, {"last": "prelu"}),
    (Segan, {"encoder_bias": False}),
    (Segan, {"decoder_bias": False}),
    (Segan, {"emphasis": 0.5}),
    (Segan, {"attention": (3,)}),
    (SeganPlus, {"attention": (2,)}),
    (SeganPlus, {"octave": 0.5}),
    (SeganPlus, {"inner_skips": True}),
    (SeganPlus, {"emphasis": 0.5}),
    (SeganPlus, {"latent_seed": 5}),
    (AdvancedSegan, {"shortcuts": False}),
    (AdvancedSegan, {"latent": False}),
    (AdvancedSegan, {"latent_seed": 5}),
    (AdvancedSegan, {"noisy_mean": 0.1}),
    (AdvancedSegan, {"noisy_std": 0.6}),
    (AdvancedSegan, {"clean_mean": 0.1}),
    (AdvancedSegan, {"clean_std": 0.9}),
    (DWave, {"dilations": (1, 4, 15)}),
    (DWave, {"width": 5}),
    (DWave, {"kernels": 5}),
    (DWave, {"channels": 4}),
    (DWave, {"latent": 0}),
    (DWave, {"latent_seed": 5}),
    (DWave, {"causal": True}),
    (DWave, {"emphasis": 0.5}),
]


@pytest.mark.parametrize(
    ("kind", "change"), OPTIONS, ids=lambda value: value.__name__ if callable(value) else str(value)
)
@torch.inference_mode()
def test_an_option_changes_what_comes_out_for_the_same_weights(kind, change):
    before = noisy_weights(kind(SMALL[kind]))
    after = noisy_weights(kind(replace(SMALL[kind], **change)))
    ours = after.state_dict()
    shared = {k: v for k, v in before.state_dict().items() if k in ours and ours[k].shape == v.shape}
    after.load_state_dict(ours | shared)
    signal = torch.randn(1, 3000)
    assert (after(signal) - before(signal)).abs().max() > 1e-4


@torch.inference_mode()
def test_the_span_of_attention_changes_what_comes_out():
    config = SeganPlusConfig(channels=FEW, attention=(1, 2), attention_span=256)
    narrow, wide = (noisy_weights(SeganPlus(c), 0.3) for c in (config, replace(config, attention_span=1024)))
    wide.load_state_dict(narrow.state_dict())
    signal = torch.randn(1, 3000)
    assert (wide(signal) - narrow(signal)).abs().max() > 1e-4
    assert wide.context > narrow.context


@pytest.mark.parametrize("kind", SMALL)
@torch.inference_mode()
def test_a_row_comes_out_the_same_whatever_else_is_in_its_batch(kind):
    model = noisy_weights(kind(SMALL[kind]))
    signal = torch.randn(3, 2000)
    torch.testing.assert_close(model(signal)[1:2], model(signal[1:2]), rtol=1e-4, atol=1e-5)


def test_initial_weights_are_as_asked_for():
    def spread(model):
        return torch.cat([w.flatten() for n, w in model.decoder.named_parameters() if n.endswith("weight")])

    torch.manual_seed(0)
    truncated = spread(Segan(SMALL[Segan]))
    assert truncated.abs().max() <= 0.04
    assert 0.016 < truncated.std() < 0.019  # N(0, 0.02) cut at two deviations has 0.88 of it
    assert spread(Segan(replace(SMALL[Segan], initial="torch"))).abs().max() > 0.04
    xavier = SeganPlus(replace(SMALL[SeganPlus], initial="xavier")).encoder[1].weight
    bound = (6 / (31 * (4 + 4))) ** 0.5
    assert 0.9 * bound < xavier.abs().max() <= bound
    assert SeganPlus(SMALL[SeganPlus]).encoder[1].weight.abs().max() < 0.1


def test_spectral_norm_reaches_every_weight_of_segan_plus_the_last_included():
    torch.manual_seed(0)
    config = SeganPlusConfig(channels=FEW, norm="spectral", attention=(2,), octave=0.5, inner_skips=True, skip="conv")
    model = SeganPlus(config)
    for _ in range(30):
        model.raw(torch.randn(1, 256), 0)  # each pass in training refines the estimate
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    assert len(convolutions) > 20
    for module in convolutions:
        weight = module.weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose1d) else module.weight
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_batch_norm_of_segan_plus_evens_out_every_layer_but_the_last():
    torch.manual_seed(0)
    model = SeganPlus(SeganPlusConfig(channels=FEW, norm="batch"))
    seen = []
    for norm in [*model.encoder_norm, *model.decoder_norm]:
        norm.register_forward_hook(lambda _, __, out: seen.append(out))
    model.raw(torch.randn(4, 4096), 0)
    assert len(seen) == 2 * len(FEW) - 1
    for out in seen:
        torch.testing.assert_close(out.mean((0, 2)), torch.zeros(out.shape[1]), atol=1e-4, rtol=0)
        assert (out.var((0, 2), correction=0) < 1.01).all()
        assert (out.var((0, 2), correction=0) > 0.5).all()


def test_the_factors_of_skips_are_learnt_and_kept_in_the_weights():
    model = SeganPlus(SMALL[SeganPlus])
    model(torch.randn(1, 500)).square().sum().backward()
    assert model.skips[0].skip_k.grad.abs().sum() > 0
    assert "skips.0.skip_k" in model.state_dict()


REACHES = [
    (Segan, {}),
    (Segan, {"upsampling": "nearest"}),
    (Segan, {"padding": "centred"}),
    (Segan, {"attention": (2, 4), "attention_span": 20}),
    (AdvancedSegan, {}),
    (SeganPlus, {"channels": (4, 4, 6), "octave": 0.5, "skip": "conv"}),
    (SeganPlus, {"channels": (4, 4, 6), "attention": (1, 3), "attention_span": 70, "inner_skips": True}),
]


@pytest.mark.parametrize(
    ("kind", "change"), REACHES, ids=lambda value: value.__name__ if callable(value) else str(value)
)
def test_a_deepest_frame_depends_on_no_more_context_than_the_model_says(kind, change):
    model = noisy_weights(kind(replace(SMALL[kind], **change)))
    frame, total = 40, 80 * model.alignment
    first, last = frame * model.alignment, (frame + 1) * model.alignment - 1
    assert reach(model, total, first)[0] >= first - model.context
    assert reach(model, total, last)[1] <= last + model.context


@torch.inference_mode()
def test_eleven_levels_stream_as_they_see_the_whole_recording():
    model = noisy_weights(Segan(SeganConfig(channels=(2,) * 11)))
    assert model.alignment == 2048
    signal = torch.randn(1, 200_001)
    stream = model.open_stream(1.0)
    pieces = [stream.push(part) for part in signal[0].split(60_000)]
    assert [len(piece) > 0 for piece in pieces] == [False, True, True, True]
    streamed = torch.cat([*pieces, stream.finish()])
    torch.testing.assert_close(streamed[None], model(signal), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: SeganConfig(channels=(4,)), "at least two levels"),
        (lambda: SeganConfig(upsampling="nearest", padding="centred"), "nearest needs none"),
        (lambda: AdvancedSeganConfig(noisy_std=0.0), "must be positive"),
        (lambda: DWaveConfig(width=4), "width must be odd"),
        (lambda: DWaveConfig(dilations=()), "dilations must be positive"),
        (lambda: SeganPlusConfig(attention=(6,)), "levels from 1 to 5, got 6"),
        (lambda: SeganPlusConfig(attention=(5,), attention_span=1000), "a frame of level 5 or more"),
        (lambda: SeganPlusConfig(octave=1.0), "octave is a share"),
    ],
)
def test_options_that_cannot_be_are_refused(build, problem):
    with pytest.raises(ValueError, match=problem):
        build()
