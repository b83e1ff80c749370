"""The nets' turns in a step: the critic learns to tell, then the generator learns from it and from its other losses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from enhance.distributed import Processes
from enhance.models import Generator
from enhance.objectives import Objective
from enhance.optimizers import Descent, critic_optimizer, generator_optimizer
from enhance.precision import compute_in
from enhance.train_config import TrainConfig
from harness.checkpoint import load_weights

Batch = tuple[Tensor, Tensor]  # noisy and clean, [batch, samples]


class Turns:
    """The generator, the objective with its critic, and how both learn; `average` is what a run is about.

    more_pairs(update): the batches for the critic's updates before the last one, which uses the generator's batch.
    """

    def __init__(
        self, model: Generator, objective: Objective, config: TrainConfig, *, device: str, processes: Processes,
        more_pairs: Callable[[int], Batch],
    ) -> None:  # fmt: skip
        self.model, self.objective, self.config = model, objective, config
        self.device, self.more_pairs = device, more_pairs
        if config.channels_last:
            for net in (model, objective):
                net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = _averaged_copy(model)
        scaled = config.precision == "float16"
        compute_in(model, device, config.precision)
        self.generator = Descent(model, generator_optimizer(config), processes, scaled=scaled)
        self.critic: Descent | None = None
        if objective.critic is not None:
            compute_in(objective.critic, device, config.precision)
            self.critic = Descent(objective.critic, critic_optimizer(config), processes, scaled=scaled)

    def play(self, batch: Batch, step: int, factor: float, *, adversarial: bool) -> dict[str, Tensor]:
        """One update of the generator, after the critic's.  factor: of the rates.  Returns the losses, detached."""
        pieces = self._pieces(batch)
        fake = self.model(pieces[0][0]) if len(pieces) == 1 else None  # both turns share it; of pieces it has no room
        parts: dict[str, Tensor] = {}
        if self.critic is not None and adversarial and step % self.config.critic_every == 0:
            parts["critic"] = self._critic_turn(self.critic, pieces, fake, factor)
        parts |= self._generator_turn(pieces, fake, factor, adversarial and self.critic is not None)
        self._update_average(step)
        return parts

    def _pieces(self, batch: Batch) -> list[Batch]:
        noisy, clean = (side.chunk(self.config.accumulate) for side in batch)
        return list(zip(noisy, clean, strict=True))

    def _critic_turn(self, critic: Descent, pieces: list[Batch], fake: Tensor | None, factor: float) -> Tensor:
        """The critic's updates, all but the last on pairs of their own; returns the mean loss."""
        total, count = torch.zeros((), device=self.device), self.config.critic_updates
        for update in range(count):
            last = update == count - 1
            these = pieces if last else self._pieces(self.more_pairs(update))
            critic.begin()
            for noisy, clean in these:
                loss = self.objective.critic_loss(self._without_history(noisy, fake if last else None), clean, noisy)
                critic.add(loss, 1 / len(these))
                total += loss.detach() / (len(these) * count)
            critic.step(factor)
        return total

    def _without_history(self, noisy: Tensor, fake: Tensor | None) -> Tensor:
        if fake is not None:
            return fake.detach()
        with torch.no_grad():
            made: Tensor = self.model(noisy)
        return made

    def _generator_turn(
        self, pieces: list[Batch], fake: Tensor | None, factor: float, adversarial: bool
    ) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        self.generator.begin()
        for noisy, clean in pieces:
            made = self.model(noisy) if fake is None else fake
            loss, details = self.objective.model_loss(made, clean, noisy, adversarial=adversarial)
            self.generator.add(loss, 1 / len(pieces))
            for name, value in (details | {"loss": loss.detach()}).items():
                parts[name] = parts.get(name, torch.zeros((), device=self.device)) + value / len(pieces)
        self.generator.step(factor)
        return parts

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Moving average of weights; short at the start, so that the first steps do not linger."""
        average = self.config.average
        keep = min(average, (1 + step) / (10 + step)) if average else 0.0
        for ours, theirs in zip(self.average.parameters(), self.model.parameters(), strict=True):
            ours.lerp_(theirs, 1 - keep)
        for ours_buffer, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
            ours_buffer.copy_(buffer)

    @property
    def nets(self) -> dict[str, nn.Module]:
        """The nets that learn, by name."""
        critic = self.objective.critic
        return {"generator": self.model} | ({} if critic is None else {"critic": critic})

    def state(self) -> dict[str, Any]:
        """Weights, averages, optimisers, and the objective's buffers."""
        state = {
            "model": self.model.state_dict(), "average": self.average.state_dict(),
            "descent": self.generator.state(), "objective": _own_buffers(self.objective),
        }  # fmt: skip
        if self.critic is not None and self.objective.critic is not None:
            state |= {"critic": self.objective.critic.state_dict(), "critic_descent": self.critic.state()}
        return state

    def load_state(self, state: dict[str, Any], where: str) -> None:
        """Raises CheckpointError, naming `where`, for the state of other nets."""
        load_weights(self.model, state["model"], where)
        load_weights(self.average, state["average"], where)
        self.generator.load_state(state["descent"])
        self.objective.load_state_dict(state["objective"], strict=False)  # the rest is the critic, or never changes
        if self.critic is not None:
            load_weights(self.objective.critic, state["critic"], where)
            self.critic.load_state(state["critic_descent"])


def _averaged_copy(model: Any) -> Any:
    average = copy.deepcopy(model).requires_grad_(False)
    for module in average.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # a copy's weights lie scattered, which cuDNN does not like
    return average


def _own_buffers(objective: nn.Module) -> dict[str, Tensor]:
    """The objective's buffers outside its critic (running noise, memories); frozen judges are not copied."""
    parameters = {name for name, _ in objective.named_parameters()}
    return {
        name: value
        for name, value in objective.state_dict().items()
        if name not in parameters and not name.startswith("critic.")
    }
