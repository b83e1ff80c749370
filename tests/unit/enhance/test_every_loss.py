"""Every differentiable loss falls as noise falls; a new one without its line here fails."""

import importlib
import inspect
import math
import pkgutil
from itertools import pairwise
from types import ModuleType

import pytest
import torch
from torch import nn

import enhance.losses
from enhance.losses import adversarial, lmos, mel, mel_l1, pesq, predicted_mos, regression, stft, summed, waveform
from enhance.objectives import OBJECTIVES
from tests.options_walk import changed
from tests.unit.enhance.conftest import voice
from tests.unit.enhance.options_of_objectives import objective_base, rough_listener

SNRS = (0.0, 10.0, 20.0, math.inf)  # dB
LISTENS = f"{rough_listener.__module__}:{rough_listener.__name__}"


def layers_of(samples):
    """Inner layers of some critic, which is the same each time."""
    torch.manual_seed(3)
    net = nn.Conv1d(1, 4, 31, 4), nn.Conv1d(4, 8, 31, 4)
    first = torch.tanh(net[0](10 * samples[:, None]))
    return [first, torch.tanh(net[1](first))]


def verdict(speech, clean):
    """Scores of a critic that hears what is wrong: 1 for clean speech, 0 where the error is as loud as the speech."""
    return [1 - (speech - clean).square().sum(-1) / clean.square().sum(-1)]


LOSSES = {
    "adversarial.GAMES least_squares": lambda ours, clean: adversarial.GAMES["least_squares"].generator_cost(
        verdict(ours, clean)
    ),
    "adversarial.GAMES cross_entropy": lambda ours, clean: adversarial.GAMES["cross_entropy"].generator_cost(
        verdict(ours, clean)
    ),
    "adversarial.GAMES wasserstein": lambda ours, clean: adversarial.GAMES["wasserstein"].generator_cost(
        verdict(ours, clean)
    ),
    "adversarial.generator_least_squares": lambda ours, clean: adversarial.generator_least_squares(
        verdict(ours, clean)
    ),
    "adversarial.feature_distance": lambda ours, clean: adversarial.feature_distance(layers_of(clean), layers_of(ours)),
    "lmos.Lmos": lambda ours, clean: lmos.Lmos(objective_base("finally").wavlm, 16000)(ours, clean),
    "mel.LogMel": lambda ours, clean: (mel.LogMel()(ours) - mel.LogMel()(clean)).abs().mean(),
    "mel_l1.MelL1": lambda ours, clean: mel_l1.MelL1()(ours, clean),
    "pesq.PesqLoss": lambda ours, clean: pesq.PesqLoss()(ours, clean),
    "predicted_mos.PredictedMos": lambda ours, clean: predicted_mos.PredictedMos(LISTENS, 16000)(ours),
    "regression.distance l1": lambda ours, clean: regression.distance("l1", ours, clean),
    "regression.distance mse": lambda ours, clean: regression.distance("mse", ours, clean),
    "regression.distance huber": lambda ours, clean: regression.distance("huber", ours, clean, huber_delta=0.01),
    "stft.compressed_distance magnitude": lambda ours, clean: stft.compressed_distance(ours, clean, 512, 128)[0],
    "stft.compressed_distance complex": lambda ours, clean: stft.compressed_distance(ours, clean, 512, 128)[1],
    "stft.compressed_distance removed": lambda ours, clean: stft.compressed_distance(ours, clean, 512, 128)[2],
    "stft.log_power_distance": stft.log_power_distance,
    "stft.multi_resolution_distance convergence": lambda ours, clean: stft.multi_resolution_distance(
        ours, clean, [(512, 128, 512), (256, 64, 200)]
    )[0],
    "stft.multi_resolution_distance magnitude": lambda ours, clean: stft.multi_resolution_distance(
        ours, clean, [(512, 128, 512), (256, 64, 200)]
    )[1],
    "summed.generator_sum": lambda ours, clean: summed.generator_sum(verdict(ours, clean)),
    "summed.feature_sum": lambda ours, clean: summed.feature_sum(layers_of(clean), layers_of(ours)),
    "waveform.si_sdr": lambda ours, clean: -waveform.si_sdr(ours, clean).mean(),
    "waveform.clipped_si_sdr": lambda ours, clean: -waveform.clipped_si_sdr(ours, clean, 25.0).mean(),
}
OF_CRITICS = {  # what a critic minimises: it falls as its two kinds of scores move apart
    "adversarial.critic_least_squares": adversarial.critic_least_squares,
    "summed.critic_sum": summed.critic_sum,
}
NO_LOSSES = {
    "adversarial.Game", "adversarial.gradient_penalty", "mel.mel_matrix", "pesq.bark_of", "pesq.hertz_of",
    "pesq.bark_bands", "predicted_mos.load_predictor", "regression.WeightSchedule", "stft.spectrum",
}  # fmt: skip


def noisy_at(clean, snr):
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    level = (clean.square().mean(-1, keepdim=True) / noise.square().mean(-1, keepdim=True)).sqrt()
    return clean + level * noise * 10 ** (-snr / 20)


@pytest.fixture(scope="module")
def clean():
    return torch.stack([torch.from_numpy(voice(seed, 1.0)) for seed in (0, 1)])


def test_every_loss_is_in_a_list():
    stated = {name.split(" ")[0] for name in LOSSES} - {"adversarial.GAMES"} | OF_CRITICS.keys() | NO_LOSSES
    assert set(public(enhance.losses)) == stated
    assert {name.split(" ")[1] for name in LOSSES if "GAMES" in name} == adversarial.GAMES.keys()


def public(package: ModuleType) -> list[str]:
    """Functions and classes that the package's modules define for others."""
    found = []
    for entry in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{entry.name}")
        for name, value in vars(module).items():
            if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == module.__name__:
                found += [] if name.startswith("_") else [f"{entry.name}.{name}"]
    return found


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_falls_as_noise_falls_and_its_gradient_leads_down(name, clean):
    values = [LOSSES[name](noisy_at(clean, snr), clean).item() for snr in SNRS]
    assert all(math.isfinite(value) for value in values)
    assert all(louder > quieter for louder, quieter in pairwise(values))
    speech = noisy_at(clean, 10.0).requires_grad_()
    before = LOSSES[name](speech, clean)
    before.backward()
    step = 1e-3 * speech.detach().norm() * speech.grad / speech.grad.norm()
    assert LOSSES[name](speech.detach() - step, clean) < before


@pytest.mark.parametrize("name", OF_CRITICS)
def test_a_critics_loss_falls_as_it_tells_better(name):
    values = [
        OF_CRITICS[name]([torch.tensor([1 - doubt])], [torch.tensor([doubt])]).item() for doubt in (0.5, 0.2, 0.0)
    ]
    assert values[0] > values[1] > values[2] == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_an_objective_asks_of_a_generator_falls_as_noise_falls(name, clean):
    """Without the critic, which knows nothing yet."""
    config = objective_base(name)
    if name == "metricgan":  # it has nothing but its critic, unless asked
        config = changed(config, {"spectral": 1.0})
    torch.manual_seed(0)
    objective = OBJECTIVES[name][1](config, 16000)
    objective.begin_step(0, 0.0)
    noisy = noisy_at(clean, 0.0)
    values = [objective.model_loss(noisy_at(clean, snr), clean, noisy, adversarial=False)[0].item() for snr in SNRS]
    assert all(louder > quieter for louder, quieter in pairwise(values))


@pytest.mark.parametrize(
    ("name", "change"),
    [("finally", {"lmos": 0.0}), ("hifi_gan", {"mel": 0.0}), ("hifi_plusplus", {"mel": 0.0}), ("metricgan", {})],
)
def test_before_the_critic_joins_in_an_objective_with_nothing_else_asks_for_nothing(name, change, clean):
    objective = OBJECTIVES[name][1](changed(objective_base(name), change), 16000)
    fake = noisy_at(clean, 10.0).requires_grad_()
    loss, _ = objective.model_loss(fake, clean, fake.detach(), adversarial=False)
    loss.backward()
    assert loss == 0
    assert not fake.grad.any()
