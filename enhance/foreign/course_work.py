"""Generators of course_work_baselines (github.com/markunya/course_work_baselines): HiFi-GAN, HiFi++ and FINALLY.

{state_dict, optimizer_state_dict}, weight norm as parametrizations.weight.original0 and original1 (older files:
weight_g and weight_v).  Which of the three it is, and the sizes, come from the tensors.  WavLM is not in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from enhance.foreign import hifi_gan, hifi_plusplus
from enhance.foreign.hifi_gan import upsampler_sizes
from enhance.foreign.layout import Foreign, Weights, config_of, folded, matched, tensors_of
from enhance.models.finally_ import Finally, FinallyConfig
from harness.errors import CheckpointError

MIXED = "pre_upsampler_proccessing"  # their spelling
PARTS = {"mixed.": f"{MIXED}.0.", "narrow.": f"{MIXED}.2.", "wide.up.": "upsamplewaveunet.upsample_block.0."}


def read_generator(content: Any, options: dict[str, Any], path: Path) -> Foreign:
    """content: of the file.  options: of config.json, for HiFi-GAN."""
    weights = folded(tensors_of(content, path, ("state_dict",)))
    if f"{MIXED}.2.weight" in weights:
        return _finally(weights, path)
    reader = hifi_plusplus if "hifi.ups.0.weight" in weights else hifi_gan
    found: Foreign = reader.read_generator(weights, options, path)
    return found


def _finally(weights: Weights, path: Path) -> Foreign:
    config = _config(weights, path)
    with torch.device("meta"):
        model = Finally(config)
    said = {key: value for key, value in weights.items() if not key.startswith("wavlm.")}
    left = len(weights) - len(said)
    notes = [f"{left} tensors of WavLM are left: ours is given apart"] if left else []
    return Foreign(name="finally", config=config, weights=matched(model, said, _their_key, path), notes=notes)


def _their_key(ours: str) -> str:
    for part, theirs in PARTS.items():
        if ours.startswith(part):
            return theirs + ours.removeprefix(part)
    if ours.startswith("wide.waveunet."):
        inner = hifi_plusplus.their_key("refiner." + ours.removeprefix("wide."))
        return f"upsamplewaveunet.{inner}"
    return hifi_plusplus.their_key(ours)


def _config(weights: Weights, path: Path) -> FinallyConfig:
    upsampler = upsampler_sizes(weights, "hifi.")
    channels, both = weights[f"{MIXED}.2.weight"].shape[:2]
    released = {"pre_kernel": 1, "kernels": (16, 16, 4, 4), "resblock": 1, "resblock_kernels": (3, 7, 11)}
    if odd := {name: upsampler[name] for name, only in released.items() if upsampler[name] != only}:
        raise CheckpointError(path, f"has an upsampler of other sizes: {odd}", mend="only the released ones are known")
    sizes: dict[str, Any] = {}
    nets = dict(hifi_plusplus.NETS)
    wide = "upsamplewaveunet.upsample_block.0.weight" in weights
    if wide:
        nets["wide"] = "upsamplewaveunet.waveunet.net"
        sizes["wide_channels"] = weights["upsamplewaveunet.upsample_block.0.weight"].shape[0]
    for ours, theirs in nets.items():
        sizes[f"{ours}_widths"], sizes[f"{ours}_depth"] = hifi_plusplus.net_sizes(weights, theirs)
    wavlm = {"channels": both - channels, "normalise": False}  # it heard its input as it was
    told = {"sample_rate": 48000 if wide else 16000, "channels": channels, "wavlm": wavlm}
    return config_of(FinallyConfig, sizes | told, path)
