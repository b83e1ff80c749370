"""A Kaldi user's directories as they are: pipes and ranges in tables; --graph checked, noted, used to decode."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from am.inputs import InputConfig, Source, read_frames
from harness.errors import DecodeError, ModelError, TableError
from hmm.graph_note import GraphNote, check_graph
from kaldi_bridge.lattices import read_decode_dir
from kaldi_bridge.tables import MatrixWriter, read_matrix_scp

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests/golden"
ALI, GRAPH = GOLDEN / "exp/tri3b_ali", GOLDEN / "exp/tri3b/graph"
SMALL = ["ligru.layers=1", "ligru.units=8", "train.epochs=1", "train.dev_speakers=1"]


@pytest.fixture(autouse=True)
def _in_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)


def run(room: str, *words: object) -> str:
    """The error of a command line, in this process; empty where it went well."""
    app = importlib.import_module(f"{room}.__main__").app
    result = CliRunner().invoke(app, [*map(str, words)])
    return "" if result.exit_code == 0 else str(result.exception)


def train(out: Path, *words: object, data: object = "data/train") -> str:
    settings = [word for one in SMALL for word in ("--set", one)]
    return run("am", "train", "--data", data, "--out", out, *settings, *words)


def copy(source: Path, target: Path, *without: str) -> Path:
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without)))


def test_training_notes_the_graph_and_decoding_needs_nothing_else(tmp_path):
    assert not train(tmp_path / "am", "--ali", ALI, "--fmllr", ALI, "--graph", GRAPH)
    places = {"graph": str(GRAPH), "model": str(ALI / "final.mdl")}
    assert json.loads((tmp_path / "am/graph.json").read_text()) == places
    assert not run("am", "forward", "--model", tmp_path / "am/best.pt", "--data", "data/test", "--fmllr",
               "exp/tri3b/decode_test", "--out", tmp_path / "loglikes")  # fmt: skip
    scp = tmp_path / "loglikes/loglikes.scp"
    for out, words in (("noted", []), ("given", ["--graph", GRAPH, "--model", ALI / "final.mdl"])):
        assert not run("hmm", "decode", "--loglikes", scp, "--out", tmp_path / out, "--jobs", 1, *words)
    noted, given = dict(read_decode_dir(tmp_path / "noted")), dict(read_decode_dir(tmp_path / "given"))
    assert len(noted) == 16
    assert all(np.array_equal(noted[key].word, given[key].word) for key in given)


def test_decoding_without_graph_or_note_says_what_to_give(tmp_path):
    with MatrixWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer.write("u", np.zeros((3, 16), np.float32))
    wanted = f"--graph: is not given, and {tmp_path} has no graph.json\n  mend: give --graph, or train with"
    assert wanted in run("hmm", "decode", "--loglikes", tmp_path / "a.scp", "--out", tmp_path / "out")


def test_the_graph_gives_the_phones_that_an_alignment_directory_lacks(tmp_path):
    bare = copy(ALI, tmp_path / "ali", "phones.txt")
    assert "phones.txt: no such phone table" in train(tmp_path / "am", "--ali", bare)
    assert not train(tmp_path / "am", "--ali", bare, "--graph", GRAPH)


def test_a_graph_of_another_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"is of a model with 16 pdfs, .*mono_ali/final.mdl has 25"):
        check_graph(GRAPH, GOLDEN / "exp/mono_ali")
    other = copy(GRAPH, tmp_path / "graph")
    (other / "disambig_tid.int").write_text("9\n10\n")
    with pytest.raises(ModelError, match=r"is of a model with 8 transition ids, .* has 3\d\d"):
        check_graph(other, ALI)
    phones = copy(GRAPH, tmp_path / "phones")
    (phones / "phones.txt").write_text((GRAPH / "phones.txt").read_text().replace("A_B 1", "AA_B 1"))
    with pytest.raises(ModelError, match=r"numbers its phones otherwise than .*tri3b_ali/phones.txt \(first: A"):
        check_graph(phones, ALI)
    with pytest.raises(ModelError, match=r"HCLG.fst: no such file"):
        check_graph(tmp_path, ALI)
    assert "has 3" in train(tmp_path / "am", "--ali", ALI, "--graph", other)
    assert not (tmp_path / "am").exists()


def test_a_graph_without_alignments_to_check_it_is_refused(tmp_path):
    assert "--graph: needs alignments to be checked against" in run(
        "am", "train", "--out", tmp_path / "am", "--graph", GRAPH, "--dataset", tmp_path / "none.npz"
    )


def test_a_damaged_note_is_named(tmp_path):
    (tmp_path / "graph.json").write_text('{"graph": 1')
    with pytest.raises(DecodeError, match=r"graph.json: is no note of a graph"):
        GraphNote.read(tmp_path)
    assert GraphNote.read(GOLDEN) is None


def piped(folder: Path) -> Path:
    """data/train of the golden files; places of every third utterance as a range, of every third as a pipe."""
    data = copy(GOLDEN / "data/train", folder / "train")
    rows = []
    for number, line in enumerate((data / "feats.scp").read_text().splitlines()):
        key, place = line.split()
        path, offset = place.split(":")
        frames = len(read_matrix_scp(data / "feats.scp")[key])
        ark = f"dd if={path} bs=1 skip={offset} count={5 + 16 + 13 * 8 + 13 * frames} status=none |"
        rows.append(f"{key} {[place, f'{place}[0:{frames - 1}]', ark][number % 3]}")
    (data / "feats.scp").write_text("\n".join(rows) + "\n")
    return data


def test_pipes_and_ranges_in_feats_scp_give_the_same_features_or_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(GOLDEN)
    data = piped(tmp_path)
    plain = read_frames(Source(data=Path("data/train"), ali=ALI, fmllr=ALI), InputConfig())
    other = read_frames(Source(data=data, ali=ALI, fmllr=ALI), InputConfig())
    assert other.utterances == plain.utterances
    np.testing.assert_array_equal(other.features, plain.features)
    with pytest.raises(TableError, match=r"ann-2: refused to run 'dd"):
        read_frames(Source(data=data, ali=ALI, fmllr=ALI, allow_commands=False), InputConfig())


def test_every_verb_refuses_commands_on_demand(tmp_path):
    data = piped(tmp_path)
    assert "refused to run 'dd" in train(tmp_path / "am", "--ali", ALI, "--no-commands", data=data)
    assert "refused to run 'dd" in run(
        "am", "pack", "--data", data, "--ali", ALI, "--out", tmp_path / "a.npz", "--no-commands"
    )
    assert not train(tmp_path / "am", "--ali", ALI, data=data)
    words = ["forward", "--model", tmp_path / "am/best.pt", "--data", data, "--out", tmp_path / "out"]
    assert "refused to run 'dd" in run("am", *words, "--no-commands")
    assert not run("am", *words)
