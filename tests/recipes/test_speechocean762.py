"""Preparation of speechocean762 on a miniature corpus in its official layout, whole and damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harness.errors import DataDirError
from kaldi_bridge.data_dir import DataDir
from recipes.lib.download import Archive, DownloadError
from tests.recipes.preparing import all_bytes, preparation_of, prepared, report, serving

ROOT = Path(__file__).resolve().parents[2]
AGES = {"train": [6, 6, 7, 8, 9, 9, 10, 11, 12, 12, 13, 15, 6, 11, 30, 41], "test": [6, 10, 14, 35]}
WORDS = "WE CALL IT BEAR"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """16 + 4 speakers, 2 utterances each; three of the speakers are adults."""
    source = tmp_path / "corpus"
    for part, ages in AGES.items():
        tables: dict[str, list[str]] = {name: [] for name in ("wav.scp", "text", "utt2spk", "spk2age", "spk2gender")}
        for number, age in enumerate(ages):
            speaker = f"{number + (1000 if part == 'test' else 1):04d}"
            tables["spk2age"].append(f"{speaker}\t{age}")
            tables["spk2gender"].append(f"{speaker}\t{'fm'[number % 2]}")
            (source / f"WAVE/SPEAKER{speaker}").mkdir(parents=True)
            for utterance in (f"{speaker}0011", f"{speaker}0035"):
                wav = f"WAVE/SPEAKER{speaker}/{utterance}.WAV"
                (source / wav).write_bytes(b"RIFF")
                tables["wav.scp"].append(f"{utterance}\t{wav}")
                tables["text"].append(f"{utterance}\t{WORDS}")
                tables["utt2spk"].append(f"{utterance}\t{speaker}")
        (source / part).mkdir()
        for name, rows in tables.items():
            (source / part / name).write_text("\n".join(rows) + "\n")
    (source / "resource").mkdir()
    (source / "resource/lexicon.txt").write_text("WE W IY1\nCALL K AO1 L\nIT IH1 T\nBEAR B EH1 R\n")
    return source


def prepare(source: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "recipes/speechocean762/prepare.py"), "--source", str(source)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, "--out", str(source.parent / "data"), *words], env=env, capture_output=True, text=True, check=False
    )


def refusal(source: Path, *words: str) -> str:
    result = prepare(source, *words)
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stderr
    assert "mend:" in result.stderr
    return result.stderr


def test_children_are_split_by_speaker_and_the_test_part_stays_whole(corpus: Path) -> None:
    result = prepare(corpus)
    assert result.returncode == 0, result.stderr
    sets = {name: DataDir.read(corpus.parent / "data" / name) for name in ("train", "dev", "test")}
    assert {name: len(data.speakers) for name, data in sets.items()} == {"train": 12, "dev": 2, "test": 3}
    assert not set(sets["train"].speakers) & set(sets["dev"].speakers)
    assert sets["test"].spk2age == {"1000": "6", "1001": "10", "1002": "14"}
    assert all(Path(wav).is_file() and Path(wav).is_absolute() for wav in (sets["dev"].wav_scp or {}).values())
    ages = sorted(int(age) for age in (sets["dev"].spk2age or {}).values())
    assert ages[0] <= 8 < ages[1], "dev holds younger and older children"
    assert "train" in result.stderr + result.stdout


def test_the_split_is_the_same_every_time_and_adults_come_on_request(corpus: Path) -> None:
    prepare(corpus)
    before = all_bytes(corpus.parent / "data")
    prepare(corpus)
    assert all_bytes(corpus.parent / "data") == before
    prepare(corpus, "--max-age", "99")
    assert len(DataDir.read(corpus.parent / "data/test").speakers) == 4


def test_another_seed_holds_out_other_children_of_the_same_ages(corpus: Path) -> None:
    splits = []
    for seed in range(4):
        prepare(corpus, "--seed", str(seed))
        dev = DataDir.read(corpus.parent / "data/dev")
        ages = sorted(int(age) for age in (dev.spk2age or {}).values())
        assert len(ages) == 2
        assert ages[0] <= 8 < ages[1]
        splits.append(tuple(dev.speakers))
    assert len(set(splits)) > 1


def test_who_is_too_old_is_counted_and_words_without_a_pronunciation_are_listed(corpus: Path) -> None:
    text = corpus / "train/text"
    text.write_text(text.read_text().replace(WORDS, "WE CALL IT WOMBAT", 1))
    prepare(corpus)
    counts = report(corpus.parent / "data")
    assert counts["left_out"]["speaker older than 15 years"]["count"] == 6, "three adults with two utterances each"
    assert counts["sets"]["test"] == {"speakers": 3, "utterances": 6, "words": 24}
    assert (corpus.parent / "data/local/oov_words.txt").read_text() == "WOMBAT 1\n"


def test_stage_0_of_the_recipe_hands_words_to_the_preparation(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    command = [str(ROOT / "run.sh"), "--recipe", "speechocean762", "--source", str(corpus), "--stop-stage", "0"]
    command += ["--noise-train", str(corpus), "--noise-test", str(corpus), "--work", str(tmp_path / "work")]
    environment = os.environ | {"SCHOOLYARD_VENV": str(tmp_path / "venv")}
    ended = subprocess.run(
        [*command, "--prepare", "--max-age 12"], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert report(tmp_path / "work/data")["max_age"] == 12
    assert DataDir.read(tmp_path / "work/data/test").spk2age == {"1000": "6", "1001": "10"}


@pytest.mark.parametrize("missing", [0, 1])
def test_it_is_fetched_and_compared_with_its_length(
    corpus: Path, missing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, site = preparation_of("speechocean762"), tmp_path / "site"
    site.mkdir()
    with tarfile.open(site / "speechocean762.tar.gz", "w:gz") as tar:
        tar.add(corpus, "speechocean762")
    size = (site / "speechocean762.tar.gz").stat().st_size + missing
    with serving(site) as address:
        archive = Archive(url=f"{address}/speechocean762.tar.gz", digest=f"size:{size}")
        monkeypatch.setattr(module, "ARCHIVES", (archive,))
        if missing:
            with pytest.raises(DownloadError, match=f"published is size:{size}"):
                prepared("speechocean762", tmp_path / "fetched", tmp_path / "data", download=True)
            assert not (tmp_path / "data").exists()
        else:
            sets = prepared("speechocean762", tmp_path / "fetched", tmp_path / "data", download=True)
            assert {name: len(data.utterances) for name, data in sets.items()} == {"train": 24, "dev": 4, "test": 6}


def test_a_folder_that_is_no_corpus_is_refused(corpus: Path) -> None:
    assert "is missing from the corpus" in refusal(corpus / "train")


def test_the_corpus_itself_is_no_output(corpus: Path) -> None:
    before = all_bytes(corpus)
    with pytest.raises(DataDirError, match="is the corpus itself, whose tables would be overwritten"):
        prepared("speechocean762", corpus, corpus)
    assert all_bytes(corpus) == before


def test_a_missing_lexicon_is_refused(corpus: Path) -> None:
    (corpus / "resource/lexicon.txt").unlink()
    assert "lexicon.txt: is missing from the corpus" in refusal(corpus)


def test_a_recording_that_is_absent_is_named(corpus: Path) -> None:
    (corpus / "WAVE/SPEAKER0003/00030011.WAV").unlink()
    error = refusal(corpus)
    assert "00030011" in error
    assert "no recording at" in error
    assert not (corpus.parent / "data/train").exists()


def test_an_utterance_without_text_is_named(corpus: Path) -> None:
    text = corpus / "train/text"
    text.write_text("".join(line for line in text.read_text().splitlines(True) if "00020035" not in line))
    assert "lacks utterance 00020035" in refusal(corpus)


def test_a_text_without_utterance_is_named(corpus: Path) -> None:
    text = corpus / "train/text"
    text.write_text(text.read_text() + "99990011\tWE CALL\n")
    assert "99990011" in refusal(corpus)


def test_a_speaker_without_an_age_is_named(corpus: Path) -> None:
    ages = corpus / "train/spk2age"
    ages.write_text("".join(line for line in ages.read_text().splitlines(True) if not line.startswith("0004")))
    assert "0004" in refusal(corpus)


def test_an_age_that_is_no_number_is_named(corpus: Path) -> None:
    ages = corpus / "train/spk2age"
    ages.write_text(ages.read_text().replace("0004\t8", "0004\teight"))
    assert "0004: 'eight' is no age in years" in refusal(corpus)


def test_a_speaker_in_both_parts_is_refused(corpus: Path) -> None:
    for name in ("wav.scp", "text", "utt2spk", "spk2age", "spk2gender"):
        table = corpus / "test" / name
        rows = [line for line in (corpus / "train" / name).read_text().splitlines(True) if line.startswith("0001")]
        table.write_text("".join(rows) + table.read_text())
    assert "0001" in refusal(corpus)


def test_a_corpus_without_children_is_refused(corpus: Path) -> None:
    assert "has no speaker up to 5 years" in refusal(corpus, "--max-age", "5")


def test_scores_of_the_sentences_become_grades_of_the_children_s_readings(corpus: Path) -> None:
    scores = {f"{1000 + n}{end}": {"accuracy": 3, "total": 2 * n + 0.5} for n in range(4) for end in ("0011", "0035")}
    (corpus / "resource/scores.json").write_text(json.dumps(scores))
    assert prepare(corpus).returncode == 0
    test = DataDir.read(corpus.parent / "data/test")
    assert test.tables["utt2grade"] == {f"{1000 + n}{end}": f"{2 * n}.5" for n in range(3) for end in ("0011", "0035")}
    assert "utt2grade" not in DataDir.read(corpus.parent / "data/train").tables


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"total": 11}, "10000011: a score of 11 is not between 0 and 10"),
        ({"accuracy": 3}, "is no table of sentence scores"),
    ],
)
def test_broken_scores_are_refused(corpus: Path, entry: dict[str, int], problem: str) -> None:
    (corpus / "resource/scores.json").write_text(json.dumps({"10000011": entry}))
    assert problem in refusal(corpus)
