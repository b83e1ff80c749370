"""Wave-U-Net and GateWave, the two generators that the wave_wizard project compared with Demucs."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
import torch

from enhance.models.gatewave import GateWave, GateWaveConfig
from enhance.models.wave_u_net import WaveUNet, WaveUNetConfig, interpolated

U_NET = WaveUNetConfig(levels=2, filters=3)
GATES = GateWaveConfig(hidden=5, depth=2)


def built(model, config):
    torch.manual_seed(0)
    return model(config).eval()


def count(model, config):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in model(config).parameters())


# ---- Wave-U-Net


def test_wave_u_net_has_the_parameters_of_the_papers_table():
    widths = [1, *range(24, 24 * 13, 24)]
    down = sum(15 * few * many + many for few, many in pairwise(widths))
    bottom = 15 * 288 * 312 + 312
    up = sum(5 * (24 * level + 24 * (level + 1)) * 24 * level + 24 * level for level in range(1, 13))
    assert count(WaveUNet, WaveUNetConfig()) == down + bottom + up + 26 == 10_263_002


def correlated(weight, bias, hidden):
    """A convolution with zeros at the ends, by scipy: [in, n] -> [out, n]."""
    return np.stack([
        sum(scipy.signal.correlate(row, taps, mode="same") for row, taps in zip(hidden, part, strict=True)) + offset
        for part, offset in zip(weight, bias, strict=True)
    ])  # fmt: skip


def leaky(values):
    return np.where(values > 0, values, 0.2 * values)


@torch.inference_mode()
def test_wave_u_net_computes_the_papers_diagram():
    model = built(WaveUNet, U_NET)
    samples = torch.randn(52)
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def layer(name, hidden):
        return correlated(state[f"{name}.weight"], state[f"{name}.bias"], hidden)

    first = leaky(layer("down.0", samples.double().numpy()[None]))
    second = leaky(layer("down.1", first[:, ::2]))
    hidden = leaky(layer("bottom", second[:, ::2]))
    for index, skip in enumerate((second, first)):
        coarse = np.arange(hidden.shape[1])
        fine = np.stack([np.interp(np.arange(2 * len(coarse)) / 2, coarse, row) for row in hidden])
        hidden = leaky(layer(f"up.{index}", np.concatenate([fine, skip])))
    hidden = np.concatenate([hidden, samples.double().numpy()[None]])
    truth = np.tanh(state["last.weight"][0, :, 0] @ hidden + state["last.bias"])
    np.testing.assert_allclose(model(samples[None])[0].numpy(), truth, atol=1e-6)


def test_interpolation_draws_straight_lines():
    hidden = torch.tensor([[[0.0, 2.0, -4.0]]])
    assert interpolated(hidden)[0, 0].tolist() == [0, 1, 2, -1, -4, -4]


@torch.inference_mode()
def test_a_sample_of_wave_u_net_depends_on_its_context_and_no_more():
    model = built(WaveUNet, U_NET)
    samples = torch.randn(1, 40 * model.alignment)
    changed = samples.clone()
    place = 20 * model.alignment
    changed[0, place] += 1
    reach = (model(changed) != model(samples))[0].nonzero().flatten()
    assert place - model.context - model.alignment <= reach.min() < place - model.context // 2
    assert place + model.context // 2 < reach.max() <= place + model.context + model.alignment


@pytest.mark.parametrize(
    "change",
    [
        {"levels": 3}, {"filters": 4}, {"down_width": 9}, {"up_width": 3}, {"slope": 0.1}, {"bounded": False},
        {"bounded": False, "normalize": True},
    ],
)  # fmt: skip
@torch.inference_mode()
def test_every_option_of_wave_u_net_changes_its_output(change):
    samples = torch.randn(1, 500)
    assert not torch.allclose(built(WaveUNet, replace(U_NET, **change))(samples), built(WaveUNet, U_NET)(samples))


@torch.inference_mode()
def test_a_floor_keeps_a_normalised_wave_u_net_from_blowing_up_silence():
    loose = replace(U_NET, bounded=False, normalize=True)
    quiet = torch.full((1, 500), 1e-4)
    outputs = [built(WaveUNet, replace(loose, floor=floor))(quiet) for floor in (1e-3, 1.0)]
    assert not torch.allclose(*outputs, atol=1e-5)
    with pytest.raises(ValueError, match="bounded cuts speech"):
        WaveUNetConfig(normalize=True)
    with pytest.raises(ValueError, match="must be odd"):
        WaveUNetConfig(up_width=4)


# ---- GateWave


def test_gatewave_has_the_widths_of_the_report():
    with torch.device("meta"):
        model = GateWave(GateWaveConfig())
    assert [layer[0].out_channels // 2 for layer in model.encoder] == [32, 51, 82]
    encoder = sum(7 * few * 2 * many + 2 * many for few, many in ((1, 32), (32, 51), (51, 82)))
    decoder = sum(7 * many * 2 * few + 2 * few for few, many in ((1, 32), (32, 51), (51, 82)))
    gru, linear = 2 * (6 * 82 * 82 + 6 * 82), 2 * 82 * 82 + 82
    assert count(GateWave, GateWaveConfig()) == encoder + decoder + gru + linear


def test_the_recurrence_runs_at_a_sixty_fourth_of_the_rate_or_at_every_sample_as_the_original():
    def steps(config):
        for_all = []
        model = built(GateWave, config)
        model.gru.register_forward_hook(lambda module, given, out: for_all.append(out[0].shape[1]))
        with torch.inference_mode():
            model(torch.randn(1, 6400))
        return for_all[0]

    assert 6400 / 64 <= steps(replace(GATES, depth=3)) <= 6400 / 64 + 2
    assert 6400 - 6 * 3 <= steps(replace(GATES, depth=3, stride=1)) <= 6400


@torch.inference_mode()
def test_gatewave_computes_gated_convolutions_with_additive_skips():
    model = built(GateWave, GateWaveConfig(hidden=2, depth=1, stride=1, recurrent=False, normalize=False))
    samples = torch.randn(30)
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    padded = np.pad(samples.double().numpy(), 2)
    weight, bias = state["encoder.0.0.weight"], state["encoder.0.0.bias"]
    made = np.stack([scipy.signal.correlate(padded, row[0], mode="valid") for row in weight]) + bias[:, None]
    hidden = made[:2] / (1 + np.exp(-made[2:]))
    hidden = hidden + hidden  # the only skip, without a recurrence between
    weight, bias = state["decoder.0.0.weight"], state["decoder.0.0.bias"]
    made = np.stack([sum(np.convolve(hidden[i], weight[i, o]) for i in range(2)) for o in range(2)])[:, 2:-2]
    made = made + bias[:, None]
    truth = made[0] / (1 + np.exp(-made[1]))
    np.testing.assert_allclose(model(samples[None])[0].numpy(), truth, atol=1e-6)


@pytest.mark.parametrize("config", [GATES, replace(GATES, stride=1), replace(GATES, stride=3, padding=1, depth=3)])
def test_every_length_of_gatewave_is_covered_by_whole_frames(config):
    for samples in range(1, 200):
        frames = config.frames(samples)
        assert config.samples(frames) >= samples
        assert frames == 1 or config.samples(frames - 1) < samples


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 6}, {"depth": 3}, {"growth": 2.0}, {"kernel_size": 8}, {"padding": 1}, {"stride": 2},
        {"block": "basic"}, {"recurrent": False}, {"normalize": False}, {"floor": 1.0},
    ],
)  # fmt: skip
@torch.inference_mode()
def test_every_option_of_gatewave_changes_its_output(change):
    samples = torch.randn(1, 500)
    assert not torch.allclose(built(GateWave, replace(GATES, **change))(samples), built(GateWave, GATES)(samples))


def test_settings_that_lose_samples_are_refused():
    with pytest.raises(ValueError, match="padding below half"):
        GateWaveConfig(padding=4)
