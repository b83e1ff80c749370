import math

import pytest
import torch
from torch import nn

from enhance.distributed import Processes
from enhance.optimizers import Descent, OptimizerConfig, critic_optimizer, generator_optimizer
from enhance.precision import compute_in
from enhance.schedule import rate_factor
from enhance.train_config import TrainConfig

RATE, DECAY = 0.1, 0.5


class Line(nn.Module):
    """w, whose loss below is g * w, so its gradient is g."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([2.0, -1.0]))


def descended(gradients, factor=1.0, **changes):
    """w after a step for each gradient."""
    plain = {
        "name": "sgd", "rate": RATE, "betas": (0.8, 0.99), "momentum": 0.0, "smoothing": 0.9, "weight_decay": 0.0,
        "clip": 0.0,
    }  # fmt: skip
    net = Line()
    descent = Descent(net, OptimizerConfig(**plain | changes), Processes(), scaled=False)
    for gradient in gradients:
        descent.begin()
        descent.add((torch.tensor(gradient) * net.w).sum())
        descent.step(factor)
    return net.w.tolist()


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({"name": "sgd"}, lambda w, g: w - RATE * g),
        ({"name": "sgd", "weight_decay": DECAY}, lambda w, g: w - RATE * (g + DECAY * w)),
        ({"name": "adam"}, lambda w, g: w - RATE * math.copysign(1, g)),
        ({"name": "adam", "weight_decay": DECAY}, lambda w, g: w - RATE * math.copysign(1, g + DECAY * w)),
        ({"name": "adamw", "weight_decay": DECAY}, lambda w, g: w * (1 - RATE * DECAY) - RATE * math.copysign(1, g)),
        ({"name": "rmsprop"}, lambda w, g: w - RATE * g / math.sqrt(0.1 * g * g)),
        ({"name": "rmsprop", "smoothing": 0.99}, lambda w, g: w - RATE * g / math.sqrt(0.01 * g * g)),
    ],
    ids=["sgd", "sgd decay", "adam", "adam decay", "adamw decay", "rmsprop", "rmsprop smoothing"],
)
def test_the_first_step_of_each_optimizer_is_its_formula(changes, after):
    expected = [after(2.0, 0.3), after(-1.0, 0.7)]
    assert descended([[0.3, 0.7]], **changes) == pytest.approx(expected, rel=1e-4)


def test_momentum_carries_the_last_gradient_on():
    assert descended([[1.0, 0.0], [0.0, 0.0]], momentum=0.9)[0] == pytest.approx(2.0 - RATE - RATE * 0.9)


def test_adams_second_step_follows_the_betas():
    first, second = 1.0, 3.0
    one, two = 0.5, 0.75
    mean = one * (1 - one) * first + (1 - one) * second
    square = two * (1 - two) * first**2 + (1 - two) * second**2
    step = mean / (1 - one**2) / math.sqrt(square / (1 - two**2))
    after = descended([[first, first], [second, second]], name="adam", betas=(one, two))[0]
    assert after == pytest.approx(2.0 - RATE - RATE * step, rel=1e-5)


def test_clipping_bounds_the_norm_of_all_gradients_and_zero_lets_them_pass():
    assert descended([[3.0, 4.0]], clip=1.0) == pytest.approx([2.0 - RATE * 0.6, -1.0 - RATE * 0.8], rel=1e-5)
    assert descended([[3.0, 4.0]], clip=0.0) == pytest.approx([2.0 - RATE * 3.0, -1.0 - RATE * 4.0])


def test_the_factor_scales_the_rate():
    assert descended([[1.0, 1.0]], factor=0.25)[0] == pytest.approx(2.0 - 0.25 * RATE)


def test_float16_skips_a_step_whose_gradient_overflowed():
    net = Line()
    config = OptimizerConfig(
        name="sgd", rate=RATE, betas=(0.8, 0.99), momentum=0.0, smoothing=0.9, weight_decay=0.0, clip=5.0
    )
    descent = Descent(net, config, Processes(), scaled=True)
    for gradient, moved in ((math.inf, 0.0), (1.0, RATE)):
        before, scale = net.w[0].item(), descent.scaler.get_scale()
        descent.begin()
        descent.add(gradient * net.w[0])
        descent.step(1.0)
        assert before - net.w[0].item() == pytest.approx(moved)
        assert descent.scaler.get_scale() == (scale / 2 if math.isinf(gradient) else scale)
    again = Descent(Line(), config, Processes(), scaled=True)
    again.load_state(descent.state())
    assert again.scaler.get_scale() == descent.scaler.get_scale()


def test_the_critic_takes_the_generators_settings_where_it_has_none_of_its_own():
    plain = TrainConfig(optimizer="rmsprop", betas=(0.1, 0.2), momentum=0.3, weight_decay=0.4, clip=0.5)
    ours, theirs = generator_optimizer(plain), critic_optimizer(plain)
    assert (theirs.name, theirs.betas, theirs.momentum) == (ours.name, ours.betas, ours.momentum)
    assert (theirs.weight_decay, theirs.clip, theirs.rate) == (ours.weight_decay, ours.clip, plain.critic_rate)
    own = TrainConfig(
        critic_optimizer="sgd", critic_betas=(0.0, 0.9), critic_momentum=0.1, critic_weight_decay=0.0, critic_clip=0.0
    )
    theirs = critic_optimizer(own)
    assert (theirs.name, theirs.betas, theirs.momentum) == ("sgd", (0.0, 0.9), 0.1)
    assert (theirs.weight_decay, theirs.clip) == (0.0, 0.0)


def factors(config, steps=12, steps_per_epoch=4.0, halvings=0):
    return [
        rate_factor(config, step=step, done=step / steps, steps_per_epoch=steps_per_epoch, halvings=halvings)
        for step in range(steps)
    ]


def of_torch(make, steps=12):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_and_exponential_fall_as_torchs_schedulers_do():
    cosine = of_torch(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12, eta_min=0.2))
    assert factors(TrainConfig(warmup=0, final_rate=0.2)) == pytest.approx(cosine)
    stairs = of_torch(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.7))
    assert factors(TrainConfig(warmup=0, schedule="exponential", decay=0.7, decay_every=3)) == pytest.approx(stairs)
    epochs = of_torch(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 4, gamma=0.7))
    assert factors(TrainConfig(warmup=0, schedule="exponential", decay=0.7)) == pytest.approx(epochs)


def test_warm_up_rises_to_one_straight_or_bent():
    assert factors(TrainConfig(schedule="constant", warmup=4))[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    bent = factors(TrainConfig(schedule="constant", warmup=4, warmup_power=2.0))
    assert bent[:5] == pytest.approx([0.0625, 0.25, 0.5625, 1, 1])


def test_halving_follows_the_number_of_plateaus():
    config = TrainConfig(schedule="halving", warmup=0)
    assert [factors(config, halvings=halvings)[3] for halvings in (0, 1, 3)] == [1.0, 0.5, 0.125]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Linear(8, 6), (3, 8)),
        (lambda: nn.Conv1d(8, 4, 3), (3, 8, 9)),
        (lambda: nn.ConvTranspose1d(8, 4, 4, 2), (3, 8, 9)),
        (lambda: nn.GRU(8, 4, batch_first=True), (3, 9, 8)),
        (lambda: nn.LSTM(8, 4, num_layers=2, bidirectional=True), (9, 3, 8)),
    ],
    ids=["linear", "convolution", "transposed", "gru", "lstm"],
)
def test_layers_compute_roughly_and_return_float32(precision, make, shape):
    torch.manual_seed(0)
    layer, inputs = make(), torch.randn(shape)
    exact = layer(inputs)
    compute_in(nn.Sequential(layer), "cpu", precision)
    rough = layer(inputs)
    exact, rough = (result[0] if isinstance(result, tuple) else result for result in (exact, rough))
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05
    rough.sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"keep_best": 0}, "keep_best must be at least 1"),
        ({"clip": -1.0}, "clip must not be negative"),
        ({"critic_weight_decay": -0.1}, "critic_weight_decay must not be negative"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\)"),
        ({"betas": (0.9, 1.0)}, r"betas must lie in \[0, 1\)"),
        ({"decay": 0.0}, "decay in"),
        ({"final_rate": 1.5}, "final_rate and critic_from are shares"),
        ({"held_out_noises": 0.0}, "held_out_noises are shares"),
        ({"validation_snr": (5.0, 0.0)}, "validation_snr must rise"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig(**changes)
