"""Dict directories: what is accepted; each breach is named with its line, and refused by Kaldi's validator too."""

from __future__ import annotations

import subprocess

import pytest

from harness.errors import LexiconError
from hmm.lexicon import DictDir, Pronunciation
from hmm.make_dict import MakeDictConfig, make_dict, read_raw_lexicon

GOOD = {
    "silence_phones.txt": "SIL\nSPN\n",
    "nonsilence_phones.txt": "A1 A2\nB\n",
    "optional_silence.txt": "SIL\n",
    "extra_questions.txt": "SIL SPN\nA1 B\nA2\n",
    "lexicon.txt": "<unk> SPN\nab A1 B\nba B A2\n",
}
BAD = [
    ("lexicon.txt", "<unk> SPN\nab A1 B\nab A1 B\n", r"lexicon\.txt:3: the line is repeated"),
    ("lexicon.txt", "<unk> SPN\nab A1 X\n", r"lexicon\.txt:2: phone 'X' is in neither"),
    ("lexicon.txt", "<unk> SPN\nab\n", r"lexicon\.txt:2: word 'ab' has no pronunciation"),
    ("lexicon.txt", "<unk> SPN\n<s> B\n", r"lexicon\.txt:2: '<s>' cannot be a word"),
    ("lexicon.txt", "<unk> SPN\n\nab B\n", r"lexicon\.txt:2: is an empty line"),
    ("lexicon.txt", "<unk> SPN\nab B", r"lexicon\.txt:2: the last line does not end in a newline"),
    ("lexicon.txt", "<unk> SPN\r\nab B\r\n", r"lexicon\.txt:1: contains carriage returns"),
    ("lexicon.txt", "<unk> SPN\nab\u00a0B B\n", r"lexicon\.txt:2: holds the white-space character U\+00A0"),
    ("silence_phones.txt", "SIL\nSPN\nSIL\n", r"silence_phones\.txt:3: phone 'SIL' stands there twice"),
    ("nonsilence_phones.txt", "A1 A2\nB\nC_B\n", r"nonsilence_phones\.txt:3: phone 'C_B' has a reserved form"),
    (
        "nonsilence_phones.txt",
        "A1 A2\nB\nSIL\n",
        r"nonsilence_phones\.txt: phones stand in silence_phones\.txt too: SIL",
    ),
    ("nonsilence_phones.txt", "", r"nonsilence_phones\.txt: is missing or empty"),
    ("optional_silence.txt", "SIL SPN\n", r"optional_silence\.txt:1: must hold exactly one phone"),
    ("optional_silence.txt", "B\n", r"optional_silence\.txt:1: phone 'B' is not in silence_phones"),
    ("extra_questions.txt", "A1 Q\n", r"extra_questions\.txt:1: phone 'Q' is in neither"),
    ("extra_questions.txt", "A1 A2\n", r"nonsilence_phones\.txt:1: phones 'A1' and 'A2' share a tree root"),
    (
        "lexiconp.txt",
        "<unk> 1.0 SPN\nab 1.5 A1 B\nba 1.0 B A2\n",
        r"lexiconp\.txt:2: the second field must be a probability",
    ),
    ("lexiconp.txt", "<unk> 1.0 SPN\nba 1.0 B A2\nab 1.0 A1 B\n", r"lexiconp\.txt:2: differs from lexicon\.txt"),
    ("lexiconp.txt", "<unk> 1.0 SPN\nab 1.0 A1 B\n", r"lexiconp\.txt: has 2 lines, but lexicon\.txt has 3"),
]


def write_dict(path, changes=()):
    path.mkdir()
    for name, text in {**GOOD, **dict(changes)}.items():
        (path / name).write_bytes(text.encode())
    return path


def test_a_good_dict_directory_is_read_in_file_order(tmp_path):
    found = DictDir.read(write_dict(tmp_path / "dict"))
    assert found.pronunciations[1] == Pronunciation("ab", ("A1", "B"), 1.0)
    assert found.words == ["<unk>", "ab", "ba"]
    assert found.nonsilence_phones == (("A1", "A2"), ("B",))


def test_the_dict_directory_of_a_real_kaldi_is_accepted(golden_dir):
    assert len(DictDir.read(golden_dir / "data/dict").pronunciations) == 12


def test_probabilities_come_from_lexiconp(tmp_path):
    lines = "<unk> 1.0 SPN\nab 0.25 A1 B\nba 1.0\tB A2\n"
    found = DictDir.read(write_dict(tmp_path / "dict", {"lexiconp.txt": lines}.items()))
    assert [entry.probability for entry in found.pronunciations] == [1.0, 0.25, 1.0]


@pytest.mark.parametrize(("name", "text", "problem"), BAD)
def test_a_breach_is_named_with_its_line(tmp_path, name, text, problem):
    with pytest.raises(LexiconError, match=problem):
        DictDir.read(write_dict(tmp_path / "dict", [(name, text)]))


@pytest.mark.kaldi
@pytest.mark.parametrize(("name", "text", "problem"), [("lexicon.txt", GOOD["lexicon.txt"], None), *BAD])
def test_the_validator_of_kaldi_judges_the_same_way(tmp_path, kaldi_root, name, text, problem):
    path = write_dict(tmp_path / "dict", [(name, text)])
    command = f"cd {kaldi_root}/egs/wsj/s5 && perl utils/validate_dict_dir.pl {path}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (problem is None), done.stdout


def test_all_breaches_come_in_one_error(tmp_path):
    path = write_dict(tmp_path / "dict", [("lexicon.txt", "<unk> SPN\nab X\nba Y\n"), ("optional_silence.txt", "B\n")])
    with pytest.raises(LexiconError) as caught:
        DictDir.read(path)
    assert all(
        word in str(caught.value) for word in ("optional_silence.txt:1", "lexicon.txt:2", "lexicon.txt:3", "mend:")
    )


def test_silence_probabilities_are_refused_rather_than_ignored(tmp_path):
    path = write_dict(tmp_path / "dict", [("lexiconp_silprob.txt", "ab 1.0 0.5 1.0 1.0 A1 B\n")])
    with pytest.raises(LexiconError, match="silence probabilities per word are not modelled"):
        DictDir.read(path)


def test_a_raw_lexicon_becomes_a_dict_directory(tmp_path):
    raw = tmp_path / "raw"
    raw.write_text(";;; CMUdict\nTHE  DH AH0\nTHE(2)  DH IY0\nA AH0\nA AH1 # as in 'a'\nCAT\tK AE1 T\n")
    made = make_dict(raw, tmp_path / "dict")
    assert [(entry.word, " ".join(entry.phones)) for entry in made.pronunciations] == [
        ("<unk>", "SPN"), ("A", "AH"), ("CAT", "K AE T"), ("THE", "DH AH"), ("THE", "DH IY"),
    ]  # fmt: skip
    assert (tmp_path / "dict/nonsilence_phones.txt").read_text() == "AE\nAH\nDH\nIY\nK\nT\n"


def test_kept_stress_marks_share_a_root_and_are_asked_about(tmp_path):
    (tmp_path / "raw").write_text("A AH0\nB AH1\nCAT K AE1 T\n")
    made = make_dict(tmp_path / "raw", tmp_path / "dict", MakeDictConfig(strip_stress=False))
    assert made.nonsilence_phones == (("AE1",), ("AH0", "AH1"), ("K",), ("T",))
    assert made.extra_questions == (("SIL", "SPN"), ("K", "T"), ("AH0",), ("AE1", "AH1"))


def test_probabilities_of_a_raw_lexicon_are_kept(tmp_path):
    (tmp_path / "raw").write_text("a 0.75 AH\na 0.25 EY\n")
    assert [entry.probability for entry in make_dict(tmp_path / "raw", tmp_path / "dict").pronunciations] == [
        1,
        0.75,
        0.25,
    ]


def test_a_probability_may_be_as_small_as_python_and_perl_write_it(tmp_path):
    (tmp_path / "raw").write_text("a 1 AH\na 1e-05 EY\na 2.5e-6 AA\n")
    entries = read_raw_lexicon(tmp_path / "raw", MakeDictConfig())
    assert entries == [("a", ("AA",), 2.5e-6), ("a", ("AH",), 1.0), ("a", ("EY",), 1e-5)]


@pytest.mark.parametrize("comment", ["# of whom", " # of whom", "\t#", "## of whom", ";;; of whom"])
def test_a_line_of_comment_is_no_word(tmp_path, comment):
    (tmp_path / "raw").write_text(f"{comment}\na AH # the article\nb B IY #\n")
    entries = read_raw_lexicon(tmp_path / "raw", MakeDictConfig())
    assert entries == [("a", ("AH",), 1.0), ("b", ("B", "IY"), 1.0)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("word", "raw:2: word 'word' has no pronunciation"),
        ("<s> AH", "raw:2: '<s>' cannot be a word"),
        ("word AH_B", "raw:2: phone 'AH_B' has a reserved form"),
    ],
)
def test_a_bad_raw_line_is_named(tmp_path, line, problem):
    (tmp_path / "raw").write_text(f"a AH\n{line}\n")
    with pytest.raises(LexiconError, match=problem):
        read_raw_lexicon(tmp_path / "raw", MakeDictConfig())
