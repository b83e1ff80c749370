"""Lang directories, judged by those of a real Kaldi, file by file."""

from __future__ import annotations

import filecmp
import shutil
import subprocess

import pytest

from harness.errors import DiskError, LexiconError
from hmm import training
from hmm.graph import make_graph
from hmm.lang import Lang, LangConfig, count_unknown, describe_unknown, prepare_lang, read_symbols
from hmm.lexicon import Pronunciation
from hmm.lexicon_fst import add_disambiguation, lexicon_fst
from hmm.training_graphs import TrainingGraphs
from kaldi_bridge.fsts import read_fst
from tests.fst_isomorphism import weight_difference


@pytest.fixture
def lang(golden_dir, tmp_path):
    return prepare_lang(golden_dir / "data/dict", tmp_path / "lang")


def files_of(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def run_script(kaldi_root, recipe, command):
    """Runs a script of Kaldi in a recipe directory, which needs utils/ and a path.sh."""
    recipe.mkdir(exist_ok=True)
    if not (recipe / "utils").exists():
        (recipe / "utils").symlink_to(kaldi_root / "egs/wsj/s5/utils")
    (recipe / "path.sh").write_text("")
    command = f". {kaldi_root}/path.sh; cd {recipe} && {command}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_text_file_is_that_of_kaldi_to_the_byte(golden_dir, lang):
    golden = golden_dir / "data/lang"
    assert files_of(lang.path) == files_of(golden)
    texts = [name for name in files_of(golden) if not name.endswith(".fst")]
    assert filecmp.cmpfiles(lang.path, golden, texts, shallow=False)[1:] == ([], [])


@pytest.mark.parametrize("name", ["L.fst", "L_disambig.fst"])
def test_the_lexicon_transducer_is_that_of_kaldi(golden_dir, lang, name):
    assert weight_difference(read_fst(lang.path / name), read_fst(golden_dir / "data/lang" / name)) == 0


@pytest.mark.kaldi
@pytest.mark.parametrize(
    "config",
    [
        LangConfig(),
        LangConfig(position_dependent=False),
        LangConfig(share_silence_phones=True, silence_states=3),
        LangConfig(silence_prob=0.2, nonsilence_states=2),
    ],
)
def test_prepare_lang_of_kaldi_writes_the_same_with_these_options(golden_dir, kaldi_root, tmp_path, config):
    ours = prepare_lang(golden_dir / "data/dict", tmp_path / "ours", config).path
    options = (
        f"--position-dependent-phones {str(config.position_dependent).lower()} --sil-prob {config.silence_prob} "
        f"--share-silence-phones {str(config.share_silence_phones).lower()} "
        f"--num-sil-states {config.silence_states} --num-nonsil-states {config.nonsilence_states}"
    )
    places = f"{golden_dir}/data/dict '<unk>' {tmp_path}/local {tmp_path}/theirs"
    run_script(kaldi_root, tmp_path / "recipe", f"utils/prepare_lang.sh {options} {places}")
    texts = [name for name in files_of(tmp_path / "theirs") if not name.endswith((".fst", "topo"))]
    assert filecmp.cmpfiles(ours, tmp_path / "theirs", texts, shallow=False)[1:] == ([], [])
    assert (ours / "topo").read_text().split() == (tmp_path / "theirs/topo").read_text().split()
    for name in ("L.fst", "L_disambig.fst"):
        assert weight_difference(read_fst(ours / name), read_fst(tmp_path / "theirs" / name)) == 0
    run_script(kaldi_root, tmp_path / "recipe", f"utils/validate_lang.pl {ours}")


def test_no_optional_silence_means_one_loop_state(golden_dir, tmp_path):
    lang = prepare_lang(golden_dir / "data/dict", tmp_path / "lang", LangConfig(silence_prob=0))
    fst = read_fst(lang.path / "L.fst")
    assert fst.start == 0
    assert fst.finals[0] == 0
    assert lang.optional_silence not in fst.ilabel


def test_homophones_and_prefixes_are_told_apart():
    entries = [Pronunciation(word, tuple(phones)) for word, phones in [("a", "x"), ("b", "x"), ("c", "xy"), ("d", "z")]]
    marked, highest = add_disambiguation(entries)
    assert [" ".join(entry.phones) for entry in marked] == ["x #1", "x #2", "x y", "z"]
    assert highest == 2


def test_pronunciation_probabilities_become_costs():
    entries = [Pronunciation("a", ("x", "y"), 0.25)]
    fst = lexicon_fst(entries, {"S": 1, "x": 2, "y": 3}, {"a": 1}, silence_phone="S", silence_prob=0.0)
    assert dict(zip(fst.ilabel.tolist(), fst.weight.tolist(), strict=True)) == {2: pytest.approx(1.386294), 3: 0.0}


def test_a_lang_directory_of_kaldi_is_read(golden_dir):
    lang = Lang.read(golden_dir / "data/lang")
    assert (lang.unknown_word, lang.unknown_id, lang.optional_silence) == ("<unk>", 2, 1)
    assert lang.silence == list(range(1, 11))
    assert len(lang.roots) == len(lang.sets) == 21
    assert lang.roots[0].shared
    assert lang.roots[0].split
    assert lang.topology.num_pdf_classes(1) == 5


def test_unknown_words_are_mapped_and_counted(lang):
    ids, missing = lang.encode({"u1": ["one", "eleven"], "u2": ["eleven", "dozen"]})
    assert ids == {"u1": [lang.words["one"], lang.unknown_id], "u2": [lang.unknown_id] * 2}
    assert missing == {"eleven": 2, "dozen": 1}


def test_unknown_words_are_an_error_where_asked(lang):
    expected = r"2 words without pronunciation \(3 of 4 tokens\): eleven 2, dozen 1"
    with pytest.raises(LexiconError, match=expected):
        lang.encode({"u1": ["one", "eleven"], "u2": ["eleven", "dozen"]}, unknown="error")


def test_the_report_of_unknown_words_shows_the_most_frequent_first():
    missing = count_unknown([[f"w{n}"] * n for n in range(1, 31)], {"w30"})
    assert describe_unknown(missing, 465).startswith(
        "29 words without pronunciation (435 of 465 tokens): w29 29, w28 28"
    )
    assert describe_unknown(missing, 465).endswith("and 9 more")


def test_an_unknown_word_outside_the_lexicon_is_refused(golden_dir, tmp_path):
    with pytest.raises(LexiconError, match="the unknown word '<oov>' has no pronunciation"):
        prepare_lang(golden_dir / "data/dict", tmp_path / "lang", LangConfig(unknown_word="<oov>"))
    assert not (tmp_path / "lang").exists()


def test_an_existing_lang_directory_is_not_overwritten_unasked(golden_dir, lang):
    with pytest.raises(DiskError, match="already exists"):
        prepare_lang(golden_dir / "data/dict", lang.path)


def test_a_broken_symbol_table_is_named_with_its_line(lang):
    (lang.path / "words.txt").write_text("<eps> 0\none\n")
    with pytest.raises(LexiconError, match=r"words\.txt:2: expected a new '<symbol> <number>'"):
        Lang.read(lang.path)


def test_a_symbol_table_without_a_last_newline_keeps_its_last_symbol(tmp_path):
    (tmp_path / "words.txt").write_text("<eps> 0\none 1\ntwo 2")
    assert read_symbols(tmp_path / "words.txt") == {"<eps>": 0, "one": 1, "two": 2}
    (tmp_path / "words.txt").write_text("")
    with pytest.raises(LexiconError, match=r"words\.txt:1: expected a new '<symbol> <number>', found ''"):
        read_symbols(tmp_path / "words.txt")


@pytest.mark.parametrize("reader", [Lang.read, training.Lang.read])
def test_a_symbol_table_in_another_encoding_or_cut_short_is_no_traceback(lang, reader):
    table = lang.path / "words.txt"
    whole = table.read_bytes()
    for text, problem in (
        (whole + "été 99\n".encode("latin-1"), "is not UTF-8"),
        (whole + b"last\n", "expected a new"),
    ):
        table.write_bytes(text)
        with pytest.raises(LexiconError, match=rf"words\.txt.* {problem}"):
            reader(lang.path)


DAMAGED = [b"12 x 3\n", b"\xff\xfe1\n", "12 \u0663\n".encode(), b"12 -3\n"]


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("name", ["oov.int", "phones/silence.int", "phones/sets.int", "phones/extra_questions.int"])
def test_a_damaged_list_of_numbers_is_named_with_its_line(lang, name, damage):
    (lang.path / name).write_bytes(b"1\n" + damage)
    with pytest.raises(LexiconError, match=rf"{name}.*(:2: expected whole numbers|is not UTF-8)"):
        training.Lang.read(lang.path)


def test_an_unknown_word_without_number_is_named(lang):
    (lang.path / "oov.int").write_text("\n")
    with pytest.raises(LexiconError, match=r"oov\.int: must hold one number"):
        training.Lang.read(lang.path)


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_disambiguation_symbols_are_named_by_graphs(golden_dir, lang, tmp_path, damage):
    (lang.path / "phones/disambig.int").write_bytes(damage)
    with pytest.raises(LexiconError, match=r"disambig\.int.*(:1: expected whole numbers|is not UTF-8)"):
        TrainingGraphs.from_lang(lang.path, None, None)
    shutil.copy(golden_dir / "data/lang_test/G.fst", lang.path)
    with pytest.raises(LexiconError, match=r"disambig\.int.*(:1: expected whole numbers|is not UTF-8)"):
        make_graph(lang.path, golden_dir / "exp/mono", tmp_path / "graph")
