"""The configuration of an acoustic model: model, inputs, priors and training, one section each."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from am.inputs import InputConfig
from am.models.hybrid import HybridConfig
from am.priors import PriorConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the model is trained; the defaults are pytorch-kaldi's for the Li-GRU on fMLLR features."""

    seed: int = 4234
    threads: int = 1  # CPU threads; two on busy cores were ten times slower than one
    epochs: int = 24
    batch_size: int = 8  # sequences
    batch_jitter: float = 0.07  # share by which lengths are blurred before sorting
    start_frames: int = 100  # longest sequence of the first epoch; 0 trains on whole utterances at once
    growth: float = 2.0  # of the longest sequence, each epoch
    max_frames: int = 1000  # longest sequence of all; 0 is no limit
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    rate: float = 4.0e-4
    warmup: float = 0.0  # epochs over which the rate rises from 0: recurrent ReLUs can explode in the first steps
    schedule: Literal["newbob", "linear"] = "newbob"
    newbob_factor: float = 0.5  # newbob: the rate is multiplied by this ...
    newbob_threshold: float = 0.001  # ... when the dev error fell by less than this share of itself
    linear_hold: float = 0.5  # linear: share of the training at the full rate ...
    linear_final: float = 0.03  # ... before a straight line down to this share of it
    clip: float = 5.0  # largest norm of the gradient
    phone_weight: float = 1.0  # of the phone head's cross entropy
    best_by: Literal["error", "loss"] = "error"  # of the pdfs, on the development set
    patience: int = 6  # epochs without a new best before training stops; 0 never stops early
    dev_speakers: int = 6  # held out of the training set where no development set is given
    tensorboard: bool = False  # scalars for TensorBoard, where it is installed, beside metrics.jsonl

    def __post_init__(self) -> None:
        for name in ("threads", "epochs", "batch_size", "dev_speakers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("rate", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("start_frames", "max_frames", "warmup", "patience", "phone_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("batch_jitter", "linear_hold", "linear_final", "newbob_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0 < self.newbob_factor <= 1:
            raise ValueError(f"newbob_factor must lie in (0, 1], got {self.newbob_factor}")
        if self.growth < 1:
            raise ValueError(f"growth must be at least 1, got {self.growth}")


@dataclass(frozen=True, kw_only=True)
class AcousticConfig(HybridConfig):
    """Everything that a file in cfg/am may set."""

    inputs: InputConfig = field(default_factory=InputConfig)
    priors: PriorConfig = field(default_factory=PriorConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @property
    def hybrid(self) -> HybridConfig:
        """The model's part."""
        return HybridConfig(**{part.name: getattr(self, part.name) for part in fields(HybridConfig)})
