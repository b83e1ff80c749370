"""pytorch-kaldi's trained nets (final_architectureN.pkl) as a state dict of our hybrid model.

Their outputs at test are kept exactly, which asks for a little algebra:

- dropout there is not scaled in training, so that at test the candidate is multiplied by 1 - p.  In the Li-GRU the
  factor goes through the ReLU into the batch norm's scale and shift and into the recurrent weights;
- a bias before a batch norm moves its running mean; a batch norm of the input is a scale and a bias of the first layer;
- CNN and SincNet hand the length of a feature map to BatchNorm1d as its epsilon; the excess goes into the variance.

Layer norms that a net holds but does not use ("ln", and "bn" where there is no batch norm) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from am.models.cnn import CNNConfig
from am.models.hybrid import HybridModel
from am.pytorch_kaldi.plan import CUDNN, NORMED, Dense, Plan
from am.pytorch_kaldi.system import Net
from harness.errors import CheckpointError
from harness.safe_pickle import read_pickle

Weights = dict[str, Tensor]
EPSILON = 1e-5  # torch's of a batch norm
# trunk -> names of its gates in our order: (feed-forward, recurrent)
GATES = {
    "ligru": (("wh", "wz"), ("uh", "uz")),
    "minimal_gru": (("wh", "wz"), ("uh", "uz")),
    "normed_gru": (("wh", "wz", "wr"), ("uh", "uz", "ur")),
    "normed_lstm": (("wcx", "wfx", "wix", "wox"), ("uch", "ufh", "uih", "uoh")),
}
UNUSED = re.compile(r"(ln|bn|bn_\w+)\.\d+\.")


class Store:
    """The tensors of one net; what is taken is crossed off."""

    def __init__(self, path: Path, tensors: Weights) -> None:
        self.path, self.tensors, self.taken = path, tensors, set[str]()

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def take(self, key: str) -> Tensor:
        """A tensor by its name there.  Raises CheckpointError where it is missing."""
        if key not in self.tensors:
            raise CheckpointError(self.path, f"lacks {key}", mend="give the .pkl files and the .cfg of one system")
        self.taken.add(key)
        return self.tensors[key].float()

    def cat(self, names: Sequence[str], key: str) -> Tensor:
        """The tensors name.key of several names, one below the other."""
        parts = [self.take(f"{name}.{key}") for name in names]
        if len({part.shape for part in parts}) > 1:
            shapes = ", ".join(f"{name}.{key} {list(part.shape)}" for name, part in zip(names, parts, strict=True))
            raise CheckpointError(self.path, f"has gates of different sizes: {shapes}", mend="use an undamaged copy")
        return torch.cat(parts)

    def finish(self) -> None:
        """Raise CheckpointError where a tensor was left over that counts."""
        rest = [key for key in self.tensors.keys() - self.taken if not UNUSED.match(key)]
        rest = sorted(key for key in rest if not key.endswith("num_batches_tracked"))
        if rest:
            problem = f"holds {len(rest)} tensors that the .cfg does not speak of ({', '.join(rest[:5])})"
            raise CheckpointError(self.path, problem, mend="give the .pkl files and the .cfg of one system")


def read_store(net: Net, directory: Path) -> Store:
    """final_architectureN.pkl of a directory or of its exp_files.  Raises CheckpointError: missing, damaged, no net."""
    for path in (directory / net.file, directory / "exp_files" / net.file):
        if path.is_file():
            break
    else:
        problem = f"has no {net.file}, nor has its exp_files"
        raise CheckpointError(directory, problem, mend="give the out_folder of the system with --checkpoints")
    content = read_pickle(path)
    found = content.get("model_par") if isinstance(content, Mapping) else None
    if not isinstance(found, Mapping) or not found or not all(isinstance(one, Tensor) for one in found.values()):
        raise CheckpointError(path, "holds no model_par of tensors", mend="give a .pkl that pytorch-kaldi wrote")
    return Store(path, {str(key).removeprefix("module."): value for key, value in found.items()})


def input_dim_of(plan: Plan, stores: Mapping[str, Store]) -> int | None:
    """Features a frame, where the weights tell it."""
    window = 2 * plan.streams[0].left + 1
    if plan.front is None:
        return int(stores[plan.hidden[0].net.name].take("wx.0.weight").shape[1]) // window
    store, kind = stores[plan.front.name], plan.front.kind
    if kind in NORMED:
        return int(store.take(f"{GATES[plan.config.model][0][0]}.0.weight").shape[1])
    if kind in CUDNN:
        return int(store.take(f"{CUDNN[kind]}.0.weight_ih_l0").shape[1])
    if kind == "SRU":
        first = "weight_proj" if "sru.rnn_lst.0.weight_proj" in store else "weight"
        return int(store.take(f"sru.rnn_lst.0.{first}").shape[0])
    return int(store.take("ln0.gamma").shape[0]) // window if "ln0.gamma" in store else None


def fill(model: HybridModel, plan: Plan, stores: Mapping[str, Store]) -> Weights:
    """Our state dict for the model, from theirs.  Raises CheckpointError for what is missing or left over."""
    filled = _trunk(plan, stores)
    for name, head in (("pdf_head", plan.pdf_head), ("phone_head", plan.phone_head)):
        if head is not None:
            filled[f"{name}.weight"] = stores[head.net.name].take(f"wx.{head.index}.weight")
            filled[f"{name}.bias"] = stores[head.net.name].take(f"wx.{head.index}.bias")
        else:
            filled[f"{name}.weight"] = torch.zeros_like(model.phone_head.weight)
            filled[f"{name}.bias"] = torch.zeros_like(model.phone_head.bias)
    for store in stores.values():
        store.finish()
    ours = model.state_dict()
    kept = {key: ours[key] for key in ("input_mean", "input_scale", "log_priors")}
    counters = {key: value for key, value in ours.items() if key.endswith("num_batches_tracked")}
    return {**kept, **counters, **filled}


def _trunk(plan: Plan, stores: Mapping[str, Store]) -> Weights:
    if plan.front is None:
        return {f"trunk.dense.{key}": value for key, value in _dense(plan.hidden, stores, input_norm=True).items()}
    store, model = stores[plan.front.name], plan.config.model
    if plan.front.kind in NORMED:
        found = _normed(store, plan)
    elif plan.front.kind in CUDNN:
        found = _cudnn(store, plan)
    elif plan.front.kind == "SRU":
        found = _sru(store, plan)
    else:
        dense = _dense(plan.hidden, stores, input_norm=False)
        found = _convolutions(store, getattr(plan.config, model), plan)
        found |= {f"mlp.dense.{key}": value for key, value in dense.items()}
    return {f"trunk.{key}": value for key, value in found.items()}


# -- dense layers ----------------------------------------------------------------------------------------------------


def _input_norm(store: Store) -> tuple[Tensor, Tensor] | None:
    """(scale, shift) of the batch norm of the net's input, where it has one."""
    if "bn0.weight" not in store:
        return None
    scale = store.take("bn0.weight") / (store.take("bn0.running_var") + EPSILON).sqrt()
    return scale, store.take("bn0.bias") - store.take("bn0.running_mean") * scale


def _dense(hidden: Sequence[Dense], stores: Mapping[str, Store], *, input_norm: bool) -> Weights:
    """Linear, batch norm, ReLU, dropout: four modules a layer in our MLP."""
    found: Weights = {}
    for number, layer in enumerate(hidden):
        store, index = stores[layer.net.name], layer.index
        weight, offset = store.take(f"wx.{index}.weight"), store.take(f"wx.{index}.bias")
        norm = _input_norm(store) if input_norm and number == 0 else None
        if norm is not None:
            offset = offset + weight @ norm[1]
            weight = weight * norm[0]
        found[f"{4 * number}.weight"] = weight
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{4 * number + 1}.{part}"] = store.take(f"bn.{index}.{part}")
        found[f"{4 * number + 1}.running_mean"] = found[f"{4 * number + 1}.running_mean"] - offset
    return found


# -- recurrent nets --------------------------------------------------------------------------------------------------


def _normed(store: Store, plan: Plan) -> Weights:
    model = plan.config.model
    config = getattr(plan.config, model)
    assert plan.front is not None
    kept = [1 - p for p in plan.front.options.floats(f"{NORMED[plan.front.kind][1]}_drop")]
    input_norm, found = _input_norm(store), dict[str, Tensor]()
    for layer in range(config.layers):
        ours = _normed_layer(store, plan, layer, input_norm if layer == 0 else None)
        if model == "ligru":
            ours = _scaled_candidate(ours, kept[layer], config.units)
        found |= {f"layers.{layer}.{key}": value for key, value in ours.items()}
    return found


def _normed_layer(store: Store, plan: Plan, layer: int, input_norm: tuple[Tensor, Tensor] | None) -> Weights:
    model = plan.config.model
    config = getattr(plan.config, model)
    batch_norm = model == "ligru" or config.batch_norm
    state_norm = model != "ligru" and config.state_norm
    forward, recurrent = ([f"{name}.{layer}" for name in names] for names in GATES[model])
    weight = store.cat(forward, "weight")
    ours = {"feedforward": weight * input_norm[0] if input_norm else weight}
    transposed = torch.cat([store.take(f"{name}.weight").T for name in recurrent], 1)
    ours["recurrent"] = transposed[None] if model == "ligru" else transposed
    if state_norm:
        ours["state_norm.scale"], ours["state_norm.shift"] = (
            store.take(f"ln.{layer}.gamma"),
            store.take(f"ln.{layer}.beta"),
        )
    if batch_norm:
        for part in ("weight", "bias", "running_mean", "running_var"):
            ours[f"norm.{part}"] = store.cat([f"bn_{name}" for name in forward], part)
    if batch_norm and input_norm:
        ours["norm.running_mean"] = ours["norm.running_mean"] - weight @ input_norm[1]
    if not (batch_norm or state_norm):
        ours["bias"] = store.cat(forward, "bias")
    return ours


def _scaled_candidate(ours: Weights, kept: float, units: int) -> Weights:
    """relu(a) k = relu(k a): the Li-GRU's candidate times the share that dropout keeps."""
    scaled = {key: value.clone() for key, value in ours.items()}
    for key in ("norm.weight", "norm.bias"):
        scaled[key][:units] *= kept
    scaled["recurrent"][..., :units] *= kept
    return scaled


def _cudnn(store: Store, plan: Plan) -> Weights:
    name = plan.config.model
    config, found = getattr(plan.config, name), dict[str, Tensor]()
    for layer in range(config.layers):
        for direction, suffix in enumerate(("", "_reverse")[: 1 + config.bidirectional]):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                key = f"{name}.0.{part}_l{layer}{suffix}"
                absent = part.startswith("bias") and key not in store  # bias=False
                rows = store.take(f"{name}.0.weight_ih_l{layer}{suffix}").shape[0]
                found[f"layers.{layer}.{direction}.{part}_l0"] = torch.zeros(rows) if absent else store.take(key)
    return found


def _sru(store: Store, plan: Plan) -> Weights:
    config, found = plan.config.sru, dict[str, Tensor]()
    shape = (2, 1 + config.bidirectional, config.units)
    for layer in range(config.layers):
        theirs = f"sru.rnn_lst.{layer}"
        ours = {"weight": store.take(f"{theirs}.weight")}
        if f"{theirs}.weight_proj" in store:
            ours["projection"] = store.take(f"{theirs}.weight_proj")
        for own, key in (("gate_weight", "weight_c"), ("gate_bias", "bias")):
            values = store.take(f"{theirs}.{key}")
            ours[own] = values.view(shape) if values.numel() == torch.Size(shape).numel() else values
        ours["highway_scale"] = store.take(f"{theirs}.scale_x").reshape(())
        found |= {f"layers.{layer}.{key}": value for key, value in ours.items()}
    return found


# -- convolutions ----------------------------------------------------------------------------------------------------


def _convolutions(store: Store, config: CNNConfig, plan: Plan) -> Weights:
    found: Weights = {}
    if config.input_norm:
        found["input_norm.scale"], found["input_norm.shift"] = store.take("ln0.gamma"), store.take("ln0.beta")
    for layer in range(len(config.filters)):
        theirs, ours = f"conv.{layer}", f"blocks.{layer}"
        if layer == 0 and plan.config.model == "sincnet":
            found[f"{ours}.conv.low"], found[f"{ours}.conv.band"] = (
                store.take(f"{theirs}.low_hz_"), store.take(f"{theirs}.band_hz_"),
            )  # fmt: skip
        else:
            found[f"{ours}.conv.weight"], found[f"{ours}.conv.bias"] = (
                store.take(f"{theirs}.weight"), store.take(f"{theirs}.bias"),
            )  # fmt: skip
        if config.norm == "layer":
            found[f"{ours}.norm.scale"], found[f"{ours}.norm.shift"] = (
                store.take(f"ln.{layer}.gamma"), store.take(f"ln.{layer}.beta"),
            )  # fmt: skip
        elif config.norm == "batch":
            for part in ("weight", "bias", "running_mean", "running_var"):
                found[f"{ours}.norm.{part}"] = store.take(f"bn.{layer}.{part}")
            length = store.take(f"ln.{layer}.gamma").shape[1]  # which is that batch norm's epsilon
            found[f"{ours}.norm.running_var"] = found[f"{ours}.norm.running_var"] + (length - EPSILON)
    return found
