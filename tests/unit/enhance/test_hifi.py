from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from torch.nn.utils import parametrize

from enhance.critics.multi_period import MultiPeriodCritic, MultiPeriodCriticConfig, folded
from enhance.critics.multi_scale import MultiScaleCritic, MultiScaleCriticConfig
from enhance.critics.several import SeveralCritics
from enhance.layers.hifi_blocks import Refiner, SpectralMaskNet, Upsampler
from enhance.layers.mel_spectrogram import MelSpectrogram, hertz_of, mel_of, mel_to_linear, slaney_matrix
from enhance.layers.multi_scale import WaveUNet
from enhance.layers.normed_conv import identity_conv
from enhance.losses.mel_l1 import MelL1
from enhance.losses.summed import critic_sum, feature_sum, generator_sum
from enhance.models.hifi_gan import HiFiGAN, HiFiGANConfig
from enhance.models.hifi_plusplus import HiFiPlusPlus, HiFiPlusPlusConfig
from enhance.objectives.hifi_gan import HiFiGANObjective, HiFiGANObjectiveConfig
from enhance.objectives.hifi_plusplus import HiFiPlusPlusObjective, HiFiPlusPlusObjectiveConfig

V3 = {
    "channels": 256, "rates": (8, 8, 4), "kernels": (16, 16, 8), "resblock": 2, "resblock_kernels": (3, 5, 7),
    "resblock_dilations": ((1, 2), (2, 6), (3, 12)),
}  # fmt: skip
TINY = {
    "size": 128, "bands": 10, "channels": 16, "rates": (4, 2, 2), "kernels": (8, 4, 4), "resblock_kernels": (3, 5),
    "resblock_dilations": ((1, 3), (1, 3)),
}  # fmt: skip
GAN = HiFiGANConfig(**TINY)
PLUS = HiFiPlusPlusConfig(
    **TINY, spectral_widths=(2, 4, 4), spectral_depth=1, spectral_outs=8, wave_widths=(4, 4), wave_depth=1,
    mask_widths=(2, 4), mask_depth=1, window=0.2, overlap=0.02,
)  # fmt: skip
PERIODS = MultiPeriodCriticConfig(periods=(2, 3), channels=(4, 4, 4))
SCALES = MultiScaleCriticConfig(channels=16)
TINY_CRITICS = {"multi_period": PERIODS, "multi_scale": SCALES}


def built(kind, config, seed=0):
    torch.manual_seed(seed)
    return kind(config)


def noise(*shape, seed=1):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


# --- sizes, as the papers and the released code give them


@pytest.mark.parametrize(
    ("change", "parameters"),
    [
        ({"norm": "none"}, 13_926_017),
        ({"norm": "none", "channels": 128}, 925_985),
        ({"norm": "none"} | V3, 1_462_273),
        ({"channels": 128}, 928_514),  # V2 under weight norm
    ],
    ids=["V1", "V2", "V3", "V2 in training"],
)
def test_hifi_gan_has_the_published_number_of_parameters(change, parameters):
    with torch.device("meta"):
        assert count(HiFiGAN(HiFiGANConfig(**change))) == parameters


def test_hifi_plusplus_has_the_published_number_of_parameters_and_of_tensors():
    with torch.device("meta"):
        model = HiFiPlusPlus(HiFiPlusPlusConfig())
    parts = (model.spectralunet, model.upsampler, model.refiner.waveunet, model.refiner.masknet)
    assert [count(part) for part in parts] == [489_252, 873_160, 240_356, 103_096]
    assert count(model) == 1_706_170
    assert len(model.state_dict()) == 663
    assert model.alignment == 4096


def test_the_critics_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        assert count(MultiPeriodCritic(MultiPeriodCriticConfig())) == 41_105_770
        assert count(MultiScaleCritic(MultiScaleCriticConfig())) == 29_618_821
        assert count(MultiScaleCritic(MultiScaleCriticConfig(same_scale=True))) == 29_618_821


# --- the mel spectrogram


def test_slaneys_scale_is_that_of_librosas_documentation():
    published = [0.0, 85.317, 170.635, 255.952, 341.269, 426.586, 511.904, 597.221, 682.538, 767.855, 853.173, 938.49,
                 1024.856, 1119.114, 1222.042, 1334.436, 1457.167, 1591.187, 1737.532, 1897.337, 2071.84, 2262.393,
                 2470.47, 2697.686, 2945.799, 3216.731, 3512.582, 3835.643, 4188.417, 4573.636, 4994.285, 5453.621,
                 5955.205, 6502.92, 7101.009, 7754.107, 8467.272, 9246.028, 10096.408, 11025.0]  # fmt: skip
    top = float(mel_of(torch.tensor(11025.0, dtype=torch.float64)))
    ours = hertz_of(torch.linspace(0, top, 40, dtype=torch.float64))
    np.testing.assert_allclose(ours, published, atol=6e-4)
    torch.testing.assert_close(mel_of(ours), torch.linspace(0, top, 40, dtype=torch.float64))


@pytest.mark.parametrize(("rate", "high"), [(16000, 8000.0), (22050, 8000.0), (22050, 11025.0)])
def test_a_band_is_a_triangle_of_area_one_between_its_neighbours_centres(rate, high):
    matrix = slaney_matrix(1024, 80, rate, 0.0, high).numpy()
    mels = np.linspace(0, float(mel_of(torch.tensor(high))), 82)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))  # 15 mels to 1 kHz, 27 to 6.4 kHz
    hertz = np.arange(513) * rate / 1024
    for band in (0, 3, 40, 79):
        low, centre, top = edges[band : band + 3]
        truth = np.interp(hertz, [low, centre, top], [0, 2 / (top - low), 0], left=0, right=0)
        np.testing.assert_allclose(matrix[:, band], truth, atol=1e-7)
    fine = slaney_matrix(65536, 80, rate, 0.0, high).sum(0) * rate / 65536
    torch.testing.assert_close(fine, torch.ones(80, dtype=torch.float64), atol=1e-2, rtol=0)


def test_a_frame_is_the_logarithm_of_band_sums_of_a_windowed_transform():
    samples = noise(1, 5000)
    ours = MelSpectrogram()(samples)[0].numpy()
    assert ours.shape == (80, 20)
    mirrored = np.pad(np.pad(samples[0].numpy(), (0, 120)), 384, mode="reflect")
    window = scipy.signal.get_window("hann", 1024)
    for frame in (0, 7, 19):
        magnitudes = np.sqrt(np.abs(np.fft.rfft(mirrored[frame * 256 :][:1024] * window)) ** 2 + 1e-9)
        truth = np.log(np.maximum(magnitudes @ slaney_matrix(1024, 80, 16000, 0.0, 8000.0).numpy(), 1e-5))
        np.testing.assert_allclose(ours[:, frame], truth, atol=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (256, 1), (257, 2), (384, 2), (8192, 32)])
def test_a_mel_spectrogram_has_a_frame_for_each_hop_begun(samples, frames):
    assert MelSpectrogram()(noise(2, samples)).shape == (2, 80, frames)


def test_silence_has_the_floor_of_the_logarithm():
    torch.testing.assert_close(MelSpectrogram()(torch.zeros(1, 1000)), torch.full((1, 80, 4), float(np.log(1e-5))))


def test_bands_without_a_bin_and_edges_out_of_order_are_refused():
    with pytest.raises(ValueError, match="80 bands are too many for a transform of 64 samples"):
        slaney_matrix(64, 80, 16000, 0.0, 8000.0)
    with pytest.raises(ValueError, match="must rise within"):
        slaney_matrix(1024, 80, 16000, 0.0, 9000.0)


def test_bands_are_unfolded_along_straight_lines_between_their_centres():
    matrix = slaney_matrix(1024, 80, 16000, 0.0, 8000.0)
    first = [int(np.nonzero(column)[0][0]) for column in matrix.T.numpy()]
    mel = np.random.default_rng(0).standard_normal(80)
    knots, values = [*first, 512], [0.0, *mel]  # a band's centre is where the next one begins
    truth = np.interp(np.arange(513), knots, values, left=0, right=0)
    np.testing.assert_allclose(mel_to_linear(matrix).numpy() @ mel, truth, atol=1e-12)


# --- blocks


@pytest.mark.parametrize("norm", ["weight", "spectral", "none"])
def test_a_skip_starts_as_the_identity_under_every_norm(norm):
    skip = identity_conv(6, norm).eval()
    hidden = noise(2, 6, 50)
    torch.testing.assert_close(skip(hidden), hidden)


@pytest.mark.parametrize("resblock", [1, 2])
@torch.no_grad()
def test_the_upsampler_is_the_chain_of_the_papers_first_figure(resblock):
    sizes = {"rates": (4, 2), "kernels": (8, 4), "resblock_kernels": (3, 5), "resblock_dilations": ((1, 3), (2, 5))}
    layer = built(lambda _: Upsampler(6, 8, **sizes, resblock=resblock, norm="none"), None)
    weights = layer.state_dict()

    def conv(name, hidden, dilation=1):
        kernel = weights[f"{name}.weight"].shape[-1]
        padding = dilation * (kernel - 1) // 2
        return F.conv1d(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"], dilation=dilation, padding=padding)

    def block(number, hidden, dilations):
        for step, dilation in enumerate(dilations):
            first = f"resblocks.{number}.convs{'1' if resblock == 1 else ''}.{step}"
            change = conv(first, F.leaky_relu(hidden, 0.1), dilation)
            if resblock == 1:
                change = conv(f"resblocks.{number}.convs2.{step}", F.leaky_relu(change, 0.1))
            hidden = hidden + change
        return hidden

    mel = noise(2, 6, 9)
    hidden = conv("conv_pre", mel)
    for stage, (rate, kernel) in enumerate(((4, 8), (2, 4))):
        up = [weights[f"ups.{stage}.{name}"] for name in ("weight", "bias")]
        hidden = F.conv_transpose1d(F.leaky_relu(hidden, 0.1), *up, stride=rate, padding=(kernel - rate) // 2)
        hidden = (block(2 * stage, hidden, (1, 3)) + block(2 * stage + 1, hidden, (2, 5))) / 2
    torch.testing.assert_close(layer(mel), F.leaky_relu(hidden, 0.01), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_level_of_the_wave_net_goes_down_by_four_and_up_again_beside_its_input():
    net = built(lambda _: WaveUNet(2, (3, 5), 1, norm="none"), None)
    weights = net.state_dict()

    def conv(name, hidden, stride=1):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.conv1d(hidden, weight, bias, stride=stride, padding=0 if stride > 1 else weight.shape[-1] // 2)

    def block(name, hidden):
        return hidden + conv(f"{name}.convs.0", F.leaky_relu(hidden, 0.01))

    wave = noise(1, 2, 20)
    level = conv("first", wave)
    inner = block("levels.inner", conv("levels.down", block("levels.before", level), stride=4))
    back = block("levels.after", conv("levels.narrow", inner.repeat_interleave(4, dim=-1)))
    merged = conv("levels.merge", torch.cat([level, back], dim=1))
    torch.testing.assert_close(net(wave), conv("last", merged), atol=1e-6, rtol=1e-5)
    filled = F.pad(wave[..., :18], (0, 2))  # 18 samples are filled up to 20 with zeros
    torch.testing.assert_close(net(wave[..., :18]), net(filled)[..., :18])


def mask_net_of(factor):
    net = built(lambda _: SpectralMaskNet(2, (4, 4), 1, size=64), None)
    with torch.no_grad():
        net.net.last.parametrizations.weight.original0.zero_()
        net.net.last.bias.fill_(float(np.log(np.expm1(factor))))
    return net


@pytest.mark.parametrize("samples", [1, 63, 64, 1000])
def test_a_mask_of_ones_lets_everything_pass(samples):
    hidden = noise(3, 2, samples)
    torch.testing.assert_close(mask_net_of(1.0)(hidden), hidden, atol=1e-6, rtol=0)


def test_a_mask_scales_all_bins_but_the_lowest_and_all_frames_but_the_first():
    tone = torch.sin(2 * torch.pi * 8 / 64 * torch.arange(640.0)).expand(1, 2, -1)
    scaled = mask_net_of(3.0)(tone)
    torch.testing.assert_close(scaled[..., 64:-64], 3 * tone[..., 64:-64], atol=1e-4, rtol=0)
    assert (scaled[..., 0:16] - 3 * tone[..., 0:16]).abs().max() > 0.1  # the first frame passed as it was
    constant = torch.ones(1, 2, 640)
    assert mask_net_of(3.0)(constant).mean() < 2.1  # a Hann window spreads a constant over the bins 0 and 1


@torch.no_grad()
def test_a_refiner_without_nets_is_a_wire_and_needs_no_parameters():
    wire = Refiner(4, wave_widths=(), mask_widths=())
    hidden = noise(1, 4, 100)
    assert count(wire) == 0
    assert torch.equal(wire(hidden, noise(1, 1, 100)), hidden)


@pytest.mark.parametrize("config", [GAN, HiFiGANConfig(**TINY | {"resblock": 2, "resblock_dilations": ((1, 7),) * 2})])
def test_the_context_of_hifi_gan_covers_all_that_a_sample_depends_on(config):
    model = built(HiFiGAN, config).double().requires_grad_(False)
    place, samples = 960, noise(1, 1920).double().requires_grad_()
    model.raw(samples, 0)[0, place].backward()
    touched = samples.grad[0].nonzero()[:, 0]
    before, after = place - int(touched[0]), int(touched[-1]) - place
    assert model.context - 5 * model.alignment < max(before, after) <= model.context  # not much too wide either


def test_weight_norm_folds_into_the_weights_without_a_change():
    model = built(HiFiGAN, GAN)
    samples = noise(1, 2000)
    before = model(samples)
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    assert count(model) == count(HiFiGAN(replace(GAN, norm="none")))
    torch.testing.assert_close(model(samples), before, atol=1e-6, rtol=0)


# --- generators: every option does something


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": 22050}, {"size": 256}, {"bands": 12}, {"low": 500.0}, {"high": None, "sample_rate": 22050},
        {"high": 6000.0}, {"channels": 32}, {"pre_kernel": 3}, {"rates": (2, 4, 2), "kernels": (4, 8, 4)},
        {"kernels": (12, 4, 4)}, {"resblock": 2}, {"resblock_kernels": (3, 7)}, {"norm": "spectral"},
        {"resblock_dilations": ((1, 3), (1, 4))},
    ],
    ids=str,
)  # fmt: skip
@torch.no_grad()
def test_every_option_of_hifi_gan_changes_what_comes_out(change):
    base, other = (built(HiFiGAN, config).eval() for config in (GAN, replace(GAN, **change)))
    samples = noise(1, 3000)
    assert (base(samples) - other(samples)).abs().max() > 1e-5


def test_no_upper_edge_means_the_nyquist_frequency():
    whole = MelSpectrogram(sample_rate=22050, high=None)
    assert torch.equal(whole.matrix, MelSpectrogram(sample_rate=22050, high=11025.0).matrix)
    assert not torch.equal(whole.matrix, MelSpectrogram(sample_rate=22050).matrix)


@pytest.mark.parametrize(
    "change",
    [
        {"spectral_widths": ()}, {"spectral_depth": 2}, {"spectral_outs": 4}, {"positions": False},
        {"wave_widths": ()}, {"wave_depth": 2}, {"mask_widths": ()}, {"mask_depth": 2}, {"sees": "waveform"},
        {"sees": "upsampled"}, {"order": "mask_first"}, {"skips": False}, {"level": 0.05}, {"window": 0.15},
        {"overlap": 0.05}, {"norm": "spectral"}, {"pre_kernel": 3},
    ],
    ids=str,
)  # fmt: skip
@torch.no_grad()
def test_every_option_of_hifi_plusplus_changes_what_comes_out(change):
    base, other = (built(HiFiPlusPlus, config).eval() for config in (PLUS, replace(PLUS, **change)))
    samples = noise(1, 8000)
    assert (base(samples) - other(samples)).abs().max() > 1e-6


@torch.no_grad()
def test_with_a_level_the_output_goes_with_the_input_and_without_it_does_not():
    samples = noise(1, 2000)
    with_level, without = (built(HiFiPlusPlus, replace(PLUS, level=level)) for level in (0.1, None))
    assert with_level.levelled and not without.levelled
    torch.testing.assert_close(with_level(0.01 * samples), 0.01 * with_level(samples), rtol=2e-2, atol=1e-6)
    assert (without(0.01 * samples) - 0.01 * without(samples)).abs().max() > 1e-3


@torch.no_grad()
def test_hifi_plusplus_gives_a_longer_recording_the_same_samples_where_only_silence_was_added():
    model = built(HiFiPlusPlus, PLUS).eval()
    samples = noise(1, 1001)
    silence = torch.zeros(1, -1001 % model.alignment)
    torch.testing.assert_close(model(torch.cat([samples, silence], dim=1))[:, :1001], model(samples))


@pytest.mark.parametrize(("kind", "config"), [(HiFiGAN, GAN), (HiFiPlusPlus, PLUS)], ids=["gan", "plusplus"])
def test_every_parameter_is_trained_and_a_few_steps_lower_the_mel_distance(kind, config, make_voice):
    model = built(kind, config).train()
    voice = torch.from_numpy(make_voice(0, 0.6))[None]
    distance = MelL1(size=128, hop=32, bands=20)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = distance(model(voice), voice)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    lame = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert not lame
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("config", "change", "words"),
    [
        (GAN, {"kernels": (8, 4)}, "kernels must exceed"), (GAN, {"kernels": (7, 4, 4)}, "by an even number"),
        (GAN, {"channels": 12}, "channels must be a multiple of 8"), (GAN, {"pre_kernel": 4}, "must be odd"),
        (GAN, {"resblock_kernels": (3,)}, "must be as many"), (PLUS, {"overlap": 0.2}, "overlap must lie"),
        (PLUS, {"level": 1.5}, "level must lie"), (PLUS, {"sees": "waveform", "wave_widths": ()}, "needs a WaveUNet"),
        (PLUS, {"size": 130}, "multiple of 4"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_together_are_refused(config, change, words):
    with pytest.raises(ValueError, match=words):
        replace(config, **change)


# --- critics


def test_a_signal_is_folded_row_by_row_and_filled_up_by_reflection():
    rows = folded(torch.arange(7.0)[None], 3)
    assert rows.tolist() == [[[0, 1, 2], [3, 4, 5], [6, 5, 4]]]


def test_a_part_of_the_period_critic_judges_each_phase_by_itself():
    critic = built(MultiPeriodCritic, PERIODS)
    samples = noise(1, 600)
    other = samples.clone()
    other[0, 301] += 1.0  # phase 1 of period 3, phase 1 of period 2
    for score, changed in zip(critic(samples, samples).scores, critic(other, other).scores, strict=True):
        phases = (score - changed).abs().amax((0, 1, 2)) > 0
        assert phases.tolist() == [False, True, False][: len(phases)]


def test_each_net_of_the_scale_critic_hears_half_the_rate_of_the_one_before_or_all_the_same():
    samples = noise(2, 4096)
    halves = built(MultiScaleCritic, SCALES)(samples, samples).scores
    assert [score.shape[-1] for score in halves] == [64, 33, 17]
    critic = built(MultiScaleCritic, replace(SCALES, same_scale=True, norms=("weight", "weight")))
    assert [score.shape[-1] for score in critic(samples, samples).scores] == [64, 64]
    critic.parts[1].load_state_dict(critic.parts[0].state_dict())
    first, second = critic(samples, samples).scores
    assert torch.equal(first, second)


def test_the_second_scale_is_the_mean_of_four_samples_at_every_other_place():
    critic = built(MultiScaleCritic, replace(SCALES, norms=("none", "none")))
    samples = noise(1, 1000)
    pooled = np.convolve(np.pad(samples[0].numpy(), 2), np.ones(4) / 4, mode="valid")[::2]
    _, second = critic(samples, samples).scores
    alone = critic.parts[1](torch.from_numpy(pooled.astype(np.float32))[None, None]).scores[0]
    torch.testing.assert_close(second, alone, atol=1e-6, rtol=0)


def test_spectral_norm_holds_the_largest_gain_of_every_layer_of_the_first_scale_at_one():
    critic = built(MultiScaleCritic, SCALES)
    for _ in range(60):  # power iterations, one a forward pass
        critic(noise(1, 64), noise(1, 64))
    for conv in [*critic.parts[0].convs, critic.parts[0].post]:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("change", [{"periods": (2, 5)}, {"channels": (4, 6, 4)}, {"norm": "spectral"}], ids=str)
def test_every_option_of_the_period_critic_changes_its_scores(change):
    samples = noise(1, 900)
    base, other = (built(MultiPeriodCritic, c)(samples, samples) for c in (PERIODS, replace(PERIODS, **change)))
    assert any(
        one.shape != two.shape or not torch.equal(one, two)
        for one, two in zip(base.layers, other.layers, strict=True)
    )  # fmt: skip


def test_several_critics_say_what_each_of_them_says_in_their_order():
    critics = {"a": built(MultiPeriodCritic, PERIODS), "b": built(MultiScaleCritic, SCALES)}
    samples, noisy = noise(1, 500), noise(1, 500, seed=3)
    together = SeveralCritics(critics).eval()(samples, noisy)
    apart = [critic.eval()(samples, noisy) for critic in critics.values()]
    assert len(together.scores) == 5
    for name in ("scores", "layers"):
        for one, two in zip(getattr(together, name), [x for o in apart for x in getattr(o, name)], strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MultiPeriodCriticConfig(periods=()), "periods must be positive"),
        (lambda: MultiPeriodCriticConfig(channels=()), "at least one layer"),
        (lambda: MultiScaleCriticConfig(norms=()), "at least one net"),
        (lambda: MultiScaleCriticConfig(channels=20), "multiple of 16"),
        (lambda: SeveralCritics({}), "one at least"),
    ],
)
def test_a_critic_of_nothing_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


# --- losses and objectives


def test_the_summed_game_is_worked_by_hand():
    real, fake = [torch.tensor([0.5, 1.5]), torch.tensor([2.0])], [torch.tensor([0.0, 2.0]), torch.tensor([1.0])]
    assert critic_sum(real, fake).item() == pytest.approx((0.25 + 2.0) + (1.0 + 1.0))
    assert generator_sum(fake).item() == pytest.approx(1.0 + 0.0)
    assert feature_sum(real, fake).item() == pytest.approx(0.5 + 1.0)


def test_the_mel_distance_of_half_the_level_is_the_logarithm_of_two(make_voice):
    loud = noise(1, 16000)
    distance = MelL1()
    assert distance(loud, loud).item() == 0
    assert distance(0.5 * loud, loud).item() == pytest.approx(np.log(2), abs=1e-3)


def objective(**words):
    config = HiFiGANObjectiveConfig(**TINY_CRITICS | words)
    torch.manual_seed(0)
    return HiFiGANObjective(config, 16000).eval()


def test_each_part_of_the_loss_falls_as_noise_falls(make_voice):
    judge = objective()
    clean = torch.from_numpy(make_voice(0, 0.5))[None]
    parts = []
    for level in (0.3, 0.1, 0.03, 0.01, 0.0):
        parts.append(judge.model_loss(clean + level * noise(1, 8000) * 10, clean, clean)[1])
    for name in ("mel", "matching"):
        values = [part[name].item() for part in parts]
        assert values == sorted(values, reverse=True)
        assert values[-1] == 0


def test_the_loss_is_the_published_sum_of_its_parts():
    fake, clean = noise(2, 4000), noise(2, 4000, seed=2)
    loss, parts = objective().model_loss(fake, clean, clean)
    assert list(parts) == ["mel", "adversarial", "matching"]
    assert loss.item() == pytest.approx(
        45 * parts["mel"].item() + parts["adversarial"].item() + 2 * parts["matching"].item(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"mel": 0.0}, ["adversarial", "matching"]),
        ({"matching": 0.0}, ["mel", "adversarial"]),
        ({"adversarial": 0.0, "matching": 0.0}, ["mel"]),
    ],
    ids=str,
)
def test_a_weight_of_zero_leaves_its_part_out(change, left):
    judge = objective(**change)
    assert list(judge.model_loss(noise(1, 2000), noise(1, 2000, seed=2), noise(1, 2000))[1]) == left
    assert (judge.critic is None) == ("adversarial" not in left)


def test_before_the_critics_join_in_only_the_mel_distance_counts():
    fake, clean = noise(1, 2000), noise(1, 2000, seed=2)
    loss, parts = objective().model_loss(fake, clean, clean, adversarial=False)
    assert list(parts) == ["mel"]
    assert loss.item() == pytest.approx(45 * MelL1()(fake, clean).item(), rel=1e-6)


def test_the_critics_and_the_upper_edge_are_the_ones_that_were_asked_for():
    assert list(objective().critic.critics) == ["multi_period", "multi_scale"]
    assert list(objective(critics=("multi_period",)).critic.critics) == ["multi_period"]
    fake, clean = noise(1, 2000), noise(1, 2000, seed=2)
    values = [objective(mel_high=high).model_loss(fake, clean, clean)[1]["mel"] for high in (None, 4000.0)]
    assert values[0] != values[1]


def test_hifi_plusplus_has_the_same_losses_and_three_critics_at_one_scale():
    config = HiFiPlusPlusObjectiveConfig()
    assert (config.mel, config.adversarial, config.matching) == (45.0, 1.0, 2.0)
    with torch.device("meta"):
        judge = HiFiPlusPlusObjective(config, 16000)
    assert list(judge.critic.critics) == ["multi_scale"]
    assert judge.critic.critics["multi_scale"].config.same_scale
    assert len(judge.critic.critics["multi_scale"].parts) == 3


def test_the_critics_learn_to_tell_speech_from_noise(make_voice):
    judge = objective().train()
    clean = torch.stack([torch.from_numpy(make_voice(seed, 0.3)) for seed in range(2)])
    fake = noise(2, 4800)
    optimizer = torch.optim.Adam(judge.critic.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = judge.critic_loss(fake, clean, fake)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 4  # five nets, about one each where nothing is known
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mel": -1.0}, "none may be negative"), ({"adversarial": 0.0}, "matching needs critics"),
        ({"critics": ()}, "critics must name one"),
        ({"mel": 0.0, "adversarial": 0.0, "matching": 0.0}, "nothing is left"),
    ],
)  # fmt: skip
def test_weights_that_make_no_sense_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        HiFiGANObjectiveConfig(**change)
