from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import torch

from enhance.critics.multi_stft import MultiStftCritic, MultiStftCriticConfig
from enhance.critics.segan import SeganCritic, SeganCriticConfig
from enhance.critics.spectrogram import SpectrogramCritic, SpectrogramCriticConfig
from enhance.losses.stft import multi_resolution_distance
from enhance.objectives.denoiser import DenoiserObjective, DenoiserObjectiveConfig

RESOLUTIONS = DenoiserObjectiveConfig().resolutions
SMALL = DenoiserObjectiveConfig(
    adversarial=0.5, matching=0.1, spectrogram=SpectrogramCriticConfig(sizes=(128,), channels=4),
    multi_stft=MultiStftCriticConfig(sizes=(256,), filters=4), segan=SeganCriticConfig(channels=(4, 8), frames=4),
)  # fmt: skip


def amplitude(samples, size, hop, width):
    """[batch, samples] -> [batch, bins, frames] with numpy: frames centred on multiples of the hop."""
    padded = np.pad(samples, ((0, 0), (size // 2, size // 2)), mode="reflect")
    window = np.zeros(size)
    window[(size - width) // 2 :][:width] = scipy.signal.get_window("hann", width)
    frames = [padded[:, i : i + size] * window for i in range(0, padded.shape[1] - size + 1, hop)]
    return np.maximum(np.abs(np.fft.rfft(np.stack(frames, axis=-1), axis=1)), np.sqrt(1e-7))


def test_the_spectral_distances_are_yamamotos_equations_at_each_resolution():
    rng = np.random.default_rng(0)
    clean, estimate = rng.standard_normal((2, 2, 3001)) * 0.1
    convergence, magnitude = [], []
    for size, hop, width in RESOLUTIONS:
        truth, ours = amplitude(clean, size, hop, width), amplitude(estimate, size, hop, width)
        convergence.append(np.sqrt(((truth - ours) ** 2).sum() / (truth**2).sum()))
        magnitude.append(np.abs(np.log(truth / ours)).mean())
    found = multi_resolution_distance(torch.from_numpy(estimate), torch.from_numpy(clean), RESOLUTIONS)
    assert found[0].item() == pytest.approx(np.mean(convergence), rel=1e-4)
    assert found[1].item() == pytest.approx(np.mean(magnitude), rel=1e-4)


def test_half_the_amplitude_costs_half_the_convergence_and_a_log_of_two():
    clean = torch.randn(2, 4000)
    convergence, magnitude = multi_resolution_distance(clean / 2, clean, RESOLUTIONS)
    assert convergence.item() == pytest.approx(0.5, abs=1e-3)
    assert magnitude.item() == pytest.approx(np.log(2), abs=1e-3)


@pytest.mark.parametrize("samples", [1, 100, 1500])
def test_silence_and_short_rows_cost_nothing_and_pass_finite_gradients(samples):
    fake = torch.zeros(2, samples, requires_grad=True)
    loss, parts = DenoiserObjective(DenoiserObjectiveConfig(), 16000).model_loss(
        fake, torch.zeros(2, samples), torch.zeros(2, samples)
    )
    loss.backward()
    assert loss.item() == 0
    assert set(parts) == {"regression", "convergence", "magnitude"}
    assert fake.grad.isfinite().all()


def test_the_loss_is_the_weighted_sum_of_its_parts():
    torch.manual_seed(0)
    config = replace(SMALL, regression=2.0, convergence=0.3, magnitude=0.7)
    objective = DenoiserObjective(config, 16000)
    loss, parts = objective.model_loss(*torch.randn(3, 2, 3000))
    assert set(parts) == {"regression", "convergence", "magnitude", "adversarial", "matching"}
    assert loss.item() == pytest.approx(sum(getattr(config, name) * part.item() for name, part in parts.items()))


@pytest.mark.parametrize("part", ["regression", "convergence", "magnitude"])
def test_each_part_falls_as_noise_falls(part):
    torch.manual_seed(0)
    clean, noise = 0.1 * torch.randn(2, 8000), 0.1 * torch.randn(2, 8000)
    objective = DenoiserObjective(DenoiserObjectiveConfig(), 16000)
    costs = [objective.model_loss(clean + gain * noise, clean, clean)[1][part].item() for gain in (1, 0.3, 0.1, 0)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == 0
    assert len(set(costs)) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"regression": 2.0}, {"distance": "mse"}, {"distance": "huber", "huber_delta": 0.5}, {"convergence": 0.1},
        {"magnitude": 0.1}, {"resolutions": ((512, 50, 240),)}, {"matching": 0.0}, {"critic": "segan"},
        {"critic": "multi_stft"}, {"adversarial": 0.7}, {"adversarial": 0.0, "matching": 0.0},
    ],
)  # fmt: skip
def test_every_option_changes_the_loss(change):
    fake, clean, noisy = torch.randn(3, 2, 3000, generator=torch.Generator().manual_seed(1))

    def cost(config):
        torch.manual_seed(0)
        return DenoiserObjective(config, 16000).model_loss(fake, clean, noisy)[0].item()

    assert cost(replace(SMALL, **change)) != pytest.approx(cost(SMALL), rel=1e-6)


def test_a_hubers_cost_depends_on_where_it_turns_straight():
    fake, clean = torch.full((1, 600), 3.0), torch.zeros(1, 600)
    plain = DenoiserObjectiveConfig(convergence=0.0, magnitude=0.0, distance="huber")
    for delta, cost in ((1.0, 2.5), (2.0, 4.0)):
        loss, parts = DenoiserObjective(replace(plain, huber_delta=delta), 16000).model_loss(fake, clean, clean)
        assert loss.item() == pytest.approx(cost)
        assert set(parts) == {"regression"}


@pytest.mark.parametrize(
    ("name", "kind"), [("spectrogram", SpectrogramCritic), ("multi_stft", MultiStftCritic), ("segan", SeganCritic)]
)
def test_any_critic_joins_the_game_and_learns(name, kind):
    torch.manual_seed(0)
    objective = DenoiserObjective(replace(SMALL, critic=name), 16000)
    assert isinstance(objective.critic, kind)
    objective.begin_step(0, 0.0)
    objective.critic_loss(*torch.randn(3, 2, 3000)).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.critic.parameters())
    _, parts = objective.model_loss(*torch.randn(3, 2, 3000), adversarial=False)
    assert "adversarial" not in parts


def test_without_a_weight_there_is_no_critic():
    assert DenoiserObjective(DenoiserObjectiveConfig(), 16000).critic is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"regression": -1.0}, "must not be negative"),
        ({"matching": 0.1}, "matching needs a critic"),
        ({"resolutions": ((512, 600, 240),)}, "hop <= window <= size"),
    ],
)
def test_settings_that_contradict_are_refused(change, problem):
    with pytest.raises(ValueError, match=problem):
        DenoiserObjectiveConfig(**change)
