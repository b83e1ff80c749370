"""What is read from a .cfg, what is refused, and what an import writes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from am.__main__ import app
from am.config import AcousticConfig, TrainConfig
from am.dataset import FrameMeta, FrameSet
from am.models.hybrid import load_model
from am.models.ligru import LiGRUConfig
from am.models.sincnet import SincNetConfig
from am.models.sru import SRUConfig
from am.pytorch_kaldi.importing import ImportSources, import_system
from am.pytorch_kaldi.plan import plan_of
from am.pytorch_kaldi.system import read_system
from harness.config import load_config
from harness.errors import CheckpointError, ConfigError, DiskError, SchoolyardError, TableError
from tests.unit.am.pytorch_kaldi import systems

LIGRU = {
    "ligru_lay": "550,550,550,550,550", "ligru_drop": "0.2,0.2,0.2,0.2,0.2", "ligru_act": "relu,relu,relu,relu,relu",
    "ligru_use_batchnorm": "True,True,True,True,True", "ligru_use_laynorm": "False,False,False,False,False",
    "ligru_use_laynorm_inp": "False", "ligru_use_batchnorm_inp": "False", "ligru_bidir": "True",
    "ligru_orthinit": "True",
}  # fmt: skip
GRU = {key.replace("ligru", "gru"): value.replace("relu", "tanh") for key, value in LIGRU.items()}
SRU = {
    "sru_hidden_size": "550", "sru_num_layers": "4", "sru_dropout": "0.1", "sru_rnn_dropout": "0.1",
    "sru_use_tanh": "False", "sru_use_relu": "False", "sru_use_selu": "False", "sru_weight_norm": "False",
    "sru_layer_norm": "False", "sru_bidirectional": "True", "sru_is_input_normalized": "False",
    "sru_has_skip_term": "True", "sru_rescale": "True", "sru_highway_bias": "-1", "sru_n_proj": "256",
}  # fmt: skip
SINC = {
    "sinc_n_filt": "128,60,60,60", "sinc_len_filt": "129,5,5,3", "sinc_max_pool_len": "3,3,3,2",
    "sinc_use_laynorm_inp": "True", "sinc_use_batchnorm_inp": "False", "sinc_use_laynorm": "True,True,True,True",
    "sinc_use_batchnorm": "False,False,False,False", "sinc_act": "relu,relu,relu,relu",
    "sinc_drop": "0.15,0.15,0.15,0.15", "sinc_sample_rate": "16000", "sinc_min_low_hz": "50", "sinc_min_band_hz": "50",
}  # fmt: skip
DENSE = {
    "dnn_lay": "1024,1024,1024,1024,1024", "dnn_drop": "0.15,0.15,0.15,0.15,0.15", "dnn_use_laynorm_inp": "False",
    "dnn_use_batchnorm_inp": "False", "dnn_use_batchnorm": "True,True,True,True,True",
    "dnn_use_laynorm": "False,False,False,False,False", "dnn_act": "relu,relu,relu,relu,relu",
}  # fmt: skip
HEADS = [
    ("cd", "MLP", {"dnn_lay": "N_out_lab_cd", **systems.SOFTMAX}),
    ("mono", "MLP", {"dnn_lay": "48", **systems.SOFTMAX}),
]
DEEPER = systems.two_heads().replace("out_cd=compute(cd,h)", "d=compute(dense,h)\nout_cd=compute(cd,d)")
DEEPER = DEEPER.replace("compute(mono,h)", "compute(mono,d)")


def planned(tmp_path, kind, options, *, between=(), lines=None, context=0):
    cfg = systems.write_cfg(
        tmp_path / "x.cfg", [("front", kind, options), *between, *HEADS], lines or systems.two_heads(), context=context
    )
    return plan_of(read_system(cfg))


def test_the_published_ligru_is_our_default(tmp_path):
    plan = planned(tmp_path, "liGRU", LIGRU)
    assert plan.config.model == "ligru"
    assert plan.config.ligru == LiGRUConfig()
    assert plan.config.train == TrainConfig(phone_weight=0.5, patience=0)
    assert plan.config.inputs.speaker_norm == "mean"
    assert plan.notes == ()


def test_the_published_sru_and_sincnet_are_our_defaults(tmp_path):
    assert planned(tmp_path, "SRU", SRU).config.sru == SRUConfig()
    dense = [("dense", "MLP", DENSE)]
    assert planned(tmp_path, "SincNet", SINC, between=dense, lines=DEEPER).config.sincnet == SincNetConfig()


def test_a_gru_is_the_batch_normalised_one_and_an_mlp_has_its_window(tmp_path):
    plan = planned(tmp_path, "GRU", GRU)
    assert (plan.config.model, plan.config.normed_gru.layers, plan.config.normed_gru.units) == ("normed_gru", 5, 550)
    plan = planned(tmp_path, "MLP", DENSE, context=5)
    assert (plan.config.model, plan.config.mlp.context, plan.config.mlp.layers) == ("mlp", 5, 5)


def test_the_written_settings_are_the_plan_and_its_notes(tmp_path):
    cfg = systems.write_cfg(
        tmp_path / "x.cfg", [("front", "liGRU", {**LIGRU, "arch_opt": "sgd"}), *HEADS], systems.two_heads()
    )
    text = cfg.read_text().replace("arch_opt = rmsprop\n", "", 1)
    cfg.write_text(text)
    plan = import_system(ImportSources(cfg=cfg), tmp_path / "out")
    path = tmp_path / "out" / "config.yaml"
    assert load_config(AcousticConfig, path) == plan.config
    written = path.read_text()
    assert "# optimizer sgd has no counterpart" in written
    assert "units" not in written  # a default
    assert [one.name for one in path.parent.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("kind", "base", "changes", "words"),
    [
        ("liGRU", LIGRU, {"ligru_lay": "550,550,550,550,300"}, "differ in units"),
        ("liGRU", LIGRU, {"ligru_act": "tanh,tanh,tanh,tanh,tanh"}, "liGRU: other than relu"),
        ("liGRU", LIGRU, {"ligru_drop": "0.2*10|0.1*14,0.2,0.2,0.2,0.2"}, "changes with the epochs"),
        ("liGRU", LIGRU, {"ligru_use_laynorm_inp": "True"}, "layer norm of its input"),
        ("GRU", GRU, {"gru_drop": "0.2,0.2,0.2,0.2,0.1"}, "differ in dropout"),
        ("GRU", GRU, {"gru_act": "elu,elu,elu,elu,elu"}, "activation elu"),
        ("GRU", GRU, {"gru_use_batchnorm": "True,True,True,True,False"}, "differ in batch norm"),
        ("SRU", SRU, {"sru_layer_norm": "True"}, "sru_layer_norm"),
        ("SRU", SRU, {"sru_use_selu": "True"}, "sru_use_selu"),
        ("SRU", SRU, {"sru_weight_norm": "True"}, "sru_weight_norm"),
        ("SRU", SRU, {"sru_has_skip_term": "False"}, "sru_has_skip_term=False"),
        ("MLP", DENSE, {"dnn_act": "relu,relu,relu,relu,tanh"}, "activation tanh"),
        ("MLP", DENSE, {"dnn_use_batchnorm": "True,True,True,True,False"}, "without batch norm"),
        ("QLSTM", {}, {}, r"QLSTM \(there is .*minimalGRU"),
    ],
)
def test_what_has_no_counterpart_is_named(tmp_path, kind, base, changes, words):
    with pytest.raises(ConfigError, match=f"cannot express .*{words}"):
        planned(tmp_path, kind, {**base, **changes})


def test_everything_without_counterpart_is_named_at_once(tmp_path):
    changes = {"gru_lay": "550,550,550,550,300", "gru_act": "elu,elu,elu,elu,elu", "gru_use_laynorm_inp": "True"}
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, "GRU", {**GRU, **changes}, context=5)
    for words in ("differ in units", "activation elu", "layer norm of its input", "a window of frames"):
        assert words in caught.value.problem


def test_convolutions_with_two_norms_or_another_activation_are_refused(tmp_path):
    dense = [("dense", "MLP", DENSE)]
    both = {**SINC, "sinc_use_batchnorm": "True,True,True,True", "sinc_act": "elu,elu,elu,elu"}
    with pytest.raises(ConfigError, match=r"convolves twice.*activation elu"):
        planned(tmp_path, "SincNet", both, between=dense, lines=DEEPER)


def test_dense_layers_before_or_behind_a_recurrence_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="5 dense layers between liGRU and the softmax"):
        planned(tmp_path, "liGRU", LIGRU, between=[("dense", "MLP", DENSE)], lines=DEEPER)
    with pytest.raises(ConfigError, match="the chain MLP -> liGRU -> MLP"):
        planned(tmp_path, "MLP", DENSE, between=[("dense", "liGRU", LIGRU)], lines=DEEPER)


def test_models_that_are_no_chain_are_refused(tmp_path):
    lines = systems.two_heads().replace("out_cd=compute(cd,h)", "a=compute(cd,h)\nout_cd=avg(a,a)")
    with pytest.raises(ConfigError, match=r"cannot express out_cd=avg\(a,a\)"):
        planned(tmp_path, "liGRU", LIGRU, lines=lines)
    lines = systems.two_heads().replace("compute(front,fmllr)", "compute(front,h)")
    with pytest.raises(ConfigError, match="'h' is neither a feature"):
        planned(tmp_path, "liGRU", LIGRU, lines=lines)
    with pytest.raises(ConfigError, match="no architecture is called 'nobody'"):
        planned(tmp_path, "liGRU", LIGRU, lines=systems.two_heads().replace("front", "nobody"))


def test_a_loss_beyond_cross_entropies_leaves_a_note_and_the_outputs_alone(tmp_path):
    lines = systems.two_heads().replace("loss_final=sum(loss_cd,loss_mono_w)", "loss_final=mse(out_cd,fmllr)")
    plan = planned(tmp_path, "liGRU", LIGRU, lines=lines)
    assert plan.phone_head is None
    assert any("loss_final=mse(out_cd,fmllr)" in note for note in plan.notes)


def test_schedules_and_optimizer_extras_leave_notes(tmp_path):
    cfg = systems.write_cfg(tmp_path / "x.cfg", [("front", "liGRU", LIGRU), *HEADS], systems.two_heads())
    text = cfg.read_text().replace("arch_lr = 0.0004", "arch_lr = 0.0008*10|0.0002*14", 1)
    text = text.replace("forward_out = out_cd", "forward_out = out_cd,out_mono")
    text = text.replace("arch_opt = rmsprop", "arch_opt = rmsprop\narch_freeze = True", 1)
    text = text.replace("opt_momentum = 0.0", "opt_momentum = 0.9", 1).replace("--delta-order=0", "--delta-order=2")
    cfg.write_text(text.replace("apply-cmvn", "apply-cmvn --norm-vars=true"))
    plan = plan_of(read_system(cfg))
    assert plan.config.train.rate == 0.0008
    assert plan.config.inputs.speaker_norm == "mean_variance"
    for words in (
        "arch_lr=0.0008*10|0.0002*14", "arch_freeze=True, opt_momentum=0.9", "fmllr has deltas",
        "only out_cd becomes likelihoods, not out_mono",
    ):  # fmt: skip
        assert any(words in note for note in plan.notes)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[model]", "[models]", r"no section \[model\]"),
        ("train_with = tr", "train_with = other", "no data set is called 'other'"),
        ("cw_left=0", "cw_left=few", r"cw_left: 'few' is not a whole number"),
        ("ligru_bidir = True", "ligru_bidir = maybe", "ligru_bidir: 'maybe' is neither"),
        ("ligru_lay = 550", "ligru_lag = 550", "lacks ligru_lay"),
        ("out_cd=compute(cd,h)", "out_cd:compute(cd,h)", "expected out=operation"),
        ("[exp]", "exp", "is not a .cfg"),
        ("dnn_drop = 0.0", "dnn_drop = 0.0,0.0", "lists of"),
    ],
)
def test_damaged_files_are_named_with_their_section(tmp_path, old, new, words):
    cfg = systems.write_cfg(tmp_path / "x.cfg", [("front", "liGRU", LIGRU), *HEADS], systems.two_heads())
    cfg.write_text(cfg.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=words) as caught:
        plan_of(read_system(cfg))
    assert "x.cfg" in caught.value.where


def test_a_missing_cfg_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_system(tmp_path / "x.cfg")


# -- checkpoints -----------------------------------------------------------------------------------------------------


def small(tmp_path: Path, *, prefix: str = "", change=None) -> ImportSources:
    """A liGRU of 2 x 5 on 6 features, 7 pdfs, 4 phones; change: edits the front's tensors."""
    options = {key: ",".join(value.split(",")[:2]) for key, value in LIGRU.items()} | {"ligru_lay": "5,5"}
    nets = [("front", "liGRU", options), *HEADS]
    cfg = systems.write_cfg(tmp_path / "x.cfg", nets, systems.two_heads())
    front = systems.recurrent(6, 5, 2, (("wh", "wz"), ("uh", "uz")), bidir=True, bias=False)
    if change is not None:
        change(front)
    front = {prefix + key: value for key, value in front.items()}
    exp = systems.save(tmp_path / "exp", front, systems.mlp(10, [7]), systems.mlp(10, [4]))
    return ImportSources(cfg=cfg, checkpoints=exp)


def test_nets_of_several_gpus_are_read_like_others(tmp_path):
    import_system(small(tmp_path, prefix="module."), tmp_path / "out")
    assert load_model(tmp_path / "out" / "best.pt")[0].input_dim == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda net: net.pop("uz.1.weight"), "lacks uz.1.weight"),
        (lambda net: net.update({"wr.0.weight": torch.zeros(5, 6)}), r"does not speak of \(wr.0.weight\)"),
        (lambda net: net.update({"wz.0.weight": torch.zeros(4, 6)}), r"different sizes: wh.0.weight \[5, 6\]"),
        (lambda net: net.update({"uh.1.weight": torch.zeros(5, 4), "uz.1.weight": torch.zeros(5, 4)}), "misshapen"),
        (lambda net: net.clear(), "holds no model_par"),
    ],
)
def test_nets_that_do_not_fit_the_cfg_are_refused(tmp_path, change, words):
    with pytest.raises(CheckpointError, match=words):
        import_system(small(tmp_path, change=change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_net_is_named(tmp_path):
    sources = small(tmp_path)
    (tmp_path / "exp" / "exp_files" / "final_architecture2.pkl").unlink()
    with pytest.raises(CheckpointError, match=r"no final_architecture2\.pkl"):
        import_system(sources, tmp_path / "out")


class Trap:
    """Unpickling this with the ordinary unpickler creates a directory."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_a_net_that_would_run_something_runs_nothing(tmp_path):
    sources = small(tmp_path)
    path = tmp_path / "exp" / "exp_files" / "final_architecture1.pkl"
    content = {"model_par": {"wh.0.weight": Trap(tmp_path / "sprung")}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="holds no model_par of tensors"):
        import_system(sources, tmp_path / "out")
    assert not (tmp_path / "sprung").exists()


def test_counts_become_priors_as_pytorch_kaldi_divides(tmp_path):
    sources = small(tmp_path)
    counts = np.array([40, 1, 2, 3, 4, 50, 0])
    (tmp_path / "counts").write_text(" [ " + " ".join(map(str, counts)) + " ]\n")
    import_system(ImportSources(**{**vars(sources), "counts": tmp_path / "counts"}), tmp_path / "out")
    model = load_model(tmp_path / "out" / "best.pt")[0]
    assert model.log_priors[:6].numpy() == pytest.approx(np.log(counts[:6] / 100), abs=1e-6)
    assert torch.isfinite(model.log_priors[6])
    (tmp_path / "counts").write_text("[ 1 2 ]")
    with pytest.raises(TableError, match="holds 2 counts, the net has 7 pdfs"):
        import_system(ImportSources(**{**vars(sources), "counts": tmp_path / "counts"}), tmp_path / "other")
    with pytest.raises(TableError, match="is no vector of numbers"):
        import_system(ImportSources(**{**vars(sources), "counts": tmp_path / "absent"}), tmp_path / "other")


def test_a_data_set_normalises_the_inputs(tmp_path):
    rows = np.random.default_rng(0).normal(3, 2, (50, 6)).astype(np.float32)
    meta = FrameMeta(streams=("fmllr:6",), speaker_norm="mean")
    frames = FrameSet(meta=meta, utterances=("a",), speakers=("s",), lengths=np.array([50]), features=rows)
    frames.save(tmp_path / "frames.npz")
    sources = small(tmp_path)
    import_system(ImportSources(**{**vars(sources), "dataset": tmp_path / "frames.npz"}), tmp_path / "out")
    model = load_model(tmp_path / "out" / "best.pt")[0]
    normal = (torch.from_numpy(rows) - model.input_mean) * model.input_scale
    assert normal.mean(0).abs().max() < 1e-5
    assert (normal.std(0, unbiased=False) - 1).abs().max() < 1e-5


def test_a_lang_dir_names_the_phones(tmp_path):
    sources = small(tmp_path)
    (tmp_path / "phones.txt").write_text("<eps> 0\nSIL 1\nA_B 2\nA_E 3\nB_S 4\n#0 5\n")
    import_system(ImportSources(**{**vars(sources), "lang": tmp_path}), tmp_path / "out")
    assert load_model(tmp_path / "out" / "best.pt")[1]["phones"] == ["SIL", "A_B", "A_E", "B_S"]
    (tmp_path / "phones.txt").write_text("<eps> 0\nSIL 1\n")
    with pytest.raises(TableError, match="has 1 phones, the net 4"):
        import_system(ImportSources(**{**vars(sources), "lang": tmp_path}), tmp_path / "other")


def test_wrong_sizes_of_streams_are_refused(tmp_path):
    sources = small(tmp_path)
    for dims, words in (((7,), "sum to 7, the net takes 6"), ((3, 3), "2 given for the streams fmllr")):
        with pytest.raises(SchoolyardError, match=words):
            import_system(ImportSources(**{**vars(sources), "dims": dims}), tmp_path / "out")


def test_streams_side_by_side_keep_their_order_and_want_their_sizes(tmp_path):
    sources = small(tmp_path)
    text = sources.cfg.read_text()
    block = text[text.index("fea = ") : text.index("lab = ")]
    second = block.replace("fea = fea_name=fmllr", "\tfea_name=mfcc")
    text = text.replace(block, block + second)
    text = text.replace("h=compute(front,fmllr)", "both=concatenate(mfcc,fmllr)\n\th=compute(front,both)")
    sources.cfg.write_text(text)
    with pytest.raises(SchoolyardError, match="do not say how many features mfcc, fmllr have"):
        import_system(sources, tmp_path / "out")
    import_system(ImportSources(**{**vars(sources), "dims": (2, 4)}), tmp_path / "out")
    assert load_model(tmp_path / "out" / "best.pt")[1]["inputs"]["streams"] == ["feats:2", "feats:4"]


def test_the_verb_writes_a_model_that_am_show_reads_and_keeps_what_is_there(tmp_path):
    sources = small(tmp_path)
    words = ["--cfg", str(sources.cfg), "--checkpoints", str(sources.checkpoints), "--out", str(tmp_path / "out")]
    runner = CliRunner()
    assert runner.invoke(app, ["import-pytorch-kaldi", *words]).exit_code == 0
    shown = runner.invoke(app, ["show", str(tmp_path / "out" / "best.pt")])
    assert shown.exit_code == 0
    assert '"num_pdfs": 7' in shown.stdout
    again = runner.invoke(app, ["import-pytorch-kaldi", *words])
    assert isinstance(again.exception, DiskError)
    assert runner.invoke(app, ["import-pytorch-kaldi", *words, "--force"]).exit_code == 0
