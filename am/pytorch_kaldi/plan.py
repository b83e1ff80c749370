"""A pytorch-kaldi system as settings of ours: which trunk, which heads, how it was trained; what has no counterpart.

What changes the outputs and cannot be expressed is an error, and all of it is named at once; what changes further
training only is a note.  Facts about the nets: Ravanelli, Parcollet, Bengio 2019, arXiv:1811.07453, and its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from am.config import AcousticConfig
from am.pytorch_kaldi.system import Net, Section, Stream, System
from harness.config import from_plain
from harness.errors import ConfigError

# class in pytorch-kaldi -> (our trunk, prefix of its options)
NORMED = {
    "LSTM": ("normed_lstm", "lstm"), "GRU": ("normed_gru", "gru"),
    "minimalGRU": ("minimal_gru", "minimalgru"), "liGRU": ("ligru", "ligru"),
}  # fmt: skip
CUDNN = {"LSTM_cudnn": "lstm", "GRU_cudnn": "gru"}
CONVOLUTIONS = {"CNN": ("cnn", "cnn"), "SincNet": ("sincnet", "sinc")}
KINDS = (*NORMED, *CUDNN, "SRU", *CONVOLUTIONS, "MLP")


@dataclass(frozen=True)
class Dense:
    """One layer of an MLP."""

    net: Net
    index: int
    units: str  # a number or N_out_...
    dropout: float
    batch_norm: bool
    layer_norm: bool
    activation: str


@dataclass(frozen=True)
class Plan:
    """Our settings for a system, and which of its nets is what."""

    system: System
    config: AcousticConfig
    streams: tuple[Stream, ...]
    front: Net | None  # recurrent or convolutional; None for an MLP
    hidden: tuple[Dense, ...]  # dense layers of the trunk
    pdf_head: Dense
    phone_head: Dense | None
    notes: tuple[str, ...]

    @property
    def nets(self) -> list[Net]:
        """Every net whose weights are needed, once."""
        layers = [*self.hidden, self.pdf_head, *([self.phone_head] if self.phone_head else [])]
        nets = ([self.front] if self.front else []) + [layer.net for layer in layers]
        return list({net.name: net for net in nets}.values())


@dataclass
class _Findings:
    """What was met on the way."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def same(self, values: Sequence[Any], what: str, net: Net) -> Any:
        """The one value of all layers; a problem where they differ."""
        if len(set(values)) > 1:
            self.problems.append(f"{net.kind}: layers that differ in {what} ({', '.join(map(str, values))})")
        return values[0]


def plan_of(system: System) -> Plan:
    """Our settings for a system.  Raises ConfigError that names everything without counterpart."""
    found = _Findings()
    names, nets = system.chain(system.forward_out)
    front = nets[0] if nets and nets[0].kind != "MLP" else None
    behind = nets[1:] if front else nets
    if any(net.kind not in KINDS for net in nets):
        unknown = [net.kind for net in nets if net.kind not in KINDS]
        raise _inexpressible(system, [f"{kind} (there is {', '.join(KINDS)})" for kind in unknown])
    if not behind or any(net.kind != "MLP" for net in behind):
        raise _inexpressible(system, [f"the chain {' -> '.join(net.kind for net in nets)}"])
    dense = [layer for net in behind for layer in _dense(net)]
    head, hidden = dense[-1], tuple(dense[:-1])
    _check_head(head, found)
    streams = tuple(system.streams[name] for name in names)
    model, section = _trunk(front, hidden, streams, found)
    phone_head, phone_weight = _phone_head(system, nets, found)
    _check_input_norms(front, behind, found)
    values = {"model": model, model: section, "inputs": _inputs(streams, found)}
    values["train"] = _training(system, front or behind[0], phone_weight, found)
    if len(system.outputs) > 1:
        found.notes.append(f"only {system.forward_out} becomes likelihoods, not {', '.join(system.outputs[1:])}")
    if found.problems:
        raise _inexpressible(system, found.problems)
    config = from_plain(AcousticConfig, values, str(system.path))
    return Plan(system, config, streams, front, hidden, head, phone_head, tuple(found.notes))


def _inexpressible(system: System, problems: list[str]) -> ConfigError:
    mend = "train one of cfg/am in its place; nothing was written"
    return ConfigError(system.path, f"cannot express {'; '.join(problems)}", mend=mend)


# -- the trunk -------------------------------------------------------------------------------------------------------


def _trunk(
    front: Net | None, hidden: tuple[Dense, ...], streams: tuple[Stream, ...], found: _Findings
) -> tuple[str, dict[str, Any]]:
    """(name in MODELS, its section)."""
    if front is None or front.kind in CONVOLUTIONS:
        context = _context(streams, found)
        dense = _hidden(hidden, "an MLP" if front is None else front.kind, found)
        if front is None:
            return "mlp", {**dense, "context": context}
        return CONVOLUTIONS[front.kind][0], {**dense, **_convolutions(front, found), "context": context}
    if hidden:
        found.problems.append(f"{len(hidden)} dense layers between {front.kind} and the softmax")
    if any(stream.left or stream.right for stream in streams):
        found.problems.append(f"a window of frames (cw_left, cw_right) before {front.kind}")
    if front.kind in CUDNN:
        return CUDNN[front.kind], _cudnn(front)
    return ("sru", _sru(front, found)) if front.kind == "SRU" else _normed(front, found)


def _context(streams: tuple[Stream, ...], found: _Findings) -> int:
    windows = {(stream.left, stream.right) for stream in streams}
    left, right = max(windows)
    if len(windows) > 1 or left != right:
        found.problems.append(f"windows of {sorted(windows)} frames to the left and right: one, symmetric, is possible")
    if len(streams) > 1 and left:
        found.problems.append("windows of several streams (their columns lie in another order)")
    return left


def _hidden(hidden: tuple[Dense, ...], where: str, found: _Findings) -> dict[str, Any]:
    if not hidden:
        found.problems.append(f"{where} without a hidden dense layer")
        return {}
    net = hidden[0].net
    if any(not layer.batch_norm or layer.layer_norm for layer in hidden):
        found.problems.append("MLP: hidden layers without batch norm, or with layer norm")
    others = sorted({layer.activation for layer in hidden} - {"relu"})
    if others:
        found.problems.append(f"MLP: activation {', '.join(others)} (relu is possible)")
    units = found.same([layer.units for layer in hidden], "units", net)
    if not units.isdigit():
        found.problems.append(f"MLP: a hidden layer of {units}")
    dropouts = [layer.dropout for layer in hidden]
    if len(set(dropouts)) > 1:
        found.notes.append(f"dropout of the dense layers is {dropouts}; further training takes the first for all")
    return {"layers": len(hidden), "units": int(units) if units.isdigit() else 1, "dropout": dropouts[0]}


def _normed(net: Net, found: _Findings) -> tuple[str, dict[str, Any]]:
    model, prefix = NORMED[net.kind]
    options = net.options
    units = options.integers(f"{prefix}_lay")
    dropouts = options.floats(f"{prefix}_drop")
    section: dict[str, Any] = {
        "layers": len(units),
        "units": found.same(units, "units", net),
        "bidirectional": options.flag(f"{prefix}_bidir"),
        "dropout": dropouts[0],
    }
    if options.scheduled(f"{prefix}_drop"):
        found.problems.append(f"{net.kind}: a dropout that changes with the epochs (it counts at test as well)")
    activation = found.same(options.words(f"{prefix}_act"), "activation", net)
    batch_norm = found.same(options.flags(f"{prefix}_use_batchnorm"), "batch norm", net)
    layer_norm = found.same(options.flags(f"{prefix}_use_laynorm"), "layer norm", net)
    if model == "ligru":
        if (activation, batch_norm, layer_norm) != ("relu", True, False):
            found.problems.append("liGRU: other than relu with batch norm and without layer norm")
        if len(set(dropouts)) > 1:
            found.notes.append(f"dropout of the layers is {dropouts}; further training takes the first for all")
        return model, section
    found.same(dropouts, "dropout", net)
    if activation not in ("tanh", "relu"):
        found.problems.append(f"{net.kind}: activation {activation} (tanh and relu are possible)")
        activation = "tanh"
    return model, {**section, "activation": activation, "batch_norm": batch_norm, "state_norm": layer_norm}


def _cudnn(net: Net) -> dict[str, Any]:
    options = net.options
    return {
        "layers": options.integer("num_layers"),
        "units": options.integer("hidden_size"),
        "bidirectional": options.flag("bidirectional"),
        "dropout": options.floats("dropout")[0],
    }


def _sru(net: Net, found: _Findings) -> dict[str, Any]:
    options = net.options
    for key in ("sru_use_selu", "sru_weight_norm", "sru_layer_norm"):
        if options.flag(key):
            found.problems.append(f"SRU: {key}")
    if not options.flag("sru_has_skip_term"):
        found.problems.append("SRU: sru_has_skip_term=False")
    if options.flag("sru_is_input_normalized"):
        found.notes.append("sru_is_input_normalized changes the start of a training only; it is left out")
    activation = "tanh" if options.flag("sru_use_tanh") else "relu" if options.flag("sru_use_relu") else "identity"
    return {
        "layers": options.integer("sru_num_layers"),
        "units": options.integer("sru_hidden_size"),
        "bidirectional": options.flag("sru_bidirectional"),
        "projection": options.integer("sru_n_proj"),
        "dropout": options.floats("sru_dropout")[0],
        "input_dropout": options.floats("sru_rnn_dropout")[0],
        "activation": activation,
        "highway_bias": options.floats("sru_highway_bias")[0],
        "rescale": options.flag("sru_rescale"),
    }


def _convolutions(net: Net, found: _Findings) -> dict[str, Any]:
    model, prefix = CONVOLUTIONS[net.kind]
    options = net.options
    layer_norm = found.same(options.flags(f"{prefix}_use_laynorm"), "layer norm", net)
    batch_norm = found.same(options.flags(f"{prefix}_use_batchnorm"), "batch norm", net)
    if layer_norm and batch_norm:
        found.problems.append(f"{net.kind}: layer and batch norm at once (pytorch-kaldi convolves twice then)")
    activation = found.same(options.words(f"{prefix}_act"), "activation", net)
    if activation != "relu":
        found.problems.append(f"{net.kind}: activation {activation} (relu is possible)")
    dropouts = options.floats(f"{prefix}_drop")
    if len(set(dropouts)) > 1:
        found.notes.append(f"dropout of the convolutions is {dropouts}; further training takes the first for all")
    section: dict[str, Any] = {
        "filters": options.integers(f"{prefix}_N_filt"),
        "widths": options.integers(f"{prefix}_len_filt"),
        "pools": options.integers(f"{prefix}_max_pool_len"),
        "norm": "layer" if layer_norm else "batch" if batch_norm else "none",
        "input_norm": options.flag(f"{prefix}_use_laynorm_inp"),
        "conv_dropout": dropouts[0],
    }
    if model == "sincnet":
        section["sample_rate"] = options.integer("sinc_sample_rate")
        section["min_low"] = options.floats("sinc_min_low_hz")[0]
        section["min_band"] = options.floats("sinc_min_band_hz")[0]
    return section


# -- dense layers and heads ------------------------------------------------------------------------------------------


def _dense(net: Net) -> list[Dense]:
    options = net.options
    columns = (
        options.words("dnn_lay"), options.floats("dnn_drop"), options.flags("dnn_use_batchnorm"),
        options.flags("dnn_use_laynorm"), options.words("dnn_act"),
    )  # fmt: skip
    if len({len(column) for column in columns}) > 1:
        problem = f"lists of {[len(column) for column in columns]} layers (dnn_lay, dnn_drop, dnn_use_*, dnn_act)"
        raise ConfigError(options.where, problem, mend="give one value a layer")
    return [Dense(net, index, *values) for index, values in enumerate(zip(*columns, strict=True))]


def _check_head(head: Dense, found: _Findings) -> None:
    if head.activation != "softmax" or head.batch_norm or head.layer_norm:
        found.problems.append(f"an output layer that is no plain softmax ({head.net.name}: {head.activation})")


def _phone_head(system: System, nets: list[Net], found: _Findings) -> tuple[Dense | None, float]:
    """The second softmax layer on the same trunk, and its weight relative to the first."""
    try:
        loss = system.loss()
    except ConfigError as error:
        found.notes.append(f"the loss is not a sum of cross entropies ({error.problem}); further training takes ours")
        return None, 0.0
    own = sum(weight for (output, _), weight in loss.items() if output == system.forward_out)
    others = {output: weight for (output, _), weight in loss.items() if output != system.forward_out}
    if own <= 0:
        found.notes.append(f"{system.forward_out} is not trained by loss_final; further training takes our loss")
        return None, 0.0
    for output, weight in others.items():
        chain = system.chain(output)[1]
        last = _dense(chain[-1]) if chain[-1].kind == "MLP" else []
        if len(others) == 1 and chain[:-1] == nets[:-1] and len(last) == 1 and last[0].activation == "softmax":
            return last[0], weight / own
        found.notes.append(f"the loss of {output} has no counterpart: its net is left out")
    return None, 0.0


def _check_input_norms(front: Net | None, behind: list[Net], found: _Findings) -> None:
    """Norms of a net's input: the first net's batch norm goes into its weights, convolutions have a layer norm."""
    for net in ([front] if front else []) + behind:
        if net.kind in CUDNN or net.kind == "SRU":
            continue
        prefix = {**NORMED, **CONVOLUTIONS, "MLP": ("", "dnn")}[net.kind][1]
        first = net is (front or behind[0])
        batch = net.options.flag(f"{prefix}_use_batchnorm_inp")
        layer = net.options.flag(f"{prefix}_use_laynorm_inp")
        if batch and not (first and net.kind not in CONVOLUTIONS):
            found.problems.append(f"{net.kind}: batch norm of its input ({net.name})")
        if batch and net.kind in NORMED and not any(net.options.flags(f"{prefix}_use_batchnorm")):
            found.problems.append(f"{net.kind}: batch norm of its input, but none inside")
        if layer and net.kind not in CONVOLUTIONS:
            found.problems.append(f"{net.kind}: layer norm of its input ({net.name})")


# -- inputs and training ---------------------------------------------------------------------------------------------


def _inputs(streams: tuple[Stream, ...], found: _Findings) -> dict[str, Any]:
    norms = set()
    for stream in streams:
        variance = "--norm-vars=true" in stream.options
        norms.add(("mean_variance" if variance else "mean") if "apply-cmvn" in stream.options else "none")
        if "add-deltas" in stream.options and "--delta-order=0" not in stream.options:
            found.notes.append(f"{stream.name} has deltas: its feats.scp must hold them ({stream.options})")
    if len(norms) > 1:
        found.problems.append(f"streams normalised by speaker in different ways ({', '.join(sorted(norms))})")
    return {"speaker_norm": min(norms)}


def _training(system: System, net: Net, phone_weight: float, found: _Findings) -> dict[str, Any]:
    options, batches = net.options, system.batches
    optimizer = options.text("arch_opt")
    if optimizer not in ("rmsprop", "adam"):
        found.notes.append(f"optimizer {optimizer} has no counterpart; further training takes rmsprop")
    by_frame = not options.flag("arch_seq_model")
    if by_frame:
        found.notes.append("batch_size_train counts frames there, utterances here; further training takes 8")
    curriculum = batches.flag("increase_seq_length_train")
    _note_training(options, batches, found)
    return {
        "seed": system.exp.integer("seed"),
        "epochs": system.exp.integer("n_epochs_tr"),
        "batch_size": 8 if by_frame else batches.integer("batch_size_train"),
        "start_frames": batches.integer("start_seq_len_train") if curriculum else 0,
        "growth": float(batches.integer("multply_factor_seq_len_train")) if curriculum else 2.0,
        "max_frames": max(0, batches.integer("max_seq_length_train")),
        "optimizer": optimizer if optimizer in ("rmsprop", "adam") else "rmsprop",
        "rate": options.floats("arch_lr")[0],
        "newbob_factor": options.floats("arch_halving_factor")[0],
        "newbob_threshold": options.floats("arch_improvement_threshold")[0],
        "phone_weight": phone_weight,
        "patience": 0,
    }


def _note_training(options: Section, batches: Section, found: _Findings) -> None:
    scheduled = [f"arch_lr={options.text('arch_lr')}"] if options.scheduled("arch_lr") else []
    for key in ("batch_size_train", "max_seq_length_train"):
        if batches.scheduled(key):
            scheduled.append(f"{key}={batches.text(key)}")
    if scheduled:
        found.notes.append(f"schedules by epoch ({', '.join(scheduled)}); further training takes their first value")
    kept = ["arch_freeze=True"] if options.flag("arch_freeze", "False") else []
    kept += [
        f"{key}={options.text(key)}"
        for key in ("opt_momentum", "opt_weight_decay")
        if key in options.values and options.floats(key)[0] != 0
    ]
    if kept:
        found.notes.append(f"{', '.join(kept)} has no counterpart in further training")
