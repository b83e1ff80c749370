"""Demucs weights of facebookresearch/denoiser (CC-BY-NC, code and weights).

The hub's .th is a bare state dict; best.th a package {class, args, kwargs, state}; checkpoint.th holds such a
package under "model" and the best epoch's state under "best_state".  Layer names are the same as here.  Stride and
resampling leave no trace in the tensors: a bare file is taken for a released model (causal: 4 and 4; not: 2 and 2)
unless the options say otherwise.
"""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from enhance.foreign.layout import Foreign, Weights, config_of, matched, number_of, tensors_of
from enhance.models.demucs import Demucs, DemucsConfig
from harness.errors import CheckpointError


def read_generator(content: Any, options: dict[str, Any], path: Path) -> Foreign:
    """content: of the file.  options: Demucs' keyword arguments, for a bare state dict."""
    state, said, notes = _unpacked(content, path)
    weights = tensors_of(state, path)
    if "encoder.0.0.weight" not in weights:
        problem = f"holds no Demucs (its keys begin with {', '.join(sorted(weights)[:3])})"
        raise CheckpointError(path, problem, mend="give a .th file of denoiser")
    said |= options
    config = _config(weights, said, path, notes)
    with torch.device("meta"):
        model = Demucs(config)
    return Foreign(name="demucs", config=config, weights=matched(model, weights, lambda ours: ours, path), notes=notes)


def _unpacked(content: Any, path: Path) -> tuple[Any, dict[str, Any], list[str]]:
    """State dict, keyword arguments and notes of any of the three files."""
    best = None
    if isinstance(content, dict) and isinstance(content.get("model"), dict) and "optimizer" in content:
        best, content = content.get("best_state"), content["model"]
    if not isinstance(content, dict) or "state" not in content or "kwargs" not in content:
        return content, {}, []
    if content.get("args"):
        raise CheckpointError(path, "names its sizes by place, not by name", mend="give them with --options as JSON")
    notes = ["the weights are those of the best epoch, not of the last"] if best else []
    return best or content["state"], dict(content["kwargs"]), notes


def _config(weights: Weights, said: dict[str, Any], path: Path, notes: list[str]) -> DemucsConfig:
    if said.get("chin", 1) != 1 or said.get("chout", 1) != 1:
        raise CheckpointError(path, f"has {said.get('chin')} channels in", mend="only mono models can be imported")
    depth, first = number_of(weights, "encoder.{}.0.weight"), weights["encoder.0.0.weight"]
    widths = [weights[f"encoder.{i}.0.weight"].shape[0] for i in range(depth)]
    causal = "lstm.linear.weight" not in weights
    seen: dict[str, Any] = {
        "hidden": widths[0], "depth": depth, "kernel_size": first.shape[-1], "causal": causal,
        "glu": weights["encoder.0.2.weight"].shape[0] == 2 * widths[0],
    }  # fmt: skip
    growth = widths[1] / widths[0] if depth > 1 else 2.0
    if "growth" not in said and not math.isclose(growth, DemucsConfig.growth):
        seen["growth"] = growth
    if not {"stride", "resample"} <= said.keys():
        seen |= {"stride": 4, "resample": 4} if causal else {"stride": 2, "resample": 2}
        notes.append(f"stride {seen['stride']} and resampling {seen['resample']} are assumed, as in released models")
    known = {field.name for field in fields(DemucsConfig)}
    if ignored := sorted(said.keys() - known - {"chin", "chout"}):
        notes.append(f"options without a meaning here: {', '.join(ignored)}")
    told = {name: value for name, value in said.items() if name in known}
    for name in sorted(told.keys() & {"hidden", "depth", "kernel_size", "causal", "glu"}):
        if told[name] != seen[name]:
            problem = f"{name} is {seen[name]} by the tensors, though the options say {told[name]}"
            raise CheckpointError(path, problem, mend="give the options of this checkpoint")
    return config_of(DemucsConfig, seen | told, path)
