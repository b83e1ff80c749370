from dataclasses import replace

import pytest
import torch

from enhance.critics.multi_stft import MultiStftCritic, MultiStftCriticConfig
from enhance.critics.segan import SeganCritic, SeganCriticConfig
from enhance.critics.spectrogram import SpectrogramCritic, SpectrogramCriticConfig
from enhance.layers.wavlm import RandomWavlmConfig, WavlmConfig
from enhance.models import MODELS
from enhance.models.advanced_segan import AdvancedSeganConfig
from enhance.models.compact import Compact, CompactConfig
from enhance.models.demucs import DemucsConfig
from enhance.models.dwave import DWaveConfig
from enhance.models.finally_ import FinallyConfig
from enhance.models.gatewave import GateWaveConfig
from enhance.models.hifi_gan import HiFiGANConfig
from enhance.models.hifi_plusplus import HiFiPlusPlusConfig
from enhance.models.segan import SeganConfig
from enhance.models.segan_plus import SeganPlus, SeganPlusConfig
from enhance.models.wave_u_net import WaveUNetConfig
from enhance.models.window_stream import WindowGenerator

SMALL_FINALLY = FinallyConfig(
    wavlm=WavlmConfig(source="random", channels=8, random=RandomWavlmConfig(layers=1, conv_channels=8)), channels=16,
    spectral_widths=(4, 4, 8), spectral_depth=1, wave_widths=(4, 4), wave_depth=1, mask_widths=(4, 4),
    wide_widths=(4, 4), wide_depth=1, wide_channels=4, window=0.64, overlap=0.064,
)  # fmt: skip
SMALL_HIFI = {
    "size": 128, "bands": 10, "channels": 16, "rates": (4, 2, 2), "kernels": (8, 4, 4), "resblock_kernels": (3, 5),
    "resblock_dilations": ((1, 3), (1, 3)),
}  # fmt: skip
SMALL_PLUSPLUS = HiFiPlusPlusConfig(
    **SMALL_HIFI, spectral_widths=(2, 4, 4), spectral_depth=1, spectral_outs=8, wave_widths=(4, 4), wave_depth=1,
    mask_widths=(2, 4), mask_depth=1, window=1.0, overlap=0.1,
)  # fmt: skip
SMALL = {
    "hifi_gan": [
        HiFiGANConfig(**SMALL_HIFI),
        HiFiGANConfig(**SMALL_HIFI | {"resblock": 2, "pre_kernel": 3, "norm": "spectral", "high": None}),
    ],
    "hifi_plusplus": [
        SMALL_PLUSPLUS,
        replace(SMALL_PLUSPLUS, sees="upsampled", order="mask_first", positions=False, skips=False),
        replace(SMALL_PLUSPLUS, spectral_widths=(), sees="waveform", mask_widths=(), norm="none", level=0.1),
    ],
    "finally": [SMALL_FINALLY, replace(SMALL_FINALLY, sample_rate=48000, tanh=True)],
    "gatewave": [GateWaveConfig(hidden=6, depth=2), GateWaveConfig(hidden=4, stride=3, block="basic")],
    "wave_u_net": [WaveUNetConfig(levels=3, filters=3), WaveUNetConfig(levels=5, filters=2, bounded=False)],
    "demucs": [DemucsConfig(hidden=4, depth=5, growth=1.3), DemucsConfig(hidden=4, depth=3, causal=False)],
    "compact": [CompactConfig(channels=8, dual_paths=2, dilations=(1, 3))],
    "segan_plus": [
        SeganPlusConfig(channels=(4, 4, 8, 8, 8)),
        SeganPlusConfig(channels=(4, 6, 8), skip="conv", merge="sum"),
        SeganPlusConfig(channels=(4, 8, 8, 8), skip="constant", skip_init="randn", latent=False, bias=False),
        SeganPlusConfig(channels=(4, 8, 8), norm="batch", attention=(2, 3), attention_span=512, inner_skips=True),
        SeganPlusConfig(channels=(4, 8, 8), norm="spectral", octave=0.5, attention=(1,), attention_span=64),
    ],
    "segan": [
        SeganConfig(channels=(4, 4, 6, 6, 8, 8), attention=(3,), attention_span=256),
        SeganConfig(channels=(4, 4, 6), upsampling="nearest", activation="leaky", latent=False),
        SeganConfig(channels=(4, 4, 6, 8), padding="centred", skip="after", last="prelu", activation="shared_prelu"),
    ],
    "advanced_segan": [
        AdvancedSeganConfig(channels=(4, 4, 6, 6, 8), noisy_std=0.5, clean_std=1.0),
        AdvancedSeganConfig(channels=(4, 4, 6), noisy_std=0.5, clean_std=1.0, shortcuts=False, latent=False),
    ],
    "dwave": [
        DWaveConfig(dilations=(1, 4, 16), kernels=4, channels=3, latent=2),
        DWaveConfig(dilations=(1, 2, 4), kernels=4, latent=0, causal=True),
    ],
}  # fmt: skip
CASES = [(name, config) for name, configs in SMALL.items() for config in configs]


def built(name, config):
    torch.manual_seed(0)
    model = MODELS[name][1](config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_model_has_a_small_case_here():
    assert set(SMALL) == set(MODELS)


@pytest.mark.parametrize(("name", "config"), CASES)
@pytest.mark.parametrize("samples", [1, 17, 1023, 5001])
@torch.inference_mode()
def test_a_model_keeps_odd_lengths_and_batches_of_one(name, config, samples):
    model = built(name, config)
    assert model(torch.randn(1, samples)).shape == (1, samples)
    assert torch.isfinite(model(torch.zeros(3, samples))).all()


@pytest.mark.parametrize(("name", "config"), CASES)
@pytest.mark.parametrize("block", [777, 4096, 20000])
@torch.inference_mode()
def test_a_stream_equals_the_whole_file(name, config, block):
    model = built(name, config)
    signal = 0.1 * torch.randn(1, 70001)
    whole = model(signal)[0]
    stream = model.open_stream(float(signal.square().mean().sqrt()))
    pieces = [stream.push(part) for part in signal[0].split(block)]
    streamed = torch.cat([*pieces, stream.finish()])
    assert streamed.shape == whole.shape
    assert (streamed - whole).abs().max() < 1e-4 * max(1.0, whole.abs().max().item())
    assert (whole - signal[0]).abs().max() > 0.01  # the model does something


@pytest.mark.parametrize(("name", "config"), CASES)
@torch.inference_mode()
def test_a_stream_holds_no_more_after_a_long_recording_than_after_a_short(name, config):
    model = built(name, config)
    stream = model.open_stream(0.1)

    def held():
        return sum(value.numel() for value in vars(stream).values() if isinstance(value, torch.Tensor))

    for _ in range(6):
        stream.push(0.1 * torch.randn(16000))
    early = held()
    for _ in range(30):
        stream.push(0.1 * torch.randn(16000))
    assert held() <= early + 2048 * 257  # the place of the block within a frame may differ
    assert held() < 40000 * 4


@pytest.mark.parametrize(
    ("change", "parameters"),
    [
        ({}, 64_770_561),
        ({"bias": False}, 64_768_577),
        ({"merge": "sum", "bias": False}, 59_433_601),
        ({"latent": False}, 48_517_633),
    ],
)
def test_segan_plus_has_the_published_number_of_parameters(change, parameters):
    with torch.device("meta"):
        assert count(SeganPlus(SeganPlusConfig(**change))) == parameters


def test_the_critic_of_segan_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert count(SeganCritic(SeganCriticConfig())) == 25_825_793


def test_skips_of_segan_plus_start_as_they_are_asked_to():
    ones = SeganPlus(SeganPlusConfig(channels=(4, 4, 4))).skips[0].skip_k
    assert ones.requires_grad
    assert bool((ones == 1).all())
    fixed = SeganPlus(SeganPlusConfig(channels=(4, 4, 4), skip="constant", skip_init="zero")).skips[0].skip_k
    assert not fixed.requires_grad
    assert bool((fixed == 0).all())


def test_segan_plus_draws_new_latent_noise_in_training_and_the_same_in_use():
    model = SeganPlus(SeganPlusConfig(channels=(4, 4, 4)))
    signal = torch.randn(1, 1000)
    assert not torch.equal(model(signal), model(signal))
    model.eval()
    assert torch.equal(model(signal), model(signal))


def test_compact_is_small_and_starts_by_letting_speech_pass():
    torch.manual_seed(0)
    model = Compact(CompactConfig()).eval()
    assert count(model) < 1_000_000
    signal = 0.1 * torch.randn(1, 16000)
    assert (model(signal) - signal).norm() < 0.1 * signal.norm()


@torch.inference_mode()
def test_compact_keeps_the_level():
    model = built("compact", SMALL["compact"][0])
    signal = 0.1 * torch.randn(1, 8000)
    torch.testing.assert_close(model(0.01 * signal), 0.01 * model(signal), rtol=1e-3, atol=1e-7)


def test_a_mask_limit_that_cannot_let_speech_pass_is_refused():
    with pytest.raises(ValueError, match="mask_limit must be above 1"):
        replace(CompactConfig(), mask_limit=1.0)


@pytest.mark.parametrize(
    "critic",
    [
        SeganCritic(SeganCriticConfig(channels=(4, 8, 8), frames=4)),
        SeganCritic(SeganCriticConfig(channels=(4, 8), frames=4, norm="spectral")),
        SpectrogramCritic(SpectrogramCriticConfig(sizes=(128, 256), channels=4)),
        MultiStftCritic(MultiStftCriticConfig(sizes=(256, 64), filters=4, dilations=(1, 2))),
    ],
)
def test_a_critic_scores_any_length_and_passes_gradients(critic):
    fake = torch.randn(2, 3001, requires_grad=True)
    opinion = critic(fake, torch.randn(2, 3001))
    sum(score.square().sum() for score in opinion.scores).backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert opinion.layers


@pytest.mark.parametrize(("name", "config"), CASES)
@torch.inference_mode()
def test_a_stream_waits_as_long_as_the_latency_says(name, config):
    model, block = built(name, config), 61
    if isinstance(model, WindowGenerator):
        model.window, model.overlap = 3000, 500
    latency = round(model.latency * model.sample_rate)
    stream, taken, given, waited = model.open_stream(0.1), 0, 0, 0
    while taken < 3 * latency + 6000:
        taken += block
        ready = stream.push(0.1 * torch.randn(block)).shape[0]
        if ready:
            waited = max(waited, taken - given)  # of the oldest sample in this piece
        given += ready
    assert given
    assert latency <= waited < latency + block
