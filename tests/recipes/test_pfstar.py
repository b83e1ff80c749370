"""Preparation of PF-STAR on a miniature in the layout that its header states, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from harness.errors import SchoolyardError
from tests.recipes.preparing import all_bytes, prepared, report, sound

CHILDREN = {"train": ("C00", "C001", "C002"), "eval": ("C010",), "test": ("C020", "C021")}
TEXTS = {"sentence": "The boat's sm- small [bang]", "digits": "three 5 nine"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """6 children with two recordings each, at 22.05 kHz."""
    for part, children in CHILDREN.items():
        for child in children:
            for name, text in TEXTS.items():
                path = sound(tmp_path / "pfstar" / part / child / f"{child}_{name}.wav", rate=22050)
                path.with_suffix(".txt").write_text(text + "\n")
    (tmp_path / "lexicon").write_text("THE DH AH\nTHREE TH R IY\n")
    (tmp_path / "ages").write_text("".join(f"{c} {4 + n}\n" for n, c in enumerate(sum(CHILDREN.values(), ()))))
    return tmp_path / "pfstar"


def run(corpus: Path, out: Path, **options: object) -> dict:  # type: ignore[type-arg]
    return prepared("pfstar", corpus, out, lexicon=corpus.parent / "lexicon", jobs=1, **options)


def test_the_published_parts_are_kept_and_the_sound_is_converted_once(corpus: Path, tmp_path: Path) -> None:
    sets = run(corpus, tmp_path / "data", ages=tmp_path / "ages")
    assert {name: (data.speakers, len(data.utterances)) for name, data in sets.items()} == {
        "train": (["C00", "C001", "C002"], 6), "dev": (["C010"], 2), "test": (["C020", "C021"], 4)
    }  # fmt: skip
    assert sets["test"].spk2age == {"C020": "8", "C021": "9"}
    assert (sets["dev"].text or {}) == {
        "C010-digits": "THREE FIVE NINE", "C010-sentence": "THE BOAT'S <unk> SMALL"
    }  # fmt: skip
    info = soundfile.info((sets["dev"].wav_scp or {})["C010-digits"])
    assert (info.samplerate, info.frames) == (16000, 3200)


def test_apostrophes_of_windows_part_no_word(corpus: Path, tmp_path: Path) -> None:
    (corpus / "eval/C010/C010_sentence.txt").write_bytes(b"The boat\x92s here\r\n")
    texts = run(corpus, tmp_path / "data")["dev"].text or {}
    assert texts["C010-sentence"] == "THE BOAT'S HERE"


def test_words_may_stand_in_a_master_label_file(corpus: Path, tmp_path: Path) -> None:
    lines = ["#!MLF!#"]
    for label in sorted(corpus.rglob("*.txt")):
        lines += [f'"*/{label.stem}.lab"', "0 1000000 hello", "1000000 2000000 world", "."]
        label.unlink()
    (tmp_path / "words.mlf").write_text("\n".join(lines) + "\n")
    (tmp_path / "lexicon").write_text("hello HH EH L OW\n")
    sets = run(corpus, tmp_path / "data", mlf=tmp_path / "words.mlf")
    assert set((sets["train"].text or {}).values()) == {"HELLO WORLD"}
    (tmp_path / "words.mlf").write_text("hello\n")
    with pytest.raises(SchoolyardError, match=r"words.mlf:1: expected #!MLF!#"):
        run(corpus, tmp_path / "data", mlf=tmp_path / "words.mlf")


def test_two_runs_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(corpus, tmp_path / name)
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


def test_one_missing_transcript_is_counted_and_more_are_refused(corpus: Path, tmp_path: Path) -> None:
    (corpus / "train/C001/C001_digits.txt").unlink()
    run(corpus, tmp_path / "data")
    assert report(tmp_path / "data")["left_out"]["no transcript"] == {"count": 1, "first": ["C001-digits"]}
    (corpus / "test/C020/C020_digits.txt").unlink()
    with pytest.raises(SchoolyardError, match=r"2 of 12 utterances cannot be used \(no transcript: 2"):
        run(corpus, tmp_path / "other")


def test_a_damaged_recording_a_child_without_age_and_a_missing_part_are_named(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "ages").write_text("C00 4\nC001 4\n")
    with pytest.raises(SchoolyardError, match=r"C002: '' is no age in years \(1 such children\)"):
        run(corpus, tmp_path / "data", ages=tmp_path / "ages")
    recording = corpus / "eval/C010/C010_digits.wav"
    recording.write_bytes(recording.read_bytes()[:1000])
    with pytest.raises(SchoolyardError, match=r"C010_digits.wav: is truncated"):
        run(corpus, tmp_path / "data")
    assert not (tmp_path / "data/audio").exists()
    (corpus / "eval").rename(corpus / "devel")
    with pytest.raises(SchoolyardError, match="has 0 folders whose name begins with 'eval'"):
        run(corpus, tmp_path / "data")
