"""A killed scoring goes on where it was: what is there is not scored again, and the tables are those of one run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from enhance import score
from enhance.score import ScoreConfig, score_data_dirs
from harness.errors import DiskError
from kaldi_bridge.data_dir import DataDir
from tests.full_disk import largest_file

ROOT = Path(__file__).parents[3]
RATE, UTTERANCES, KILLED_AT = 16000, 12, 7
CHEAP = ScoreConfig(metrics=("plain_snr", "ssnr"), replicas=100)
KILLED = """
import os, signal, sys
from enhance import score
real, (clean, noisy, out, last) = score._score_one, sys.argv[1:]
def score_one(reference, estimate, config, names, item):
    if item[0] == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(reference, estimate, config, names, item)
score._score_one = score_one
score.score_data_dirs(clean, noisy, out, score.ScoreConfig(metrics=("plain_snr", "ssnr"), replicas=100), jobs=1)
"""


@pytest.fixture
def pair(tmp_path):
    """Clean and noisy data directories of a dozen utterances of three speakers."""
    rng = np.random.default_rng(0)
    names = [f"s{n % 3}-{n:02d}" for n in range(UTTERANCES)]
    for kind in ("clean", "noisy"):
        (tmp_path / kind).mkdir()
    places = {kind: {name: str(tmp_path / kind / f"{name}.wav") for name in names} for kind in ("clean", "noisy")}
    for name in names:
        sound = 0.1 * rng.standard_normal(RATE // 4)
        soundfile.write(places["clean"][name], sound, RATE, "FLOAT")
        soundfile.write(places["noisy"][name], sound + 0.05 * rng.standard_normal(RATE // 4), RATE, "FLOAT")
    for kind, wav_scp in places.items():
        tables = {"utt2spk": {name: name[:2] for name in names}, "wav_scp": wav_scp}
        DataDir.build(tmp_path / kind, **tables).write_tables(tmp_path / kind)
    return tmp_path / "clean", tmp_path / "noisy"


def killed_run(pair, out):
    """Score until the utterance number KILLED_AT, where the process is killed; returns the file of rows it left."""
    names = DataDir.read(pair[0]).utterances
    call = [sys.executable, "-c", KILLED, *map(str, pair), str(out), names[KILLED_AT]]
    said = subprocess.run(call, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert said.returncode == -signal.SIGKILL, said.stderr
    assert not (out / "scores.csv").exists()
    (rows,) = out.glob(".rows.*.jsonl")
    assert len(rows.read_text().splitlines()) == KILLED_AT
    return rows


def score_and_count(pair, out, monkeypatch, config=CHEAP):
    """The names that were scored in this process."""
    counted = []
    real = score._score_one

    def score_one(reference, estimate, config, names, item):
        counted.append(item[0])
        return real(reference, estimate, config, names, item)

    monkeypatch.setattr(score, "_score_one", score_one)
    score_data_dirs(*pair, out, config, jobs=1)
    monkeypatch.setattr(score, "_score_one", real)
    return counted


def tables_of(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("cut", [b"", b'{"utterance": "s1-0', b"no row\n"])
def test_a_killed_scoring_goes_on_with_what_is_missing_and_ends_the_same(pair, tmp_path, monkeypatch, cut):
    names = DataDir.read(pair[0]).utterances
    score_data_dirs(*pair, tmp_path / "undisturbed", CHEAP, jobs=1)
    rows = killed_run(pair, tmp_path / "killed")
    with open(rows, "ab") as stream:
        stream.write(cut)  # what a kill in the middle of a line leaves
    assert score_and_count(pair, tmp_path / "killed", monkeypatch) == names[KILLED_AT:]
    assert tables_of(tmp_path / "killed") == tables_of(tmp_path / "undisturbed")


def test_rows_of_other_metrics_or_changed_sounds_are_not_taken_over(pair, tmp_path, monkeypatch):
    out = tmp_path / "killed"
    killed_run(pair, out)
    other = ScoreConfig(metrics=("plain_snr",), replicas=100)
    assert len(score_and_count(pair, out, monkeypatch, other)) == UTTERANCES
    for path in out.glob("*.csv"):
        path.unlink()
    killed_run(pair, out)
    wav = pair[1] / f"{DataDir.read(pair[1]).utterances[0]}.wav"
    soundfile.write(wav, 0.5 * soundfile.read(wav)[0], RATE, "FLOAT")
    os.utime(wav, ns=(1, 1))
    assert len(score_and_count(pair, out, monkeypatch)) == UTTERANCES


def test_a_row_that_no_longer_fits_on_the_disk_is_said_with_its_file_and_the_rest_goes_on(pair, tmp_path):
    clean, noisy = pair
    with largest_file(300), pytest.raises(DiskError, match=r"\.rows\..*\.jsonl: became larger than the limit"):
        score_data_dirs(clean, noisy, tmp_path / "out", CHEAP, jobs=1)
    score_data_dirs(clean, noisy, tmp_path / "out", CHEAP, jobs=1)
    score_data_dirs(clean, noisy, tmp_path / "whole", CHEAP, jobs=1)
    assert (tmp_path / "out" / "scores.csv").read_bytes() == (tmp_path / "whole" / "scores.csv").read_bytes()
