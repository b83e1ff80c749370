"""HiFi-GAN generators: files g_XXXXXXXX of github.com/jik876/hifi-gan (MIT).

{generator: state dict}, or the bare state dict; weight norm in either layout or taken off.  config.json beside the file
says the rates, dilations and the mel spectrogram; without it the sizes come from the tensors and the rest is as in the
released versions (V1 and V2: 22050 Hz, kernels of twice the rate).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from enhance.foreign.layout import Foreign, Weights, config_of, folded, matched, number_of, tensors_of
from enhance.models.hifi_gan import HiFiGAN, HiFiGANConfig
from harness.errors import CheckpointError

DILATIONS = {1: ((1, 3, 5),) * 3, 2: ((1, 2), (2, 6), (3, 12))}  # of V1 and V2, and of V3


def read_generator(content: Any, options: dict[str, Any], path: Path) -> Foreign:
    """content: of the file.  options: of config.json."""
    weights = folded(tensors_of(content, path, ("generator", "state_dict")))
    if "ups.0.weight" not in weights:
        problem = f"holds no generator of HiFi-GAN (its keys begin with {', '.join(sorted(weights)[:3])})"
        raise CheckpointError(path, problem, mend="give a file g_..., not do_...")
    notes: list[str] = []
    config = _config(weights, options, path, notes)
    with torch.device("meta"):
        model = HiFiGAN(config)
    ours = matched(model, weights, lambda name: name.removeprefix("upsampler."), path)
    return Foreign(name="hifi_gan", config=config, weights=ours, notes=notes)


def upsampler_sizes(weights: Weights, prefix: str = "") -> dict[str, Any]:
    """What the tensors of HiFi-GAN's upsampler tell of its sizes: channels, kernels, resblock and their kernels."""
    ups = number_of(weights, f"{prefix}ups.{{}}.weight")
    kind = 1 if f"{prefix}resblocks.0.convs1.0.weight" in weights else 2
    convs = "convs1" if kind == 1 else "convs"
    blocks = number_of(weights, f"{prefix}resblocks.{{}}.{convs}.0.weight") // max(1, ups)
    return {
        "channels": weights[f"{prefix}ups.0.weight"].shape[0],
        "pre_kernel": weights[f"{prefix}conv_pre.weight"].shape[-1],
        "kernels": tuple(weights[f"{prefix}ups.{i}.weight"].shape[-1] for i in range(ups)),
        "resblock": kind,
        "resblock_kernels": tuple(weights[f"{prefix}resblocks.{i}.{convs}.0.weight"].shape[-1] for i in range(blocks)),
    }


def _config(weights: Weights, options: dict[str, Any], path: Path, notes: list[str]) -> HiFiGANConfig:
    sizes = upsampler_sizes(weights)
    if not options:
        notes.append("no config.json: rates, dilations, 22050 Hz and the mel spectrogram are assumed as released")
    size = options.get("n_fft", 1024)
    if options.get("win_size", size) != size:
        problem = f"has a window of {options['win_size']} samples in a transform of {size}"
        raise CheckpointError(path, problem, mend="only equal sizes can be imported")
    rates = options.get("upsample_rates") or [kernel // 2 for kernel in sizes["kernels"]]
    dilations = options.get("resblock_dilation_sizes") or DILATIONS[sizes["resblock"]]
    told = {
        "rates": rates, "resblock_dilations": dilations, "size": size, "bands": weights["conv_pre.weight"].shape[1],
        "sample_rate": options.get("sampling_rate", 22050), "low": options.get("fmin", 0.0),
        "high": options.get("fmax", 8000.0),
    }  # fmt: skip
    config = config_of(HiFiGANConfig, sizes | told, path)
    hop = config.spectrogram().hop
    if options.get("hop_size", hop) != hop:
        problem = f"hop_size is {options['hop_size']}, but the upsampling gives {hop} samples a frame"
        raise CheckpointError(path, problem, mend="give the config.json of this checkpoint")
    return config
