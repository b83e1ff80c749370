"""SEGAN+ and WSEGAN weights of segan_pytorch and its forks (github.com/santi-pdp/segan_pytorch, MIT).

A file holds {step, state_dict, optimizer} or the bare state dict.  Generator keys: enc_blocks.i.conv, enc_blocks.i.act,
alpha_i.skip_k, dec_blocks.i.deconv, dec_blocks.i.act; the first releases say gen_enc.i.conv and gen_dec.i.conv.
Spectral norm is folded into the weights.  Sizes come from the tensors; what they do not tell (pre-emphasis, the kind
of skip) comes from train.opts, or is as in its defaults.  A fork saved no skip factors: they are then one, as there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from enhance.foreign.layout import Foreign, Weights, config_of, folded, matched, number_of, tensors_of
from enhance.models.segan_plus import SeganPlus, SeganPlusConfig
from harness.errors import CheckpointError

# The fork writes numbers where the original writes words.
MERGES = {0: "concat", 1: "sum"}
SKIPS = {0: "alpha", 1: "conv", 2: "constant"}
STARTS = {0: "zero", 1: "one", 2: "randn"}


def read_generator(content: Any, options: dict[str, Any], path: Path) -> Foreign:
    """content: of the file.  options: of train.opts; missing ones take its defaults."""
    weights = folded(_renewed(tensors_of(content, path, ("state_dict",))), lambda name: name.endswith("deconv"))
    levels = number_of(weights, "enc_blocks.{}.conv.weight")
    if not levels or "dec_blocks.0.deconv.weight" not in weights:
        problem = f"holds no generator of segan_pytorch (its keys begin with {', '.join(sorted(weights)[:3])})"
        raise CheckpointError(path, problem, mend="give a G- file, or --from segan-pytorch-critic for a D- file")
    config, notes = _generator_config(weights, levels, options, path)
    with torch.device("meta"):
        model = SeganPlus(config)
    if config.skip != "conv" and "alpha_0.skip_k" not in weights:
        notes.append("the file holds no skip factors: they are one")
        weights |= {f"alpha_{i}.skip_k": torch.ones(1, config.channels[i], 1) for i in range(levels - 1)}
    return Foreign(name="segan_plus", config=config, weights=matched(model, weights, _generator_key, path), notes=notes)


def _renewed(weights: Weights) -> Weights:
    """Keys of the first releases in the words of the later ones."""
    return {
        key.replace("gen_enc.", "enc_blocks.").replace("conv.", "deconv.").replace("gen_dec.", "dec_blocks.")
        if key.startswith("gen_dec.") else key.replace("gen_enc.", "enc_blocks."): value
        for key, value in weights.items()
    }  # fmt: skip


def _generator_config(
    weights: Weights, levels: int, options: dict[str, Any], path: Path
) -> tuple[SeganPlusConfig, list[str]]:
    if options.get("no_skip"):
        raise CheckpointError(path, "was trained without skips (no_skip)", mend="segan_plus always has them")
    for name, only in (("genc_poolings", 4), ("gkwidth", 31)):
        value = options.get(name) or only
        if set(value if isinstance(value, list) else [value]) != {only}:
            raise CheckpointError(path, f"{name} is {value}", mend=f"segan_plus knows {only} only")
    channels = [weights[f"enc_blocks.{i}.conv.weight"].shape[0] for i in range(levels)]
    kind = _word(options.get("skip_type", "alpha"), SKIPS)
    kind = "conv" if "alpha_0.skip_k.weight" in weights else "alpha" if "alpha_0.skip_k" in weights else kind
    bottleneck, second = (weights[f"dec_blocks.{i}.deconv.weight"].shape[0] for i in (0, 1))
    values = {
        "channels": channels, "skip": kind, "skip_init": _word(options.get("skip_init", "one"), STARTS),
        "merge": "concat" if second == 2 * channels[-2] else "sum", "latent": bottleneck == 2 * channels[-1],
        "bias": "enc_blocks.0.conv.bias" in weights, "emphasis": options.get("preemph", 0.95),
    }  # fmt: skip
    if kind == "conv":
        values["skip_width"] = weights["alpha_0.skip_k.weight"].shape[-1]
    config = config_of(SeganPlusConfig, values, path)
    told = {
        "merge": _word(options.get("skip_merge", config.merge), MERGES),
        "latent": not options.get("no_z", not config.latent),
    }
    notes = [
        f"{name} is {getattr(config, name)} by the tensors, though the options say {said}"
        for name, said in told.items() if said != getattr(config, name)
    ]  # fmt: skip
    return config, notes


def _word(value: Any, words: dict[int, str]) -> Any:
    return words.get(value, value)


def _generator_key(ours: str) -> str:
    """encoder.0.weight -> enc_blocks.0.conv.weight, and so on."""
    table, index, *rest = ours.split(".")
    match table:
        case "encoder":
            return f"enc_blocks.{index}.conv.{rest[0]}"
        case "encoder_act":
            return f"enc_blocks.{index}.act.weight"
        case "decoder":
            return f"dec_blocks.{index}.deconv.{rest[0]}"
        case "decoder_act":
            return f"dec_blocks.{index}.act.weight"
        case "skips":
            return f"alpha_{index}.skip_k{'.' + rest[1] if rest[0] == 'conv' else ''}"
        case _:
            raise AssertionError(f"segan_plus has grown a part {ours!r} that its importer does not know")
