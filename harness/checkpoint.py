"""Checkpoints: tensors and plain data only, written whole, read without executing anything."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

from harness.atomic import write_whole
from harness.errors import CheckpointError

FORMAT = "schoolyard-checkpoint-1"


def save_checkpoint(path: str | os.PathLike[str], kind: str, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts under the name of their kind (such as "am" or "enhance")."""
    import torch

    with write_whole(path, "wb") as stream:
        try:
            torch.save({"format": FORMAT, "kind": kind, "state": state}, stream)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch's writer hides a full disk behind its own complaint
                raise error.__context__ from None
            raise


def load_checkpoint(path: str | os.PathLike[str], kind: str, *, device: str = "cpu") -> dict[str, Any]:
    """The state that ``save_checkpoint`` wrote.  Raises CheckpointError: missing, damaged, unsafe, or another kind."""
    import warnings

    import torch

    if not Path(path).is_file():
        raise CheckpointError(path, "no such checkpoint", mend="give the path of a trained model")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about a foreign pickle before it refuses it
            content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # foreign bytes make the unpickler trip in any way (IndexError, AttributeError, ...)
        problem = f"cannot be read as a checkpoint: {_reason(Path(path), error)}"
        raise CheckpointError(path, problem, mend="use an undamaged copy, or train again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(path, "is not a Schoolyard checkpoint", mend="import foreign weights first")
    if content.get("kind") != kind or not isinstance(content.get("state"), dict):
        problem = f"holds a model of kind {content.get('kind')!r}, not {kind!r}"
        room = kind.partition("-")[0]
        raise CheckpointError(path, problem, mend=f"give a best.pt that 'python -m {room} train' wrote")
    return dict(content["state"])


def _reason(path: Path, error: Exception) -> str:
    """Why torch cannot load a file; its own text advises to load whatever is in it, which nobody should."""
    if not zipfile.is_zipfile(path):
        return "it is cut off, or was never one"
    if "Weights only load failed" in str(error):
        return "it holds more than tensors and plain data"
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def load_weights(module: Any, weights: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Load a state dict strictly; CheckpointError names every missing, unexpected and misshapen tensor."""
    own = module.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unexpected = sorted(weights.keys() - own.keys())
    misshapen = [
        f"{name} {list(weights[name].shape)} for {list(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if own[name].shape != weights[name].shape
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen)]
    if any(names for _, names in faults):
        text = "; ".join(f"{len(names)} {what} ({', '.join(names[:3])})" for what, names in faults if names)
        raise CheckpointError(path, f"weights of another model: {text}", mend="give the checkpoint of this model")
    module.load_state_dict(weights)
