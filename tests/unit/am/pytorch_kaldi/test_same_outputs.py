"""Imported systems against a restatement of the original's forward pass, for every kind of net."""

from __future__ import annotations

import pytest
import torch

from am.models.hybrid import load_model
from am.models.packing import Packing, pack, unpack
from am.pytorch_kaldi.importing import ImportSources, import_system
from tests.unit.am.pytorch_kaldi import original, systems

FEATURES, PDFS, PHONES, UNITS = 6, 7, 4, 5
TOLERANCE = 1e-4
GATES = {
    "liGRU": ("ligru", ("wh", "wz"), ("uh", "uz")),
    "minimalGRU": ("minimalgru", ("wh", "wz"), ("uh", "uz")),
    "GRU": ("gru", ("wh", "wz", "wr"), ("uh", "uz", "ur")),
    "LSTM": ("lstm", ("wfx", "wix", "wox", "wcx"), ("ufh", "uih", "uoh", "uch")),
}


def outputs(tmp_path, nets, tensors, lines, *, context=0, dims=(), features=FEATURES, name="fmllr"):
    """Log posteriors of three ragged sequences, (sequences, ours of pdfs, ours of phones), and the imported model."""
    cfg = systems.write_cfg(tmp_path / "system.cfg", nets, lines, name=name, context=context)
    checkpoints = systems.save(tmp_path / "exp", *tensors)
    import_system(ImportSources(cfg=cfg, checkpoints=checkpoints, dims=dims), tmp_path / "out")
    model, state = load_model(tmp_path / "out" / "best.pt")
    sequences = [systems.draw(length, features, spread=1.0) for length in (9, 6, 1)]
    packing = Packing.of([9, 6, 1], directions=model.directions)
    with torch.no_grad():
        pdfs, phones = model(pack(sequences), packing)
    ours = [[torch.log_softmax(one, 1) for one in unpack(logits, packing)] for logits in (pdfs, phones)]
    return sequences, ours[0], ours[1], state


def heads(width):
    """(nets of the .cfg, tensors) of the two softmax layers."""
    softmax = systems.SOFTMAX
    nets = [
        ("cd", "MLP", {"dnn_lay": "N_out_lab_cd", **softmax}),
        ("mono", "MLP", {"dnn_lay": "N_out_lab_mono", **softmax}),
    ]
    return nets, [systems.mlp(width, [PDFS]), systems.mlp(width, [PHONES])]


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() < TOLERANCE


def options_of(prefix, *, layers, act, bn, ln, bidir, drop, bn_inp=False):
    def each(value):
        return ",".join([str(value)] * layers)

    return {
        f"{prefix}_lay": each(UNITS), f"{prefix}_drop": each(drop), f"{prefix}_act": each(act),
        f"{prefix}_use_batchnorm": each(bn), f"{prefix}_use_laynorm": each(ln), f"{prefix}_bidir": str(bidir),
        f"{prefix}_use_laynorm_inp": "False", f"{prefix}_use_batchnorm_inp": str(bn_inp), f"{prefix}_orthinit": "True",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("liGRU", {"act": "relu"}),
        ("liGRU", {"act": "relu", "bidir": False, "bn_inp": True}),
        ("GRU", {}),
        ("GRU", {"act": "relu", "bn": False, "drop": 0.0}),
        ("LSTM", {}),
        ("LSTM", {"bn": False, "ln": True, "bidir": False}),
        ("minimalGRU", {}),
        ("minimalGRU", {"ln": True, "bn_inp": True, "drop": 0.1}),
    ],
    ids=str,
)
def test_recurrent_systems_give_the_originals_posteriors(tmp_path, kind, changes):
    settings = {"layers": 2, "act": "tanh", "bn": True, "ln": False, "bidir": True, "drop": 0.3, **changes}
    prefix, *gates = GATES[kind]
    plain = not (settings["bn"] or settings["ln"])
    front = systems.recurrent(FEATURES, UNITS, 2, gates, bidir=settings["bidir"], bias=plain)
    if settings.get("bn_inp"):
        systems.norm(front, "bn0", FEATURES)
    nets, tensors = heads(UNITS * (2 if settings["bidir"] else 1))
    nets = [("front", kind, options_of(prefix, **settings)), *nets]
    sequences, pdfs, phones, state = outputs(tmp_path, nets, [front, *tensors], systems.two_heads())
    settings.pop("bn_inp", None)
    hidden = [original.recurrent(front, one, kind, **settings) for one in sequences]
    assert_same(pdfs, [original.mlp(tensors[0], one, [(False, "softmax")]) for one in hidden])
    assert_same(phones, [original.mlp(tensors[1], one, [(False, "softmax")]) for one in hidden])
    assert state["inputs"] == {"streams": [f"feats:{FEATURES}"], "speaker_norm": "mean", "num_pdfs": PDFS}


def test_ligru_keeps_the_dropout_of_every_layer(tmp_path):
    prefix, *gates = GATES["liGRU"]
    front = systems.recurrent(FEATURES, UNITS, 2, gates, bidir=True, bias=False)
    options = options_of(prefix, layers=2, act="relu", bn=True, ln=False, bidir=True, drop=0.2)
    nets, tensors = heads(2 * UNITS)
    nets = [("front", "liGRU", {**options, "ligru_drop": "0.4,0.1"}), *nets]
    sequences, pdfs, _, _ = outputs(tmp_path, nets, [front, *tensors], systems.two_heads())
    expected = []
    for x in sequences:
        for layer, drop in enumerate((0.4, 0.1)):
            ways = [
                original.run(front, way, "liGRU", layer, drop=drop, act="relu", bn=True, ln=False)
                for way in (x, x.flip(0))
            ]
            x = torch.cat([ways[0], ways[1].flip(0)], 1)
        expected.append(original.mlp(tensors[0], x, [(False, "softmax")]))
    assert_same(pdfs, expected)


@pytest.mark.parametrize(("kind", "cell"), [("LSTM_cudnn", torch.nn.LSTM), ("GRU_cudnn", torch.nn.GRU)])
@pytest.mark.parametrize("bias", [True, False])
def test_cudnn_systems_equal_torchs_layers(tmp_path, kind, cell, bias):
    torch.manual_seed(0)
    theirs = cell(FEATURES, UNITS, 2, bias=bias, bidirectional=True)
    front = {f"{kind.split('_')[0].lower()}.0.{key}": value for key, value in theirs.state_dict().items()}
    options = {
        "hidden_size": UNITS, "num_layers": 2, "bias": bias, "batch_first": False, "dropout": 0.2, "bidirectional": True
    }  # fmt: skip
    nets, tensors = heads(2 * UNITS)
    nets = [("front", kind, options), *nets]
    sequences, pdfs, _, _ = outputs(tmp_path, nets, [front, *tensors], systems.two_heads())
    with torch.no_grad():
        hidden = [theirs(one[:, None])[0][:, 0] for one in sequences]
    assert_same(pdfs, [original.mlp(tensors[0], one, [(False, "softmax")]) for one in hidden])


@pytest.mark.parametrize(
    ("activation", "bidir", "projection"), [("identity", True, 3), ("tanh", False, 0), ("relu", True, 0)]
)
@pytest.mark.parametrize("features", [FEATURES, 2 * UNITS])
def test_sru_systems_give_the_originals_posteriors(tmp_path, activation, bidir, projection, features):
    front = systems.sru(features, UNITS, 3, projection, bidir=bidir)
    options = {
        "sru_hidden_size": UNITS, "sru_num_layers": 3, "sru_dropout": 0.1, "sru_rnn_dropout": 0.1,
        "sru_use_tanh": activation == "tanh", "sru_use_relu": activation == "relu", "sru_use_selu": False,
        "sru_weight_norm": False, "sru_layer_norm": False, "sru_bidirectional": bidir,
        "sru_is_input_normalized": False, "sru_has_skip_term": True, "sru_rescale": True,
        "sru_highway_bias": -1, "sru_n_proj": projection,
    }  # fmt: skip
    nets, tensors = heads(UNITS * (2 if bidir else 1))
    nets = [("front", "SRU", options), *nets]
    sequences, pdfs, _, _ = outputs(tmp_path, nets, [front, *tensors], systems.two_heads(), features=features)
    hidden = [original.sru(front, one, 3, UNITS, activation=activation, bidir=bidir) for one in sequences]
    assert_same(pdfs, [original.mlp(tensors[0], one, [(False, "softmax")]) for one in hidden])


HIDDEN = {
    "dnn_lay": "8,8", "dnn_drop": "0.15,0.15", "dnn_use_laynorm_inp": "False", "dnn_use_batchnorm_inp": "False",
    "dnn_use_batchnorm": "True,True", "dnn_use_laynorm": "False,False", "dnn_act": "relu,relu",
}  # fmt: skip


@pytest.mark.parametrize("input_norm", [False, True])
def test_mlp_systems_with_a_window_give_the_originals_posteriors(tmp_path, input_norm):
    front = systems.mlp(5 * FEATURES, [8, 8])
    if input_norm:
        systems.norm(front, "bn0", 5 * FEATURES)
    nets, tensors = heads(8)
    nets = [("front", "MLP", {**HIDDEN, "dnn_use_batchnorm_inp": input_norm}), *nets]
    sequences, pdfs, phones, _ = outputs(tmp_path, nets, [front, *tensors], systems.two_heads(), context=2)
    hidden = [original.mlp(front, original.window(one, 2, 2), [(True, "relu")] * 2) for one in sequences]
    assert_same(pdfs, [original.mlp(tensors[0], one, [(False, "softmax")]) for one in hidden])
    assert_same(phones, [original.mlp(tensors[1], one, [(False, "softmax")]) for one in hidden])


def conv_options(prefix, norm, filters, widths, pools, *, input_norm):
    count = len(filters)
    return {
        f"{prefix}_n_filt": ",".join(map(str, filters)), f"{prefix}_len_filt": ",".join(map(str, widths)),
        f"{prefix}_max_pool_len": ",".join(map(str, pools)), f"{prefix}_act": ",".join(["relu"] * count),
        f"{prefix}_drop": ",".join(["0.15"] * count), f"{prefix}_use_laynorm_inp": str(input_norm),
        f"{prefix}_use_batchnorm_inp": "False", f"{prefix}_use_laynorm": ",".join([str(norm == "layer")] * count),
        f"{prefix}_use_batchnorm": ",".join([str(norm == "batch")] * count),
    }  # fmt: skip


@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
def test_cnn_systems_give_the_originals_posteriors(tmp_path, norm):
    """With the softmax in the same MLP as the hidden layers, and no phones, as in the published TIMIT .cfg."""
    shape = ([4, 3], [5, 3], [2, 1])
    front, width = systems.convolutions(3 * FEATURES, *shape)
    dense = systems.mlp(width, [8, 8, PDFS])
    options = {**HIDDEN, "dnn_lay": f"8,8,{PDFS}", "dnn_drop": "0.15,0.15,0.0", "dnn_act": "relu,relu,softmax"}
    options |= {"dnn_use_batchnorm": "True,True,False", "dnn_use_laynorm": "False,False,False"}
    nets = [("front", "CNN", conv_options("cnn", norm, *shape, input_norm=False)), ("dense", "MLP", options)]
    lines = (
        "h=compute(front,fbank)\nout_cd=compute(dense,h)\nloss_final=cost_nll(out_cd,lab_cd)\n"
        "err_final=cost_err(out_cd,lab_cd)"
    )
    sequences, pdfs, phones, state = outputs(
        tmp_path, nets, [front, dense], lines, context=1, dims=(FEATURES,), name="fbank"
    )
    layers = [(True, "relu"), (True, "relu"), (False, "softmax")]
    hidden = [original.convolutions(front, original.window(one, 1, 1), shape[2], norm=norm) for one in sequences]
    assert_same(pdfs, [original.mlp(dense, one, layers) for one in hidden])
    assert state["phones"] == ["phone1"]
    assert all((one == 0).all() for one in phones)  # log 1: the one phone that there is
    assert state["inputs"]["streams"] == [f"feats:{FEATURES}"]


def test_sincnet_systems_give_the_originals_posteriors(tmp_path):
    shape = ([4, 3], [9, 3], [3, 2])
    front, width = systems.convolutions(40, *shape, sinc=True, input_norm=True)
    dense, tensors_shape = systems.mlp(width, [8, 8]), (9, 16000, 50, 50)
    options = conv_options("sinc", "layer", *shape, input_norm=True)
    options |= {"sinc_sample_rate": 16000, "sinc_min_low_hz": 50, "sinc_min_band_hz": 50}
    nets, tensors = heads(8)
    nets = [("front", "SincNet", options), ("dense", "MLP", HIDDEN), *nets]
    lines = systems.two_heads("raw").replace("out_cd=compute(cd,h)", "d=compute(dense,h)\nout_cd=compute(cd,d)")
    lines = lines.replace("compute(mono,h)", "compute(mono,d)")
    sequences, pdfs, phones, _ = outputs(tmp_path, nets, [front, dense, *tensors], lines, features=40, name="raw")
    hidden = [
        original.mlp(
            dense, original.convolutions(front, one, shape[2], norm="layer", sinc=tensors_shape), [(True, "relu")] * 2
        )
        for one in sequences
    ]
    assert_same(pdfs, [original.mlp(tensors[0], one, [(False, "softmax")]) for one in hidden])
    assert_same(phones, [original.mlp(tensors[1], one, [(False, "softmax")]) for one in hidden])
