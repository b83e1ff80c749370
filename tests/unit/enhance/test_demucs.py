from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import torch
from torch import nn

from enhance.layers.half_band import ZEROS, Doubler, Halver, doubled, half_sample_kernel, halved
from enhance.models.demucs import Demucs, DemucsConfig

CAUSAL = DemucsConfig(hidden=4, depth=3)
SHAPES = [
    CAUSAL,
    DemucsConfig(hidden=3, depth=5, growth=1.3),
    DemucsConfig(hidden=4, depth=3, stride=2, resample=2, glu=False),
    DemucsConfig(hidden=4, depth=2, kernel_size=5, stride=3, resample=1, normalize=False),
    DemucsConfig(hidden=4, depth=2, kernel_size=4, stride=4, resample=4, max_hidden=5),
]


def built(config):
    torch.manual_seed(0)
    return Demucs(config).eval()


def count(config):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Demucs(config).parameters())


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (DemucsConfig(hidden=48), 18_867_937),
        (DemucsConfig(hidden=64), 33_533_569),
        (DemucsConfig(hidden=64, stride=2, resample=2, causal=False), 60_813_953),
    ],
)
def test_demucs_has_the_published_number_of_parameters(config, parameters):
    assert count(config) == parameters


def test_the_layers_bear_the_names_of_the_released_checkpoints():
    with torch.device("meta"):
        names = set(Demucs(DemucsConfig(causal=False)).state_dict())
    for name in ("encoder.4.0.weight", "encoder.0.2.bias", "decoder.0.0.weight", "decoder.4.2.bias"):
        assert name in names
    assert {"lstm.lstm.weight_ih_l0", "lstm.lstm.weight_hh_l1_reverse", "lstm.linear.weight"} <= names


def test_the_length_that_covers_one_sample_is_the_published_one():
    with torch.device("meta"):
        model = Demucs(DemucsConfig())
    assert model.valid_length(1) == 597
    assert model.valid_length(598) == 597 + 256  # a frame is 256 samples
    assert model.needed(2) - model.needed(1) == 256


def test_the_latency_is_a_frame_and_the_reach_of_both_resamplings():
    with torch.device("meta"):
        model = Demucs(DemucsConfig())
    reach_up, reach_down = 56 + 28, 28 + 55  # samples: the first doubling, the second; the first halving, the second
    assert round(model.latency * 16000) == 597 + reach_up + reach_down
    assert model.latency == pytest.approx(0.0478, abs=1e-4)


# ---- the network by its equations


def reference(model, samples):
    """The published network, written with scipy and loops over frames: [samples] -> [samples] at unit level."""
    config = model.config
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    window = scipy.signal.windows.hann(4 * ZEROS + 1)[1::2]
    kernel = np.sinc(np.arange(2 * ZEROS) - ZEROS + 0.5) * window
    hidden = np.zeros(model.valid_length(len(samples)))
    hidden[: len(samples)] = samples
    for _ in range(model.doublings):
        between = np.convolve(hidden, kernel)[ZEROS : ZEROS + len(hidden)]
        hidden = np.stack([hidden, between], axis=1).ravel()
    hidden, skips = hidden[None], []
    for level in range(config.depth):
        hidden = gate(weights, f"encoder.{level}.2", relu(strided(weights, f"encoder.{level}.0", hidden, config)))
        skips.append(hidden)
    hidden = lstm(weights, hidden)
    for level in range(config.depth):
        hidden = gate(weights, f"decoder.{level}.0", hidden + skips.pop())
        hidden = transposed(weights, f"decoder.{level}.2", hidden, config)
        hidden = hidden if level == config.depth - 1 else relu(hidden)
    hidden = hidden[0]
    for _ in range(model.doublings):
        even, odd = hidden[::2], hidden[1::2]
        hidden = (even + np.convolve(odd, kernel)[ZEROS - 1 : ZEROS - 1 + len(odd)]) / 2
    return hidden[: len(samples)]


def relu(values):
    return np.maximum(values, 0)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def gate(weights, name, hidden):
    out = weights[f"{name}.weight"][..., 0] @ hidden + weights[f"{name}.bias"][:, None]
    signal, gates = np.split(out, 2)
    return signal * sigmoid(gates)


def strided(weights, name, hidden, config):
    frames = (hidden.shape[1] - config.kernel_size) // config.stride + 1
    pieces = [hidden[:, f * config.stride :][:, : config.kernel_size] for f in range(frames)]
    return (
        np.stack([np.einsum("oik,ik->o", weights[f"{name}.weight"], piece) for piece in pieces], axis=1)
        + (weights[f"{name}.bias"][:, None])
    )


def transposed(weights, name, hidden, config):
    frames = hidden.shape[1]
    out = np.zeros((weights[f"{name}.bias"].shape[0], (frames - 1) * config.stride + config.kernel_size))
    for f in range(frames):
        out[:, f * config.stride :][:, : config.kernel_size] += np.einsum(
            "iok,i->ok", weights[f"{name}.weight"], hidden[:, f]
        )
    return out + weights[f"{name}.bias"][:, None]


def lstm(weights, hidden):
    for layer in range(2):
        memory = output = np.zeros(hidden.shape[0])
        outputs = []
        for frame in hidden.T:
            parts = (
                weights[f"lstm.lstm.weight_ih_l{layer}"] @ frame + weights[f"lstm.lstm.bias_ih_l{layer}"]
                + weights[f"lstm.lstm.weight_hh_l{layer}"] @ output + weights[f"lstm.lstm.bias_hh_l{layer}"]
            )  # fmt: skip
            take, forget, candidate, give = np.split(parts, 4)
            memory = sigmoid(forget) * memory + sigmoid(take) * np.tanh(candidate)
            output = sigmoid(give) * np.tanh(memory)
            outputs.append(output)
        hidden = np.stack(outputs, axis=1)
    return hidden


@torch.inference_mode()
def test_causal_demucs_computes_the_published_equations():
    model = built(CAUSAL)
    samples = torch.randn(1001)
    level = float(samples.square().mean().sqrt())
    truth = reference(model, samples.double().numpy() / (level + 1e-3)) * level
    np.testing.assert_allclose(model(samples[None])[0].numpy(), truth, atol=1e-5)


@torch.inference_mode()
def test_the_non_causal_net_joins_both_directions_with_a_linear_layer():
    model = built(replace(CAUSAL, causal=False))
    hidden = torch.randn(1, 16, 9)
    both, _ = model.lstm.lstm(hidden.permute(2, 0, 1))
    torch.testing.assert_close(model.lstm(hidden)[0], model.lstm.linear(both).permute(1, 2, 0))
    early = torch.randn(1, 800)
    late = early.clone()
    late[0, 500:] = 0
    assert (model.net(early) - model.net(late))[0, :200].abs().max() > 0
    causal = built(CAUSAL)
    assert (causal.net(early) - causal.net(late))[0, :200].abs().max() == 0


# ---- streams


@pytest.mark.parametrize("config", SHAPES)
@pytest.mark.parametrize("block", [1, 64, 256, 1000, 5000])
@torch.inference_mode()
def test_a_causal_stream_equals_the_whole_file_whatever_the_blocks(config, block):
    model = built(config)
    signal = torch.randn(1, 1403 if block == 1 else 5003)
    whole = model(signal)[0]
    stream = model.open_stream(float(signal.square().mean().sqrt()))
    streamed = torch.cat([*(stream.push(part) for part in signal[0].split(block)), stream.finish()])
    assert streamed.shape == whole.shape
    assert (streamed - whole).abs().max() < 1e-5
    assert whole.abs().max() > 1e-3


@torch.inference_mode()
def test_every_length_around_a_frame_is_kept_and_streams_the_same():
    model = built(CAUSAL)
    for samples in [*range(1, 30), *range(180, 210)]:
        signal = torch.randn(1, samples)
        whole = model(signal)[0]
        stream = model.open_stream(float(signal.square().mean().sqrt()))
        streamed = torch.cat([*(stream.push(part) for part in signal[0].split(50)), stream.finish()])
        assert streamed.shape == whole.shape == (samples,)
        assert (streamed - whole).abs().max() < 1e-5


@torch.inference_mode()
def test_a_stream_holds_a_bounded_number_of_samples():
    stream = built(CAUSAL).open_stream(1.0)

    def held():
        layers = [*stream.doublers, *stream.halvers, *stream.encoders, *stream.decoders, stream]
        return sum(v.numel() for layer in layers for v in vars(layer).values() if isinstance(v, torch.Tensor))

    for _ in range(10):
        stream.push(torch.randn(1000))
    early = held()
    for _ in range(60):
        stream.push(torch.randn(1000))
    assert held() < early + 2000


# ---- resampling


def test_the_kernel_is_a_sinc_under_a_hann_window():
    window = scipy.signal.windows.hann(4 * ZEROS + 1)[1::2]
    truth = np.sinc(np.arange(2 * ZEROS) - ZEROS + 0.5) * window
    np.testing.assert_allclose(half_sample_kernel().numpy(), truth, atol=1e-7)


def test_doubling_and_halving_are_scipys_polyphase_filter_with_that_kernel():
    samples = np.random.default_rng(0).standard_normal(301)
    taps = np.zeros(4 * ZEROS - 1)
    taps[::2] = half_sample_kernel().double().numpy()
    taps[2 * ZEROS - 1] = 1  # the sample itself
    ours = doubled(torch.from_numpy(samples)).numpy()
    np.testing.assert_allclose(ours, scipy.signal.upfirdn(taps, samples, up=2)[2 * ZEROS - 1 :][: len(ours)], atol=1e-6)
    down = scipy.signal.upfirdn(taps / 2, samples)[2 * ZEROS - 1 :][: len(samples)][::2]
    np.testing.assert_allclose(halved(torch.from_numpy(samples)).numpy(), down, atol=1e-6)


def test_a_tone_keeps_its_shape_through_doubling_and_back():
    place = torch.arange(4000) / 2
    tone = torch.sin(0.9 * place)
    assert (doubled(tone[::2]) - tone)[200:-200].abs().max() < 1e-3
    assert (halved(doubled(tone)) - tone)[200:-200].abs().max() < 1e-3


@pytest.mark.parametrize("samples", [1, 2, 55, 56, 57, 301])
@pytest.mark.parametrize("block", [1, 7, 100])
def test_resampling_in_pieces_equals_resampling_at_once(samples, block):
    signal = torch.randn(samples)
    for stream, whole in ((Doubler(signal), doubled(signal)), (Halver(signal), halved(signal))):
        pieces = [stream(piece, last=False) for piece in signal.split(block)]
        torch.testing.assert_close(torch.cat([*pieces, stream(signal[:0], last=True)]), whole)


# ---- options


def test_rescaling_brings_the_weights_halfway_to_the_reference():
    torch.manual_seed(3)
    plain = Demucs(replace(CAUSAL, rescale=0.0))
    torch.manual_seed(3)
    scaled = Demucs(replace(CAUSAL, rescale=0.1))
    for before, after in zip(plain.encoder[1], scaled.encoder[1], strict=True):
        if isinstance(before, nn.Conv1d):
            assert after.weight.std().item() == pytest.approx((before.weight.std().item() * 0.1) ** 0.5, rel=1e-4)
            torch.testing.assert_close(after.bias / before.bias, (after.weight / before.weight).mean().expand(8 * 2)[
                : after.bias.shape[0]
            ], rtol=1e-4, atol=0)  # fmt: skip


@torch.inference_mode()
def test_a_normalised_net_follows_the_level_and_another_does_not():
    signal = torch.randn(1, 900)
    normalised, plain = built(CAUSAL), built(replace(CAUSAL, normalize=False))
    torch.testing.assert_close(normalised(100 * signal), 100 * normalised(signal), rtol=0.02, atol=0.01)
    assert not torch.allclose(plain(100 * signal), 100 * plain(signal), rtol=0.02, atol=0.01)
    assert normalised.levelled and not plain.levelled
    quiet = built(replace(CAUSAL, floor=10.0))
    assert not torch.allclose(quiet(signal), normalised(signal), atol=1e-4)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="stride must lie between"):
        DemucsConfig(stride=9)
    with pytest.raises(ValueError, match="multiple of resample"):
        DemucsConfig(stride=3)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 5}, {"depth": 2}, {"kernel_size": 6}, {"stride": 2}, {"growth": 1.5}, {"max_hidden": 6},
        {"causal": False}, {"resample": 2}, {"glu": False}, {"rescale": 0.0}, {"normalize": False}, {"floor": 0.1},
    ],
)  # fmt: skip
@torch.inference_mode()
def test_every_option_changes_the_output(change):
    signal = torch.randn(1, 700)
    assert not torch.allclose(built(replace(CAUSAL, **change))(signal), built(CAUSAL)(signal), atol=1e-5)
