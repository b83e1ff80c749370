"""Weights that other programs trained, as checkpoints of ours.  A new kind is a file here and a line in KINDS."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from enhance.fine_tune import CRITIC_KIND
from enhance.foreign import (
    advanced_segan,
    course_work,
    denoiser,
    hifi_gan,
    hifi_plusplus,
    segan_pytorch,
    segan_pytorch_critic,
    segan_tf,
)
from enhance.foreign.layout import Foreign
from enhance.models import MODELS
from enhance.settings import chosen
from enhance.weights import save_generator
from harness.checkpoint import load_weights, save_checkpoint
from harness.config import to_plain
from harness.errors import CheckpointError, ConfigError, SchoolyardError
from harness.safe_pickle import read_pickle

Reader = Callable[[Any, dict[str, Any], Path], Foreign]

KINDS: dict[str, Reader] = {
    "segan-pytorch": segan_pytorch.read_generator,
    "segan-pytorch-critic": segan_pytorch_critic.read_critic,
    "segan-tf": segan_tf.read_generator,
    "advanced-segan": advanced_segan.read_generator,
    "denoiser": denoiser.read_generator,
    "hifi-gan": hifi_gan.read_generator,
    "hifi-plusplus": hifi_plusplus.read_generator,
    "course-work": course_work.read_generator,
}

OPTION_FILES = ("train.opts", "config.json")  # what stands beside a checkpoint where --options is not given


def import_checkpoint(
    kind: str, checkpoint: str | os.PathLike[str], out: str | os.PathLike[str],
    options: str | os.PathLike[str] | None = None,
) -> Foreign:  # fmt: skip
    """Write `out`, our checkpoint with the weights of a foreign one.

    Raises ConfigError: an unknown kind, options that are not JSON.  CheckpointError: damaged, or of another
    architecture (with every missing, unexpected and misshapen key).
    """
    reader: Reader = chosen(KINDS, kind, "kind of checkpoint", "--from")
    path = Path(checkpoint)
    content = path if path.suffix == ".npz" else read_pickle(path)
    said = read_options(path, options)
    try:
        found = reader(content, said, path)
    except SchoolyardError:
        raise
    except Exception as error:  # half of a pair of keys, odd shapes, options of another kind: a reader trips in any way
        problem = f"is not laid out as {kind} writes it ({type(error).__name__}: {str(error)[:120]})"
        raise CheckpointError(path, problem, mend="check --from and --options, or use an undamaged copy") from error
    _save(out, found, {"imported_from": kind, "file": path.name, "notes": found.notes})
    return found


def _save(out: str | os.PathLike[str], found: Foreign, facts: dict[str, Any]) -> None:
    if found.critic:
        state = {"critic": found.name, "config": to_plain(found.config), "weights": found.weights, "facts": facts}
        save_checkpoint(out, CRITIC_KIND, state)
        return
    model = MODELS[found.name][1](found.config)
    load_weights(model, found.weights, out)
    save_generator(out, found.name, model, facts)


def read_options(checkpoint: Path, options: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The JSON of --options, or of train.opts or config.json beside the checkpoint, or nothing."""
    beside = [checkpoint.with_name(name) for name in OPTION_FILES if checkpoint.with_name(name).is_file()]
    path = Path(options) if options is not None else beside[0] if beside else None
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(path, "no such file", mend="give the options' JSON file, or leave --options out") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"is not JSON ({error})", mend="give the JSON file that the training wrote") from error
    if not isinstance(found, dict):
        raise ConfigError(path, "holds no options by name", mend="give the JSON file that the training wrote")
    return found


__all__ = ["CRITIC_KIND", "KINDS", "Foreign", "import_checkpoint", "read_options"]
