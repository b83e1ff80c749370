"""python -m kaldi_bridge: every verb does its work; errors are one text, exit code 1, no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kaldi_bridge.__main__ import app
from kaldi_bridge.audio import write_wav
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.tables import read_matrix_scp
from tests.unit.kaldi_bridge.conftest import sound


@pytest.fixture
def verb(capsys, monkeypatch):
    """verb("validate", path) runs a verb as the command line does; returns (exit code, stdout, stderr)."""
    from harness.cli import run

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kaldi_bridge", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run(app)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_the_main_line_from_a_valid_directory_to_statistics(verb, make_data, tmp_path):
    data = make_data(speakers=2, utterances=4)
    assert verb("validate", data.path, "--no-feats")[:2] == (0, f"{data.path} is a valid data directory\n")
    assert verb("check-audio", data.path)[0] == 0
    assert verb("features", data.path, "--out", tmp_path / "mfcc", "--jobs", 1)[:2] == (
        0, f"{data.path}: features of 8 utterances, 0 failed\n"
    )  # fmt: skip
    assert verb("cmvn", data.path)[0] == 0
    assert verb("validate", data.path)[0] == 0
    assert read_matrix_scp(data.path / "cmvn.scp")["kid01"].shape == (2, 14)


def test_directories_are_subset_split_combined_copied_and_perturbed(verb, make_data, tmp_path):
    data = make_data(speakers=2, utterances=4)
    assert verb("subset", data.path, tmp_path / "few", "--per-spk", 1)[0] == 0
    assert DataDir.read(tmp_path / "few").utterances == ["kid01-000", "kid02-000"]
    assert verb("split", data.path, 2)[1].split() == [str(data.path / "split2" / part) for part in "12"]
    one, two = data.path / "split2" / "1", data.path / "split2" / "2"
    assert verb("check-speakers", one, two)[0] == 0
    assert verb("combine", tmp_path / "all", one, two)[0] == 0
    assert DataDir.read(tmp_path / "all").tables == data.tables
    assert verb("copy", data.path, tmp_path / "copy", "--utt-prefix", "x-", "--spk-prefix", "x-")[0] == 0
    assert DataDir.read(tmp_path / "copy").speakers == ["x-kid01", "x-kid02"]
    assert verb("perturb-speed", 0.9, data.path, tmp_path / "sp", "--jobs", 1)[0] == 0
    assert verb("perturb-volume", data.path, tmp_path / "vol", "--jobs", 1)[0] == 0
    assert verb("validate", tmp_path / "sp", "--no-feats")[0] == 0
    assert verb("fix", tmp_path / "vol")[1] == f"{tmp_path / 'vol'}: 8 utterances of 2 speakers\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["validate", "nowhere"], "nowhere: no such data directory"),
        (["features", "nowhere"], "nowhere: no such data directory"),
        (["features", "nowhere", "--kind", "plp"], "must be one of mfcc, mfcc_hires, fbank"),
        (["subset", "DATA", "out"], "give exactly one way to choose"),
        (["subset", "DATA", "out", "--first", "99"], "cannot give 99 of 2"),
        (["split", "DATA", "5"], "cannot be split into 5 parts"),
        (["perturb-speed", "1.0", "DATA", "out"], "speed factor"),
        (["perturb-volume", "DATA", "out", "--low", "0"], "need 0 < low"),
        (["check-speakers", "DATA", "DATA"], "speaker kid01 is also in"),
        (["cmvn", "DATA"], "feats.scp: no such file"),
        (["fix", "nowhere"], "utt2spk: no such file"),
        (["copy", "DATA", "DATA"], "already exists"),
    ],
)
def test_errors_are_one_text_with_the_mend_and_exit_code_1(words, said, verb, make_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = make_data(speakers=1, utterances=2)
    code, _, err = verb(*[str(data.path) if word == "DATA" else word for word in words])
    assert code == 1
    assert said in err
    assert "\n  mend: " in err
    assert not (tmp_path / "out").exists()


def test_validate_lists_every_problem(verb, make_data):
    data = make_data(speakers=1, utterances=3)
    (data.path / "text").write_text("kid01-000 <s>\nkid01-001 #0\n")
    code, _, err = verb("validate", data.path, "--no-feats")
    assert code == 1
    assert "text:2: holds the symbol #0" in err
    assert "text: lacks utterance kid01-002" in err
    assert "text:1: holds the symbol <s>, which means itself to the decoder (and 2 more problems)" in err


def test_check_audio_lists_every_bad_recording(verb, make_data):
    data = make_data(speakers=1, utterances=3)
    write_wav(data.tables["wav.scp"]["kid01-000"], sound(0.2, rate=8000), 8000)
    (data.path.parent / "audio" / "train-kid01-002.wav").write_bytes(b"RIFF")
    code, _, err = verb("check-audio", data.path)
    assert code == 1
    assert "utterance kid01-000: has 8000 samples a second" in err
    assert "2 of 3 utterances cannot be read" in err


def test_help_does_not_import_what_takes_long():
    code = (
        "import sys, kaldi_bridge.__main__ as m; slow = {'numpy', 'torch', 'soundfile', 'soxr', 'kaldiio', 'numba'};"
        "sys.exit(', '.join(slow & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
