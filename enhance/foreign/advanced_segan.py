"""Generators of Advanced-SEGAN (Sela and Omer, MIT): Lightning checkpoints of its advanced and its basic network.

{state_dict, hyper_parameters, ...}: the generator stands below a prefix of its own, beside the discriminator and the
reference batch, which are left.  The advanced network has encoder.i.conv1, bn1 and downsample; the basic one
encoder.i.0 (a convolution) and encoder.i.1 (its PReLU).  Mean and deviation of the training data are not in the file:
the options say them (NOISY_MEAN, NOISY_STD, CLEAN_MEAN, CLEAN_STD), or they are Valentini's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from enhance.foreign.layout import Foreign, Weights, config_of, matched, number_of, tensors_of, without_prefix
from enhance.models.advanced_segan import AdvancedSegan, AdvancedSeganConfig
from enhance.models.segan import Segan, SeganConfig
from harness.errors import CheckpointError

STATISTICS = ("noisy_mean", "noisy_std", "clean_mean", "clean_std")


def read_generator(content: Any, options: dict[str, Any], path: Path) -> Foreign:
    """content: of the file.  options: by name, capitals or not."""
    weights = tensors_of(content, path, ("state_dict",))
    for first, read in (("encoder.0.conv1.weight", _advanced), ("encoder.0.0.weight", _basic)):
        if prefixes := [key.removesuffix(first) for key in weights if key.endswith(first)]:
            chosen = without_prefix(weights, prefixes[0])
            left = len(weights) - len(chosen)
            notes = [f"{left} tensors beside the generator are left (discriminator, reference batch)"] if left else []
            return read(chosen, {name.lower(): value for name, value in options.items()}, path, notes)
    problem = f"holds no generator of Advanced-SEGAN (its keys begin with {', '.join(sorted(weights)[:3])})"
    raise CheckpointError(path, problem, mend="give a Lightning checkpoint of it")


def _advanced(weights: Weights, options: dict[str, Any], path: Path, notes: list[str]) -> Foreign:
    levels = number_of(weights, "encoder.{}.conv1.weight")
    channels = tuple(weights[f"encoder.{i}.conv1.weight"].shape[0] for i in range(levels))
    told = {name: options[name] for name in STATISTICS if name in options}
    if len(told) < len(STATISTICS):
        notes.append("mean and deviation of the training data are not all told: those left are Valentini's")
    values = {
        "channels": channels, "shortcuts": "encoder.1.downsample.weight" in weights,
        "latent": weights["decoder.0.conv1.weight"].shape[0] == 2 * channels[-1],
    }  # fmt: skip
    config = config_of(AdvancedSeganConfig, values | told, path)
    with torch.device("meta"):
        model = AdvancedSegan(config)
    last = levels - 1

    def theirs(ours: str) -> str:
        table, *rest = ours.split(".")
        if table in ("last_norm", "last"):
            return f"decoder.{last}.{1 if table == 'last_norm' else 3}.{rest[0]}"
        index, part, kind = rest
        part = {"conv": "conv1", "norm": "bn1", "shortcut": "downsample"}[part]
        return f"{table}.{index}.{'0.' if (table, index) == ('decoder', str(last)) else ''}{part}.{kind}"

    return _found("advanced_segan", config, model, weights, theirs, path, notes)


def _basic(weights: Weights, options: dict[str, Any], path: Path, notes: list[str]) -> Foreign:
    levels = number_of(weights, "encoder.{}.0.weight")
    channels = tuple(weights[f"encoder.{i}.0.weight"].shape[0] for i in range(levels))
    config = SeganConfig(
        channels=channels, activation="shared_prelu", skip="after", latent_first=False, padding="centred",
        last="prelu", initial="torch", emphasis=0.0, latent=weights["decoder.0.0.weight"].shape[0] == 2 * channels[-1],
    )  # fmt: skip
    with torch.device("meta"):
        model = Segan(config)

    def theirs(ours: str) -> str:
        table, index, kind = ours.split(".")
        return f"{table.removesuffix('_act')}.{index}.{int(table.endswith('_act'))}.{kind}"

    return _found("segan", config, model, weights, theirs, path, notes)


def _found(
    name: str, config: Any, model: nn.Module, weights: Weights, theirs: Any, path: Path, notes: list[str]
) -> Foreign:
    return Foreign(name=name, config=config, weights=matched(model, weights, theirs, path), notes=notes)
