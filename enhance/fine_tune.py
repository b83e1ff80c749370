"""A run that starts from trained nets instead of drawn weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from enhance.models import Generator
from enhance.weights import load_generator
from harness.checkpoint import load_checkpoint, load_weights
from harness.config import to_plain
from harness.errors import CheckpointError

TRAINING_KIND = "enhance-training"  # of last.pt
CRITIC_KIND = "enhance-critic"  # of a checkpoint that holds a critic alone


@dataclass(frozen=True, kw_only=True)
class StartFrom:
    """Optimisers, schedule and averages begin anew; only weights (and running statistics) are taken over."""

    generator: Path | None = None  # best.pt, a safetensors export, or builtin
    critic: Path | None = None  # last.pt of a run, or an imported critic

    def facts(self) -> dict[str, Any]:
        """For the checkpoints: what the run began with."""
        return {name: str(path) for name, path in (("generator", self.generator), ("critic", self.critic)) if path}


def start_generator(model: Generator, name: str, path: Path) -> None:
    """Take over a generator's weights.  Raises CheckpointError: another model, another config, or other weights."""
    found, given = load_generator(path)
    if found != name:
        problem = f"holds a {found} generator, the settings ask for {name}"
        raise CheckpointError(path, problem, mend=f"set model: {found}, or give a checkpoint of {name}")
    ours, theirs = to_plain(model.config), to_plain(given.config)
    other = [key for key in ours if key in theirs and ours[key] != theirs[key]]
    try:
        load_weights(model, model.completed(given.state_dict()), path)
    except CheckpointError as error:
        changes = ", ".join(f"{key} {theirs[key]}" for key in other)
        mend = f"set under generator: {changes}" if other else error.mend
        raise CheckpointError(path, error.problem, mend=mend) from error


def start_critic(critic: nn.Module | None, path: Path) -> None:
    """Take over a critic's weights.  Raises CheckpointError: no critic in the run or in the file, or another one."""
    if critic is None:
        mend = "leave --init-critic out, or give the adversarial loss a weight"
        raise CheckpointError(path, "the run has no critic to start", mend=mend)
    load_weights(critic, critic_weights(path), path)


def critic_weights(path: Path) -> dict[str, Any]:
    """The critic's state dict in last.pt of a run or in an imported critic."""
    try:
        weights = load_checkpoint(path, TRAINING_KIND).get("critic")
    except CheckpointError:  # not the state of a run; if it is nothing readable, the next line says so
        weights = load_checkpoint(path, CRITIC_KIND).get("weights")
    if not isinstance(weights, dict):
        raise CheckpointError(path, "holds no critic", mend="give last.pt of a run whose objective has one")
    return weights
