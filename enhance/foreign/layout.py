"""What the layouts of foreign checkpoints share: wrappers, prefixes, weight and spectral norm, and strict matching.

A norm on a weight is stored as parts: weight norm as weight_g and weight_v (torch before 2.0) or
parametrizations.weight.original0 and original1, spectral norm as weight_orig, weight_u and weight_v.  `folded` gives
the plain weight of each, `matched` gives our state dict from theirs and names every key that does not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from harness.config import from_plain, to_plain
from harness.errors import CheckpointError

Weights = dict[str, Tensor]
Config = TypeVar("Config")
NEW_NORM = ".parametrizations.weight.original"


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """What an importer found: the name in MODELS or CRITICS, its config, our state dict, and notes for the user."""

    name: str
    config: Any
    weights: Weights
    critic: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Numbers in the state dict."""
        return sum(value.numel() for value in self.weights.values())


def tensors_of(content: Any, path: Path, wrappers: tuple[str, ...] = ()) -> Weights:
    """The state dict of a checkpoint: bare, or below the first of the keys `wrappers` that is there."""
    for key in wrappers:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise CheckpointError(path, f"holds no state dict but {type(content).__name__}", mend="give a checkpoint")
    odd = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if odd or not content:
        problem = f"holds no state dict ({', '.join(odd[:5]) or 'it is empty'} found)"
        raise CheckpointError(path, problem, mend=f"give one, bare or under {' or '.join(wrappers) or 'no key'}")
    return {str(key): value for key, value in content.items()}


def without_prefix(weights: Weights, prefix: str) -> Weights:
    """Only the keys below a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def folded(weights: Weights, transposed: Callable[[str], bool] = lambda _: False) -> Weights:
    """Plain weights for both kinds of norm in either layout.

    transposed: whether the layer of this name is a transposed convolution (whose outputs stand in dimension 1, which
    matters for spectral norm).
    """
    plain = {}
    for key, value in weights.items():
        name, _, part = key.rpartition(".")
        match part:
            case "weight_g":
                plain[f"{name}.weight"] = _weight_norm(value, weights[f"{name}.weight_v"])
            case "weight_orig":
                u, v = weights[f"{name}.weight_u"], weights[f"{name}.weight_v"]
                plain[f"{name}.weight"] = _spectral_norm(value, u, v, 1 if transposed(name) else 0)
            case "weight_v" if f"{name}.weight_g" in weights or f"{name}.weight_orig" in weights:
                pass
            case "weight_u" if f"{name}.weight_orig" in weights:
                pass
            case "original0" if key.endswith(f"{NEW_NORM}0"):
                base = key.removesuffix(f"{NEW_NORM}0")
                plain[f"{base}.weight"] = _weight_norm(value, weights[f"{base}{NEW_NORM}1"])
            case "original1" if f"{key[:-1]}0" in weights:
                pass
            case _:
                plain[key] = value
    return plain


def _weight_norm(size: Tensor, direction: Tensor) -> Tensor:
    """g v / |v|, the norm over every dimension in which g has one entry."""
    return size * direction / _norm(direction, size.shape)


def _norm(direction: Tensor, shape: torch.Size) -> Tensor:
    over = [i for i in range(direction.dim()) if shape[i : i + 1] != direction.shape[i : i + 1]]
    return direction.square().sum(over, keepdim=True).sqrt() if over else direction.abs()


def _spectral_norm(weight: Tensor, u: Tensor, v: Tensor, outputs: int) -> Tensor:
    """The weight over its largest singular value u' W v."""
    matrix = weight.movedim(outputs, 0).flatten(1) if weight.dim() > 1 else weight[:, None]
    return weight / torch.dot(u, matrix @ v)


def matched(module: nn.Module, theirs: Weights, name_of: Callable[[str], str], path: Path) -> Weights:
    """Our state dict, filled from folded foreign weights.  name_of: our (folded) key -> theirs.

    A layer of ours under weight norm gets the plain weight as direction and its norm as size.  Raises CheckpointError,
    which names every missing, unexpected and misshapen key, in their words.
    """
    state, ours, used = module.state_dict(), {}, set()
    missing, misshapen = [], []
    for key, own in state.items():
        place = name_of(plain_key(key))
        used.add(place)
        if place not in theirs:
            missing.append(place)
            continue
        value = theirs[place].to(own.dtype) if theirs[place].dtype.is_floating_point else theirs[place]
        if key.endswith(f"{NEW_NORM}0") and value.dim() == own.dim():
            value = _norm(value, own.shape)
        if value.shape != own.shape:
            misshapen.append(f"{place} {list(value.shape)} for {list(own.shape)}")
        ours[key] = value
    faults = {"missing": missing, "unexpected": sorted(theirs.keys() - used), "misshapen": misshapen}
    if any(faults.values()):
        lists = {what: list(dict.fromkeys(names)) for what, names in faults.items() if names}
        text = "; ".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in lists.items())
        raise CheckpointError(path, f"is of another architecture: {text}", mend="check --from and --options")
    return {key: value.clone() for key, value in ours.items()}


def plain_key(key: str) -> str:
    """Our key, with a weight under weight norm called by its plain name."""
    return key.replace(f"{NEW_NORM}0", ".weight").replace(f"{NEW_NORM}1", ".weight")


def config_of(kind: type[Config], values: dict[str, Any], path: Path) -> Config:
    """A config from what a file says.  Raises ConfigError, with the file, where a value is wrong."""
    return from_plain(kind, to_plain(values), str(path))


def number_of(weights: Weights, pattern: str) -> int:
    """How many keys there are of `pattern` with {} = 0, 1, 2, ..."""
    count = 0
    while pattern.format(count) in weights:
        count += 1
    return count
