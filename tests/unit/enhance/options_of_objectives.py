"""Another value of every option of every critic and objective, and what is looked at: scores, layers, losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from enhance.critics import CRITICS
from enhance.critics.grading import GradingCriticConfig
from enhance.critics.multi_period import MultiPeriodCriticConfig
from enhance.critics.multi_scale import MultiScaleCriticConfig
from enhance.critics.multi_stft import MultiStftCriticConfig
from enhance.critics.segan import SeganCriticConfig, SeganV1CriticConfig
from enhance.critics.spectrogram import SpectrogramCriticConfig
from enhance.losses.regression import WeightSchedule
from enhance.objectives import OBJECTIVES
from enhance.objectives.advanced_segan import AdvancedSeganObjectiveConfig
from enhance.objectives.aewsegan import AewseganObjectiveConfig
from enhance.objectives.am_gan import AmGanSchedule
from enhance.objectives.compact import CompactObjectiveConfig
from enhance.objectives.denoiser import DenoiserObjectiveConfig
from enhance.objectives.finally_ import FinallyObjectiveConfig
from enhance.objectives.hifi_gan import HiFiGANObjectiveConfig
from enhance.objectives.metricgan import MetricganObjectiveConfig
from enhance.objectives.segan import SeganObjectiveConfig
from enhance.objectives.wsegan import WseganCriticConfig, WseganObjectiveConfig
from tests.options_walk import FLIP, Change, changed
from tests.unit.enhance import options_of_models
from tests.unit.enhance.conftest import voice

SEGAN = {"channels": (4, 6), "frames": 4, "stride": 4, "reference": 2}
NOISY = {"noise": 1.0, "noise_decay": 0.5, "noise_every": 5, "noise_from": 10, "noise_least": 0.01}
SMALL: dict[type, dict[str, Any]] = {
    GradingCriticConfig: {"channels": 3, "levels": 2, "hidden": (4,), "size": 64},
    MultiPeriodCriticConfig: {"periods": (2, 3), "channels": (4, 4)},
    MultiScaleCriticConfig: {"channels": 16, "norms": ("weight", "weight")},
    MultiStftCriticConfig: {"sizes": (64, 32), "filters": 3, "dilations": (1, 2)},
    SpectrogramCriticConfig: {"sizes": (64,), "channels": 2},
    SeganCriticConfig: SEGAN,
}
SMALL_AT: dict[str, dict[str, Any]] = {  # beside the critics' sizes
    "am_gan": {"schedule.start": 10},
    "finally": {
        "wavlm.source": "random",
        "wavlm.random.conv_channels": 8,
        "predictor": f"{__name__}:rough_listener",
    },
    "metricgan": {"metric": "stoi"},
}
USED: dict[tuple[str, str], dict[str, Any]] = {  # which other options an objective needs for those of a config in it
    ("denoiser", "spectrogram"): {"adversarial": 1.0},
    ("denoiser", "multi_stft"): {"adversarial": 1.0, "critic": "multi_stft"},
    ("denoiser", "segan"): {"adversarial": 1.0, "critic": "segan"},
    ("hifi_plusplus", "multi_period"): {"critics": ("multi_period",)},
}


def rough_listener() -> Callable[[Tensor], Tensor]:
    """Hears differences between neighbours only."""
    return lambda samples: 3 - samples.diff(dim=-1).abs().mean(-1)


def other_listener() -> Callable[[Tensor], Tensor]:
    return lambda samples: 3 - samples.abs().mean(-1)


SEGAN_CHANGES = {
    "channels": (4, 8), "stride": 2, "lead": 10, "edges": "zero", "bias": FLIP, "norm": "none",
    "reference": Change(3, given={"norm": "virtual"}), "activation": "leaky", "head": "gavg",
    "head_bias": Change(FLIP, given={"head": "conv"}, shows="weights"), "frames": 8, "phase_shift": 2,
    "sinc": Change(True, given={"sinc_width": 31}),
    "sinc_width": Change(51, given={"sinc": True, "sinc_width": 31}),
    "sinc_window": Change("hann", given={"sinc": True, "sinc_width": 31}), "noise": 1.0,
    **{name: Change(to, given=NOISY) for name, to in {
        "noise_decay": 0.9, "noise_every": 15, "noise_from": 20, "noise_least": 0.9,
    }.items()},
    "initial": "xavier",
}  # fmt: skip
FALLING = {"kind": "linear", "start": 10, "fall": 2.0}
CHANGES: dict[type, dict[str, Any]] = {
    SeganCriticConfig: SEGAN_CHANGES,
    SeganV1CriticConfig: SEGAN_CHANGES | {"edges": "reflect", "activation": "prelu", "phase_shift": 5},
    WseganCriticConfig: {"initial": "normal"},
    GradingCriticConfig: {"channels": 4, "levels": 3, "kernel": 3, "hidden": (5,), "size": 128, "attention": True},
    MultiPeriodCriticConfig: {"periods": (2, 5), "channels": (4, 6), "norm": "spectral"},
    MultiScaleCriticConfig: {"norms": ("weight", "spectral"), "channels": 32, "same_scale": FLIP},
    MultiStftCriticConfig: {"sizes": (64,), "filters": 4, "dilations": (1, 3), "slope": 0.5},
    SpectrogramCriticConfig: {"sizes": (128,), "channels": 3},
    WeightSchedule: {
        "kind": Change("step", given={"start": 10}),
        "start": Change(20, given=FALLING), "fall": Change(1.0, given=FALLING),
        "factor": Change(0.5, given={"kind": "step", "start": 10}),
        "least": Change(90.0, given=FALLING),
    },
    AmGanSchedule: {"kind": "linear"},
    SeganObjectiveConfig: {
        "regression": 50.0, "distance": "mse", "huber_delta": Change(0.01, given={"distance": "huber"}),
        "adversarial": 0.5, "game": "cross_entropy",
        "penalty": Change(1.0, given={"game": "wasserstein", "critic.norm": "none"}), "real_label": 0.9,
        "emphasis": 0.5,
    },
    AdvancedSeganObjectiveConfig: {
        "adversarial": 1.0, "clean_mean": 0.1, "clean_std": 0.5, "noisy_mean": 0.1, "noisy_std": 0.5,
    },
    WseganObjectiveConfig: {"power": 1.0, "misaligned": False, "interference": True},
    AewseganObjectiveConfig: {
        "distance": "mse", "huber_delta": Change(0.01, given={"distance": "huber"}), "emphasis": 0.5,
    },
    CompactObjectiveConfig: {
        "magnitude": 1.0, "complex": 1.0, "removed": 1.0, "si_sdr": 0.1, "si_sdr_ceiling": 10.0, "log_mel": 1.0,
        "log_mel_bands": (23,), "adversarial": 1.0, "matching": 1.0,
    },
    DenoiserObjectiveConfig: {
        "regression": 2.0, "distance": "mse", "huber_delta": Change(0.01, given={"distance": "huber"}),
        "convergence": 1.0, "magnitude": 1.0, "resolutions": ((128, 32, 64),), "adversarial": 1.0,
        "matching": Change(1.0, given={"adversarial": 1.0}), "critic": Change("segan", given={"adversarial": 1.0}),
    },
    FinallyObjectiveConfig: {
        "stage": 3, "lmos": 1.0, "adversarial": 1.0, "matching": 1.0, "predicted_mos": 1.0, "pesq": 1.0,
        "predictor": Change(f"{__name__}:other_listener", given={"predicted_mos": 1.0}),
    },
    HiFiGANObjectiveConfig: {
        "mel": 1.0, "mel_high": 4000.0, "adversarial": 0.5, "matching": 1.0, "critics": ("multi_period",),
    },
    MetricganObjectiveConfig: {
        "metric": "pesq", "adversarial": 0.5, "target": 0.5, "grade_noisy": False, "spectral": 1.0,
    },
} | options_of_models.CHANGES  # fmt: skip
STEPS = (0, 25)  # where schedules and fading noise are looked at


@cache
def signals(samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """(fake, clean, noisy), [2, samples] each."""
    clean = torch.stack([torch.from_numpy(voice(seed, 2.0)[2000 : 2000 + samples]) for seed in (0, 1)])
    noise = torch.randn(2, samples, generator=torch.Generator().manual_seed(2))
    return 0.9 * clean + 0.01 * noise, clean, clean + 0.02 * noise


def critic_base(name: str) -> Any:
    return small(CRITICS[name][0]())


def objective_base(name: str) -> Any:
    return changed(small(OBJECTIVES[name][0]()), SMALL_AT.get(name, {}))


def small(config: Any) -> Any:
    """Every critic in the config at a small size."""
    own: dict[str, Any] = {}
    for owner in reversed(type(config).__mro__):
        own |= SMALL.get(owner, {})
    nested = {name: small(value) for name, value in vars(config).items() if hasattr(value, "__dataclass_fields__")}
    return changed(config, own | nested)


def observed_critic(name: str, config: Any) -> dict[str, Any]:
    """Weights, and what it says of two signals at two steps of a training."""
    torch.manual_seed(0)
    made = CRITICS[name][1]
    critic = shaken(made(config, 16000) if name.startswith("segan") else made(config))
    said = []
    fake, clean, noisy = signals(4000)
    for step in STEPS:
        torch.manual_seed(1)
        critic.begin_step(step)
        critic.keep_reference(clean, noisy)
        with torch.no_grad():
            opinion = critic.train()(fake, noisy)
        said += [*opinion.scores, *opinion.layers]
    return {"weights": shapes(critic), "scores": said}


def observed_objective(name: str, config: Any) -> dict[str, Any]:
    """The losses of critic and generator at two steps of a training, and the critic's weights."""
    torch.manual_seed(0)
    fake, clean, noisy = signals(24000 if name == "metricgan" else 6000)
    objective = shaken(OBJECTIVES[name][1](config, 16000))
    losses: list[Any] = []
    for step in STEPS:
        torch.manual_seed(1)
        objective.begin_step(step, step / 50)
        if objective.critic is not None:
            losses.append(objective.critic_loss(fake, clean, noisy).item())
        loss, parts = objective.model_loss(fake, clean, noisy)
        losses += [loss.item(), *((part, parts[part].item()) for part in sorted(parts))]
    return {"losses": losses, "weights": shapes(objective)}


def shaken(net: torch.nn.Module) -> Any:
    """The net away from its first weights, at which many say next to nothing."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def shapes(net: torch.nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(key, tuple(value.shape)) for key, value in net.state_dict().items()]
