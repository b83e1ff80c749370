"""breakdown.json and aligned.tsv of a small scored set, worked by hand; confusions of words and phones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from am.__main__ import app
from am.aligned import Aligned, read_aligned, write_aligned
from am.bootstrap import Errors, interval
from am.breakdown import BreakdownConfig, breakdown
from am.confusion import phone_confusions, read_pronunciations, word_confusions
from am.hypotheses import read_words
from am.score import score
from am.wer import align_words, count_errors
from harness.errors import DataDirError

TEXTS = {  # utterance: (speaker, reference, hypothesis)
    "u1": ("s1", "the cat sat", "the bat sat"),
    "u2": ("s1", "a cat", "a bat"),
    "u3": ("s2", "the dog", "dog the"),
    "u4": ("s3", "one two three four", "one two three four"),
}
GROUPS = {
    "snr": {"u1": "0", "u2": "15", "u3": "0", "u4": "15"},
    "grade": {"u1": "unknown", "u2": "8", "u3": "8", "u4": "10"},
}


@pytest.fixture
def aligned() -> Aligned:
    return Aligned(
        pairs={utt: tuple(align_words(one.split(), other.split())) for utt, (_, one, other) in TEXTS.items()},
        speakers={utt: speaker for utt, (speaker, _, _) in TEXTS.items()}, groups=GROUPS,
    )  # fmt: skip


def rows() -> dict[str, tuple]:  # type: ignore[type-arg]
    return {utt: (speaker, count_errors(one.split(), other.split())) for utt, (speaker, one, other) in TEXTS.items()}


def test_cells_hold_the_errors_of_their_group(aligned: Aligned) -> None:
    found = breakdown(rows(), aligned, None, BreakdownConfig(replicas=500, seed=3))
    assert list(found["by"]) == ["snr", "grade", "speaker"]
    quiet, loud = found["by"]["snr"]
    assert (quiet["group"], quiet["utterances"], quiet["words"], quiet["wrong_sentences"]) == ("0", 2, 5, 2)
    assert (quiet["ins"], quiet["del"], quiet["sub"], quiet["wer"], quiet["ser"]) == (1, 1, 1, 60.0, 100.0)
    assert (loud["wer"], loud["ser"]) == (pytest.approx(100 / 6, abs=1e-4), 50.0)
    assert [one["group"] for one in found["by"]["grade"]] == ["8", "10", "unknown"]
    assert found["all"]["wer"] == pytest.approx(400 / 11, abs=1e-4)
    for cells in found["by"].values():
        for key in ("utterances", "words", "ins", "del", "sub", "wrong_sentences"):
            assert sum(one[key] for one in cells) == found["all"][key]
    assert found["confusions"]["phones"] is None


def test_intervals_are_those_of_the_bootstrap_and_absent_for_one_speaker(aligned: Aligned) -> None:
    found = breakdown(rows(), aligned, None, BreakdownConfig(replicas=500, seed=3))
    errors = Errors.of({utt: (speaker, one.words, one.errors) for utt, (speaker, one) in rows().items()})
    expected = interval(errors, replicas=500, seed=3)
    assert [found["all"]["low"], found["all"]["high"]] == pytest.approx([expected.low, expected.high], abs=1e-4)
    assert {(one["low"], one["high"]) for one in found["by"]["speaker"]} == {(None, None)}
    other = breakdown(rows(), aligned, None, BreakdownConfig(replicas=37, seed=4))
    assert (other["all"]["low"], other["all"]["high"]) != (found["all"]["low"], found["all"]["high"])


def test_word_confusions_are_counted_and_ordered(aligned: Aligned) -> None:
    found = word_confusions(aligned.pairs.values()).as_json()
    assert found["substitutions"] == [["cat", "bat", 2], ["dog", "the", 1], ["the", "dog", 1]], "as align-text pairs"
    assert (found["deletions"], found["insertions"]) == ([], [])
    assert found["of"] == 11


def test_phone_confusions_take_the_nearest_pronunciations_and_name_what_they_leave_out() -> None:
    lexicon: dict[str, list[tuple[str, ...]]]
    lexicon = {"a": [("AH",), ("EY",)], "ate": [("EY", "T")], "cat": [("K", "AE", "T")], "bat": [("B", "AE", "T")]}
    alignments = {"u1": [("cat", "bat")], "u2": [("a", "ate")], "u3": [("a", "a")], "u4": [("cow", "cat")]}
    found = phone_confusions(alignments, lexicon)
    assert found.left_out == ("u4",)
    assert found.as_json() == {
        "of": 5, "error_rate": 40.0, "substitutions": [["K", "B", 1]], "deletions": [], "insertions": [["T", 1]]
    }  # fmt: skip


def test_pronunciations_are_read_of_a_lexicon_and_of_a_lang_directory(tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_text("A\tAH\nA EY\nCAT K AE T\n")
    plain = read_pronunciations(tmp_path / "lexicon.txt")
    assert plain == {"A": [("AH",), ("EY",)], "CAT": [("K", "AE", "T")]}
    lines = "<eps> <eps> SIL\nA A AH_S\nA A EY_S\nCAT CAT K_B AE_I T_E\n"
    (tmp_path / "align_lexicon.txt").write_text(lines)
    assert read_pronunciations(tmp_path / "align_lexicon.txt")["CAT"] == [("K_B", "AE_I", "T_E")]
    (tmp_path / "word_boundary.txt").write_text("AH_S singleton\n")
    assert read_pronunciations(tmp_path / "align_lexicon.txt") == plain
    (tmp_path / "lexicon.txt").write_text("A AH\nCAT\n")
    with pytest.raises(DataDirError, match=r"lexicon.txt:2: holds no pronunciation"):
        read_pronunciations(tmp_path / "lexicon.txt")


def test_aligned_utterances_are_read_as_they_were_written(tmp_path: Path, aligned: Aligned) -> None:
    silent = Aligned(
        pairs={**aligned.pairs, "u0": ()}, speakers={**aligned.speakers, "u0": "s3"},
        groups={name: {**of, "u0": "5"} for name, of in GROUPS.items()},
    )  # fmt: skip
    write_aligned(tmp_path / "aligned.tsv", silent)
    assert read_aligned(tmp_path) == silent
    assert silent.errors().words.tolist() == [0, 3, 2, 2, 4]
    assert silent.errors(["u1", "u4"]).percent == pytest.approx(100 / 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utterance\tspeaker\treference\n", r"aligned.tsv:1: is no head"),
        ("utterance\tspeaker\tmood\treference\thypothesis\n", r"aligned.tsv:1: is no head"),
        ("utterance\tspeaker\treference\thypothesis\nu1\ts1\ta b\ta\n", r"aligned.tsv:2: is no row"),
        ("utterance\tspeaker\treference\thypothesis\nu1\ts1\ta\n", r"aligned.tsv:2: is no row"),
        ("utterance\tspeaker\treference\thypothesis\nu1\ts1\t***\t***\n", r"aligned.tsv:2: is no row"),
        ("", r"aligned.tsv:1: is no head"),
    ],
)
def test_a_damaged_table_of_alignments_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "aligned.tsv").write_text(text)
    with pytest.raises(DataDirError, match=message):
        read_aligned(tmp_path)


def test_phones_are_those_of_the_lexicon_that_is_given(golden_dir: Path, tmp_path: Path) -> None:
    decode, graph = tmp_path / "decode", golden_dir / "exp/tri3b/graph"
    shutil.copytree(golden_dir / "exp/tri3b/decode_test", decode)
    words = read_words(graph).values()
    (tmp_path / "lexicon.txt").write_text("".join(f"{word} A\n" for word in words if word != "<eps>"))
    ask = ["score", "--decode", f"{decode}", "--data", f"{golden_dir}/data/test", "--graph", f"{graph}/words.txt"]
    done = CliRunner().invoke(app, [*ask, "--lm-weight", "7", "--lexicon", f"{tmp_path}/lexicon.txt"])
    assert done.exit_code == 0, done.exception
    assert "%WER 49.25 [ 33 / 67, 10 ins, 6 del, 17 sub ] weight 7" in done.output
    phones = json.loads((decode / "breakdown.json").read_text())["confusions"]["phones"]
    assert (phones["of"], phones["substitutions"]) == (67, []), "to this lexicon all words sound alike"
    assert f"%SER {json.loads((decode / 'breakdown.json').read_text())['all']['ser']:.2f} [" in done.output


def test_scoring_the_golden_directory_writes_the_breakdown(golden_dir: Path, tmp_path: Path) -> None:
    decode = tmp_path / "decode"
    shutil.copytree(golden_dir / "exp/tri3b/decode_test", decode)
    score(decode, golden_dir / "data/test", golden_dir / "exp/tri3b/graph", 7, 0.0)
    found, summary = (json.loads((decode / name).read_text()) for name in ("breakdown.json", "score.json"))
    whole = found["all"]
    assert (whole["ins"], whole["del"], whole["sub"], whole["words"]) == (10, 6, 17, 67), "as Kaldi's wer_7_0.0"
    assert f"%SER {whole['ser']:.2f} [ {whole['wrong_sentences']} / 15 ]" in (decode / "wer_7_0.0").read_text()
    assert summary["wrong_sentences"] == whole["wrong_sentences"]
    theirs = [line.split() for line in (decode / "scoring_kaldi/wer_details/ops").read_text().splitlines()]
    wrong = sorted([one, other, int(n)] for kind, one, other, n in theirs if kind == "substitution")
    assert sorted(found["confusions"]["words"]["substitutions"]) == wrong, "as Kaldi's ops"
    phones = found["confusions"]["phones"]
    assert 0 < phones["error_rate"] < found["all"]["wer"]
    assert not any("_" in one for one, _, _ in phones["substitutions"])
