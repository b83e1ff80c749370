"""The verbs from lexicon to graph: one chain, its outputs, and what a user reads when something is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from harness.cli import app_for
from harness.errors import ConfigError, LexiconError
from hmm import verbs_graph
from kaldi_bridge.fsts import read_fst
from tests.fst_isomorphism import weight_difference

APP = app_for("hmm", "test")
verbs_graph.register(APP)


def run(*words: object) -> str:
    result = CliRunner().invoke(APP, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_chain_of_verbs_ends_in_a_graph(golden_dir, tmp_path):
    text = golden_dir / "data/train/text"
    raw = tmp_path / "raw"
    raw.write_text("\n".join((golden_dir / "data/dict/lexicon.txt").read_text().splitlines()[2:]) + "\n")
    run("prepare-dict", raw, tmp_path / "dict", "--set", "silence_word='!SIL'")
    report = run("prepare-lang", tmp_path / "dict", tmp_path / "lang", "--text", text)
    assert "0 words without pronunciation" in report
    trained = run(
        "train-lm", text, tmp_path / "lm.gz", "--lang", tmp_path / "lang", "--method", "kneser_ney", "--order", 2
    )
    assert "perplexity" in trained
    assert run("perplexity", tmp_path / "lm.gz", text).split(":", 1)[1] == trained.split(":", 1)[1]
    run("format-lm", tmp_path / "lang", tmp_path / "lm.gz", tmp_path / "lang_test")
    run("make-graph", tmp_path / "lang_test", golden_dir / "exp/tri3b", tmp_path / "graph")
    assert read_fst(tmp_path / "graph/HCLG.fst").num_arcs > 343
    assert (tmp_path / "graph/num_pdfs").read_text() == "56\n"


def test_the_verb_makes_the_golden_graph_and_the_same_bytes_twice(golden_dir, tmp_path):
    for name in ("one", "two"):
        run("make-graph", golden_dir / "data/lang_test", golden_dir / "exp/tri3b", tmp_path / name)
    made = read_fst(tmp_path / "one/HCLG.fst")
    assert weight_difference(made, read_fst(golden_dir / "exp/tri3b/graph/HCLG.fst")) < 1e-6
    assert (tmp_path / "one/HCLG.fst").read_bytes() == (tmp_path / "two/HCLG.fst").read_bytes()


def test_perplexity_reads_plain_sentences_too(golden_dir, tmp_path):
    (tmp_path / "sentences").write_text("one two\nthree\n")
    report = run("perplexity", golden_dir / "lm.arpa", tmp_path / "sentences", "--plain")
    assert "5 tokens in 2 sentences, 0 unknown tokens" in report


def test_an_unknown_option_of_the_config_is_refused(golden_dir, tmp_path):
    with pytest.raises(ConfigError, match="silence_probb"):
        run("prepare-lang", golden_dir / "data/dict", tmp_path / "lang", "--set", "silence_probb=0.1")


def test_an_unknown_method_is_answered_with_the_choices(golden_dir, tmp_path):
    with pytest.raises(LexiconError, match="choose witten_bell or kneser_ney"):
        run(
            "train-lm",
            golden_dir / "data/train/text",
            tmp_path / "x",
            "--lang",
            golden_dir / "data/lang",
            "--method",
            "kn",
        )


def test_a_failure_prints_where_and_mend_and_exits_with_one(golden_dir, tmp_path):
    command = [
        sys.executable,
        "-m",
        "hmm",
        "format-lm",
        str(golden_dir / "data/lang"),
        "nowhere.arpa",
        str(tmp_path / "x"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nowhere.arpa: cannot be read" in done.stderr
    assert "mend: check the path of the language model" in done.stderr
    assert not (tmp_path / "x").exists()
