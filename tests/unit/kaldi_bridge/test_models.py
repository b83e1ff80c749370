"""Trees, transition models and GMMs, judged by files and programs of a real Kaldi."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ModelError
from kaldi_bridge.models import (
    AmDiagGmm,
    HmmState,
    HmmTopology,
    Leaf,
    Split,
    Table,
    TransitionModel,
    Tree,
    compute_gconsts,
    model_bytes,
    read_model,
    read_topology,
    read_transition_model,
    read_tree,
    tree_bytes,
    write_model,
    write_tree,
)

MODELS = ["mono/final.mdl", "tri1/final.mdl", "tri2b/final.mdl", "tri3b/final.mdl", "tri3b/final.alimdl"]
SYSTEMS = ["mono", "tri1", "tri2b", "tri3b"]


def run_kaldi(root: Path, command: str) -> str:
    done = subprocess.run(["bash", "-c", f". {root}/path.sh; {command}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_kaldi_is_written_back_byte_for_byte(golden_dir, name):
    path = golden_dir / "exp" / name
    assert model_bytes(*read_model(path)) == path.read_bytes()


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_tree_of_kaldi_is_written_back_byte_for_byte(golden_dir, system):
    path = golden_dir / "exp" / system / "tree"
    assert tree_bytes(read_tree(path)) == path.read_bytes()


@pytest.mark.parametrize("system", SYSTEMS)
def test_tree_and_topology_give_the_transition_states_of_kaldi(golden_dir, system):
    tree, topology = read_tree(golden_dir / "exp" / system / "tree"), read_topology(golden_dir / "data/lang/topo")
    ours, theirs = (
        TransitionModel.from_tree(tree, topology),
        read_transition_model(golden_dir / "exp" / system / "final.mdl"),
    )
    assert np.array_equal(ours.tuples, theirs.tuples)
    assert np.array_equal(ours.id2pdf, theirs.id2pdf)
    assert ours.num_pdfs == theirs.num_pdfs == tree.num_pdfs


@pytest.mark.parametrize("name", MODELS)
def test_computed_constants_of_gaussians_equal_those_of_kaldi(golden_dir, name):
    gmm = read_model(golden_dir / "exp" / name)[1]
    np.testing.assert_allclose(compute_gconsts(gmm.weights, gmm.means_invvars, gmm.inv_vars), gmm.gconsts, rtol=1e-5)


def test_the_topology_text_is_that_of_kaldi_to_the_byte(golden_dir):
    path = golden_dir / "data/lang/topo"
    assert read_topology(path).text() == path.read_text()


def test_many_events_reach_the_same_leaves_as_one_by_one(golden_dir):
    tree, rng = read_tree(golden_dir / "exp/tri3b/tree"), np.random.default_rng(0)
    windows = rng.integers(0, 86, (300, 3)).astype(np.int32)
    windows[:, 1] = rng.integers(11, 86, 300)
    classes = rng.integers(0, 3, 300).astype(np.int32)
    one_by_one = [
        tree.pdf(window, pdf_class) for window, pdf_class in zip(windows.tolist(), classes.tolist(), strict=True)
    ]
    assert tree.pdfs(windows, classes).tolist() == one_by_one


def test_a_window_without_leaf_is_an_error_that_names_it():
    tree = Tree(context_width=1, central_position=0, root=Table(0, (None, Leaf(0))))
    with pytest.raises(ModelError, match=r"no leaf for the phones \[2\] with pdf class 0"):
        tree.pdfs(np.array([[1], [2]], np.int32), np.zeros(2, np.int32))


def test_pdfs_of_a_phone_are_those_of_all_its_windows():
    root = Split(
        1, frozenset({5}), Split(0, frozenset({1}), Leaf(0), Split(-1, frozenset({0}), Leaf(1), Leaf(2))), Leaf(3)
    )
    tree = Tree(context_width=3, central_position=1, root=root)
    assert tree.pdfs_of(5, 0) == {0, 1}
    assert tree.pdfs_of(5, 1) == {0, 2}
    assert tree.pdfs_of(6, 0) == {3}


def test_arrays_of_the_transition_model_follow_the_definitions(golden_dir):
    model = read_transition_model(golden_dir / "exp/tri3b/final.mdl")
    for tid in range(1, model.num_transition_ids + 1):
        phone, state, pdf = model.tuples[model.id2state[tid] - 1]
        target, _ = model.topology.hmm(phone)[state].transitions[model.id2index[tid]]
        assert (model.id2phone[tid], model.id2hmm_state[tid], model.id2pdf[tid]) == (phone, state, pdf)
        assert model.is_self_loop[tid] == (target == state)
        assert model.is_final[tid] == (target == len(model.topology.hmm(phone)) - 1)
    probs = np.exp(model.log_probs[1:].astype(float))
    np.testing.assert_allclose(np.bincount(model.id2state[1:], probs)[1:], 1, atol=1e-4)
    leaving = np.bincount(model.id2state[1:], np.where(model.is_self_loop[1:], 0, probs))[1:]
    np.testing.assert_allclose(model.non_self_loop_log_probs[1:], np.log(leaving), atol=1e-3)


def test_gmms_from_means_and_variances_give_them_back(tmp_path):
    rng = np.random.default_rng(0)
    means, variances = rng.normal(size=(5, 4)), rng.uniform(0.5, 2, (5, 4))
    gmm = AmDiagGmm.from_parameters(np.array([0, 2, 5]), np.array([0.4, 0.6, 0.2, 0.3, 0.5]), means, variances)
    np.testing.assert_allclose(gmm.means, means, atol=1e-6)
    np.testing.assert_allclose(gmm.variances, variances, rtol=1e-6)
    x = rng.normal(size=4)
    direct = np.log(gmm.weights) - 0.5 * (np.log(2 * np.pi * variances) + (x - means) ** 2 / variances).sum(1)
    np.testing.assert_allclose(gmm.gconsts + gmm.means_invvars @ x - 0.5 * gmm.inv_vars @ x**2, direct, rtol=1e-5)


def test_a_gaussian_with_zero_variance_is_refused():
    with np.errstate(divide="ignore", invalid="ignore"), pytest.raises(ModelError, match="1 Gaussians have no finite"):
        AmDiagGmm.from_parameters(np.array([0, 1]), np.ones(1), np.ones((1, 2)), np.zeros((1, 2)))


def test_a_model_cut_short_is_refused_at_its_byte(golden_dir, tmp_path):
    cut = tmp_path / "final.mdl"
    cut.write_bytes((golden_dir / "exp/mono/final.mdl").read_bytes()[:30_000])
    with pytest.raises(ModelError, match=r"final.mdl:byte \d+: .*the file ends"):
        read_model(cut)


def test_a_tree_read_as_a_model_is_refused(golden_dir):
    with pytest.raises(ModelError, match=r"expected the token '<TransitionModel>', found 'ContextDependency'"):
        read_model(golden_dir / "exp/mono/tree")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "tree").write_bytes(b"")
    with pytest.raises(ModelError, match="ends too early"):
        read_tree(tmp_path / "tree")


CHAIN_STATE = "<State> 0 <ForwardPdfClass> 0 <SelfLoopPdfClass> 1 <Transition> 0 0.5 <Transition> 1 0.5 </State>"
CHAIN_ENTRY = f"<TopologyEntry> <ForPhones> 1 2 </ForPhones> {CHAIN_STATE} <State> 1 </State> </TopologyEntry>"


def test_self_loops_of_a_chain_model_have_pdfs_of_their_own(tmp_path):
    (tmp_path / "topo").write_text(f"<Topology> {CHAIN_ENTRY} </Topology>\n")
    topology = read_topology(tmp_path / "topo")
    assert topology.text().split() == (tmp_path / "topo").read_text().split()
    assert topology.num_pdf_classes(1) == 2
    tuples, loops = np.array([[1, 0, 0], [2, 0, 2]], np.int32), np.array([1, 3], np.int32)
    model = TransitionModel(topology, tuples, np.log(np.array([1, 0.5, 0.5, 0.5, 0.5], np.float32)), loops)
    assert model.id2pdf[1:].tolist() == [1, 0, 3, 2]
    assert model.num_pdfs == 4


def test_a_graph_of_a_chain_model_is_refused_with_what_to_use(tmp_path):
    (tmp_path / "topo").write_text(f"<Topology> {CHAIN_ENTRY} </Topology>\n")
    topology = read_topology(tmp_path / "topo")
    with pytest.raises(ModelError, match=r"is one of a chain \(non-HMM\) model\n  mend: use a GMM-HMM model"):
        TransitionModel.from_tree(Tree(context_width=1, central_position=0, root=Leaf(0)), topology)


def test_a_topology_whose_probabilities_miss_one_is_refused():
    with pytest.raises(ModelError, match=r"state 0 add up to 0\.5, not 1"):
        HmmTopology({1: 0}, ((HmmState(0, ((0, 0.25), (1, 0.25))), HmmState(-1, ())),))


def test_a_topology_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "topo").write_bytes(b"<Topology> \xff </Topology>\n")
    with pytest.raises(ModelError, match="topo: is no text"):
        read_topology(tmp_path / "topo")


def test_a_tree_that_asks_beyond_its_window_is_refused(tmp_path):
    text = "ContextDependency 3 1 ToPdf SE {} [ 1 2 ]\n{{ CE 0 CE 1 }}\nEndContextDependency "
    (tmp_path / "tree").write_text(text.format(2))
    assert read_tree(tmp_path / "tree").num_pdfs == 2
    (tmp_path / "tree").write_text(text.format(3))
    with pytest.raises(ModelError, match="asks for position 3 of a window of 3 phones"):
        read_tree(tmp_path / "tree")


@pytest.mark.parametrize(("name", "read"), [("final.mdl", read_model), ("tree", read_tree)])
def test_damaged_bytes_give_our_error_or_a_whole_object(golden_dir, tmp_path, name, read):
    rng, whole = np.random.default_rng(0), (golden_dir / "exp/mono" / name).read_bytes()
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 3000), 4):
            data[place] = rng.integers(256)
        (tmp_path / name).write_bytes(data)
        try:
            read(tmp_path / name)
        except ModelError:
            refused += 1
    assert refused > 50


@pytest.mark.kaldi
def test_programs_of_kaldi_read_what_we_write(golden_dir, kaldi_root, tmp_path):
    model, gmm = read_model(golden_dir / "exp/tri3b/final.mdl")
    half = AmDiagGmm.from_parameters(gmm.offsets, gmm.weights, gmm.means, gmm.variances)
    write_model(tmp_path / "final.mdl", model.with_log_probs(model.log_probs), half)
    write_tree(tmp_path / "tree", read_tree(golden_dir / "exp/tri3b/tree"))
    info = run_kaldi(kaldi_root, f"gmm-info --print-args=false {tmp_path}/final.mdl")
    assert f"number of gaussians {gmm.num_gauss}" in info
    assert f"number of transition-ids {model.num_transition_ids}" in info
    tree_info = run_kaldi(kaldi_root, f"tree-info --print-args=false {tmp_path}/tree")
    assert f"num-pdfs {gmm.num_pdfs}\ncontext-width 3\ncentral-position 1" in tree_info
    run_kaldi(kaldi_root, f"gmm-copy --print-args=false {tmp_path}/final.mdl {tmp_path}/copy.mdl")
    copied_model, copied = read_model(tmp_path / "copy.mdl")
    assert np.array_equal(copied_model.log_probs, model.log_probs)
    assert np.array_equal(copied.means_invvars, half.means_invvars)
    np.testing.assert_allclose(copied.gconsts, half.gconsts, rtol=1e-5)  # gmm-copy computes them again
    run_kaldi(kaldi_root, f"copy-tree {tmp_path}/tree {tmp_path}/copy.tree")
    assert (tmp_path / "copy.tree").read_bytes() == (tmp_path / "tree").read_bytes()


@pytest.mark.kaldi
def test_text_copies_made_by_kaldi_read_as_the_binary_ones(golden_dir, kaldi_root, tmp_path):
    source = golden_dir / "exp/tri3b"
    run_kaldi(kaldi_root, f"gmm-copy --binary=false {source}/final.mdl {tmp_path}/final.mdl")
    run_kaldi(kaldi_root, f"copy-tree --binary=false {source}/tree {tmp_path}/tree")
    (model, gmm), (text_model, text_gmm) = read_model(source / "final.mdl"), read_model(tmp_path / "final.mdl")
    assert np.array_equal(model.tuples, text_model.tuples)
    assert model.topology == text_model.topology
    np.testing.assert_allclose(text_model.log_probs, model.log_probs, rtol=1e-5)
    np.testing.assert_allclose(text_gmm.means, gmm.means, rtol=1e-4, atol=1e-5)
    assert read_tree(tmp_path / "tree") == read_tree(source / "tree")
