"""Guessed pronunciations, on a language whose spelling is known."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import DiskError, ProgramError
from hmm.g2p import GUESSED, G2PConfig, add_pronunciations, guess
from hmm.lexicon import DictDir, Pronunciation
from hmm.make_dict import make_dict
from tests.unit.hmm.called import ran

SOUNDS = {"A": "AH", "E": "EH", "B": "B", "D": "D", "K": "K", "S": "S", "C": "K"}
ROOT = Path(__file__).parents[3]


def spelled(word: str) -> tuple[str, ...]:
    """One phone a letter, but SC is one phone, SH."""
    return tuple("SH" if letter == "X" else SOUNDS[letter] for letter in word.replace("SC", "X"))


WORDS = ["".join(letters) for letters in itertools.product("BDKSC", "AE", "BDKS", "AE", ("", "B", "SC"))]


@pytest.fixture
def dict_dir(tmp_path: Path) -> Path:
    raw = tmp_path / "raw.txt"
    raw.write_text("".join(f"{word} {' '.join(spelled(word))}\n" for word in WORDS[::2]))
    make_dict(raw, tmp_path / "dict")
    return tmp_path / "dict"


@pytest.fixture(autouse=True)
def _needs_phonetisaurus() -> None:
    pytest.importorskip("phonetisaurus", reason="phonetisaurus is not installed (pip install phonetisaurus==0.3.0)")


def test_unseen_words_are_spoken_as_the_lexicon_speaks_and_twice_the_same() -> None:
    lexicon = [Pronunciation(word, spelled(word)) for word in WORDS[::2]]
    unseen = WORDS[1::2][:40]
    guesses = guess(lexicon, unseen)
    assert sum(guesses[word] == [spelled(word)] for word in unseen) >= 38
    assert guess(lexicon, unseen) == guesses


def test_the_dict_dir_gains_the_guesses_and_lists_them(dict_dir: Path, tmp_path: Path) -> None:
    new = WORDS[1]
    sentences = [[WORDS[0], new], [new, "ZEBRA", "<unk>"]]
    guesses = add_pronunciations(dict_dir, sentences, tmp_path / "out")
    assert guesses == {new: [spelled(new)]}
    assert (tmp_path / "out" / GUESSED).read_text() == f"{new} {' '.join(spelled(new))}\n"
    before, after = DictDir.read(dict_dir), DictDir.read(tmp_path / "out")
    assert set(after.words) - set(before.words) == {new}
    assert after.pronunciations[: len(before.pronunciations)] == before.pronunciations


def test_words_with_unknown_letters_are_named_and_counted(dict_dir: Path, tmp_path: Path, caplog) -> None:
    add_pronunciations(dict_dir, [["ZEBRA", "ZEBRA", "ÉA"]], tmp_path / "out")
    assert "2 words stay without pronunciation (3 running words), the first: ZEBRA, ÉA" in caplog.text
    assert (tmp_path / "out" / GUESSED).read_text() == ""


def test_variants_and_rare_words_follow_the_settings(dict_dir: Path, tmp_path: Path) -> None:
    often, rare = WORDS[1], WORDS[3]
    with open(dict_dir / "lexicon.txt", "a") as stream:  # every A may be EH too
        stream.writelines(f"{word} {' '.join(spelled(word.replace('A', 'E')))}\n" for word in WORDS[::2] if "A" in word)
    guesses = add_pronunciations(dict_dir, [[often, often, rare]], tmp_path / "out", G2PConfig(variants=2, min_count=2))
    assert set(guesses) == {often}
    assert len(set(guesses[often])) == 2
    one = add_pronunciations(dict_dir, [[often, often, rare]], tmp_path / "one")
    assert one[often] == guesses[often][:1]
    assert set(one) == {often, rare}
    with pytest.raises(ValueError, match="must be at least 1, got 0, 1"):
        G2PConfig(variants=0)


def test_longer_contexts_know_more_of_what_goes_together() -> None:
    """A is EY where K follows after one more letter: bigrams of pairs cannot see that far."""
    words = ["".join(letters) for letters in itertools.product("BDS", "A", "BDS", "K", ("", "B", "D", "S"))]
    words += [word.replace("K", "E") for word in words]
    lexicon = [Pronunciation(w, tuple("EY" if s == "A" and "K" in w else SOUNDS[s] for s in w)) for w in words]
    unseen = [entry.word + "BA" for entry in lexicon[::7]]
    assert guess(lexicon, unseen, order=2) != guess(lexicon, unseen, order=4)
    with pytest.raises(ValueError, match=r"order must lie in 2\.\.5, got 1"):
        G2PConfig(order=1)


def test_the_verb_writes_a_dict_dir_that_a_lang_can_be_made_of(dict_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text(f"u1 {WORDS[0]} {WORDS[1]}\nu2 {WORDS[3]}\n")
    words = ["g2p", str(dict_dir), str(tmp_path / "out"), "--text", str(tmp_path / "text")]
    done = subprocess.run([sys.executable, "-m", "hmm", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "oov_pronunciations.txt: 2 words" in done.stdout
    words = ["prepare-lang", str(tmp_path / "out"), str(tmp_path / "lang"), "--text", str(tmp_path / "text")]
    done = subprocess.run([sys.executable, "-m", "hmm", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert WORDS[3] in (tmp_path / "lang/words.txt").read_text().split()


def test_without_the_package_the_mend_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonetisaurus", None)
    with pytest.raises(ProgramError, match="pip install phonetisaurus"):
        guess([Pronunciation("A", ("AH",))], ["AA"])


def test_guesses_follow_the_file_and_what_is_set_over_it(dict_dir: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "plain").write_text(f"{WORDS[1]} {WORDS[1]} {WORDS[3]}\n")
    (tmp_path / "config").write_text("min_count: 3\norder: 2\n")
    words = ["g2p", dict_dir, tmp_path / "out", "--text", tmp_path / "plain", "--config", tmp_path / "config"]
    ran(*words, "--plain")
    assert (tmp_path / "out" / GUESSED).read_text() == ""
    with monkeypatch.context() as patched:
        patched.delattr("hmm.g2p.guess")
        with pytest.raises(DiskError, match="out: already exists"):
            ran(*words, "--set", "min_count=1")
    ran(*words, "--set", "min_count=1", "--force")  # the first word counts as the name of the utterance
    assert [line.split()[0] for line in (tmp_path / "out" / GUESSED).read_text().splitlines()] == [WORDS[1], WORDS[3]]
    ran(*words, "--set", "min_count=2", "--force")
    assert (tmp_path / "out" / GUESSED).read_text() == ""
    ran(*words, "--set", "min_count=2", "--plain", "--force")
    assert (tmp_path / "out" / GUESSED).read_text().split()[0] == WORDS[1]
