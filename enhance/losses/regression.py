"""Distances to clean speech sample by sample, and the weight that such a distance has as training goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

DistanceName = Literal["l1", "mse", "huber"]


def distance(name: str, estimate: Tensor, clean: Tensor, *, huber_delta: float = 1.0) -> Tensor:
    """Mean over all samples of |d|, of d^2, or of Huber's cost: d^2 / 2 up to |d| = delta, a straight line beyond.

    estimate, clean: any equal shape.  Returns a scalar.
    """
    match name:
        case "l1":
            return F.l1_loss(estimate, clean)
        case "mse":
            return F.mse_loss(estimate, clean)
        case "huber":
            return F.huber_loss(estimate, clean, delta=huber_delta)
        case _:
            raise ValueError(f"distance must be l1, mse or huber, got {name!r}")


@dataclass(frozen=True, kw_only=True)
class WeightSchedule:
    """How a weight falls.  linear is the SEGAN+ code's `l1_dec_step`; step with factor 0 its TensorFlow ancestor's."""

    kind: Literal["constant", "linear", "exponential", "step"] = "constant"
    start: int = 0  # training step from which the weight falls
    fall: float = 1.0e-5  # linear: taken off at each step
    factor: float = 0.0  # exponential: of the weight at each step; step: once, from `start` on
    least: float = 0.0  # it stops here

    def __post_init__(self) -> None:
        if self.start < 0 or self.fall < 0 or self.least < 0 or not 0 <= self.factor <= 1:
            raise ValueError(
                f"start, fall and least must not be negative and factor lie in [0, 1], got {self.start}, {self.fall}, "
                f"{self.least}, {self.factor}"
            )

    def weight(self, whole: float, step: int) -> float:
        """The weight at a step (from 0), `whole` before the schedule starts."""
        if self.kind == "constant" or step < self.start:
            return whole
        match self.kind:
            case "linear":
                value = whole - self.fall * (step - self.start + 1)
            case "exponential":
                value = whole * self.factor ** (step - self.start + 1)
            case "step":
                value = whole * self.factor
            case _:
                raise ValueError(f"kind must be constant, linear, exponential or step, got {self.kind!r}")
        return max(value, min(self.least, whole))
