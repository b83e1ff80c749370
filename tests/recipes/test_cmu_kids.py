"""Preparation of CMU Kids on a miniature in the layout of LDC97S63, whole and damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.errors import SchoolyardError
from kaldi_bridge.audio import AudioTable
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.programs import kaldi_workspace, run_kaldi
from tests.recipes.preparing import ROOT, all_bytes, prepared, report, sound

AGES = (6, 6, 7, 7, 8, 8, 8, 9, 9, 10, 11, "NA")
PROMPTS = {"1ba": "A BEE FLEW", "2cc": "THE DOGS' FOOD", "3dd": "ELEVEN CATS"}
SPOKEN = (
    "A BEE [begin_noise] FLEW [end_noise]",
    "THE [sil] D- DOGS' FOOD",
    "ELEVEN /K AE T/ [human_noise]",
)
LEXICON = "A            \tAH\nBEE\tB IY\nFLEW \tF L UW\nTHE\tDH AH\nTHE(2)\tDH IY\nDOGS'\tD AO G Z\nFOOD\tF UW D\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """12 children with three sentences each; the last utterance is nothing but noise."""
    root = tmp_path / "LDC97S63" / "cmu_kids"
    (root / "tables").mkdir(parents=True)
    rows, transcripts = ["ID\tLOC\tGR/AGE\tTOT\tBIN2", "--\t---\t------\t---\t----"], []
    for number, age in enumerate(AGES):
        speaker = f"{'fm'[number % 3 == 0]}a{'abcdefghijkl'[number]}x"
        rows.append(f"{speaker}\t{('SUM95', 'FP')[number % 2]}\t{'NA' if age == 'NA' else age - 5}/{age}\t3\t1")
        for sentence, spoken in zip(PROMPTS, SPOKEN, strict=True):
            utterance = f"{speaker}{sentence}{1 + number % 2}"
            sound(root / "kids" / speaker / "signal" / f"{utterance}.sph", format="NIST", subtype="PCM_16")
            said = "[noise] /AH/" if utterance == "falx3dd2" else spoken
            transcripts.append(f"{utterance} {said}")
    (root / "tables/speaker.tbl").write_text("\n".join(rows) + "\n")
    (root / "tables/sentence.tbl").write_text("".join(f"{key}\t12\t{text}\n" for key, text in PROMPTS.items()))
    (root / "tables/transcrp.tbl").write_text("\n".join(transcripts) + "\n")
    (root / "tables/alignmnt.dic").write_text(LEXICON + "[BEGIN_NOISE]\t+NOISE+\n")
    return root


def test_children_are_split_by_speaker_and_text_is_what_was_said(corpus: Path, tmp_path: Path) -> None:
    sets = prepared("cmu_kids", corpus, tmp_path / "data")
    assert {name: (len(data.speakers), len(data.utterances)) for name, data in sets.items()} == {
        "train": (9, 26), "dev": (1, 3), "test": (2, 6)
    }  # fmt: skip
    texts = {utterance: text for data in sets.values() for utterance, text in (data.text or {}).items()}
    assert texts["maax1ba1"] == "A BEE FLEW"
    assert texts["maax2cc1"] == "THE <unk> DOGS' FOOD"
    assert texts["maax3dd1"] == "ELEVEN <unk>"
    said = report(tmp_path / "data")
    assert said["left_out"] == {"no words": {"count": 1, "first": ["falx3dd2"]}}
    assert said["events"] == {"noise": 36, "partial": 12, "unclear": 12}


def test_ages_genders_and_populations_come_along_and_the_test_set_has_young_and_old(
    corpus: Path, tmp_path: Path
) -> None:
    sets = prepared("cmu_kids", corpus, tmp_path / "data")
    ages = sorted(int(age) for age in (sets["test"].spk2age or {}).values())
    assert ages[0] <= 8 < ages[-1]
    assert "falx" in sets["train"].speakers, "the age of this child is not known"
    assert sets["train"].spk2age is None
    assert len(sets["dev"].spk2age or {}) == 1
    assert (sets["train"].spk2gender or {})["fabx"] == "f"
    assert sets["train"].tables["spk2population"]["fabx"] == "FP"
    assert sets["train"].tables["utt2bin"]["fabx1ba2"] == "2"


def test_its_sphere_files_are_read(corpus: Path, tmp_path: Path) -> None:
    data = prepared("cmu_kids", corpus, tmp_path / "data")["dev"]
    assert len(AudioTable(data).read(data.utterances[0])) == 3200


def test_they_come_as_plain_wav_for_kaldi_s_programs_on_request(corpus: Path, tmp_path: Path) -> None:
    plain = prepared("cmu_kids", corpus, tmp_path / "plain", wav=True, jobs=1)["test"]
    sphere = prepared("cmu_kids", corpus, tmp_path / "sphere")["test"]
    for utterance in plain.utterances:
        path = Path((plain.wav_scp or {})[utterance])
        assert path.parent == tmp_path / "plain/audio"
        assert path.read_bytes()[:4] == b"RIFF"
        assert np.array_equal(AudioTable(plain).read(utterance), AudioTable(sphere).read(utterance))


@pytest.mark.kaldi
def test_a_real_kaldi_takes_the_data_directories(corpus: Path, tmp_path: Path, kaldi_root: Path) -> None:
    prepared("cmu_kids", corpus, tmp_path / "data", wav=True, jobs=1)
    workspace = kaldi_workspace(tmp_path / "kaldi", kaldi_root)
    for name in ("train", "dev", "test"):
        directory = str(tmp_path / "data" / name)
        said = run_kaldi(["utils/validate_data_dir.sh", "--no-feats", directory], cwd=workspace, root=kaldi_root)
        assert b"Successfully validated data-directory" in said
    features = run_kaldi(["compute-mfcc-feats", f"scp:{directory}/wav.scp", "ark,t:-"], root=kaldi_root)
    assert features.count(b"[") == 6


def test_the_lexicon_is_the_corpus_s_own_and_missing_words_are_listed(corpus: Path, tmp_path: Path) -> None:
    prepared("cmu_kids", corpus, tmp_path / "data")
    lexicon = (tmp_path / "data/local/lexicon.txt").read_text()
    assert "THE DH AH\nTHE(2) DH IY\n" in lexicon
    assert "NOISE" not in lexicon
    assert (tmp_path / "data/local/oov_words.txt").read_text() == "ELEVEN 11\n"


def test_the_prompt_and_other_treatments_of_false_starts_can_be_had(corpus: Path, tmp_path: Path) -> None:
    sets = prepared("cmu_kids", corpus, tmp_path / "prompts", text="prompt")
    assert {text for data in sets.values() for text in (data.text or {}).values()} == set(PROMPTS.values())
    assert sum(len(data.utterances) for data in sets.values()) == 36
    sets = prepared("cmu_kids", corpus, tmp_path / "kept", overrides=["partial=keep", "unclear=drop"])
    texts = {text for data in sets.values() for text in (data.text or {}).values()}
    assert {"THE D DOGS' FOOD", "ELEVEN"} <= texts


def test_two_runs_give_the_same_bytes_and_another_seed_another_split(corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepared("cmu_kids", corpus, tmp_path / name)
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")
    seeds = [prepared("cmu_kids", corpus, tmp_path / f"seed{seed}", seed=seed)["test"].speakers for seed in range(4)]
    assert len({tuple(speakers) for speakers in seeds}) > 1


def test_lists_of_utterances_give_their_split(corpus: Path, tmp_path: Path) -> None:
    for name, speaker in (("train", "maax"), ("dev", "fabx"), ("test", "facx")):
        sentences = [f"{speaker}1ba{'12'[speaker == 'fabx']}\n"]
        (tmp_path / f"{name}.list").write_text("".join(sentences))
    sets = prepared("cmu_kids", corpus, tmp_path / "data", lists=tmp_path)
    assert {name: data.utterances for name, data in sets.items()} == {
        "train": ["maax1ba1"], "dev": ["fabx1ba2"], "test": ["facx1ba1"]
    }  # fmt: skip
    assert report(tmp_path / "data")["left_out"]["in none of the lists"]["count"] == 32
    (tmp_path / "dev.list").write_text("maax2cc1\n")
    with pytest.raises(SchoolyardError, match="speaker maax is also in"):
        prepared("cmu_kids", corpus, tmp_path / "shared", lists=tmp_path)


def test_one_missing_recording_is_counted_and_many_are_refused(corpus: Path, tmp_path: Path) -> None:
    for number, utterance in enumerate(("maax1ba1", "fabx1ba2", "facx1ba1", "madx1ba2")):
        (corpus / "kids" / utterance[:4] / "signal" / f"{utterance}.sph").unlink()
        if number == 0:
            prepared("cmu_kids", corpus, tmp_path / "data")
            assert report(tmp_path / "data")["left_out"]["no recording"] == {"count": 1, "first": ["maax1ba1"]}
    with pytest.raises(SchoolyardError, match=r"4 of 35 utterances cannot be used \(no recording: 4, first fabx1ba2\)"):
        prepared("cmu_kids", corpus, tmp_path / "damaged")
    assert not (tmp_path / "damaged/train").exists()


@pytest.mark.parametrize(
    ("table", "old", "new", "said"),
    [
        ("speaker.tbl", "FP\t1/6", "FP\tsix", r"speaker.tbl:4: expected 'speaker population grade/age"),
        ("transcrp.tbl", "fabx1ba2", "zzzz1ba2", r"transcrp.tbl:4: 'zzzz1ba2' is no utterance of a speaker"),
        ("transcrp.tbl", "fabx2cc2", "fabx1ba2", r"transcrp.tbl:5: fabx1ba2 comes twice"),
        ("sentence.tbl", "3dd", "9zz", r"sentence.tbl lacks sentence 3dd"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(
    corpus: Path, tmp_path: Path, table: str, old: str, new: str, said: str
) -> None:
    path = corpus / "tables" / table
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(SchoolyardError, match=said):
        prepared("cmu_kids", corpus, tmp_path / "data")


def test_stage_0_of_the_recipe_prepares_it_with_the_words_for_prepare(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    work, noise = tmp_path / "work", str(corpus)  # any folder will do for the noise of later stages
    command = [str(ROOT / "run.sh"), "--recipe", "cmu_kids", "--source", str(corpus), "--work", str(work)]
    options = ["--noise-train", noise, "--noise-test", noise, "--stop-stage", "0", "--prepare", "--set partial=drop"]
    env = os.environ | {"SCHOOLYARD_VENV": str(tmp_path / "venv")}
    result = subprocess.run([*command, *options], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "THE DOGS' FOOD" in (DataDir.read(work / "data/train").text or {}).values()


def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchoolyardError, match="kids: is missing from the corpus"):
        prepared("cmu_kids", tmp_path, tmp_path / "data")
