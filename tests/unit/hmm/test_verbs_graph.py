"""The verbs from lexicon to graph: one chain, its outputs, and what a user reads when something is wrong."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness.errors import ConfigError, DiskError, LexiconError
from kaldi_bridge.fsts import read_fst
from tests.fst_isomorphism import weight_difference
from tests.unit.hmm.called import ran


def test_the_chain_of_verbs_ends_in_a_graph(golden_dir, tmp_path):
    text = golden_dir / "data/train/text"
    raw = tmp_path / "raw"
    raw.write_text("\n".join((golden_dir / "data/dict/lexicon.txt").read_text().splitlines()[2:]) + "\n")
    ran("prepare-dict", raw, tmp_path / "dict", "--set", "silence_word='!SIL'")
    report = ran("prepare-lang", tmp_path / "dict", tmp_path / "lang", "--text", text)
    assert "0 words without pronunciation" in report
    trained = ran(
        "train-lm", text, tmp_path / "lm.gz", "--lang", tmp_path / "lang", "--method", "kneser_ney", "--order", 2
    )
    assert "perplexity" in trained
    assert ran("perplexity", tmp_path / "lm.gz", text).split(":", 1)[1] == trained.split(":", 1)[1]
    ran("format-lm", tmp_path / "lang", tmp_path / "lm.gz", tmp_path / "lang_test")
    ran("make-graph", tmp_path / "lang_test", golden_dir / "exp/tri3b", tmp_path / "graph")
    assert read_fst(tmp_path / "graph/HCLG.fst").num_arcs > 343
    assert (tmp_path / "graph/num_pdfs").read_text() == "56\n"


def test_the_verb_makes_the_golden_graph_and_the_same_bytes_twice(golden_dir, tmp_path):
    for name in ("one", "two"):
        ran("make-graph", golden_dir / "data/lang_test", golden_dir / "exp/tri3b", tmp_path / name)
    made = read_fst(tmp_path / "one/HCLG.fst")
    assert weight_difference(made, read_fst(golden_dir / "exp/tri3b/graph/HCLG.fst")) < 1e-6
    assert (tmp_path / "one/HCLG.fst").read_bytes() == (tmp_path / "two/HCLG.fst").read_bytes()


def test_perplexity_reads_plain_sentences_too(golden_dir, tmp_path):
    (tmp_path / "sentences").write_text("one two\nthree\n")
    report = ran("perplexity", golden_dir / "lm.arpa", tmp_path / "sentences", "--plain")
    assert "5 tokens in 2 sentences, 0 unknown tokens" in report


def test_an_unknown_option_of_the_config_is_refused(golden_dir, tmp_path):
    with pytest.raises(ConfigError, match="silence_probb"):
        ran("prepare-lang", golden_dir / "data/dict", tmp_path / "lang", "--set", "silence_probb=0.1")


def test_an_unknown_method_is_answered_with_the_choices(golden_dir, tmp_path):
    with pytest.raises(LexiconError, match="choose witten_bell or kneser_ney"):
        ran(
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


def test_a_dict_dir_follows_the_file_and_what_is_set_over_it(tmp_path):
    (tmp_path / "raw").write_text("Ball B AO1 L\n")
    (tmp_path / "config").write_text("case: upper\nstrip_stress: false\n")
    words = ["prepare-dict", tmp_path / "raw", tmp_path / "dict", "--config", tmp_path / "config"]
    ran(*words)
    assert (tmp_path / "dict/lexicon.txt").read_text() == "<unk> SPN\nBALL B AO1 L\n"
    with pytest.raises(DiskError, match="dict: already exists"):
        ran(*words)
    ran(*words, "--set", "case=lower", "--force")
    assert (tmp_path / "dict/lexicon.txt").read_text() == "<unk> SPN\nball B AO1 L\n"


def test_a_lang_dir_follows_its_file_and_is_replaced_on_request(golden_dir, tmp_path):
    (tmp_path / "config").write_text("position_dependent: false\n")
    ran("prepare-lang", golden_dir / "data/dict", tmp_path / "lang")
    assert (tmp_path / "lang/phones/word_boundary.txt").is_file()
    words = ["prepare-lang", golden_dir / "data/dict", tmp_path / "lang", "--config", tmp_path / "config"]
    with pytest.raises(DiskError, match="lang: already exists"):
        ran(*words)
    ran(*words, "--force")
    assert not (tmp_path / "lang/phones/word_boundary.txt").exists()


def test_sentences_without_ids_give_the_model_of_those_with(golden_dir, tmp_path):
    lines = (golden_dir / "data/train/text").read_text().splitlines()
    (tmp_path / "plain").write_text("".join(line.split(None, 1)[1] + "\n" for line in lines))
    lang = ["--lang", golden_dir / "data/lang"]
    ran("train-lm", golden_dir / "data/train/text", tmp_path / "one", *lang)
    ran("train-lm", tmp_path / "plain", tmp_path / "two", *lang, "--plain")
    ran("train-lm", tmp_path / "plain", tmp_path / "first_words_lost", *lang)
    models = [(tmp_path / name).read_text() for name in ("one", "two", "first_words_lost")]
    assert models[0] == models[1] != models[2]


def test_a_formatted_lang_dir_is_replaced_only_on_request(golden_dir, tmp_path):
    lang, text = golden_dir / "data/lang", golden_dir / "data/train/text"
    ran("train-lm", text, tmp_path / "bigrams", "--lang", lang, "--order", 2)
    ran("format-lm", lang, golden_dir / "lm.arpa", tmp_path / "out")
    arcs = read_fst(tmp_path / "out/G.fst").num_arcs
    with pytest.raises(DiskError, match="out: already exists"):
        ran("format-lm", lang, tmp_path / "bigrams", tmp_path / "out")
    ran("format-lm", lang, tmp_path / "bigrams", tmp_path / "out", "--force")
    assert read_fst(tmp_path / "out/G.fst").num_arcs > 2 * arcs


def test_a_graph_follows_its_file_and_one_that_stands_is_refused_before_the_work(golden_dir, tmp_path, monkeypatch):
    (tmp_path / "config").write_text("self_loop_scale: 1.0\n")
    words = ["make-graph", golden_dir / "data/lang_test", golden_dir / "exp/tri3b", tmp_path / "graph"]
    ran(*words)
    usual = read_fst(tmp_path / "graph/HCLG.fst")
    with monkeypatch.context() as patched:
        patched.delattr("hmm.graph.compose_graph")
        with pytest.raises(DiskError, match="graph: already exists"):
            ran(*words, "--config", tmp_path / "config")
    ran(*words, "--config", tmp_path / "config", "--force")
    assert not np.array_equal(read_fst(tmp_path / "graph/HCLG.fst").weight, usual.weight)
    ran(*words, "--config", tmp_path / "config", "--set", "self_loop_scale=0.1", "--force")
    np.testing.assert_array_equal(read_fst(tmp_path / "graph/HCLG.fst").weight, usual.weight)
