"""Preparation of CSLU Kids on a miniature in the layout of LDC2007S18, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SchoolyardError
from tests.recipes.preparing import all_bytes, prepared, report, sound

PROMPTS = {"00": "zero", "1A": "he's reading 2 books", "XV": "wagon"}
MARKS = {"000": "1", "1a0": "4", "xv0": "3"}  # the third prompt was not said
MONOLOGUE = "\ufeffa b c <br> d um i saw a ca* cat ((xxx)) [laugh] **\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """11 children, one of each grade, with three scripted files and a spontaneous one."""
    source, marks = tmp_path / "LDC2007S18", []
    for grade in range(11):
        speaker = f"ks{grade:01x}0{'abcdefghijk'[grade]}"
        for item, mark in MARKS.items():
            place = sound(source / f"speech/scripted/{grade:02d}/0/{speaker}/{speaker}{item}.wav")
            marks.append(f"..\\{place.name} {mark}" if grade % 2 else f"../speech/scripted/{place.name} {mark}")
        sound(source / f"speech/spontaneous/{grade:02d}/0/{speaker}/{speaker}xx0.wav")
        transcript = source / f"trans/spontaneous/{grade:02d}/0/{speaker}/{speaker}xx0.txt"
        transcript.parent.mkdir(parents=True)
        transcript.write_text(MONOLOGUE, encoding="utf-8")
    (source / "docs").mkdir()
    (source / "docs/all.map").write_text("".join(f'{key} "{text}"\n' for key, text in PROMPTS.items()))
    (source / "verify").mkdir()
    (source / "verify/all-verified.txt").write_text("\n".join(marks[:-1]) + "\n")
    (tmp_path / "lexicon").write_text("zero Z IH R OW\nbooks B UH K S\na AH\n")
    return source


def run(corpus: Path, out: Path, **options: object) -> dict:  # type: ignore[type-arg]
    return prepared("cslu_kids", corpus, out, lexicon=corpus.parent / "lexicon", **options)


def test_good_scripted_files_are_split_by_child_with_grades_balanced(corpus: Path, tmp_path: Path) -> None:
    sets = run(corpus, tmp_path / "data")
    assert {name: (len(data.speakers), len(data.utterances)) for name, data in sets.items()} == {
        "train": (8, 16), "dev": (1, 2), "test": (2, 4)
    }  # fmt: skip
    assert report(tmp_path / "data")["left_out"] == {
        "marked 3 (without the word)": {"count": 10, "first": ["ks00axv0", "ks10bxv0", "ks20cxv0"]},
        "not verified": {"count": 1, "first": ["ksa0kxv0"]},
    }
    grades = sorted(int(grade) for grade in sets["test"].tables["spk2grade"].values())
    assert grades[0] <= 4 and grades[-1] >= 6
    assert set((sets["test"].text or {}).values()) == {"ZERO", "HE'S READING TWO BOOKS"}


def test_any_mark_and_spontaneous_speech_can_be_had(corpus: Path, tmp_path: Path) -> None:
    sets = run(corpus, tmp_path / "any", verified="any")
    assert sum(len(data.utterances) for data in sets.values()) == 33
    sets = run(corpus, tmp_path / "free", style="spontaneous")
    texts = {text for data in sets.values() for text in (data.text or {}).values()}
    assert texts == {"A B C D UM I SAW A <unk> CAT <unk> <unk>"}
    both = run(corpus, tmp_path / "both", style="both", overrides=["partial=keep", "unclear=drop"])
    assert sum(len(data.utterances) for data in both.values()) == 33
    assert "A B C D UM I SAW A CA CAT" in (both["train"].text or {}).values()
    assert set(both["train"].tables["utt2style"].values()) == {"scripted", "spontaneous"}


def test_apostrophes_of_windows_part_no_word(corpus: Path, tmp_path: Path) -> None:
    for transcript in (corpus / "trans").rglob("*.txt"):
        transcript.write_bytes(b"a don\x92t\r\n")
    sets = run(corpus, tmp_path / "data", style="spontaneous")
    assert set((sets["train"].text or {}).values()) == {"A DON'T"}


def test_two_runs_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(corpus, tmp_path / name)
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("docs/all.map", '00 "zero"', "00 zero", r"all.map:1: expected 'KEY \"prompt\"'"),
        ("verify/all-verified.txt", "ks00a1a0.wav 4", "ks00a1a0.wav 7", r"all-verified.txt:2: expected 'path 1..4'"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(
    corpus: Path, tmp_path: Path, path: str, old: str, new: str, said: str
) -> None:
    text = (corpus / path).read_text()
    assert old in text
    (corpus / path).write_text(text.replace(old, new, 1))
    with pytest.raises(SchoolyardError, match=said):
        run(corpus, tmp_path / "data")


def test_a_file_of_another_child_or_a_child_of_two_grades_is_named(corpus: Path, tmp_path: Path) -> None:
    folder = corpus / "speech/scripted/00/0/ks00a"
    (folder / "ks00a000.wav").rename(folder / "ks99z000.wav")
    marks = corpus / "verify/all-verified.txt"
    marks.write_text(marks.read_text() + "ks99z000.wav 1\n")
    with pytest.raises(SchoolyardError, match=r"ks99z000.wav: is not scripted/GRADE/GROUP"):
        run(corpus, tmp_path / "data")
    (folder / "ks99z000.wav").unlink()
    sound(corpus / "speech/scripted/05/0/ks00a/ks00a000.wav")
    with pytest.raises(SchoolyardError, match="stands below grade 05, other files of ks00a below 0"):
        run(corpus, tmp_path / "data")


def test_many_prompts_that_the_map_lacks_are_refused(corpus: Path, tmp_path: Path) -> None:
    (corpus / "docs/all.map").write_text('00 "zero"\n')
    with pytest.raises(SchoolyardError, match=r"11 of 22 utterances cannot be used \(prompt not in all.map: 11"):
        run(corpus, tmp_path / "data")


def test_what_is_missing_is_named(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SchoolyardError, match="knows no mark '5'"):
        run(corpus, tmp_path / "data", verified="1,5")
    (corpus / "verify/all-verified.txt").unlink()
    with pytest.raises(SchoolyardError, match=r"has no \*-verified.txt .*\n  mend: .*--verified any"):
        run(corpus, tmp_path / "data")
    (corpus / "docs/all.map").unlink()
    with pytest.raises(SchoolyardError, match=r"docs/all.map: is missing from the corpus"):
        run(corpus, tmp_path / "data")
