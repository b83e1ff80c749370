"""Preparation of MyST on a miniature in the layout of LDC2021S05, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SchoolyardError
from tests.recipes.preparing import all_bytes, prepared, report, sound

STUDENTS = {"train": ("002001", "002002", "990507"), "development": ("003001",), "test": ("004001", "004002")}
TRANSCRIPTS = (
    "um the mag- magnet <breath> is +um+ attracted to iron.",
    "it’s < side_ speech> (()) 2 D cells *nort* pole",
    "<discard>",
    "<no_signal> <silence>",
    None,
    "yeah <indiscernible> <side_speech",
)
LEXICON = "um AH M\nthe DH AH\nis IH Z\niron AY ER N\nyeah Y AE\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """6 children, a session with six utterances each: one not transcribed, one discarded, one silent."""
    root = tmp_path / "myst" / "myst_child_conv_speech"
    for part, students in STUDENTS.items():
        for student in students:
            session = f"myst_{student}_2014-02-28_09-37-51_LS_1.1"
            folder = root / "data" / part / student / session
            for number, transcript in enumerate(TRANSCRIPTS, start=1):
                sound(folder / f"{session}_{number:03d}.flac", seconds=0.1 * number)
                if transcript is not None:
                    (folder / f"{session}_{number:03d}.trn").write_text(transcript + "\n", encoding="utf-8")
    (tmp_path / "lexicon").write_text(LEXICON)
    return tmp_path / "myst"


def run(corpus: Path, out: Path, **options: object) -> dict:  # type: ignore[type-arg]
    return prepared("myst", corpus, out, lexicon=corpus.parent / "lexicon", **options)


def test_the_published_partitions_are_kept_and_what_is_left_out_is_counted(corpus: Path, tmp_path: Path) -> None:
    sets = run(corpus, tmp_path / "data")
    assert {name: (len(data.speakers), len(data.utterances)) for name, data in sets.items()} == {
        "train": (3, 9), "dev": (1, 3), "test": (2, 6)
    }  # fmt: skip
    assert {reason: said["count"] for reason, said in report(tmp_path / "data")["left_out"].items()} == {
        "discard in the transcript": 6, "no words": 6, "not transcribed": 6
    }  # fmt: skip
    assert sets["train"].tables["utt2module"]["myst_990507_2014-02-28_09-37-51_LS_1.1_001"] == "LS"


def test_marks_and_their_typing_errors_are_understood(corpus: Path, tmp_path: Path) -> None:
    texts = list((run(corpus, tmp_path / "data")["dev"].text or {}).values())
    assert texts == [
        "UM THE <unk> MAGNET IS UM ATTRACTED TO IRON", "IT'S <unk> TWO D CELLS NORT POLE", "YEAH <unk>",
    ]  # fmt: skip
    sets = run(corpus, tmp_path / "other", overrides=["filler=drop", "unclear=leave_out", "partial=drop"])
    assert list((sets["dev"].text or {}).values()) == ["THE MAGNET IS ATTRACTED TO IRON"]
    assert report(tmp_path / "other")["left_out"]["unclear in the transcript"]["count"] == 12


def test_short_and_long_utterances_go_on_request(corpus: Path, tmp_path: Path) -> None:
    assert len(run(corpus, tmp_path / "short", min_words=3)["train"].utterances) == 6
    assert len(run(corpus, tmp_path / "long", max_seconds=0.15)["train"].utterances) == 3
    assert report(tmp_path / "long")["left_out"]["longer than 0.15 s"]["count"] == 12


def test_words_that_the_lexicon_lacks_are_listed(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "data")
    missing = (tmp_path / "data/local/oov_words.txt").read_text().splitlines()
    assert "MAGNET 6" in missing
    assert not [line for line in missing if line.startswith(("UM", "<unk>"))]
    assert (tmp_path / "data/local/lexicon.txt").read_text().startswith("UM AH M\n")


def test_two_runs_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(corpus, tmp_path / name)
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


def test_a_child_in_two_partitions_is_refused(corpus: Path, tmp_path: Path) -> None:
    data = corpus / "myst_child_conv_speech/data"
    (data / "train/002001").rename(data / "test/002001")
    with pytest.raises(SchoolyardError, match="myst_002001"):
        (data / "train/002001").mkdir()
        folder = data / "train/002001/myst_002001_2015-02-28_09-37-51_LS_1.1"
        sound(folder / f"{folder.name}_001.flac")
        (folder / f"{folder.name}_001.trn").write_text("the iron")
        run(corpus, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_recordings_that_are_gone_or_empty_are_refused_when_they_are_many(corpus: Path, tmp_path: Path) -> None:
    for recording in (corpus / "myst_child_conv_speech/data/train").glob("*/*/*_001.flac"):
        recording.write_bytes(b"") if "990507" in recording.name else recording.unlink()
    with pytest.raises(
        SchoolyardError, match=r"3 of 18 utterances cannot be used \(no recording: 3, first myst_002001"
    ):
        run(corpus, tmp_path / "data")


def test_a_file_of_another_child_is_named(corpus: Path, tmp_path: Path) -> None:
    folder = next((corpus / "myst_child_conv_speech/data/test/004001").iterdir())
    (folder / f"{folder.name}_001.flac").rename(folder / f"{folder.name.replace('004001', '004009')}_001.flac")
    with pytest.raises(SchoolyardError, match=r"004009.*is not named myst_004001_DATE"):
        run(corpus, tmp_path / "data")


def test_a_missing_partition_or_lexicon_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SchoolyardError, match="no such lexicon"):
        prepared("myst", corpus, tmp_path / "data", lexicon=tmp_path / "none")
    (tmp_path / "lexicon").write_text("zebra Z IY B R AH\n")
    with pytest.raises(SchoolyardError, match="holds none of the"):
        run(corpus, tmp_path / "data")
    (corpus / "myst_child_conv_speech/data/development").rename(corpus / "elsewhere")
    with pytest.raises(SchoolyardError, match="data/development: is missing from the corpus"):
        run(corpus, tmp_path / "data")


def test_an_utterance_that_is_there_twice_is_named_and_none_of_the_two_is_taken(corpus: Path, tmp_path: Path) -> None:
    session = next((corpus / "myst_child_conv_speech/data/test/004001").iterdir())
    recording = session / f"{session.name}_001.flac"
    (session.parent / "copy").mkdir()
    (session.parent / "copy" / recording.name).write_bytes(recording.read_bytes())
    with pytest.raises(SchoolyardError, match=r"LS_1\.1_001\.flac: is also at .*copy"):
        run(corpus, tmp_path / "data")
