"""am wer: files of transcripts from anywhere, its modes against compute-wer's, its figures by hand."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from am.__main__ import app
from am.hypotheses import read_references
from am.texts import read_texts, score_texts
from am.wer import SCLITE
from harness.errors import DataDirError, SchoolyardError

REFERENCE = "u1 the cat sat\nu2 one two\nu3 red\n"
HYPOTHESIS = "u2 one too\nu1 the the bat\nu9 so\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "ref").write_text(REFERENCE)
    (tmp_path / "hyp").write_text(HYPOTHESIS)
    return tmp_path


def wer(*words: str | Path) -> list[str]:
    done = CliRunner().invoke(app, ["wer", *map(str, words)])
    assert done.exit_code == 0, done.exception
    return done.stdout.splitlines()


def test_the_three_kinds_of_files_say_the_same(tmp_path: Path) -> None:
    texts = {
        "text": "u1  The cat\nu2\n\nu3 a\tb\n", "trn": "The cat (u1)\n(u2)\na b (u3)\n",
        "lines": "\ufeffThe cat\n\na b\n",
    }  # fmt: skip
    expected = [("The", "cat"), (), ("a", "b")]
    for form, text in texts.items():
        (tmp_path / form).write_text(text, encoding="utf-8")
        found = read_texts(tmp_path / form, "lines" if form == "lines" else "auto")
        assert list(found.values()) == expected
        assert list(found) == (["1", "2", "3"] if form == "lines" else ["u1", "u2", "u3"])
    assert read_texts(tmp_path / "trn", "text")["The"] == ("cat", "(u1)"), "as asked, not as guessed"
    assert read_texts(tmp_path / "trn", ignore_case=True)["u1"] == ("the", "cat")


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("u1 a\nu1 b\n", "auto", r"file:2: utterance u1 comes twice"),
        ("a b (u1)\na b\n", "trn", r"file:2: does not end in '\(utterance\)'"),
        ("\n", "auto", r"file: holds no transcript"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, form: str, message: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(DataDirError, match=message):
        read_texts(tmp_path / "file", form)  # type: ignore[arg-type]


@pytest.mark.kaldi
@pytest.mark.parametrize("mode", ["all", "present"])
def test_modes_are_those_of_the_real_compute_wer(kaldi_root: Path, files: Path, mode: str) -> None:
    program = f". {kaldi_root}/path.sh; compute-wer --text --mode={mode} ark:{files}/ref ark:{files}/hyp"
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C"}
    )
    assert wer(files / "ref", files / "hyp", "--mode", mode) == done.stdout.splitlines()


def test_a_missing_hypothesis_is_refused_counted_or_left_out(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    references, hypotheses = read_texts(files / "ref"), read_texts(files / "hyp")
    with pytest.raises(DataDirError, match=r"1 utterances have no hypothesis \(first: u3\)"):
        score_texts(references, hypotheses)
    assert score_texts(references, hypotheses, mode="all").total.deletions == 1
    assert "1 utterances have no reference (first: u9)" in caplog.text
    assert score_texts(references, hypotheses, mode="present").total.words == 5
    del references["u3"]
    with pytest.raises(DataDirError, match=r"have no reference \(first: u9\)"):
        score_texts(references, hypotheses)
    with pytest.raises(DataDirError, match="no utterance in common"):
        score_texts({"u1": ("a",)}, {"u2": ("a",)}, mode="present")


def test_weights_change_what_counts_as_an_error(tmp_path: Path) -> None:
    """Five substitutions (5 to Kaldi, 20 to sclite), or three words too few and three too many (6 and 18)."""
    (tmp_path / "ref").write_text("u1 a b c d e\n")
    (tmp_path / "hyp").write_text("u1 d e x y z\n")
    assert wer(tmp_path / "ref", tmp_path / "hyp")[0] == "%WER 100.00 [ 5 / 5, 0 ins, 0 del, 5 sub ]"
    sclite = wer(tmp_path / "ref", tmp_path / "hyp", "--weights", "sclite")
    assert sclite[0] == "%WER 120.00 [ 6 / 5, 3 ins, 3 del, 0 sub ]"
    score = score_texts({"u1": ("a", "b", "c")}, {"u1": ("c", "x")}, weights=SCLITE)
    assert score.pairs["u1"] == (("a", "***"), ("b", "***"), ("c", "c"), ("***", "x"))


def test_case_counts_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("Nine (u1)\n")
    (tmp_path / "hyp").write_text("nine (U1)\n")
    assert "1 / 1" not in wer(tmp_path / "ref", tmp_path / "hyp", "--ignore-case")[0]
    assert CliRunner().invoke(app, ["wer", f"{tmp_path}/ref", f"{tmp_path}/hyp"]).exit_code == 1


def test_speakers_of_utterances_in_capitals_are_found_without_regard_to_case(tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("A-1 Nine ten\nB-1 six\n")
    (tmp_path / "hyp").write_text("A-1 nine Ten\nB-1 ten\n")
    (tmp_path / "utt2spk").write_text("A-1 A\nB-1 B\n")
    told = wer(tmp_path / "ref", tmp_path / "hyp", "--ignore-case", "--utt2spk", tmp_path / "utt2spk")
    assert told[0] == "%WER 33.33 [ 1 / 3, 0 ins, 0 del, 1 sub ]"
    assert told[3] == "95 % interval over 2 speakers: 0.00 to 100.00"


def test_the_mark_of_a_missing_word_cannot_be_a_word(tmp_path: Path) -> None:
    """compute-wer would count it and align-text refuse it: rates and intervals would disagree."""
    (tmp_path / "text").write_text("u1 a b\nu2 a *** b\n")
    with pytest.raises(DataDirError, match=r"text:2: utterance u2 holds the word \*\*\*, which stands for a missing"):
        read_texts(tmp_path / "text")
    with pytest.raises(DataDirError, match=r"text: utterance u2 holds the word \*\*\*"):
        read_references(tmp_path / "text")


def test_details_intervals_confusions_and_figures_are_given_where_asked(files: Path) -> None:
    (files / "utt2spk").write_text("u1 s1\nu2 s2\nu3 s2\n")
    (files / "hyp").write_text("u1 the the bat\nu2 one too\nu3 bat\n")
    both, out = (files / "ref", files / "hyp"), files / "details"
    told = wer(*both, "--utt2spk", files / "utt2spk", "--confusions", "2", "--bootci", "--details", out,
               "--json", files / "all.json")  # fmt: skip
    assert told[0] == "%WER 66.67 [ 4 / 6, 0 ins, 0 del, 4 sub ]"
    assert told[3:5] == ["     1  cat -> the", "     1  red -> bat"]
    assert told[5].startswith("Set1: %WER 6")
    assert told[6] == "95 % interval over 2 speakers: 66.67 to 66.67", "two words of three are wrong with either"
    assert {path.name for path in out.iterdir()} == {"per_utt", "per_spk", "ops"}
    assert "u3 #csid 0 1 0 0" in (out / "per_utt").read_text()
    figures = json.loads((files / "all.json").read_text())
    (only,) = figures["systems"].values()
    assert (only["wer"], only["ser"], only["by_utterance"]["u2"]["sub"]) == (66.6667, 100.0, 1)
    assert figures["comparison"] == []
    wer(*both, "--details", files / "other")
    assert not (files / "other/per_spk").exists()


def test_a_second_hypothesis_is_compared(files: Path) -> None:
    (files / "hyp").write_text("u1 the cat\nu2 one too\nu3 bat\n")
    (files / "new").write_text("u1 the cat sat\nu2 one two\nu3 bat\n")
    told = wer(files / "ref", files / "hyp", files / "new", "--json", files / "all.json")
    assert told[6].startswith("a 50.00 %  b 16.67 %  difference -33.33 (-66.7 %)")
    assert "over 3 utterances, too few to tell" in told[6]
    assert json.loads((files / "all.json").read_text())["comparison"][0]["difference"] == pytest.approx(-33.3333)
    done = CliRunner().invoke(app, ["wer", *(f"{files}/{n}" for n in ("ref", "hyp", "new")), "--details", "x"])
    assert isinstance(done.exception, SchoolyardError)
    assert "describes one system" in str(done.exception)
    (files / "utt2spk").write_text("u1 s1\n")
    done = CliRunner().invoke(app, ["wer", f"{files}/ref", f"{files}/hyp", "--utt2spk", f"{files}/utt2spk"])
    assert r"2 utterances have no speaker (first: u2)" in str(done.exception)
