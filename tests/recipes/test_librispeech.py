"""Preparation of LibriSpeech on a miniature in the layout of SLR12, whole, damaged, and fetched from a local server."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from harness.errors import SchoolyardError
from tests.recipes.preparing import all_bytes, preparation_of, prepared, report, serving, sound

READERS = {"train-clean-100": ("84", "840"), "dev-clean": ("174",), "test-clean": ("1089", "121")}
SPEAKERS = ";ID  |SEX| SUBSET           |MINUTES| NAME\n" + "".join(
    f"{reader:<5}| {'MF'[int(reader) % 2]} | {subset:<16} | 25.03 | A | B\n"
    for subset, readers in READERS.items()
    for reader in readers
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """5 readers, two chapters of three utterances each."""
    root = tmp_path / "corpus" / "LibriSpeech"
    for subset, readers in READERS.items():
        for reader in readers:
            for chapter in ("134686", "134691"):
                folder, lines = root / subset / reader / chapter, []
                for number in range(3):
                    utterance = f"{reader}-{chapter}-{number:04d}"
                    sound(folder / f"{utterance}.flac")
                    lines.append(f"{utterance} HE HOPED THERE'D BE STEW\n")
                (folder / f"{reader}-{chapter}.trans.txt").write_text("".join(lines))
    (root / "SPEAKERS.TXT").write_text(SPEAKERS)
    (root.parent / "librispeech-lexicon.txt").write_text("HE\tHH IY1\nHOPED HH OW1 P T\nBE B IY1\nSTEW S T UW1\n")
    return root.parent


def test_the_published_subsets_become_the_sets(corpus: Path, tmp_path: Path) -> None:
    sets = prepared("librispeech", corpus, tmp_path / "data")
    assert {name: (data.speakers, len(data.utterances)) for name, data in sets.items()} == {
        "train": (["84", "840"], 12), "dev": (["174"], 6), "test": (["1089", "121"], 12)
    }  # fmt: skip
    assert (sets["test"].text or {})["1089-134686-0000"] == "HE HOPED THERE'D BE STEW"
    assert sets["test"].spk2gender == {"1089": "f", "121": "f"}
    assert (tmp_path / "data/local/oov_words.txt").read_text() == "THERE'D 30\n"
    assert report(tmp_path / "data")["subsets"]["train"] == ["train-clean-100"]


def test_several_subsets_make_a_set_and_readers_are_not_shared(corpus: Path, tmp_path: Path) -> None:
    (corpus / "LibriSpeech/train-clean-360").mkdir()
    (corpus / "LibriSpeech/train-clean-100/840").rename(corpus / "LibriSpeech/train-clean-360/840")
    sets = prepared("librispeech", corpus, tmp_path / "data", train="train-clean-100,train-clean-360")
    assert sets["train"].speakers == ["84", "840"]
    with pytest.raises(SchoolyardError, match=r"speaker 1089 .*is also in"):
        prepared("librispeech", corpus, tmp_path / "data", dev="test-clean")
    with pytest.raises(SchoolyardError, match="knows no subset 'train-clean'"):
        prepared("librispeech", corpus, tmp_path / "data", train="train-clean")


def test_two_runs_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepared("librispeech", corpus, tmp_path / name)
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


def test_a_missing_recording_is_counted_and_many_are_refused(corpus: Path, tmp_path: Path) -> None:
    folder = corpus / "LibriSpeech/train-clean-100/84/134686"
    (folder / "84-134686-0001.flac").unlink()
    prepared("librispeech", corpus, tmp_path / "data")
    assert report(tmp_path / "data")["left_out"]["no recording"]["first"] == ["84-134686-0001"]
    for recording in (corpus / "LibriSpeech/dev-clean").rglob("*.flac"):
        recording.unlink()
    with pytest.raises(SchoolyardError, match="7 of 30 utterances cannot be used"):
        prepared("librispeech", corpus, tmp_path / "other")


def test_a_damaged_transcript_or_speaker_table_is_named_with_its_line(corpus: Path, tmp_path: Path) -> None:
    table = corpus / "LibriSpeech/dev-clean/174/134691/174-134691.trans.txt"
    table.write_text(table.read_text().replace("174-134691-0001", "174-999999-0001"))
    with pytest.raises(SchoolyardError, match=r"trans.txt:2: expected '174-134691-NUMBER WORDS'"):
        prepared("librispeech", corpus, tmp_path / "data")
    speakers = corpus / "LibriSpeech/SPEAKERS.TXT"
    speakers.write_text(SPEAKERS.replace("| M |", "| X |", 1))
    with pytest.raises(SchoolyardError, match=r"SPEAKERS.TXT:2: expected 'reader \| F or M"):
        prepared("librispeech", corpus, tmp_path / "data")
    speakers.write_text("".join(line for line in SPEAKERS.splitlines(True) if not line.startswith("174")))
    with pytest.raises(SchoolyardError, match=r"SPEAKERS\.TXT lacks reader 174"):
        prepared("librispeech", corpus, tmp_path / "data")


def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchoolyardError, match=r"SPEAKERS.TXT: is missing from the corpus\n  mend: .*--download"):
        prepared("librispeech", tmp_path, tmp_path / "data")


def test_it_is_fetched_checked_and_unpacked_and_only_once(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, site, digests = preparation_of("librispeech"), tmp_path / "site", {}
    for subset in READERS:
        archive = site / "resources/12" / f"{subset}.tar.gz"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(corpus / "LibriSpeech" / subset, f"LibriSpeech/{subset}")
            tar.add(corpus / "LibriSpeech/SPEAKERS.TXT", "LibriSpeech/SPEAKERS.TXT")
        digests[subset] = hashlib.md5(archive.read_bytes()).hexdigest()
    (site / "resources/11").mkdir()
    lexicon = (corpus / "librispeech-lexicon.txt").read_bytes()
    (site / "resources/11/librispeech-lexicon.txt").write_bytes(lexicon)
    monkeypatch.setattr(module, "SUBSETS", digests)
    monkeypatch.setattr(module, "LEXICON_MD5", hashlib.md5(lexicon).hexdigest())
    fetched = tmp_path / "fetched"
    with serving(site) as address:
        prepared("librispeech", fetched, tmp_path / "one", download=True, server=address)
    prepared("librispeech", fetched, tmp_path / "two", download=True, server="http://127.0.0.1:1")
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")
    assert sorted(item.name for item in fetched.iterdir()) == ["LibriSpeech", "downloads", "librispeech-lexicon.txt"]
    assert list((fetched / "downloads").iterdir()) == []
