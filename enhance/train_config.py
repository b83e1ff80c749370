"""How a run is trained: length, optimisers, course of the rate, validation.  The defaults are the compact generator's.

A field of the critic that is null (None) takes the generator's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from enhance.validate import LOWER_IS_BETTER, ON_REQUEST

OptimizerName = Literal["adam", "adamw", "rmsprop", "sgd"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    seed: int = 0
    steps: int = 6000  # optimiser steps; the rate has fallen to its end by then
    epochs: float = 0.0  # passes over the training utterances; above 0 they set the length instead of steps
    optimizer: OptimizerName = "adamw"  # adam adds weight decay to the gradient, adamw takes it off the weights
    rate: float = 1.0e-3  # of the generator
    betas: tuple[float, float] = (0.8, 0.99)  # of adam and adamw; a low first one, as adversarial training wants
    momentum: float = 0.0  # of rmsprop and sgd
    smoothing: float = 0.99  # of the squared gradients of rmsprop; TensorFlow's default is 0.9
    weight_decay: float = 1.0e-4
    clip: float = 5.0  # gradient norm; 0 for none
    critic_optimizer: OptimizerName | None = None
    critic_rate: float = 5.0e-4
    critic_betas: tuple[float, float] | None = None
    critic_momentum: float | None = None
    critic_weight_decay: float | None = None
    critic_clip: float | None = None
    critic_from: float = 0.15  # share of the run after which the adversary joins in
    critic_updates: int = 1  # of the critic in a step, each on pairs of its own (as a Wasserstein critic wants)
    critic_every: int = 1  # steps between two turns of the critic
    accumulate: int = 1  # pieces in which a batch is computed, to save memory; their gradients are added
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # inside the nets; losses stay in float32
    channels_last: bool = False  # memory order of two-dimensional convolutions; compact trains 14 % faster on a CPU
    schedule: Literal["cosine", "exponential", "halving", "constant"] = "cosine"
    warmup: int = 200  # steps of rising rate
    warmup_power: float = 1.0  # how it rises: 1 straight, 2 slowly at first, 0.5 fast at first
    final_rate: float = 0.01  # share of the rate left at the end (cosine): the last bit of decay matters
    decay: float = 0.999  # factor of the rate (exponential)
    decay_every: int = 0  # steps between two decays; 0 decays after each pass over the utterances
    halve_after: int = 3  # validations without a better score, then the rate is halved (halving)
    average: float = 0.998  # of the weights that are kept (exponential moving average); 0 for none
    log_every: int = 50  # steps between two lines of losses
    validate_every: int = 500  # steps; checkpoints are written then too
    validation_batches: int = 4
    held_out_speakers: float = 0.1  # share, fixed by their names
    held_out_noises: float = 0.08
    validation_snr: tuple[float, float] = (0.0, 15.0)  # dB
    clean_weight: float = 1.0  # of the error on clean input, against that on noisy input, in the score
    best_by: str = "score"  # or log_mel_noisy, log_mel_clean, si_sdr, loss, any metric of `enhance score`
    measures: tuple[str, ...] = ()  # also computed at validation (they cost time): loss, any metric of `enhance score`
    keep_best: int = 1  # generators that are kept, best.pt the first of them
    patience: int = 0  # validations without a better score, then the run ends; 0 goes on to the end

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_shares()
        if self.warmup_power <= 0 or not 0 < self.decay <= 1:
            raise ValueError(f"warmup_power is above 0 and decay in (0, 1], got {self.warmup_power}, {self.decay}")
        low, high = self.validation_snr
        if low > high:
            raise ValueError(f"validation_snr must rise, got [{low}, {high}]")
        for name, known in ((self.best_by, LOWER_IS_BETTER), *((name, ON_REQUEST) for name in self.measures)):
            if name not in known:
                raise ValueError(f"a measure must be one of {', '.join(known)}, got {name!r}")

    def _check_counts(self) -> None:
        positive = ("steps", "validate_every", "validation_batches", "critic_updates", "critic_every", "accumulate",
                    "halve_after", "log_every", "keep_best")  # fmt: skip
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate", "critic_rate", "clip", "critic_clip", "epochs", "warmup", "decay_every", "patience",
                     "weight_decay", "critic_weight_decay"):  # fmt: skip
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    def _check_shares(self) -> None:
        for name in ("average", "momentum", "critic_momentum", "smoothing"):
            if not 0 <= (getattr(self, name) or 0.0) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.final_rate <= 1 or not 0 <= self.critic_from <= 1:
            raise ValueError(f"final_rate and critic_from are shares, got {self.final_rate}, {self.critic_from}")
        if not 0 < self.held_out_speakers < 1 or not 0 < self.held_out_noises < 1:
            raise ValueError("held_out_speakers and held_out_noises are shares between 0 and 1")
        for betas in (self.betas, self.critic_betas or self.betas):
            if not all(0 <= beta < 1 for beta in betas):
                raise ValueError(f"betas must lie in [0, 1), got {list(betas)}")
