"""Training and decoding graphs, judged by those of a real Kaldi and by its decoder."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from harness.errors import LexiconError, ModelError
from hmm.fst_operations import compose, determinize_star, push_special, trim
from hmm.grammar import format_lm
from hmm.graph import GraphConfig, make_graph
from hmm.h_transducer import add_self_loops, h_transducer
from hmm.lang import Lang
from hmm.lm import train_lm
from hmm.local_epsilons import remove_epsilons_locally
from hmm.training_graphs import TrainingGraphs, compose_with_words
from kaldi_bridge.fsts import FstArrays, from_kaldifst, read_fst, read_fst_archive, to_kaldifst, write_fst
from kaldi_bridge.models import read_transition_model, read_tree
from tests.fst_isomorphism import weight_difference

SYSTEMS = ["mono", "tri1", "tri2b", "tri3b"]


def transcripts(golden_dir, part="train"):
    words = Lang.read(golden_dir / "data/lang").words
    lines = [line.split() for line in (golden_dir / f"data/{part}/text").read_text().splitlines()]
    return {line[0]: [words[word] for word in line[1:]] for line in lines}


def compiler(golden_dir, system):
    source = golden_dir / "exp" / system
    tree, model = read_tree(source / "tree"), read_transition_model(source / "final.mdl")
    return TrainingGraphs.from_lang(golden_dir / "data/lang", tree, model)


def run_kaldi(kaldi_root, command):
    command = f"set -e -o pipefail; . {kaldi_root}/path.sh; {command}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_training_graph_is_that_of_kaldi(golden_dir, system):
    golden = dict(read_fst_archive(golden_dir / "exp" / system / "fsts.1.gz"))
    said = transcripts(golden_dir)
    ours = compiler(golden_dir, system).compile_batch([said[key] for key in golden])
    differences = [weight_difference(mine, theirs) for mine, theirs in zip(ours, golden.values(), strict=True)]
    assert len(differences) == 45
    assert max(difference if difference is not None else np.inf for difference in differences) < 1e-6


def test_one_by_one_gives_the_graphs_of_the_batch(golden_dir):
    graphs, said = compiler(golden_dir, "tri3b"), list(transcripts(golden_dir).values())[:5]
    batch = graphs.compile_batch(said)
    assert [weight_difference(graphs.compile(words), graph) for words, graph in zip(said, batch, strict=True)] == [
        0
    ] * 5


def test_a_transcript_outside_the_lexicon_has_no_graph(golden_dir):
    graphs = compiler(golden_dir, "tri3b")
    assert graphs.compile_batch([[3], [999], [4]])[1] is None
    assert graphs.compile([13]) is None  # #0 is a symbol, but no word of L


def test_an_empty_transcript_is_silence_or_nothing(golden_dir):
    graph = compiler(golden_dir, "mono").compile([])
    silence = set(range(1, 11))
    model = compiler(golden_dir, "mono").model
    assert set(model.id2phone[graph.ilabel[graph.ilabel > 0]]) <= silence
    assert not graph.olabel.any()


def test_composition_with_words_equals_that_of_kaldifst(golden_dir):
    import kaldifst

    lexicon = read_fst(golden_dir / "data/lang/L.fst")
    words = [3, 7, 7, 2]
    left, right = to_kaldifst(lexicon), kaldifst.make_linear_acceptor(words)
    kaldifst.arcsort(left, "olabel")
    theirs = from_kaldifst(kaldifst.compose(left, right))
    ours = compose_with_words(lexicon, np.array(words, np.int32))
    assert weight_difference(ours, theirs) == 0


def test_the_decoding_graph_is_that_of_kaldi(golden_dir, tmp_path):
    graph = make_graph(golden_dir / "data/lang_test", golden_dir / "exp/tri3b", tmp_path / "graph")
    golden = golden_dir / "exp/tri3b/graph"
    ours, theirs = read_fst(graph / "HCLG.fst"), read_fst(golden / "HCLG.fst")
    assert (ours.num_states, ours.num_arcs) == (136, 343)
    assert weight_difference(ours, theirs) < 1e-6
    names = sorted(str(path.relative_to(golden)) for path in golden.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(graph)) for path in graph.rglob("*") if path.is_file())
    for name in names:
        assert name == "HCLG.fst" or (graph / name).read_bytes() == (golden / name).read_bytes()


@pytest.mark.parametrize("stage", ["LG.fst", "CLG_3_1.fst"])
def test_special_pushing_leaves_every_state_of_a_real_graph_the_same_total(golden_dir, stage):
    pushed = push_special(read_fst(golden_dir / "data/lang_test/tmp" / stage))
    totals = np.exp(-pushed.finals.astype(float))
    np.add.at(totals, pushed.sources(), np.exp(-pushed.weight.astype(float)))
    assert np.log(totals.max() / totals.min()) < 2e-3


def test_local_epsilon_removal_keeps_the_cost_of_every_string():
    # 0 -a/1-> 1 -eps/0.5-> 2 -b/2-> 3, and 1 -c/1-> 3
    columns = (
        np.array([0, 1, 2, 1]),
        np.array([1, 0, 2, 3]),
        np.zeros(4, int),
        np.array([1, 0.5, 2, 1]),
        np.array([1, 2, 3, 3]),
    )
    fst = FstArrays.from_arcs(0, np.array([np.inf, np.inf, np.inf, 0.25]), *columns)
    removed = remove_epsilons_locally(fst)
    assert 0 not in removed.ilabel
    assert path_cost(removed, [1, 2]) == pytest.approx(3.75)
    assert path_cost(removed, [1, 3]) == pytest.approx(2.25)


def test_trimming_keeps_what_lies_on_a_path_to_an_end():
    # 0 -> 1 -> 2 (final); 1 -> 3 leads nowhere; 4 -> 2 is never reached
    columns = [np.array(column) for column in ([0, 1, 1, 4], [1, 2, 3, 4], [1, 2, 3, 4], [0.5] * 4, [1, 2, 3, 2])]
    trimmed = trim(FstArrays.from_arcs(0, np.array([np.inf, np.inf, 0, np.inf, np.inf]), *columns))
    assert (trimmed.num_states, trimmed.ilabel.tolist()) == (3, [1, 2])
    assert trim(FstArrays.from_arcs(0, np.full(5, np.inf), *columns)).num_states == 0


def path_cost(fst: FstArrays, labels: list[int]) -> float:
    """The least cost of a path with these input labels in a transducer without epsilons."""
    reached = {fst.start: 0.0}
    for label in labels:
        following: dict[int, float] = {}
        for state, cost in reached.items():
            for arc in range(fst.offsets[state], fst.offsets[state + 1]):
                if fst.ilabel[arc] == label:
                    target, total = int(fst.nextstate[arc]), cost + float(fst.weight[arc])
                    following[target] = min(total, following.get(target, np.inf))
        reached = following
    return min(cost + float(fst.finals[state]) for state, cost in reached.items())


def test_self_loops_leave_a_distribution_over_what_follows(golden_dir):
    model = read_transition_model(golden_dir / "exp/mono/final.mdl")
    tree = read_tree(golden_dir / "exp/mono/tree")
    fst, _ = h_transducer([[], [11], [1]], tree, model)
    looped = add_self_loops(fst, model, 1.0)
    emitting = np.flatnonzero(np.bincount(looped.sources()[looped.ilabel > 0], minlength=looped.num_states) > 0)
    emitting = emitting[emitting != looped.start]
    totals = np.exp(-looped.finals.astype(float))
    np.add.at(totals, looped.sources(), np.exp(-looped.weight.astype(float)))
    np.testing.assert_allclose(totals[emitting], 1, atol=1e-3)


def test_a_phone_without_topology_is_named(golden_dir):
    tree, model = read_tree(golden_dir / "exp/mono/tree"), read_transition_model(golden_dir / "exp/mono/final.mdl")
    with pytest.raises(ModelError, match="no entry for phone 90"):
        h_transducer([[], [90]], tree, model)


def test_a_tree_of_another_training_is_refused(golden_dir):
    model = read_transition_model(golden_dir / "exp/mono/final.mdl")
    graphs = TrainingGraphs.from_lang(golden_dir / "data/lang", read_tree(golden_dir / "exp/tri3b/tree"), model)
    with pytest.raises(
        ModelError, match=r"(?s)has no transition state for phone .* use the tree that the model was trained"
    ):
        graphs.compile([3, 4])


def test_a_graph_of_another_model_gets_no_self_loops(golden_dir):
    fst = FstArrays.from_arcs(0, np.array([0.0]), *(np.array([k]) for k in (0, 9999, 0, 0, 0)))
    with pytest.raises(ModelError, match="no transition id of this model"):
        add_self_loops(fst, read_transition_model(golden_dir / "exp/mono/final.mdl"), 0.1)


def test_an_undeterminisable_graph_stops_at_the_given_size():
    # two loops with the same input, other outputs and other weights: the subsets never repeat
    columns = ([0, 0, 1, 2], [1, 1, 2, 2], [1, 2, 3, 4], [0.0, 0.0, 0.5, 1.0], [1, 2, 1, 2])
    fst = FstArrays.from_arcs(0, np.array([np.inf, 0.0, 0.0]), *(np.array(column) for column in columns))
    with pytest.raises(ModelError, match="determinisation needs more than 1000 states"):
        determinize_star(to_kaldifst(fst), 1000, "test graph")


def test_parts_that_share_no_path_are_refused():
    one = FstArrays.from_arcs(0, np.array([np.inf, 0.0]), *(np.array([k]) for k in (0, 1, 1, 0.0, 1)))
    other = FstArrays.from_arcs(0, np.array([np.inf, 0.0]), *(np.array([k]) for k in (0, 2, 2, 0.0, 1)))
    with pytest.raises(ModelError, match=r"L o G: the composition is empty"):
        compose(to_kaldifst(one), to_kaldifst(other), "L o G", mend="prepare the lang directory again")


def test_a_lang_directory_without_grammar_is_refused(golden_dir, tmp_path):
    with pytest.raises(LexiconError, match=r"G\.fst: does not exist\n  mend: format the language model first"):
        make_graph(golden_dir / "data/lang", golden_dir / "exp/tri3b", tmp_path / "graph")


def test_an_arc_of_endless_cost_is_refused_since_determinisation_would_never_end(golden_dir, tmp_path):
    lang = tmp_path / "lang"
    shutil.copytree(golden_dir / "data/lang_test", lang)
    grammar = read_fst(lang / "G.fst")
    grammar.weight[1] = np.inf
    write_fst(lang / "G.fst", grammar)
    with pytest.raises(ModelError, match=rf"G\.fst: 1 of {grammar.num_arcs} arcs have an endless cost"):
        make_graph(lang, golden_dir / "exp/mono", tmp_path / "graph")
    assert not (tmp_path / "graph").exists()


def test_a_graph_larger_than_allowed_leaves_nothing_behind(golden_dir, tmp_path):
    with pytest.raises(ModelError, match="more than 20 states"):
        make_graph(
            golden_dir / "data/lang_test", golden_dir / "exp/tri3b", tmp_path / "graph", GraphConfig(max_states=20)
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kaldi
@pytest.mark.parametrize("system", ["mono", "tri3b"])
def test_mkgraph_makes_the_same_graph_from_a_trigram(golden_dir, kaldi_root, tmp_path, system):
    text = [line.split()[1:] for line in (golden_dir / "data/train/text").read_text().splitlines()]
    words = [word for word in Lang.read(golden_dir / "data/lang").words if word.isalpha()]
    format_lm(golden_dir / "data/lang", train_lm(text, words, 3, "kneser_ney"), tmp_path / "lang_test")
    source = tmp_path / system
    source.mkdir()
    for name in ("tree", "final.mdl"):
        shutil.copy(golden_dir / "exp" / system / name, source)
    ours = make_graph(tmp_path / "lang_test", source, tmp_path / "ours")
    (tmp_path / "utils").symlink_to(kaldi_root / "egs/wsj/s5/utils")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/fstconvert").write_text("#!/bin/sh\ncat\n")  # only changes the format, and not every Kaldi has it
    (tmp_path / "bin/fstconvert").chmod(0o755)
    run_kaldi(kaldi_root, f"PATH=$PATH:{tmp_path}/bin; cd {tmp_path}; utils/mkgraph.sh lang_test {system} theirs >&2")
    mine, theirs = read_fst(ours / "HCLG.fst"), read_fst(tmp_path / "theirs/HCLG.fst")
    assert weight_difference(mine, theirs) < 2e-3  # Kaldi's minimisation rounds weights to 1/1024
    assert (ours / "num_pdfs").read_text() == (tmp_path / "theirs/num_pdfs").read_text()


@pytest.mark.kaldi
def test_the_decoder_of_kaldi_finds_its_words_in_our_graph(golden_dir, kaldi_root, tmp_path):
    source = golden_dir / "exp/tri3b"
    ours = make_graph(golden_dir / "data/lang_test", source, tmp_path / "graph")
    feats = golden_dir / "data-fmllr/test/data/feats_fmllr_test.1.ark"
    found = []
    for graph in (ours, source / "graph"):
        options = f"--acoustic-scale=0.0833 {source}/final.mdl {graph}/HCLG.fst"
        command = f"gmm-latgen-faster {options} ark:{feats} ark:/dev/null ark,t:-"
        found.append(run_kaldi(kaldi_root, command))
    assert found[0] == found[1]
    assert len(found[0].splitlines()) == 15
