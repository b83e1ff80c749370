"""Weights of generators: checkpoints of our own training, and the built-in model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from enhance.models import MODELS, Generator
from harness.atomic import write_whole
from harness.checkpoint import load_checkpoint, load_weights, save_checkpoint
from harness.config import from_plain, to_plain
from harness.errors import CheckpointError

KIND = "enhance"
BUILTIN = Path(__file__).parent / "builtin" / "compact.safetensors"


def save_generator(path: str | os.PathLike[str], name: str, model: Generator, facts: dict[str, Any]) -> None:
    """Write a generator with its config and facts about its training (plain values)."""
    state = {"model": name, "config": to_plain(model.config), "weights": model.state_dict(), "facts": facts}
    save_checkpoint(path, KIND, state)


def load_generator(path: str | os.PathLike[str], device: str = "cpu") -> tuple[str, Generator]:
    """The name and the generator of a checkpoint, a safetensors export, or "builtin"; ready for use (eval mode).

    Raises CheckpointError: missing, damaged, of another kind, of an unknown model, weights that do not fit.
    """
    path = _place(path)
    state = _state(path)
    name = state.get("model")
    if isinstance(name, dict):
        mend = "give the best.pt beside it"
        raise CheckpointError(path, "is the state of a training run, not a finished generator", mend=mend)
    if name not in MODELS:
        raise CheckpointError(path, f"holds an unknown model {name!r}", mend=f"known: {', '.join(MODELS)}")
    if missing := sorted({"config", "weights"} - state.keys()):
        raise CheckpointError(path, f"lacks {', '.join(missing)}", mend="give a best.pt that 'enhance train' wrote")
    config_class, model_class = MODELS[name]
    model = model_class(from_plain(config_class, state["config"], os.fspath(path)))
    load_weights(model, state["weights"], path)
    return name, model.to(device).eval()


def _place(path: str | os.PathLike[str]) -> Path:
    """The file itself, of "builtin" that of the built-in weights.  Raises CheckpointError where they are missing."""
    if os.fspath(path) != "builtin":
        return Path(path)
    if not BUILTIN.is_file():
        raise CheckpointError(BUILTIN, "the built-in weights are not installed", mend="give --model PATH/best.pt")
    return BUILTIN


def _state(path: Path) -> dict[str, Any]:
    """What a checkpoint or an export holds; an export is known by its suffix, or its header where it has another."""
    return _read_export(path) if path.suffix == ".safetensors" or _has_header(path) else load_checkpoint(path, KIND)


def _has_header(path: Path) -> bool:
    """Whether it starts as safetensors do: eight bytes of a length, then JSON."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        return stream.read(10)[8:] == b'{"'


def export_generator(checkpoint: str | os.PathLike[str], out: str | os.PathLike[str]) -> dict[str, Any]:
    """Write any weights that load_generator takes, with their config, as safetensors (no training state).

    Returns the training's facts.
    """
    from safetensors.torch import save

    name, model = load_generator(checkpoint)
    facts: dict[str, Any] = _state(_place(checkpoint)).get("facts", {})
    header = {"model": name, "config": json.dumps(to_plain(model.config)), "facts": json.dumps(facts)}
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    with write_whole(out, "wb") as stream:
        stream.write(save(weights, metadata=header))
    return facts


def _read_export(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(path, "no such file", mend="give the path of exported weights")
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            weights = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118  (no mapping)
        facts = json.loads(header.get("facts", "{}"))
        return {"model": header["model"], "config": json.loads(header["config"]), "weights": weights, "facts": facts}
    except KeyError as missing:
        problem = f"is not the export of a generator (its header lacks {missing})"
        raise CheckpointError(path, problem, mend="export one: python -m enhance export-builtin") from missing
    except (SafetensorError, ValueError) as error:
        problem = f"cannot be read as exported weights ({str(error)[:120]})"
        raise CheckpointError(path, problem, mend="use an undamaged copy, or export again") from error
