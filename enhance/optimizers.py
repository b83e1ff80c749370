"""One net's way down its loss: optimiser, clipping, the scaling that float16 needs, gradients added over processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from enhance.distributed import Processes
from enhance.train_config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """What TrainConfig says about one of the two nets."""

    name: str
    rate: float
    betas: tuple[float, float]
    momentum: float
    smoothing: float
    weight_decay: float
    clip: float


def generator_optimizer(config: TrainConfig) -> OptimizerConfig:
    return OptimizerConfig(
        name=config.optimizer, rate=config.rate, betas=config.betas, momentum=config.momentum,
        smoothing=config.smoothing, weight_decay=config.weight_decay, clip=config.clip,
    )  # fmt: skip


def critic_optimizer(config: TrainConfig) -> OptimizerConfig:
    def chosen(own: Any, generators: Any) -> Any:
        return generators if own is None else own

    return OptimizerConfig(
        name=chosen(config.critic_optimizer, config.optimizer), rate=config.critic_rate,
        betas=chosen(config.critic_betas, config.betas), momentum=chosen(config.critic_momentum, config.momentum),
        smoothing=config.smoothing, weight_decay=chosen(config.critic_weight_decay, config.weight_decay),
        clip=chosen(config.critic_clip, config.clip),
    )  # fmt: skip


def build_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Its rate is set anew before each step."""
    decay = config.weight_decay
    match config.name:
        case "adam":
            return torch.optim.Adam(parameters, config.rate, betas=config.betas, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(parameters, config.rate, betas=config.betas, weight_decay=decay)
        case "rmsprop":
            return torch.optim.RMSprop(
                parameters, config.rate, alpha=config.smoothing, momentum=config.momentum, weight_decay=decay
            )
        case "sgd":
            return torch.optim.SGD(parameters, config.rate, momentum=config.momentum, weight_decay=decay)
        case _:
            raise ValueError(f"optimizer must be adam, adamw, rmsprop or sgd, got {config.name!r}")


class Descent:
    """A net's optimiser: `begin`, `add` the loss of each piece of the batch, `step`."""

    def __init__(self, net: nn.Module, config: OptimizerConfig, processes: Processes, *, scaled: bool) -> None:
        self.config, self.processes = config, processes
        self.parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self.optimizer = build_optimizer(self.parameters, config)
        self.scaler = torch.amp.GradScaler(self.parameters[0].device.type, enabled=scaled)

    def begin(self) -> None:
        """Forget the gradients of the last step, and those the other net's loss left behind."""
        self.optimizer.zero_grad(set_to_none=True)

    def add(self, loss: Tensor, share: float = 1.0) -> None:
        """Add a piece's gradients.  share: of the batch that this piece is."""
        self.scaler.scale(loss if share == 1.0 else loss * share).backward()  # type: ignore[no-untyped-call]

    def step(self, factor: float) -> None:
        """One update at `factor` times the rate; with float16, none where a gradient overflowed."""
        self.processes.mean_gradients(self.parameters)
        self.scaler.unscale_(self.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * factor
        if self.config.clip > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where nothing is scaled
            self.scaler.load_state_dict(state["scaler"])
