"""HiFi++ generators of SamsungLabs/hifi_plusplus (CC-BY-NC, weights too).

A bare state dict with weight_g and weight_v, or {state_dict} with parametrizations.weight.original0 and original1.  All
sizes come from the tensors; the order of the last two nets is the released one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from enhance.foreign.hifi_gan import upsampler_sizes
from enhance.foreign.layout import Foreign, Weights, config_of, folded, matched, number_of, tensors_of
from enhance.models.hifi_plusplus import HiFiPlusPlus, HiFiPlusPlusConfig
from harness.errors import CheckpointError

PARTS = {
    "upsampler.": "hifi.", "spectralunet.learnt_unfold.": "spectralunet.learnable_mel2linspec.",
    "spectralunet.post_2d.": "spectralunet.post_conv_2d.0.", "spectralunet.post_1d.": "spectralunet.post_conv_1d.0.",
    "spectralunet.net.": "spectralunet.net.net.", "refiner.waveunet.": "waveunet.net.",
    "refiner.masknet.net.": "spectralmasknet.net.net.", "refiner.wave_skip.": "waveunet_skip_connect.",
    "refiner.mask_skip.": "spectralmasknet_skip_connect.", "refiner.wave_pre.": "waveunet_conv_pre.",
}  # fmt: skip
# A level of theirs is Sequential(Skip(net=Sequential(block, down, inner, Sequential(Upsample, conv), block)), conv).
LEVEL = {"before": "0.net.0", "down": "0.net.1", "inner": "0.net.2", "narrow": "0.net.3.1", "after": "0.net.4",
         "merge": "1"}  # fmt: skip
NETS = {"spectral": "spectralunet.net.net", "wave": "waveunet.net", "mask": "spectralmasknet.net.net"}


def read_generator(content: Any, options: dict[str, Any], path: Path) -> Foreign:
    """content: of the file.  options: sample_rate and waveunet_before_spectralmasknet, where they differ."""
    weights = folded(tensors_of(content, path, ("state_dict", "generator")))
    if "hifi.ups.0.weight" not in weights:
        problem = f"holds no generator of HiFi++ (its keys begin with {', '.join(sorted(weights)[:3])})"
        raise CheckpointError(path, problem, mend="give a HiFi++ checkpoint, or --from hifi-gan")
    config = _config(weights, options, path)
    with torch.device("meta"):
        model = HiFiPlusPlus(config)
    return Foreign(name="hifi_plusplus", config=config, weights=matched(model, weights, their_key, path))


def their_key(ours: str) -> str:
    """Our key in their words."""
    for part, theirs in PARTS.items():
        if ours.startswith(part):
            rest = ours.removeprefix(part)
            return theirs + (_net_key(rest) if theirs.endswith("net.") else rest)
    return ours


def _net_key(ours: str) -> str:
    """first -> 0, last -> 2; levels -> 1, each level by LEVEL, a block's convolution k as k.net.1."""
    table, _, rest = ours.partition(".")
    match table:
        case "first":
            return f"0.{rest}"
        case "last":
            return f"2.{rest}"
        case "levels":
            words = [LEVEL.get(word, word) for word in re.sub(r"convs\.(\d+)", r"\1.net.1", rest).split(".")]
            return ".".join(["1", *words])
        case _:
            raise AssertionError(f"the U-Net has grown a part {ours!r} that its importer does not know")


def net_sizes(weights: Weights, prefix: str) -> tuple[tuple[int, ...], int]:
    """Widths of a U-Net's levels, and convolutions a block."""
    if f"{prefix}.0.weight" not in weights:
        return (), 0
    widths, place = [weights[f"{prefix}.0.weight"].shape[0]], f"{prefix}.1"
    while f"{place}.1.weight" in weights:  # the convolution that merges a level; the innermost block has none
        widths.append(weights[f"{place}.0.net.1.weight"].shape[0])
        place += ".0.net.2"
    return tuple(widths), number_of(weights, f"{place}.{{}}.net.1.weight")


def _config(weights: Weights, options: dict[str, Any], path: Path) -> HiFiPlusPlusConfig:
    sizes = upsampler_sizes(weights, "hifi.")
    sizes |= {"rates": tuple(kernel // 2 for kernel in sizes["kernels"])}
    for ours, theirs in NETS.items():
        widths, depth = net_sizes(weights, theirs)
        sizes |= {f"{ours}_widths": widths} | ({f"{ours}_depth": depth} if widths else {})
    if sizes["spectral_widths"]:
        sizes["spectral_outs"] = weights["spectralunet.post_conv_1d.0.weight"].shape[0]
        sizes["positions"] = weights["spectralunet.net.net.0.weight"].shape[1] == 3
    pre = weights.get("waveunet_conv_pre.weight")
    sees = "upsampled" if pre is None else "waveform" if pre.shape[1] == 1 else "both"
    first = options.get("waveunet_before_spectralmasknet", True)
    told = {
        "sees": sees, "order": "wave_first" if first else "mask_first",
        "skips": any("skip_connect" in key for key in weights), "sample_rate": options.get("sample_rate", 16000),
    }  # fmt: skip
    return config_of(HiFiPlusPlusConfig, sizes | told, path)
