"""FINALLY: its generator, the WavLM that tells it what is said, its critic and its objective."""

import copy
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from enhance.critics.multi_stft import MultiStftCritic, MultiStftCriticConfig
from enhance.fine_tune import start_generator
from enhance.layers.decimate import Decimate, factor_to
from enhance.layers.wavlm import ELSEWHERE, RandomWavlmConfig, Wavlm, WavlmConfig
from enhance.models.finally_ import Finally, FinallyConfig
from enhance.objectives.finally_ import FinallyObjective, FinallyObjectiveConfig
from enhance.weights import save_generator
from harness.errors import CheckpointError, ConfigError

RANDOM = WavlmConfig(source="random", channels=8, random=RandomWavlmConfig(layers=2, conv_channels=8))
SMALL = FinallyConfig(
    wavlm=RANDOM, channels=16, spectral_widths=(4, 4), spectral_depth=1, wave_widths=(4, 4), wave_depth=1,
    mask_widths=(4, 4), wide_widths=(4, 4), wide_depth=1, wide_channels=4,
)  # fmt: skip
SMALL_CRITIC = MultiStftCriticConfig(sizes=(256, 64), filters=4, dilations=(1, 2))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture
def wavlm_dir(tmp_path):
    """A small WavLM as transformers saves it, and the net itself."""
    transformers = pytest.importorskip("transformers")
    config = transformers.WavLMConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=[6] * 7,
        feat_extract_norm="layer", do_stable_layer_norm=True, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    net = transformers.WavLMModel(config).eval()
    net.save_pretrained(tmp_path / "wavlm")
    return tmp_path / "wavlm", net


@pytest.mark.parametrize(("rate", "parameters"), [(16000, 77_004_982), (48000, 80_857_271)])
def test_finally_has_the_published_number_of_parameters(rate, parameters):
    with torch.device("meta"):
        assert count(Finally(FinallyConfig(sample_rate=rate))) == parameters


def test_the_multi_scale_stft_critic_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert count(MultiStftCritic(MultiStftCriticConfig())) == 1_866_250


def test_wavlm_is_neither_a_parameter_nor_in_the_checkpoint_nor_copied():
    model = Finally(SMALL)
    model(torch.randn(1, 2000))  # loads it
    assert not any("wavlm" in name for name in model.state_dict())
    assert not any("wavlm" in name for name, _ in model.named_parameters())
    assert copy.deepcopy(model).wavlm is model.wavlm


def test_what_wavlm_hears_changes_what_finally_says():
    torch.manual_seed(0)
    model = Finally(SMALL).eval()
    other = copy.deepcopy(model)
    other.wavlm = Wavlm(replace(RANDOM, random=replace(RANDOM.random, seed=1)))
    signal = torch.randn(1, 4096)
    assert (model(signal) - other(signal)).abs().max() > 1e-5


def test_wavlm_features_from_a_directory_are_those_of_the_saved_net(wavlm_dir):
    folder, net = wavlm_dir
    samples = torch.randn(2, 4000)
    normal = (samples - samples.mean(-1, keepdim=True)) / samples.std(-1, keepdim=True, unbiased=False)
    with torch.no_grad():
        truth = net(normal, output_hidden_states=True)
        raw = net(samples).last_hidden_state
    ours = WavlmConfig(source=str(folder), channels=12)
    torch.testing.assert_close(Wavlm(ours).hidden(samples), truth.last_hidden_state, rtol=1e-4, atol=1e-5)
    first = Wavlm(replace(ours, layer=1)).hidden(samples)
    torch.testing.assert_close(first, truth.hidden_states[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(Wavlm(replace(ours, normalise=False)).hidden(samples), raw, rtol=1e-4, atol=1e-5)


def test_convolution_features_are_the_layer_normed_output_of_the_convolutions(wavlm_dir):
    folder, net = wavlm_dir
    samples = torch.randn(1, 4000, requires_grad=True)
    handle = Wavlm(WavlmConfig(source=str(folder), channels=12, normalise=False))
    features = handle.convolutions(samples)
    with torch.no_grad():
        wanted = net.feature_projection.layer_norm(net.feature_extractor(samples).transpose(1, 2))
    torch.testing.assert_close(features, wanted)
    features.square().sum().backward()
    assert samples.grad.abs().sum() > 0


def test_a_wavlm_first_heard_in_inference_mode_passes_gradients_later():
    handle = Wavlm(replace(RANDOM, random=RandomWavlmConfig(layers=1, conv_channels=5, seed=9)))
    with torch.inference_mode():
        handle.hidden(torch.randn(1, 1000))
    samples = torch.randn(1, 1000, requires_grad=True)
    handle.convolutions(samples).square().sum().backward()
    assert samples.grad.abs().sum() > 0


def test_wavlm_weights_of_this_machine_replace_a_named_source(wavlm_dir, monkeypatch):
    monkeypatch.setenv(ELSEWHERE, str(wavlm_dir[0]))
    features = Wavlm(WavlmConfig(source="nobody/wavlm-elsewhere", channels=12)).hidden(torch.randn(1, 4000))
    assert features.shape == (1, 12, 12)  # 4000 samples are 12 frames


def test_a_wavlm_that_is_not_there_says_where_and_how_to_give_one(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.delenv(ELSEWHERE, raising=False)
    config = WavlmConfig(source=str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match=r"none: no such directory with WavLM weights\n  mend: .*wavlm.source"):
        Wavlm(config).hidden(torch.randn(1, 4000))


def test_a_directory_without_weights_is_named(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(CheckpointError, match="WavLM cannot be loaded"):
        Wavlm(WavlmConfig(source=str(tmp_path))).hidden(torch.randn(1, 4000))


def test_weights_of_another_net_are_refused(wavlm_dir):
    from safetensors.torch import load_file, save_file

    folder, _ = wavlm_dir
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layers.1.attention.k_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="holds the weights of another model"):
        Wavlm(WavlmConfig(source=str(folder), channels=12)).hidden(torch.randn(1, 4000))


def test_channels_that_wavlm_does_not_have_are_refused(wavlm_dir):
    with pytest.raises(CheckpointError, match=r"has 12 channels, wavlm\.channels says 1024"):
        Wavlm(WavlmConfig(source=str(wavlm_dir[0]))).hidden(torch.randn(1, 4000))


def test_a_layer_that_wavlm_does_not_have_is_refused():
    with pytest.raises(ConfigError, match=r"wavlm\.layer is 3, but random has 2"):
        Wavlm(replace(RANDOM, layer=3)).hidden(torch.randn(1, 4000))


def test_without_transformers_the_mend_is_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match="needs the package transformers"):
        Wavlm(replace(RANDOM, random=RandomWavlmConfig(seed=77))).hidden(torch.randn(1, 4000))


def test_random_wavlm_is_the_same_each_time_warns_and_leaves_the_generator_alone(caplog):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    config = replace(RANDOM, random=RandomWavlmConfig(layers=1, conv_channels=6, seed=5))
    handle = Wavlm(config)
    with caplog.at_level("WARNING", logger="schoolyard.enhance"):
        net = handle._net(torch.device("cpu"))
    assert "random weights" in caplog.text
    assert torch.equal(torch.get_rng_state(), state)
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_only_the_wide_head_learns_where_the_backbone_is_frozen():
    model = Finally(replace(SMALL, sample_rate=48000, freeze_backbone=True))
    model(torch.randn(1, 6000)).square().sum().backward()
    learns = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learns == {"wide"}
    with pytest.raises(ValueError, match="freeze_backbone leaves nothing to train"):
        replace(SMALL, freeze_backbone=True)


def test_the_48_khz_model_starts_from_the_16_khz_models_weights(tmp_path):
    small, wide = Finally(SMALL), Finally(replace(SMALL, sample_rate=48000))
    before = copy.deepcopy(wide.wide.state_dict())
    save_generator(tmp_path / "best.pt", "finally", small, {})
    start_generator(wide, "finally", tmp_path / "best.pt")
    signal = torch.randn(1, 2048)
    torch.testing.assert_close(wide.backbone(signal), small.backbone(signal))
    assert all(torch.equal(value, before[name]) for name, value in wide.wide.state_dict().items())
    with pytest.raises(CheckpointError, match="weights of another model"):
        save_generator(tmp_path / "wide.pt", "finally", wide, {})
        start_generator(small, "finally", tmp_path / "wide.pt")


def test_every_trainable_parameter_of_finally_learns():
    for rate in (16000, 48000):
        model = Finally(replace(SMALL, sample_rate=rate))
        model(torch.randn(2, 6000)).square().sum().backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 32}, {"spectral_widths": (4, 8)}, {"spectral_depth": 2}, {"wave_widths": (8, 4)},
        {"wave_depth": 2}, {"mask_widths": (4, 8)}, {"mask_depth": 2}, {"wide_widths": (8, 4)}, {"wide_depth": 2},
        {"wide_channels": 8}, {"wavlm": replace(RANDOM, channels=10)},
    ],
)  # fmt: skip
def test_every_size_of_finally_changes_the_number_of_parameters(change):
    config = replace(SMALL, sample_rate=48000)
    with torch.device("meta"):
        assert count(Finally(replace(config, **change))) != count(Finally(config))


@pytest.mark.parametrize("change", [{"layers": 1}, {"heads": 4}, {"conv_channels": 6}, {"seed": 1}])
def test_every_size_of_a_random_wavlm_changes_what_it_says(change):
    samples = torch.randn(1, 1000)
    other = replace(RANDOM, random=replace(RANDOM.random, **change))
    assert (Wavlm(RANDOM).hidden(samples) - Wavlm(other).hidden(samples)).abs().max() > 1e-5


@torch.inference_mode()
def test_window_and_overlap_change_a_long_recording_and_leave_a_short_one():
    model = Finally(SMALL).eval()
    short, long = torch.randn(1, 6000), torch.randn(1, 20000)
    for change in ({"window": 0.8, "overlap": 0.1}, {"window": 0.8, "overlap": 0.2}):
        other = Finally(replace(SMALL, **change)).eval()
        other.load_state_dict(model.state_dict())
        torch.testing.assert_close(other(short), model(short))
        assert (other(long) - model(long)).abs().max() > 1e-6
    with pytest.raises(ValueError, match="overlap must be shorter than window"):
        replace(SMALL, window=1.0, overlap=1.0)


def test_tanh_bounds_the_output():
    torch.manual_seed(0)
    model, bounded = Finally(SMALL), Finally(replace(SMALL, tanh=True))
    bounded.load_state_dict(model.state_dict())
    signal = 10 * torch.randn(1, 3000)
    torch.testing.assert_close(bounded(signal), torch.tanh(model(signal)))


def test_decimation_keeps_a_low_tone_in_place_and_removes_a_high_one():
    time = np.arange(24000) / 48000
    low, high = np.sin(2 * np.pi * 3000 * time), np.sin(2 * np.pi * 9500 * time)
    out = Decimate(3)(torch.from_numpy(np.stack([low, high]).astype(np.float32)))
    middle = slice(200, -200)
    np.testing.assert_allclose(out[0, middle], low[::3][middle], atol=1e-4)
    assert out[1, middle].abs().max() < 1e-4
    assert Decimate(3)(torch.zeros(1, 4)).shape == (1, 2)
    with pytest.raises(ValueError, match="multiple of 16000, got 44100"):
        factor_to(44100)


def test_the_critic_of_spectrograms_sees_a_tone_in_its_bin():
    part = MultiStftCritic(SMALL_CRITIC).discriminators[0]
    tone = torch.cos(2 * math.pi * 16 * torch.arange(2048) / 256)[None]  # bin 16 of 256
    planes = part._spectrogram(tone)
    power = planes.square().sum(1)[0]  # [frames, bins]
    assert (power.argmax(-1) == 16).all()
    noise = part._spectrogram(torch.randn(4, 65536)).square().sum(1)
    assert noise[..., 4:-4].mean().item() == pytest.approx(1.0, abs=0.05)  # white noise keeps its power


@pytest.mark.parametrize(
    ("change", "layers", "scores"),
    [({}, 8, 2), ({"sizes": (64,)}, 4, 1), ({"dilations": (1, 2, 4)}, 10, 2)],
)
def test_sizes_and_dilations_set_the_parts_and_layers_of_the_critic(change, layers, scores):
    critic = MultiStftCritic(replace(SMALL_CRITIC, **change))
    opinion = critic(torch.randn(1, 3), torch.randn(1, 3))
    assert (len(opinion.layers), len(opinion.scores)) == (layers, scores)


def test_the_slope_of_the_critic_scales_what_is_negative():
    plain, steep = (MultiStftCritic(replace(SMALL_CRITIC, slope=slope)) for slope in (0.0, 0.5))
    signal = torch.randn(1, 2000)
    assert plain(signal, signal).layers[0].min() == 0
    assert steep(signal, signal).layers[0].min() < 0


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        (1, {"lmos"}),
        (2, {"lmos", "adversarial", "matching"}),
        ("3-pretrain", {"lmos"}),
        (3, {"lmos", "adversarial", "matching", "predicted_mos", "pesq"}),
    ],
)
def test_a_stage_is_its_parts_by_their_published_weights(stage, parts, monkeypatch):
    monkeypatch.setitem(sys.modules, "loud_predictor", LoudIsGood)
    config = FinallyObjectiveConfig(
        stage=stage, wavlm=RANDOM, critic=SMALL_CRITIC, predictor="loud_predictor:make_predictor"
    )
    objective = FinallyObjective(config, 16000)
    fake = torch.randn(2, 8192, requires_grad=True)
    clean, noisy = torch.randn(2, 8192), torch.randn(2, 8192)
    loss, found = objective.model_loss(fake, clean, noisy, adversarial=True)
    assert set(found) == parts
    assert loss.item() == pytest.approx(sum(config.weights[name] * value.item() for name, value in found.items()))
    loss.backward()
    assert torch.isfinite(fake.grad).all()
    assert fake.grad.abs().sum() > 0
    assert (objective.critic is not None) == ("adversarial" in parts)
    if objective.critic is not None:
        without, _ = objective.model_loss(fake, clean, noisy, adversarial=False)
        assert without != loss
        assert torch.isfinite(objective.critic_loss(fake.detach(), clean, noisy))


class LoudIsGood:
    """Stands for a module with a predictor that likes loud speech."""

    @staticmethod
    def make_predictor():
        return lambda samples: 5 * samples.square().mean(-1)


def test_the_adversarial_parts_add_up_over_the_critics_parts():
    objective = FinallyObjective(FinallyObjectiveConfig(stage=2, wavlm=RANDOM, critic=SMALL_CRITIC), 16000)
    fake, clean = torch.randn(1, 2000), torch.randn(1, 2000)
    real, made = objective.critic(clean, clean), objective.critic(fake, clean)
    wanted = sum((1 - score).square().mean() for score in made.scores)
    matching = sum((a - b).abs().mean() for a, b in zip(real.layers, made.layers, strict=True))
    _, parts = objective.model_loss(fake, clean, clean)
    torch.testing.assert_close(parts["adversarial"], wanted.detach())
    torch.testing.assert_close(parts["matching"], matching.detach())


@pytest.mark.parametrize("weight", ["lmos", "adversarial", "matching", "predicted_mos", "pesq"])
def test_a_weight_of_its_own_takes_the_place_of_the_stages(weight):
    config = FinallyObjectiveConfig(stage=3)
    changed = FinallyObjectiveConfig(stage=3, **{weight: 7.5})
    assert changed.weights == config.weights | {weight: 7.5}


def test_matching_without_a_critic_is_refused():
    with pytest.raises(ValueError, match="matching needs a critic"):
        FinallyObjectiveConfig(stage=2, adversarial=0.0)
    without = FinallyObjective(FinallyObjectiveConfig(stage=2, adversarial=0.0, matching=0.0, wavlm=RANDOM), 16000)
    assert without.critic is None
