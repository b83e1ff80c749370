"""Decision trees: statistics, questions, splitting and merging, against Kaldi's trees and programs and by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from harness.errors import ModelError
from hmm.alignment_dir import GmmDir
from hmm.questions import phone_questions
from hmm.speaker_features import SpeakerFeatures
from hmm.tree import (
    Root,
    TreeConfig,
    TreeStats,
    accumulate_tree_stats,
    build_tree,
    gaussian_objective,
    merge_tree_stats,
    monophone_tree,
    read_roots,
)
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.models import HmmState, HmmTopology, TransitionModel, read_topology, read_tree, write_tree


def _lines(path):
    return [list(map(int, line.split())) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def golden_stats(golden_dir, golden_data) -> TreeStats:
    """Statistics of the golden monophone alignment, from which Kaldi built exp/tri1/tree (60 leaves)."""
    system = GmmDir.read(golden_dir / "exp/mono_ali")
    feats = SpeakerFeatures.read(DataDir.read(golden_data("train")), system.recipe)
    ali = system.alignments()
    independent = set(map(int, (golden_dir / "data/lang/phones/context_indep.int").read_text().split()))
    parts = [
        accumulate_tree_stats(
            system.tm, [ali[utt] for utt in utts], [feats.of(utt) for utt in utts], independent, TreeConfig()
        )
        for utts in feats.speakers().values()
    ]
    return merge_tree_stats(parts)


def _distinct(questions):
    seen: dict[tuple[int, ...], None] = dict.fromkeys(tuple(sorted(question)) for question in questions)
    return [list(question) for question in seen]


@pytest.mark.kaldi
def test_with_kaldis_questions_the_tree_is_kaldis(golden_dir, golden_data, golden_stats, kaldi, tmp_path):
    lang, exp, data = golden_dir / "data/lang", golden_dir / "exp/mono_ali", golden_data("train")
    independent = (lang / "phones/context_indep.csl").read_text().strip()
    cmvn = f"apply-cmvn --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp scp:{data}/feats.scp ark:-"
    kaldi(shell=f'acc-tree-stats --ci-phones={independent} {exp}/final.mdl "ark:{cmvn} | add-deltas ark:- ark:- |" '
                f'"ark:gunzip -c {exp}/ali.1.gz|" {tmp_path}/treeacc')  # fmt: skip
    options = "--verbose=1 --max-leaves=60 --cluster-thresh=1500 --round-num-leaves=false"
    files = f"{tmp_path}/treeacc {lang}/phones/roots.int {golden_dir}/exp/tri1/questions.qst {lang}/topo"
    said = kaldi(shell=f"build-tree {options} {files} {tmp_path}/tree")
    gain = float(re.search(r"like-impr = ([0-9.]+) per frame over", said).group(1))
    questions = _distinct(_lines(golden_dir / "exp/tri1/questions.int"))
    topology = read_topology(lang / "topo")
    config = TreeConfig(merge_threshold=1500.0)
    built = build_tree(golden_stats, read_roots(lang / "phones/roots.int"), questions, topology, config, leaves=60)
    theirs = read_tree(tmp_path / "tree")
    assert built.gain_per_frame == pytest.approx(gain, rel=1e-5)
    assert built.tree.num_pdfs == theirs.num_pdfs < 58
    pairs = {(built.tree.pdf(event[:3], event[3]), theirs.pdf(event[:3], event[3]))
             for event in golden_stats.events.tolist()}  # fmt: skip
    assert len(pairs) == len({ours for ours, _ in pairs}) == len({their for _, their in pairs})  # one to one
    write_tree(tmp_path / "ours", built.tree)
    assert f"num-pdfs {built.tree.num_pdfs}" in kaldi("tree-info", tmp_path / "ours")


def test_parts_of_the_data_give_the_statistics_of_the_whole(golden_dir, golden_data, golden_stats):
    system = GmmDir.read(golden_dir / "exp/mono_ali")
    feats = SpeakerFeatures.read(DataDir.read(golden_data("train")), system.recipe)
    ali = system.alignments()
    independent = set(map(int, (golden_dir / "data/lang/phones/context_indep.int").read_text().split()))
    whole = accumulate_tree_stats(
        system.tm, list(ali.values()), [feats.of(utt) for utt in ali], independent, TreeConfig()
    )
    np.testing.assert_array_equal(whole.events, golden_stats.events)
    np.testing.assert_allclose(whole.sums, golden_stats.sums, rtol=1e-9)
    assert whole.sums[:, 0].sum() == sum(map(len, ali.values()))
    silence = np.isin(whole.events[:, 1], sorted(independent))
    assert not whole.events[silence][:, [0, 2]].any()  # context-independent phones have no neighbours


def test_own_questions_gain_about_as_much_as_kaldis(golden_dir, golden_stats):
    lang = golden_dir / "data/lang"
    own = phone_questions(golden_stats, _lines(lang / "phones/sets.int"), _lines(lang / "phones/extra_questions.int"))
    assert own == phone_questions(
        golden_stats, _lines(lang / "phones/sets.int"), _lines(lang / "phones/extra_questions.int")
    )
    sets = [sorted(group) for group in _lines(lang / "phones/sets.int")]
    assert all(group in own for group in sets)  # every phone set is asked for
    gains = [
        build_tree(golden_stats, read_roots(lang / "phones/roots.int"), questions, read_topology(lang / "topo"),
                   TreeConfig(), leaves=60).gain_per_frame
        for questions in (own, _distinct(_lines(golden_dir / "exp/tri1/questions.int")))
    ]  # fmt: skip
    assert gains[0] > 0.97 * gains[1]


def _two_phones() -> tuple[TreeStats, HmmTopology]:
    """Phone 1 sounds different after phone 2 than after phone 3; one HMM state; 1-dimensional features."""
    events = np.array([[2, 1, 0, 0], [3, 1, 0, 0]])
    sums = np.array([[1000.0, 5000.0, 26000.0], [1000.0, -5000.0, 26000.0]])  # means 5 and -5, variance 1
    state = HmmState(0, ((0, 0.5), (1, 0.5)))
    return TreeStats(events, sums, 1), HmmTopology(dict.fromkeys((1, 2, 3), 0), ((state, HmmState(-1, ())),))


def test_the_gain_of_a_split_is_the_rise_in_likelihood_by_hand():
    stats, topology = _two_phones()
    roots = [Root((1,), True, True), Root((2, 3), True, True)]
    built = build_tree(stats, roots, [[2], [3]], topology, TreeConfig(), leaves=10)
    # one Gaussian of variance 26 becomes two of variance 1: 2000 * 0.5 * ln 26
    assert built.gain_per_frame == pytest.approx(0.5 * np.log(26.0))
    assert built.tree.pdf([2, 1, 0], 0) != built.tree.pdf([3, 1, 0], 0)
    assert built.tree.num_pdfs == 3


def test_a_root_that_may_not_be_split_stays_one_leaf():
    stats, topology = _two_phones()
    roots = [Root((1,), True, False), Root((2, 3), True, True)]
    built = build_tree(stats, roots, [[2], [3]], topology, TreeConfig(), leaves=10)
    assert built.tree.pdf([2, 1, 0], 0) == built.tree.pdf([3, 1, 0], 0)


def test_leaves_that_sound_alike_are_merged_again():
    stats, topology = _two_phones()
    roots = [Root((1,), True, True), Root((2, 3), True, True)]
    kept = build_tree(stats, roots, [[2]], topology, TreeConfig(merge_threshold=0.0), leaves=10)
    merged = build_tree(stats, roots, [[2]], topology, TreeConfig(merge_threshold=1.0e5), leaves=10)
    assert kept.tree.num_pdfs == 3
    assert merged.tree.num_pdfs == 2
    np.testing.assert_allclose(merged.pdf_sums.sum(axis=0), stats.sums.sum(axis=0))
    assert merged.tree.pdf([2, 1, 0], 0) == merged.tree.pdf([3, 1, 0], 0)


def test_unshared_roots_give_every_state_its_own_leaf(golden_dir, golden_stats):
    topology = read_topology(golden_dir / "data/lang/topo")
    roots = [Root((phone,), False, False) for phone in topology.phones]
    built = build_tree(golden_stats, roots, [], topology, TreeConfig(merge_threshold=0.0), leaves=10_000)
    assert built.tree.num_pdfs == sum(topology.num_pdf_classes(phone) for phone in topology.phones)
    tm = TransitionModel.from_tree(built.tree, topology)
    assert tm.num_pdfs == built.tree.num_pdfs


def test_the_objective_floors_variances():
    sums = np.array([10.0, 0.0, 0.0])  # ten equal frames: variance 0, floored at 0.01
    assert gaussian_objective(sums) == pytest.approx(-5.0 * (np.log(0.01) + np.log(2 * np.pi)))
    assert gaussian_objective(np.zeros(3)) == 0.0


def test_the_monophone_tree_is_kaldis(golden_dir):
    lang = golden_dir / "data/lang"
    ours = monophone_tree(_lines(lang / "phones/sets.int"), read_topology(lang / "topo"))
    theirs = read_tree(golden_dir / "exp/mono/tree")
    topology = read_topology(lang / "topo")
    assert ours.num_pdfs == theirs.num_pdfs
    for phone in topology.phones:
        for state in range(topology.num_pdf_classes(phone)):
            assert ours.pdf([phone], state) == theirs.pdf([phone], state)


def test_a_phone_without_root_and_a_bad_roots_line_are_named(tmp_path):
    stats, topology = _two_phones()
    with pytest.raises(ModelError, match=r"phones without a root: \[2, 3\]"):
        build_tree(stats, [Root((1,), True, True)], [], topology, TreeConfig(), leaves=10)
    (tmp_path / "roots.int").write_text("shared split 1\nshared sometimes 2\n")
    with pytest.raises(ModelError, match=r"roots.int:2: expected"):
        read_roots(tmp_path / "roots.int")
    for damage in (b"shared split 1 x\n", b"shared split \xff\n"):
        (tmp_path / "roots.int").write_bytes(damage)
        with pytest.raises(ModelError, match=r"roots.int:1: expected"):
            read_roots(tmp_path / "roots.int")


def test_a_central_position_outside_of_the_context_is_refused():
    with pytest.raises(ValueError, match="need 0 <= central_position < context_width, got 3 and 3"):
        TreeConfig(central_position=3)
