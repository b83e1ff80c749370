"""Critics (discriminators) of segan_pytorch and its forks, as checkpoints of our SEGAN critic.

Keys: enc_blocks.i.{conv,norm,act}, and the head: fc.0 .. fc.4; pool_conv and fc; fc; or mlp.0 .. mlp.2.  Spectral norm
is folded into the weights (there it missed the head's last layer and normalised a PReLU instead), so such a critic says
the same but trains on without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from enhance.critics.segan import SeganCritic, SeganCriticConfig
from enhance.foreign.layout import Foreign, Weights, config_of, folded, matched, number_of, tensors_of
from harness.errors import CheckpointError

HEADS = {  # place in our head -> their layer
    "none": {"1": "fc.0", "2": "fc.1", "3": "fc.2", "4": "fc.3", "5": "fc.4"},
    "conv": {"0": "pool_conv", "2": "fc"},
    "gmax": {"2": "fc"},
    "gavg": {"2": "fc"},
    "mlp": {"0": "mlp.0", "1": "mlp.1", "2": "mlp.2"},
}


def read_critic(content: Any, options: dict[str, Any], path: Path) -> Foreign:
    """content: of the file.  options: of train.opts; dpool_type tells gavg from gmax, which their tensors do not."""
    raw = tensors_of(content, path, ("state_dict",))
    weights = folded(raw)
    levels = number_of(weights, "enc_blocks.{}.conv.weight")
    if not levels or "dec_blocks.0.deconv.weight" in weights:
        problem = f"holds no critic of segan_pytorch (its keys begin with {', '.join(sorted(weights)[:3])})"
        raise CheckpointError(path, problem, mend="give a D- file")
    config = _config(weights, levels, options, path)
    notes = ["spectral norm is folded into the weights"] if any(key.endswith("weight_orig") for key in raw) else []
    normed = config.norm == "batch"

    def theirs(ours: str) -> str:
        table, index, *rest = ours.split(".")
        if table == "head":
            return f"{HEADS[config.head][index]}.{rest[0]}"
        part = {"0": "conv", "1": "norm" if normed else "act", "2": "act"}[rest[0]]
        return f"enc_blocks.{index}.{part}.{rest[1]}"

    with torch.device("meta"):
        critic = SeganCritic(config)
    return Foreign(
        name="segan", config=config, weights=matched(critic, weights, theirs, path), critic=True, notes=notes
    )


def _config(weights: Weights, levels: int, options: dict[str, Any], path: Path) -> SeganCriticConfig:
    if any(key.startswith("sinc_conv") for key in weights):
        raise CheckpointError(path, "has sinc filters, which crash there", mend="train ours: loss.critic.sinc=true")
    channels = tuple(weights[f"enc_blocks.{i}.conv.weight"].shape[0] for i in range(levels))
    told = options.get("dpool_type", "none")
    if "fc.4.weight" in weights:
        head, frames = "none", weights["fc.0.weight"].shape[1] // channels[-1]
    elif "pool_conv.weight" in weights:
        head, frames = "conv", weights["fc.weight"].shape[1]
    elif "mlp.0.weight" in weights:
        head, frames = "mlp", SeganCriticConfig.frames
    elif told in ("gmax", "gavg"):
        head, frames = told, SeganCriticConfig.frames
    else:
        problem = f"has a head that train.opts must tell (dpool_type gmax or gavg), but it says {told!r}"
        raise CheckpointError(path, problem, mend="give it with --options")
    norm = "batch" if "enc_blocks.0.norm.running_mean" in weights else "none"
    values = {
        "channels": channels, "norm": norm, "head": head, "frames": frames, "bias": "enc_blocks.0.conv.bias" in weights,
        "phase_shift": options.get("phase_shift", SeganCriticConfig.phase_shift) or 0,
    }  # fmt: skip
    return config_of(SeganCriticConfig, values, path)
