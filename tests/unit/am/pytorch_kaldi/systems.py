"""Small pytorch-kaldi systems as its files: a .cfg, and checkpoints with every tensor that its nets hold."""

from __future__ import annotations

from pathlib import Path

import torch

HEAD = """
[exp]
seed = 4234
n_epochs_tr = 24
out_folder = exp/small

[dataset1]
data_name = tr
fea = fea_name={name}
\tfea_lst=data/train/feats.scp
\tfea_opts=apply-cmvn --utt2spk=ark:data/train/utt2spk ark:cmvn.ark ark:- ark:- | add-deltas --delta-order=0 ark:- |
\tcw_left={context}
\tcw_right={context}
lab = lab_name=lab_cd
\tlab_folder=ali
\tlab_opts=ali-to-pdf
n_chunks = 5

[data_use]
train_with = tr
valid_with = tr
forward_with = tr

[batches]
batch_size_train = 8
max_seq_length_train = 1000
increase_seq_length_train = True
start_seq_len_train = 100
multply_factor_seq_len_train = 2
"""
COMMON = """
arch_lr = 0.0004
arch_halving_factor = 0.5
arch_improvement_threshold = 0.001
arch_opt = rmsprop
opt_momentum = 0.0
opt_alpha = 0.95
opt_weight_decay = 0.0
"""
SOFTMAX = {
    "dnn_drop": "0.0", "dnn_use_laynorm_inp": "False", "dnn_use_batchnorm_inp": "False",
    "dnn_use_batchnorm": "False", "dnn_use_laynorm": "False", "dnn_act": "softmax",
}  # fmt: skip
MODEL = """
[model]
model_proto = proto/model.proto
model = {lines}

[forward]
forward_out = out_cd
normalize_posteriors = True
normalize_with_counts_from = lab_cd
"""


def write_cfg(path: Path, nets: list[tuple[str, str, dict[str, str]]], lines: str, *, name="fmllr", context=0) -> Path:
    """nets: (arch_name, arch_class, options)."""
    text = HEAD.format(name=name, context=context)
    for number, (arch, kind, options) in enumerate(nets, 1):
        text += f"\n[architecture{number}]\narch_name = {arch}\narch_class = {kind}\narch_seq_model = {kind != 'MLP'}"
        text += COMMON + "".join(f"{key} = {value}\n" for key, value in options.items())
    path.write_text(text + MODEL.format(lines=lines.replace("\n", "\n\t")), encoding="utf-8")
    return path


TWO_HEADS = """h=compute(front,{name})
out_cd=compute(cd,h)
out_mono=compute(mono,h)
loss_mono=cost_nll(out_mono,lab_mono)
loss_mono_w=mult_constant(loss_mono,0.5)
loss_cd=cost_nll(out_cd,lab_cd)
loss_final=sum(loss_cd,loss_mono_w)
err_final=cost_err(out_cd,lab_cd)"""


def two_heads(name="fmllr") -> str:
    return TWO_HEADS.format(name=name)


def draw(*shape, seed=[0], spread=0.5):  # noqa: B006 - one row of draws for all calls
    seed[0] += 1
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed[0])) * spread


def norm(net, name, features):
    """A batch norm that has seen data."""
    net |= {
        f"{name}.weight": draw(features) + 1, f"{name}.bias": draw(features),
        f"{name}.running_mean": draw(features), f"{name}.running_var": draw(features).abs() + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(7),
    }  # fmt: skip


def layer_norm(net, name, *shape):
    net |= {f"{name}.gamma": draw(*shape) + 1, f"{name}.beta": draw(*shape)}


def mlp(input_dim, units):
    """Tensors of an MLP: norms are there whether used or not."""
    net = {}
    for i, width in enumerate(units):
        net |= {f"wx.{i}.weight": draw(width, input_dim), f"wx.{i}.bias": draw(width)}
        norm(net, f"bn.{i}", width)
        layer_norm(net, f"ln.{i}", width)
        input_dim = width
    return net


def recurrent(input_dim, units, layers, gates, *, bidir, bias):
    """Tensors of a recurrent net; gates: (feed-forward, recurrent) names."""
    net = {}
    for i in range(layers):
        for name in gates[0]:
            net[f"{name}.{i}.weight"] = draw(units, input_dim)
            if bias:
                net[f"{name}.{i}.bias"] = draw(units)
            norm(net, f"bn_{name}.{i}", units)
        for name in gates[1]:
            net[f"{name}.{i}.weight"] = draw(units, units)
        layer_norm(net, f"ln.{i}", units)
        input_dim = units * (2 if bidir else 1)
    return net


def sru(input_dim, units, layers, projection, *, bidir):
    net, ways = {}, 2 if bidir else 1
    for i in range(layers):
        inner = projection if 0 < projection < min(input_dim, units) else 0
        terms = 3 if input_dim == ways * units else 4
        prefix = f"sru.rnn_lst.{i}"
        if inner:
            net[f"{prefix}.weight_proj"] = draw(input_dim, inner)
        net |= {
            f"{prefix}.weight": draw(inner or input_dim, ways * units * terms),
            f"{prefix}.weight_c": draw(2 * ways * units), f"{prefix}.bias": draw(2 * ways * units),
            f"{prefix}.scale_x": torch.tensor([1.3]),
        }  # fmt: skip
        input_dim = ways * units
    return net


def convolutions(numbers, filters, widths, pools, *, sinc=False, input_norm=False):
    net, channels = {}, 1
    if input_norm:
        layer_norm(net, "ln0", numbers)
    for i, (count, taps, pool) in enumerate(zip(filters, widths, pools, strict=True)):
        numbers = (numbers - taps + 1) // pool
        if sinc and i == 0:
            net |= {"conv.0.low_hz_": draw(count, 1) / 10, "conv.0.band_hz_": draw(count, 1) / 10}
        else:
            net |= {f"conv.{i}.weight": draw(count, channels, taps), f"conv.{i}.bias": draw(count)}
        layer_norm(net, f"ln.{i}", count, numbers)
        norm(net, f"bn.{i}", count)
        channels = count
    return net, channels * numbers


def save(directory: Path, *nets) -> Path:
    """final_architectureN.pkl in the form of torch before 1.6, as pytorch-kaldi's users have them."""
    place = directory / "exp_files"
    place.mkdir(parents=True)
    for number, net in enumerate(nets, 1):
        content = {"model_par": net, "optimizer_par": {"state": {}, "param_groups": []}}
        torch.save(content, place / f"final_architecture{number}.pkl", _use_new_zipfile_serialization=False)
    return directory
