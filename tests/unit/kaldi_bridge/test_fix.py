"""Mending data directories, against Kaldi's fix_data_dir.sh."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.fix import fix_data_dir
from kaldi_bridge.programs import kaldi_workspace, run_kaldi
from kaldi_bridge.validate import ValidateOptions, problems
from tests.unit.kaldi_bridge.test_validate import GOOD, SEGMENTS, write_dir

MENDABLE = {
    "nothing wrong": {},
    "unsorted": {"text": "b-1 NO\na-2 YES\na-1 HELLO\n", "utt2spk": "b-1 b\na-1 a\na-2 a\n"},
    "doubled lines": {"wav.scp": "a-1 x\na-1 x\na-2 y\nb-1 z\n"},
    "an utterance without text": {"text": "a-1 HELLO\nb-1 NO\n"},
    "an utterance without audio": {"wav.scp": "a-2 x\nb-1 y\n"},
    "an utterance without features": {"feats.scp": "a-1 x\nb-1 y\n"},
    "a speaker without gender": {"spk2gender": "a f\n", "spk2age": "a 7\n"},
    "a speaker without statistics": {"cmvn.scp": "b c.ark:1\n", "spk2age": "b 7\n"},
    "strange lines": {"text": GOOD["text"] + "z-1 Z\n", "spk2gender": "a f\nb m\nz m\n",
                      "vad.scp": GOOD["vad.scp"] + "z-1 v\n"},
    "no duration": {"utt2dur": "a-1 0\na-2 2\nb-1 1\n"},
    "stale spk2utt": {"spk2utt": "a a-1\nc c-1\n"},
    "a segment without recording": {**SEGMENTS, "wav.scp": "r2 y\n"},
    "a recording without segment": {**SEGMENTS, "wav.scp": "r1 x\nr2 y\nr3 z\n"},
    "segments without text": {**SEGMENTS, "text": "a-2 YES\nb-1 NO\n"},
}  # fmt: skip


@pytest.mark.parametrize("case", MENDABLE)
def test_a_mended_directory_is_valid_and_the_old_files_are_kept(case, tmp_path):
    directory = write_dir(tmp_path / "data", MENDABLE[case])
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    fixed = fix_data_dir(directory)
    assert problems(directory, ValidateOptions(feats=False)) == []
    assert {path.name: path.read_bytes() for path in (directory / ".backup").iterdir()} == before
    assert fixed.tables == DataDir.read(directory).tables


def test_windows_line_ends_and_empty_lines_go(tmp_path):
    directory = write_dir(tmp_path / "data", {"text": "a-1 HELLO\r\n\r\na-2 YES\r\nb-1 NO\r\n"})
    assert fix_data_dir(directory).text == {"a-1": "HELLO", "a-2": "YES", "b-1": "NO"}


def test_what_went_is_said_with_its_count(tmp_path, caplog):
    caplog.set_level("INFO")
    fix_data_dir(write_dir(tmp_path / "data", {"text": "a-1 HELLO\nb-1 NO\n"}))
    assert "utt2spk: 1 of 3 lines removed (first: a-2)" in caplog.text
    assert "kept 2 of 3 utterances" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"utt2spk": None}, r"utt2spk: no such file"),
        ({"text": "z NO\n"}, r"no utterance is in all tables"),
        ({"utt2spk": "a-1 z\na-2 z\nb-1 b\n", "spk2gender": None, "spk2age": None, "cmvn.scp": None},
         r"not in order: b after z"),
        ({**SEGMENTS, "wav.scp": None}, r"segments without wav.scp"),
    ],
)  # fmt: skip
def test_what_cannot_be_mended_is_refused_and_left_alone(changes, words, tmp_path):
    directory = write_dir(tmp_path / "data", changes)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(DataDirError, match=words):
        fix_data_dir(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.kaldi
@pytest.mark.parametrize("case", MENDABLE)
def test_kaldi_mends_to_the_same_tables(case, tmp_path, kaldi_root):
    workspace = kaldi_workspace(tmp_path / "kaldi", kaldi_root)
    ours = write_dir(tmp_path / "ours", {**MENDABLE[case], "spk2age": None})  # Kaldi does not know spk2age
    theirs = Path(shutil.copytree(ours, tmp_path / "theirs"))
    run_kaldi(["utils/fix_data_dir.sh", str(theirs)], cwd=workspace)
    fix_data_dir(ours)
    for path in sorted(theirs.iterdir()):
        if path.is_file():
            assert (ours / path.name).read_bytes() == path.read_bytes(), path.name
