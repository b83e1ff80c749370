"""Language models: against hand-worked numbers, a given model of the same method, and Kaldi's arpa2fst."""

from __future__ import annotations

import gzip
import math
import random
import subprocess
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from harness.errors import LexiconError
from hmm.arpa import Arpa, perplexity, read_arpa, write_arpa
from hmm.grammar import format_lm, grammar_fst
from hmm.lang import prepare_lang, read_symbols
from hmm.lm import continuation_counts, count_ngrams, kneser_ney_discounts, train_lm
from kaldi_bridge.fsts import read_fst
from tests.fst_isomorphism import weight_difference

TEXT = [
    line.split() for line in ("one two three", "one two one", "two two", "three one two six", "six six one two three")
]
WORDS = ["one", "two", "three", "four", "five", "six"]


def kids(shared_dir, part="train"):
    lines = (shared_dir / f"corpora/speechocean762-kids/{part}/text").read_text().splitlines()
    return [line.split()[1:] for line in lines]


def kids_words(shared_dir):
    lines = (shared_dir / "corpora/speechocean762-kids/resource/lexicon.txt").read_text().splitlines()
    return {line.split()[0] for line in lines}


def test_witten_bell_gives_the_probabilities_worked_out_by_hand():
    model = train_lm([["a", "b"], ["a", "a"]], ["a", "b", "c"], order=2)
    # unigrams: a 3, b 1, </s> 2: 6 tokens of 3 types; the uniform share is 3 / 9 over 4 words
    assert model.log10("a") == pytest.approx(math.log10((3 + 3 / 4) / 9))
    assert model.log10("c") == pytest.approx(math.log10((3 / 4) / 9))
    # after a: b 1, a 1, </s> 1: 3 tokens of 3 types, so half of the weight is the unigram's
    assert model.log10("b", ["a"]) == pytest.approx(math.log10((1 + 3 * (1 + 3 / 4) / 9) / 6))
    assert model.log10("c", ["a"]) == pytest.approx(math.log10(3 / 6 * (3 / 4) / 9))


def test_kneser_ney_counts_contexts_below_the_highest_order():
    counts, _ = count_ngrams([["a", "b"], ["b", "b"]], {"a", "b", "<s>", "</s>"}, 2)
    lower, higher = continuation_counts(counts)
    assert higher == {("<s>", "a"): 1, ("a", "b"): 1, ("b", "</s>"): 2, ("<s>", "b"): 1, ("b", "b"): 1}
    assert lower == {("a",): 1, ("b",): 3, ("</s>",): 1}


def test_kneser_ney_discounts_are_those_of_chen_and_goodman():
    y = 40 / (40 + 2 * 20)
    found = kneser_ney_discounts(Counter({1: 40, 2: 20, 3: 10, 4: 6}))
    assert found == pytest.approx((1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 6 / 10))


def test_kneser_ney_gives_the_probabilities_worked_out_by_hand():
    model = train_lm([["a", "b"], ["b", "b"]], ["a", "b"], order=2, method="kneser_ney")
    # too few counts of counts: discounts 0.5, 1, 1.5.  Unigram contexts: a 1, b 3, </s> 1 of 5; freed 2.5 of 5
    uniform = 1 / 3
    b = (3 - 1.5) / 5 + 2.5 / 5 * uniform
    assert model.log10("b") == pytest.approx(math.log10(b))
    # after a: b once of 1; freed 0.5
    assert model.log10("b", ["a"]) == pytest.approx(math.log10(0.5 + 0.5 * b))
    # after b: </s> twice and b once of 3; freed (1 + 0.5) / 3; a backs off
    a = (1 - 0.5) / 5 + 2.5 / 5 * uniform
    assert model.log10("a", ["b"]) == pytest.approx(math.log10(1.5 / 3 * a))


@pytest.mark.parametrize("method", ["witten_bell", "kneser_ney"])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_probabilities_add_up_to_one_after_any_history(method, order):
    model = train_lm(TEXT, WORDS, order, method)
    known = [gram for table in model.tables[:-1] for gram in table if gram[-1] != "</s>"]
    rng = random.Random(0)
    unknown = [tuple(rng.choices(WORDS, k=4)) for _ in range(20)]
    for history in [(), ("<s>",), *known, *unknown]:
        assert sum(10 ** model.log10(word, history) for word in [*WORDS, "</s>"]) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("method", ["witten_bell", "kneser_ney"])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_words_outside_the_vocabulary_leave_probabilities_that_add_up_to_one(method, order):
    text = [["x", "one", "two", "three"], ["two", "one"], ["y", "one", "two", "one"], ["three", "two", "three"]]
    model = train_lm(text, WORDS, order, method)
    histories = {gram[:-1] for table in model.tables for gram in table}
    for history in histories:
        assert sum(10 ** model.log10(word, history) for word in [*WORDS, "</s>"]) == pytest.approx(1, abs=1e-9)
    assert all(gram[:-1] in table for table, longer in pairwise(model.tables) for gram in longer)


@pytest.mark.parametrize("method", ["witten_bell", "kneser_ney"])
def test_every_word_of_the_lexicon_can_be_predicted_and_no_other(method):
    model = train_lm([*TEXT, ["seven", "one"]], WORDS, 3, method)
    assert model.vocabulary == set(WORDS)
    assert all(math.isfinite(model.log10(word, ["one", "two"])) for word in WORDS)
    assert model.log10("seven") == -math.inf


def test_a_trained_model_equals_the_given_one_of_the_same_text(shared_dir):
    given = read_arpa(shared_dir / "corpora/speechocean762-kids/lm/open.arpa.gz")
    ours = train_lm(kids(shared_dir), kids_words(shared_dir), 3, "witten_bell")
    for mine, theirs in zip(ours.tables, given.tables, strict=True):
        assert mine.keys() == theirs.keys()
        assert max(abs(mine[gram][k] - theirs[gram][k]) for gram in mine for k in (0, 1)) < 1e-6


def test_kneser_ney_predicts_unseen_children_better_than_witten_bell(shared_dir):
    train, test, words = kids(shared_dir), kids(shared_dir, "test"), kids_words(shared_dir)
    found = {m: perplexity(train_lm(train, words, 3, m), test).value for m in ("witten_bell", "kneser_ney")}
    assert found["kneser_ney"] < found["witten_bell"] < 200


def test_perplexity_of_a_uniform_model_is_its_vocabulary():
    uniform = Arpa(
        [{("<s>",): (-99.0, 0.0), **{(word,): (math.log10(1 / 4), 0.0) for word in ("a", "b", "c", "</s>")}}]
    )
    found = perplexity(uniform, [["a", "b"], ["c", "x"]])
    assert found.value == pytest.approx(4)
    assert (found.tokens, found.sentences, found.unknown) == (5, 2, {"x": 1})


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_a_model_survives_its_file(tmp_path, name):
    model = train_lm(TEXT, WORDS, 3, "kneser_ney")
    write_arpa(tmp_path / name, model)
    again = read_arpa(tmp_path / name)
    assert [table.keys() for table in again.tables] == [table.keys() for table in model.tables]
    assert all(
        again.tables[n][gram] == pytest.approx(value, abs=1e-6)
        for n in range(3)
        for gram, value in model.tables[n].items()
    )


def test_the_same_text_gives_the_same_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_arpa(tmp_path / name, train_lm(TEXT, reversed(WORDS), 3, "kneser_ney"))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("\\end\\\n", "", r"expected '\\end\\'"),
        ("ngram 1=8", "ngram 1=9", "9 1-grams announced, 8 found"),
        ("\\data\\", "data", r"no \\data\\ line"),
        ("\tone\t", "\tone two\tx\t", r"lm\.arpa:\d+: expected a probability, 1 words"),
        ("\t</s>", "\t</S>", "has no unigrams <s> and </s>"),
        ("\\2-grams:", "\\4-grams:", r"expected '\\2-grams:'"),
    ],
)
def test_a_malformed_model_is_refused(tmp_path, old, new, problem):
    write_arpa(tmp_path / "lm.arpa", train_lm(TEXT, WORDS, 2))
    text = (tmp_path / "lm.arpa").read_text()
    assert old in text
    (tmp_path / "lm.arpa").write_text(text.replace(old, new, 1))
    with pytest.raises(LexiconError, match=problem):
        read_arpa(tmp_path / "lm.arpa")


def test_a_gzipped_model_cut_short_is_refused(tmp_path):
    write_arpa(tmp_path / "lm.gz", train_lm(TEXT, WORDS, 2))
    (tmp_path / "lm.gz").write_bytes((tmp_path / "lm.gz").read_bytes()[:-40])
    with pytest.raises(LexiconError, match=r"lm\.gz: cannot be read"):
        read_arpa(tmp_path / "lm.gz")


def test_a_text_without_known_words_is_refused():
    with pytest.raises(LexiconError, match="empty"):
        train_lm([["one"]], [])


def test_the_golden_grammar_is_made_from_its_arpa(golden_dir, tmp_path):
    format_lm(golden_dir / "data/lang", golden_dir / "lm.arpa", tmp_path / "lang_test")
    ours, theirs = read_fst(tmp_path / "lang_test/G.fst"), read_fst(golden_dir / "data/lang_test/G.fst")
    assert weight_difference(ours, theirs) == pytest.approx(0, abs=1e-6)
    assert (tmp_path / "lang_test/phones/silence.csl").is_file()


def test_words_outside_the_lexicon_are_left_out_and_counted(golden_dir, tmp_path):
    lang = prepare_lang(golden_dir / "data/dict", tmp_path / "lang")
    model = train_lm([*TEXT, ["eleven", "one", "eleven"]], [*WORDS, "eleven"], 2)
    lost = format_lm(lang.path, model, tmp_path / "lang_test")
    assert lost == {"eleven": 5}  # the unigram; <s> eleven, eleven one, one eleven, eleven </s>
    assert set(read_fst(tmp_path / "lang_test/G.fst").olabel) == {0, *(lang.words[word] for word in WORDS)}


def test_ngrams_without_their_history_are_left_out_and_counted(caplog):
    unigrams = {("<s>",): (-99.0, -0.3), **{(word,): (-0.6, -0.3) for word in ("a", "b", "c", "</s>")}}
    bigrams = {("<s>", "a"): (-0.1, -0.2)}
    words = {word: n for n, word in enumerate(["<eps>", "a", "b", "c", "#0", "<s>", "</s>"])}
    whole, _ = grammar_fst(Arpa([unigrams, bigrams, {}]), words)
    assert "left out" not in caplog.text
    fst, lost = grammar_fst(
        Arpa([unigrams, bigrams, {("b", "a", "c"): (-0.2, 0.0), ("b", "a", "a"): (-0.2, 0.0)}]), words
    )
    assert (fst.num_arcs, lost) == (whole.num_arcs, Counter())
    assert "2 n-grams of the model are left out" in caplog.text and "(first: b a c)" in caplog.text


def test_what_never_comes_has_no_arc_of_endless_cost():
    never = -math.inf
    unigrams = {("<s>",): (never, -0.3), ("</s>",): (-0.5, 0.0), ("a",): (-0.5, -0.3), ("b",): (-0.5, never),
                ("c",): (never, -0.3)}  # fmt: skip
    bigrams = {("<s>", "a"): (-0.2, 0.0), ("b", "a"): (-0.4, 0.0), ("a", "b"): (never, 0.0)}
    words = {word: n for n, word in enumerate(["<eps>", "a", "b", "c", "#0", "<s>", "</s>"])}
    fst, _ = grammar_fst(Arpa([unigrams, bigrams]), words)
    assert np.isfinite(fst.weight).all()
    assert set(fst.ilabel.tolist()) == {1, 2, 4}


def test_words_without_the_symbol_of_backing_off_are_refused():
    with pytest.raises(LexiconError, match=r"words\.txt: lacks #0"):
        grammar_fst(train_lm(TEXT, WORDS, 2), {"<eps>": 0, "one": 1})


def test_a_model_of_other_words_is_refused(golden_dir, tmp_path):
    lang = prepare_lang(golden_dir / "data/dict", tmp_path / "lang")
    with pytest.raises(LexiconError, match=r"no word of the model is in words\.txt"):
        format_lm(lang.path, train_lm([["ONE"]], ["ONE", "TWO"], 1), tmp_path / "lang_test")


@pytest.mark.kaldi
@pytest.mark.parametrize("method", ["witten_bell", "kneser_ney"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_arpa2fst_makes_the_same_grammar(golden_dir, kaldi_root, tmp_path, order, method):
    words = golden_dir / "data/lang/words.txt"
    write_arpa(
        tmp_path / "lm.arpa", train_lm([*TEXT, ["eleven", "one", "eleven", "two"]], [*WORDS, "eleven"], order, method)
    )
    options = f"--disambig-symbol=#0 --read-symbol-table={words}"
    command = f". {kaldi_root}/path.sh; arpa2fst {options} {tmp_path}/lm.arpa {tmp_path}/G.fst"
    subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    ours, _ = grammar_fst(read_arpa(tmp_path / "lm.arpa"), read_symbols(words))
    assert weight_difference(ours, read_fst(tmp_path / "G.fst")) == pytest.approx(0, abs=1e-5)


def test_the_given_models_of_the_corpus_are_accepted(shared_dir):
    for name in ("open", "closed"):
        path = shared_dir / f"corpora/speechocean762-kids/lm/{name}.arpa.gz"
        assert read_arpa(path).order == 3
        assert f"ngram 1={len(read_arpa(path).tables[0])}" in gzip.decompress(path.read_bytes())[:100].decode()
