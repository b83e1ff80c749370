"""Our readers find in each golden file what Kaldi prints of it, and our writers its bytes; no Kaldi needed."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from hmm.arpa import read_arpa
from hmm.grammar import format_lm
from hmm.graph import make_graph
from hmm.lattice import best_path
from kaldi_bridge.compressed import compress
from kaldi_bridge.fsts import FstArrays, const_bytes, read_fst, vector_bytes
from kaldi_bridge.lattices import lattice_bytes, read_lattices, write_lattices
from kaldi_bridge.models import model_bytes, read_model, read_topology, read_tree, tree_bytes
from kaldi_bridge.tables import (
    MatrixWriter,
    packed_matrix,
    read_int_vectors,
    read_matrix,
    read_matrix_ark,
    read_matrix_scp,
    write_int_vectors,
)
from tests.fst_isomorphism import weight_difference

HERE = Path(__file__).resolve().parent
ALI, GRAPH, DECODED = HERE / "exp/tri3b_ali", HERE / "exp/tri3b/graph", HERE / "exp/tri3b/decode_test"


@pytest.fixture(autouse=True)
def _in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)


def printed_matrices(name: str) -> dict[str, np.ndarray]:
    """Kaldi's text archive of matrices, parsed by nothing of ours."""
    text = (HERE / "text" / name).read_text()
    found = re.findall(r"(\S*)\s*\[([^\]]*)\]", text)
    return {key: np.array([row.split() for row in body.strip().splitlines()], float) for key, body in found}


def printed_ids(name: str) -> dict[str, list[int]]:
    rows = (line.split() for line in (HERE / "text" / name).read_text().splitlines())
    return {key: [int(word) for word in rest] for key, *rest in rows}


def printed_fst(name: str) -> FstArrays:
    """What fstprint writes: the first state named is the start; a line of one or two words is a final state."""
    arcs, finals, start = [], {}, -1
    for line in (HERE / "text" / name).read_text().splitlines():
        words = line.split("\t")
        start = int(words[0]) if start < 0 else start
        if len(words) <= 2:
            finals[int(words[0])] = float(words[1]) if len(words) == 2 else 0.0
        else:
            source, target, ilabel, olabel = map(int, words[:4])
            arcs.append((source, ilabel, olabel, float(words[4]) if len(words) == 5 else 0.0, target))
    states = 1 + max([*finals, *(arc[0] for arc in arcs), *(arc[4] for arc in arcs)])
    table = np.array([finals.get(state, np.inf) for state in range(states)])
    columns = [np.array(column) for column in zip(*arcs, strict=True)]
    return FstArrays.from_arcs(start, table, *columns)


def plain(data: bytes) -> bytes:
    """Transducers without two fields of their heads that nobody reads back: known properties, number of arcs."""
    head = rb"((?:vector|const).{4}(?:compactlattice44|lattice4|standard).{8}).{8}(.{16}).{8}"
    return re.sub(head, rb"\1\2", data, flags=re.S)


def test_features_of_a_table_are_what_copy_feats_prints():
    table, printed = read_matrix_scp("data/test/feats.scp"), printed_matrices("feats.txt")
    assert list(printed) == list(table)[:2]
    for key, wanted in printed.items():
        np.testing.assert_allclose(table[key], wanted, rtol=1e-6)


@pytest.mark.parametrize("method", range(1, 8))
def test_each_compression_is_what_copy_feats_prints(method):
    ((key, found),) = read_matrix_ark(f"mfcc/method_{method}.ark")
    wanted = printed_matrices(f"feats_method_{method}.txt")[key]
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_compression_gives_back_kaldis_bytes_for_what_it_made():
    ((_, features),) = read_matrix_ark("mfcc/method_2.ark")
    assert (HERE / "mfcc/method_2.ark").read_bytes().endswith(b"\0B" + compress(features)[2:])


def test_statistics_and_transforms_are_what_copy_matrix_prints(tmp_path):
    for name, found in (
        ("cmvn.txt", read_matrix_scp("data/test/cmvn.scp")),
        ("trans.txt", read_matrix_ark(ALI / "trans.1")),
    ):
        matrices, printed = dict(found), printed_matrices(name)
        assert matrices.keys() == printed.keys()
        for key, wanted in printed.items():
            np.testing.assert_allclose(matrices[key], wanted, rtol=1e-6)
    for path in (HERE / "mfcc/cmvn_test.ark", ALI / "trans.1", HERE / "exp/loglikes.ark"):
        with MatrixWriter(tmp_path / "again") as writer:
            for key, matrix in read_matrix_ark(path):
                writer.write(key, matrix)
        assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_single_matrix_is_read_and_written_as_kaldi_does():
    matrix = read_matrix(ALI / "final.mat")
    np.testing.assert_allclose(matrix, printed_matrices("final_mat.txt")[""], rtol=1e-6)
    assert packed_matrix(matrix) == (ALI / "final.mat").read_bytes()


def test_likelihoods_are_what_copy_feats_prints():
    ((key, found),) = read_matrix_ark("exp/loglikes.ark")
    np.testing.assert_allclose(found, printed_matrices("loglikes.txt")[key], rtol=1e-6)


def test_alignments_mean_the_pdfs_and_phones_that_kaldi_prints(tmp_path):
    found, (transitions, _) = read_int_vectors(ALI / "ali.1.gz"), read_model(ALI / "final.mdl")
    assert {key: ids.tolist() for key, ids in found.items()} == printed_ids("ali.txt")
    assert {key: transitions.id2pdf[ids].tolist() for key, ids in found.items()} == printed_ids("ali_pdfs.txt")
    assert {key: transitions.id2phone[ids].tolist() for key, ids in found.items()} == printed_ids("ali_phones.txt")
    write_int_vectors(tmp_path / "ali", found)
    assert (tmp_path / "ali").read_bytes() == gzip.decompress((ALI / "ali.1.gz").read_bytes())


def test_the_model_is_what_gmm_copy_prints_and_is_written_to_the_same_bytes():
    transitions, gmm = read_model(ALI / "final.mdl")
    text = (HERE / "text/final_mdl.txt").read_text()
    for token, found in (("GCONSTS", gmm.gconsts), ("WEIGHTS", gmm.weights), ("MEANS_INVVARS", gmm.means_invvars),
                         ("INV_VARS", gmm.inv_vars)):  # fmt: skip
        words = " ".join(re.findall(rf"<{token}>\s*\[([^\]]*)\]", text)).split()
        np.testing.assert_allclose(found.ravel(), np.array(words, float), rtol=1e-6)
    triples = re.search(r"<Triples> \d+\s(.*?)</Triples>", text, re.S)
    assert triples is not None
    assert transitions.tuples.tolist() == [
        [int(word) for word in line.split()] for line in triples[1].splitlines() if line
    ]
    for path in (ALI / "final.mdl", ALI / "final.alimdl", HERE / "exp/mono_ali/final.mdl"):
        assert model_bytes(*read_model(path)) == path.read_bytes()


def test_the_tree_is_that_of_copy_tree_and_is_written_to_the_same_bytes():
    tree = read_tree(ALI / "tree")
    assert tree == read_tree(HERE / "text/tree.txt")
    leaves = {int(pdf) for pdf in re.findall(r"\bCE (\d+)", (HERE / "text/tree.txt").read_text())}
    assert {leaf.pdf for leaf in tree.leaves()} == leaves
    assert tree_bytes(tree) == (ALI / "tree").read_bytes()


def test_the_topology_is_written_as_gen_topo_wrote_it():
    assert read_topology("lang/topo").text().split() == (HERE / "lang/topo").read_text().split()


@pytest.mark.parametrize(("path", "name"), [("exp/tri3b/graph/HCLG.fst", "HCLG.txt"), ("lang_test/G.fst", "G.txt")])
def test_transducers_are_what_fstprint_writes(path, name):
    fst, printed = read_fst(path), printed_fst(name)
    for column in ("finals", "offsets", "ilabel", "olabel", "weight", "nextstate"):
        np.testing.assert_array_equal(getattr(fst, column), getattr(printed, column))
    data = (HERE / path).read_bytes()
    again = const_bytes(fst) if b"const" in data[:16] else vector_bytes(fst)
    assert plain(again) == plain(data)


def test_our_grammar_and_graph_are_those_of_arpa2fst_and_mkgraph(tmp_path):
    format_lm("lang", read_arpa("lm.arpa"), tmp_path / "lang_test")
    assert weight_difference(read_fst(tmp_path / "lang_test/G.fst"), read_fst("lang_test/G.fst")) < 1e-5
    ours = make_graph(tmp_path / "lang_test", HERE / "exp/tri3b", tmp_path / "graph")
    assert weight_difference(read_fst(ours / "HCLG.fst"), read_fst(GRAPH / "HCLG.fst")) < 2e-3  # rounded to 1/1024


def printed_lattices() -> dict[str, list[tuple[int, float, float, list[int]]]]:
    """Arcs of lattices.txt as (word, graph cost, acoustic cost, transition ids), sorted."""
    found = {}
    for block in (HERE / "text/lattices.txt").read_text().strip().split("\n\n"):
        key, *lines = block.splitlines()
        rows = (line.split("\t") for line in lines)
        arcs = [(int(row[2]), *row[3].split(",")) for row in rows if len(row) == 4]
        found[key.strip()] = sorted(
            (word, float(graph), float(acoustic), [int(one) for one in ids.split("_") if one])
            for word, graph, acoustic, ids in arcs
        )
    return found


def test_arcs_of_lattices_are_those_that_lattice_copy_prints():
    printed, found = printed_lattices(), dict(read_lattices(DECODED / "lat.1.gz"))
    assert found.keys() == printed.keys()
    for key, lattice in found.items():
        columns = (lattice.word.tolist(), lattice.graph_cost.tolist(), lattice.acoustic_cost.tolist())
        arcs = sorted((*row, lattice.arc_ids(number).tolist()) for number, row in enumerate(zip(*columns, strict=True)))
        assert [arc[0] for arc in arcs] == [arc[0] for arc in printed[key]]
        assert [arc[3] for arc in arcs] == [arc[3] for arc in printed[key]]
        np.testing.assert_allclose([arc[1:3] for arc in arcs], [arc[1:3] for arc in printed[key]], rtol=1e-4)


@pytest.mark.parametrize("path", ["exp/tri3b/decode_test/lat.1.gz", "exp/lattices_not_compact.gz"])
def test_both_kinds_of_lattices_hold_the_words_that_kaldi_finds_and_survive_our_writer(path, tmp_path):
    lattices = dict(read_lattices(path))
    found = {key: best_path(lattice, 12.0).words.tolist() for key, lattice in lattices.items()}
    assert found == printed_ids("best_paths.txt")
    write_lattices(tmp_path / "lat", lattices.items())
    for key, again in read_lattices(tmp_path / "lat"):
        assert lattice_bytes(again) == lattice_bytes(lattices[key])
