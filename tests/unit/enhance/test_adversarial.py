import numpy as np
import pytest
import scipy.special
import torch
from torch import nn
from torch.nn import functional as F

from enhance.critics.critic import Critic, Opinion
from enhance.losses.adversarial import GAMES, critic_least_squares, generator_least_squares, gradient_penalty
from enhance.losses.regression import WeightSchedule, distance
from enhance.losses.stft import log_power_distance


class Linear(Critic):
    """Score w . x + v . noisy, once for each row of weights."""

    def __init__(self, *weights):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight in weights)

    def forward(self, samples, noisy):
        return Opinion([(samples @ weight + noisy.sum(-1))[:, None] for weight in self.weights], [])


class Bent(Critic):
    """A small smooth critic with two scores a row."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, samples, noisy):
        return Opinion([self.two(torch.tanh(self.one(samples) + noisy.mean(-1, keepdim=True)))], [])


def signals(rows=3, samples=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, samples, generator=generator, dtype=torch.float64) for _ in range(3)]


def test_least_squares_is_worked_by_hand_and_smooths_the_real_label():
    real, fake = [torch.tensor([0.5, 1.5])], [torch.tensor([0.0, 2.0])]
    game = GAMES["least_squares"]
    assert game.critic_cost(real, fake).item() == pytest.approx(0.25 + 2)
    assert game.critic_cost(real, fake, label=0.5).item() == pytest.approx(0.5 + 2)
    assert game.generator_cost(fake).item() == pytest.approx(1)
    assert critic_least_squares(real, fake) == game.critic_cost(real, fake)
    assert generator_least_squares(fake) == game.generator_cost(fake)


@pytest.mark.parametrize("label", [1.0, 0.75])
def test_cross_entropy_is_that_of_torch(label):
    real, fake = torch.tensor([-1.0, 3.0, 0.2]), torch.tensor([2.0, -0.5])
    game, entropy = GAMES["cross_entropy"], F.binary_cross_entropy_with_logits
    expected = entropy(real, torch.full((3,), label)) + entropy(fake, torch.zeros(2))
    torch.testing.assert_close(game.critic_cost([real], [fake], label=label), expected)
    torch.testing.assert_close(game.generator_cost([fake]), entropy(fake, torch.ones(2)))


def test_the_wasserstein_game_is_a_difference_of_means():
    real, fake = torch.tensor([1.0, 2.0]), torch.tensor([-3.0, 5.0])
    game = GAMES["wasserstein"]
    assert game.critic_cost([real], [fake]).item() == pytest.approx(1 - 1.5)
    assert game.generator_cost([fake]).item() == pytest.approx(-1)


@pytest.mark.parametrize("name", list(GAMES))
def test_in_every_game_the_critic_wants_real_above_fake_and_the_generator_wants_fake_high(name):
    game = GAMES[name]
    low, high = [torch.tensor([-0.4])], [torch.tensor([0.9])]
    assert game.critic_cost(high, low) < game.critic_cost(low, high)
    assert game.generator_cost(high) < game.generator_cost(low)
    assert game.critic_cost(high, low, low) == pytest.approx(
        (2 * game.critic_cost(high, low) - game.critic_cost(high)).item()
    )


def test_parts_of_a_critic_count_the_same_however_many_scores_they_give():
    real, fake = [torch.zeros(2), torch.zeros(200)], [torch.zeros(2), torch.ones(200)]
    assert GAMES["least_squares"].critic_cost(real, fake).item() == pytest.approx(1 + 0.5)


def test_the_penalty_of_a_linear_critic_is_that_of_its_weights_norm():
    weight = torch.tensor([3.0, 0, 0, 4.0, 0, 0], dtype=torch.float64)
    critic = Linear(weight)
    penalty = gradient_penalty(critic, *signals())
    assert penalty.item() == pytest.approx((5 - 1) ** 2)
    penalty.backward()
    torch.testing.assert_close(critic.weights[0].grad, 2 * (5 - 1) * weight / 5)  # d (|w| - 1)^2 / dw


def test_parts_of_a_critic_are_penalised_each_by_itself():
    first, second = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    first[0], second[1] = 3.0, 0.5
    assert gradient_penalty(Linear(first, second), *signals()).item() == pytest.approx((4 + 0.25) / 2)


def test_the_penalty_is_taken_between_clean_and_fake_speech():
    class Square(Critic):
        def forward(self, samples, noisy):
            return Opinion([samples.square().sum(-1, keepdim=True) / 2], [])  # its gradient is the point itself

    clean, fake, noisy = signals()
    for share in (0.0, 0.25, 1.0):
        mix = torch.full((3,), share, dtype=torch.float64)
        point = share * clean + (1 - share) * fake
        expected = (point.norm(dim=1) - 1).square().mean()
        assert gradient_penalty(Square(), clean, fake, noisy, mix).item() == pytest.approx(expected.item())
    torch.manual_seed(0)
    drawn = [gradient_penalty(Square(), clean, fake, noisy).item() for _ in range(2)]
    assert drawn[0] != drawn[1]


def test_the_slope_of_the_penalty_is_that_of_finite_differences():
    torch.manual_seed(0)
    critic, mix = Bent().double(), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    gradient_penalty(critic, *signals(), mix).backward()
    for parameter in (critic.one.weight, critic.two.weight):
        for place in ((0, 0), (1, 3)):
            steps = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    parameter[place] += step
                steps.append(gradient_penalty(critic, *signals(), mix).item())
                with torch.no_grad():
                    parameter[place] -= step
            assert parameter.grad[place].item() == pytest.approx((steps[0] - steps[1]) / 2e-5, rel=1e-5, abs=1e-9)


def test_distances_are_those_of_numpy_and_scipy():
    estimate, clean, _ = signals()
    apart = (estimate - clean).numpy()
    assert distance("l1", estimate, clean).item() == pytest.approx(np.abs(apart).mean())
    assert distance("mse", estimate, clean).item() == pytest.approx((apart**2).mean())
    for delta in (0.1, 1.0):
        expected = scipy.special.huber(delta, apart).mean()
        assert distance("huber", estimate, clean, huber_delta=delta).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="distance must be l1, mse or huber"):
        distance("l2", estimate, clean)


@pytest.mark.parametrize(
    ("schedule", "weights"),
    [
        (WeightSchedule(), {0: 100, 10**6: 100}),
        (WeightSchedule(kind="linear", start=10, fall=1.0), {9: 100, 10: 99, 59: 50, 109: 0, 500: 0}),
        (WeightSchedule(kind="linear", start=10, fall=1.0, least=30), {9: 100, 59: 50, 500: 30}),
        (WeightSchedule(kind="exponential", start=4, factor=0.5), {3: 100, 4: 50, 6: 12.5}),
        (WeightSchedule(kind="exponential", factor=0.5, least=20), {0: 50, 1: 25, 2: 20, 900: 20}),
        (WeightSchedule(kind="step", start=7, factor=0.1), {6: 100, 7: 10, 900: 10}),
        (WeightSchedule(kind="step", start=7), {6: 100, 7: 0}),
    ],
)
def test_a_weight_follows_its_schedule(schedule, weights):
    assert {step: schedule.weight(100.0, step) for step in weights} == pytest.approx(weights)


def test_a_weight_never_rises_to_its_floor():
    assert WeightSchedule(kind="linear", least=5.0).weight(1.0, 3) == 1.0


def test_a_schedule_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"factor lie in \[0, 1\]"):
        WeightSchedule(kind="step", factor=2.0)


def test_log_power_distance_is_worked_by_hand():
    estimate, clean = (signal.reshape(1, -1).repeat(1, 40) for signal in signals(seed=3)[:2])  # [1, 720]

    def decibels(samples):
        padded = np.pad(samples.numpy()[0], 360)
        window = np.zeros(720)
        window[200:520] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 320)
        frames = np.stack([padded[start : start + 720] * window for start in range(0, 721, 160)])
        return 10 * np.log10(np.abs(np.fft.rfft(frames)) ** 2 / 720 + 1e-19)

    expected = np.abs(decibels(estimate) - decibels(clean)).mean()
    assert log_power_distance(estimate, clean).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("samples", [1, 100, 3001])
def test_log_power_distance_bears_short_and_silent_signals(samples):
    estimate = (0.1 * torch.randn(2, samples)).requires_grad_()
    loss = log_power_distance(estimate, torch.zeros(2, samples))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(estimate.grad).all()


@pytest.mark.parametrize("name", ["l1", "mse", "huber", "log_power"])
def test_every_distance_falls_as_noise_falls(name, make_voice):
    clean = torch.from_numpy(make_voice(0, 0.5))[None]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    judge = log_power_distance if name == "log_power" else lambda ours, truth: distance(name, ours, truth)
    losses = [judge(clean + level * noise, clean).item() for level in (0.3, 0.1, 0.03, 0.01, 0.0)]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 5
    assert losses[-1] == 0
