from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import torch
from torch import nn

from enhance.critics import CRITICS
from enhance.critics.grading import GradingCritic, GradingCriticConfig
from enhance.critics.segan import SeganCritic, SeganCriticConfig, SeganV1CriticConfig
from enhance.layers.self_attention import SelfAttention
from enhance.layers.sinc import COSINES, SincConv, window
from enhance.layers.virtual_batch_norm import VirtualBatchNorm

HEADS = ["none", "conv", "gmax", "gavg", "mlp"]
TINY = SeganCriticConfig(channels=(4, 6, 8), frames=8, reference=3, phase_shift=0)
WINDOW = 8 * 4**3


def built(config, seed=0, **words):
    torch.manual_seed(seed)
    return SeganCritic(config, **words)


def pair(rows=2, samples=WINDOW, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * torch.randn(rows, samples, generator=generator) for _ in range(2)]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (SeganCriticConfig(), 25_825_793),
        (SeganV1CriticConfig(), 24_373_082),
        (SeganV1CriticConfig(head_bias=False), 24_373_081),
    ],
    ids=["segan_plus", "advanced_segan", "am_gan"],
)
def test_a_segan_critic_has_the_published_number_of_parameters(config, parameters):
    with torch.device("meta"):
        critic = SeganCritic(config)
    assert count(critic) == parameters
    assert critic.window == 16384


def test_both_segan_critics_stand_in_the_table():
    assert CRITICS["segan"][0]() == SeganCriticConfig()
    assert CRITICS["segan_v1"][0]() == SeganV1CriticConfig()


@pytest.mark.parametrize("head", HEADS)
def test_a_head_gives_one_score_a_window_or_one_a_frame(head):
    critic = built(replace(TINY, head=head))
    opinion = critic(*pair(rows=3, samples=2 * WINDOW + 1))  # the third window is filled up with silence
    assert opinion.scores[0].shape == (3, 3 * 8 if head == "mlp" else 3)
    assert [layer.shape[1] for layer in opinion.layers] == [4, 6, 8]


def test_pooling_heads_see_the_greatest_and_the_mean_of_the_frames():
    for head, pooled in (("gmax", lambda top: top.amax(-1)), ("gavg", lambda top: top.mean(-1))):
        critic = built(replace(TINY, head=head))
        opinion = critic(*pair())
        linear = critic.head[-1]
        expected = pooled(opinion.layers[-1]) @ linear.weight.T + linear.bias
        torch.testing.assert_close(opinion.scores[0], expected)


def test_the_conv_head_weighs_channels_first_and_frames_second():
    critic = built(replace(TINY, head="conv"))
    opinion = critic(*pair())
    across, _, over = critic.head
    frames = torch.einsum("c,bcf->bf", across.weight[0, :, 0], opinion.layers[-1]) + across.bias
    torch.testing.assert_close(opinion.scores[0], frames @ over.weight.T + over.bias)


def test_the_mlp_head_judges_each_frame_by_itself():
    critic = built(replace(TINY, head="mlp"))
    top = critic(*pair()).layers[-1]
    shuffled = torch.randperm(8)
    torch.testing.assert_close(critic.head(top[..., shuffled]), critic.head(top)[..., shuffled])


@pytest.mark.parametrize("head", HEADS)
def test_spectral_norm_holds_for_every_weight_the_last_included(head):
    critic = built(replace(TINY, norm="spectral", head=head))
    assert_unit_spectral_norms(critic, pair())


def test_spectral_norm_holds_for_every_weight_of_the_grading_critic():
    torch.manual_seed(0)
    critic = GradingCritic(GradingCriticConfig(channels=4, levels=2, size=64, hidden=(6, 5), attention=True))
    assert_unit_spectral_norms(critic, pair(samples=400))


def assert_unit_spectral_norms(critic, signals):
    for _ in range(60):
        critic(*signals)  # each call in training is a power iteration
    critic.eval()
    weighted = [module for module in critic.modules() if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))]
    norms = [torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() for module in weighted]
    assert len(norms) >= 4
    np.testing.assert_allclose(norms, 1, atol=0.02)


def test_virtual_batch_norm_is_worked_by_hand():
    norm = VirtualBatchNorm(2, 3)
    rng = np.random.default_rng(0)
    hidden = rng.normal([[1.0], [-2.0]], [[1.0], [4.0]], (5, 2, 7))
    with torch.no_grad():
        ours = norm(torch.from_numpy(hidden).float()).numpy()
    gamma, beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    for channel in range(2):
        reference = hidden[:3, channel]
        for row in range(5):
            mean, square = reference.mean(), (reference**2).mean()
            if row >= 3:
                mean = (3 * mean + hidden[row, channel].mean()) / 4
                square = (3 * square + (hidden[row, channel] ** 2).mean()) / 4
            expected = (hidden[row, channel] - mean) / np.sqrt(square - mean**2 + 1e-5)
            np.testing.assert_allclose(ours[row, channel], gamma[channel] * expected + beta[channel], atol=1e-4)


def test_virtual_batch_norm_refuses_a_batch_without_its_reference():
    with pytest.raises(ValueError, match="must hold 3 reference examples"):
        VirtualBatchNorm(2, 3)(torch.zeros(2, 2, 7))


def test_with_virtual_batch_norm_a_row_is_judged_without_its_neighbours():
    critic = built(replace(TINY, norm="virtual"))
    critic.keep_reference(*pair(rows=4, seed=2))
    speech, noisy = pair(rows=3)
    together = critic(speech, noisy).scores[0]
    torch.testing.assert_close(together[1:2], critic(speech[1:2], noisy[1:2]).scores[0])
    plain = built(replace(TINY, norm="batch"))
    together = plain(speech, noisy).scores[0]
    assert (together[1:2] - plain(speech[1:2], noisy[1:2]).scores[0]).abs().max() > 1e-4


def test_the_reference_is_the_first_batch_for_good_and_repeated_if_it_is_small():
    critic = built(replace(TINY, norm="virtual"))
    first, second = pair(rows=2, seed=3), pair(rows=4, seed=4)
    critic(*second)
    assert not critic.has_reference
    critic.keep_reference(*first)
    expected = torch.stack(first, dim=1)[[0, 1, 0]]
    assert torch.equal(critic.reference, expected)
    critic.keep_reference(*second)
    assert torch.equal(critic.reference, expected)


def test_without_a_reference_a_batch_is_its_own():
    critic, signals = built(replace(TINY, norm="virtual")), pair(rows=3)
    alone = critic(*signals).scores[0]
    critic.keep_reference(*signals)
    assert torch.equal(critic(*signals).scores[0], alone)
    critic.keep_reference(*pair(rows=3, seed=8))
    assert torch.equal(critic(*signals).scores[0], alone)


def test_the_reference_is_saved_with_the_critic():
    critic = built(replace(TINY, norm="virtual"))
    critic.keep_reference(*pair(rows=4, seed=3))
    again = built(replace(TINY, norm="virtual"), seed=9)
    again.load_state_dict(critic.state_dict())
    signals = pair(seed=5)
    assert torch.equal(again(*signals).scores[0], critic(*signals).scores[0])
    assert torch.equal(again.reference, critic.reference)


@pytest.mark.parametrize("width", [251, 30])
@pytest.mark.parametrize(
    ("name", "scipy_name"),
    [
        ("rectangular", "boxcar"), ("triangular", "triang"), ("hann", "hann"), ("hamming", "hamming"),
        ("blackman", "blackman"), ("blackman_nuttall", "nuttall"), ("blackman_harris", "blackmanharris"),
        ("flat_top", "flattop"), ("nuttall", ("general_cosine", [0.355768, 0.487396, 0.144232, 0.012604])),
    ],
)  # fmt: skip
def test_each_window_is_that_of_scipy(name, scipy_name, width):
    truth = scipy.signal.get_window(scipy_name, width, fftbins=False)
    np.testing.assert_allclose(window(name, width).numpy(), truth, atol=1e-12)


def test_there_are_nine_windows_and_no_others():
    assert len({"triangular", *COSINES}) == 9
    with pytest.raises(ValueError, match="window must be triangular"):
        window("kaiser", 9)


@pytest.mark.parametrize("name", ["hamming", "rectangular", "flat_top"])
def test_a_sinc_filter_is_the_windowed_band_pass_of_scipy(name):
    conv = SincConv(6, 251, 4, sample_rate=16000, window_name=name)
    low, high = (edge.detach().double().numpy() for edge in conv.edges())
    scipy_name = {"rectangular": "boxcar", "flat_top": "flattop"}.get(name, name)
    for row, taps in enumerate(conv.taps().detach().numpy()):
        edges = [low[row], high[row]]
        truth = scipy.signal.firwin(251, edges, window=scipy_name, pass_zero=False, scale=False, fs=16000)
        np.testing.assert_allclose(taps, truth / ((high[row] - low[row]) / 8000), atol=2e-4)


def test_sinc_filters_start_side_by_side_up_to_the_nyquist_frequency():
    for rate in (8000, 16000):
        low, high = SincConv(8, 63, 4, sample_rate=rate, window_name="hann").edges()
        torch.testing.assert_close(high[:-1], low[1:])
        assert low[0].item() == pytest.approx(50)
        assert high[-1].item() == pytest.approx(rate / 2 - 50, rel=1e-4)
        assert bool((high - low).diff().gt(0).all())  # mel bands widen


def test_sinc_filters_are_learnt_and_stay_bands_below_the_nyquist_frequency():
    torch.manual_seed(0)
    conv = SincConv(4, 63, 4, sample_rate=16000, window_name="hamming")
    assert set(conv.state_dict()) == {"low", "band"}
    before = conv.taps().detach()
    conv(torch.randn(2, 2, 400)).square().mean().backward()
    assert conv.low.grad.abs().min() > 0
    assert conv.band.grad.abs().min() > 0
    with torch.no_grad():
        conv.low -= 1000
        conv.band += 9000
    low, high = conv.edges()
    assert bool((low >= 50).all() and (high <= 8000).all() and (high > low).all())
    assert (conv.taps() - before).abs().max() > 0.01


def test_a_critic_with_sinc_filters_gives_both_signals_the_same_bands():
    critic = built(replace(TINY, sinc=True, sinc_width=31, norm="none"))
    speech, _ = pair()
    hidden = critic.blocks[0][0](torch.stack([speech, speech], dim=1))
    assert hidden.shape == (2, 4, WINDOW // 4)
    torch.testing.assert_close(hidden[:, :2], hidden[:, 2:])
    critic(speech, speech).scores[0].sum().backward()
    assert critic.blocks[0][0].low.grad.abs().sum() > 0


def test_input_noise_fades_from_a_step_on_until_it_is_too_small():
    fading = replace(TINY, noise=0.5, noise_decay=0.7, noise_every=10, noise_from=50, noise_least=0.2)
    critic = built(fading)
    levels = {}
    for step in (0, 49, 59, 60, 75, 80, 1000):
        critic.begin_step(step)
        levels[step] = critic.noise
    assert levels == pytest.approx({0: 0.5, 49: 0.5, 59: 0.5, 60: 0.35, 75: 0.245, 80: 0, 1000: 0})


def test_input_noise_is_added_in_training_only():
    critic = built(replace(TINY, noise=0.5))
    signals = pair()
    assert not torch.equal(critic(*signals).scores[0], critic(*signals).scores[0])
    critic.begin_step(10**6)
    assert torch.equal(critic(*signals).scores[0], critic(*signals).scores[0])
    critic.begin_step(0)
    critic.eval()
    assert torch.equal(critic(*signals).scores[0], critic(*signals).scores[0])


def test_phase_shift_moves_the_layers_in_training_only():
    critic = built(replace(TINY, phase_shift=5, norm="none"))
    signals = pair()
    scores = {critic(*signals).scores[0][0, 0].item() for _ in range(6)}
    assert len(scores) > 1
    critic.eval()
    assert torch.equal(critic(*signals).scores[0], critic(*signals).scores[0])


OPTIONS = [
    ({}, {"channels": (4, 6, 10)}), ({}, {"stride": 2}),
    ({}, {"lead": 13}), ({}, {"edges": "zero"}), ({}, {"bias": False}), ({}, {"norm": "batch"}),
    ({}, {"norm": "spectral"}), ({}, {"norm": "virtual"}), ({"norm": "virtual"}, {"reference": 2}),
    ({}, {"activation": "leaky"}), ({"head": "conv"}, {"head_bias": False}), ({}, {"frames": 12}),
    ({}, {"initial": "xavier"}), ({}, {"sinc": True}), ({"sinc": True}, {"sinc_width": 63}),
    ({"sinc": True}, {"sinc_window": "blackman"}), ({}, {"noise": 0.1}), ({}, {"phase_shift": 3}),
    *(({}, {"head": head}) for head in HEADS[1:]),
]  # fmt: skip


@pytest.mark.parametrize(("base", "change"), OPTIONS, ids=lambda words: "-".join(f"{k}" for k in words) or "base")
def test_every_option_of_the_segan_critic_changes_what_it_says(base, change):
    plain = replace(TINY, norm="none", **base) if "norm" not in base else replace(TINY, **base)
    signals = pair(rows=4)
    scores = []
    for config in (plain, replace(plain, **change)):
        critic = built(config)
        torch.manual_seed(5)
        scores.append(critic(*signals).scores[0].detach())
    assert scores[0].shape != scores[1].shape or (scores[0] - scores[1]).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lead": 28}, r"lead must lie in \[0, 27\]"),
        ({"frames": 0}, "must be positive"),
        ({"sinc": True, "channels": (5, 6)}, "even channels"),
        ({"noise_decay": 1.5}, "noise_decay must lie in"),
        ({"noise": -1.0}, "must not be negative"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(TINY, **change)


GRADING = GradingCriticConfig(channels=4, levels=2, size=64, hidden=(6, 5))


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("samples", [1, 17, 3001])
def test_the_grading_critic_grades_any_length_whatever_the_level(attention, samples):
    torch.manual_seed(0)
    critic = GradingCritic(replace(GRADING, attention=attention)).eval()
    speech, clean = pair(samples=samples)
    grade = critic(speech, clean).scores[0]
    assert grade.shape == (2, 1)
    torch.testing.assert_close(critic(0.1 * speech, 0.1 * clean).scores[0], grade, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "change", [{"channels": 5}, {"levels": 3}, {"kernel": 3}, {"hidden": (4,)}, {"size": 128}, {"attention": True}]
)
def test_every_option_of_the_grading_critic_changes_its_grade(change):
    grades = []
    for config in (GRADING, replace(GRADING, **change)):
        torch.manual_seed(0)
        critic = GradingCritic(config)
        if critic.attention is not None:
            nn.init.constant_(critic.attention.weight, 1.0)
        grades.append(critic(*pair()).scores[0].detach())
    assert (grades[0] - grades[1]).abs().max() > 1e-6


def test_self_attention_starts_as_the_identity_and_is_worked_by_hand():
    torch.manual_seed(0)
    layer = SelfAttention(16)
    hidden = torch.randn(2, 16, 5)
    assert torch.equal(layer(hidden), hidden)
    nn.init.constant_(layer.weight, 0.5)
    query, key, value = (conv(hidden).detach().numpy() for conv in (layer.query, layer.key, layer.value))
    assert query.shape == (2, 2, 5)
    likeness = np.einsum("bci,bcj->bij", query, key) / np.sqrt(2)
    share = np.exp(likeness) / np.exp(likeness).sum(-1, keepdims=True)
    expected = hidden.numpy() + 0.5 * np.einsum("bij,bcj->bci", share, value)
    np.testing.assert_allclose(layer(hidden).detach().numpy(), expected, atol=1e-5)
