import csv
import importlib.util

import numpy as np
import pytest
import soundfile
from pystoi import stoi

from enhance.mixing import MixConfig, mix_data_dir
from enhance.score import ScoreConfig, score_data_dirs, scores_of
from harness.errors import AudioError, DataDirError
from kaldi_bridge.data_dir import DataDir

RATE = 16000


def rows_of(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_scores_are_those_of_the_packages_and_of_the_formula(make_voice):
    clean = make_voice(0, 2.0)
    noisy = clean + 0.02 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    scores = scores_of(clean, noisy)
    pesq = pytest.importorskip("pesq", reason="PESQ is not installed").pesq
    assert scores["pesq"] == pytest.approx(pesq(RATE, clean, noisy, "wb"))
    assert scores["stoi"] == pytest.approx(stoi(clean, noisy, RATE))
    centred, target = noisy.astype(float) - noisy.mean(), clean.astype(float) - clean.mean()
    along = centred @ target / (target @ target) * target
    assert scores["si_sdr"] == pytest.approx(10 * np.log10(along @ along / np.sum((centred - along) ** 2)), abs=1e-3)
    assert scores["log_mel"] > 0.5
    assert scores_of(clean, clean)["log_mel"] == 0


def test_without_pesq_the_other_metrics_are_still_given(clean_dir, noise_dir, tmp_path, monkeypatch, caplog):
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "pesq" else real(name, *rest))
    noisy = mix_data_dir(clean_dir, noise_dir, tmp_path / "noisy", MixConfig(snr=(10.0,), seed=2), jobs=1)
    means = score_data_dirs(clean_dir, noisy, tmp_path / "scores", ScoreConfig(), jobs=1)
    assert means["pesq"] == "" and means["failed"] == 0 and means["stoi"] > 0.3
    assert {row["pesq"] for row in rows_of(tmp_path / "scores" / "scores.csv")} == {""}
    assert "no PESQ" in caplog.text


def test_tables_hold_every_utterance_and_means_by_snr(clean_dir, noise_dir, tmp_path):
    noisy = mix_data_dir(clean_dir, noise_dir, tmp_path / "noisy", MixConfig(snr=(0.0, 20.0), seed=2), jobs=1)
    means = score_data_dirs(clean_dir, noisy, tmp_path / "scores", ScoreConfig(), jobs=1)
    rows, summary = rows_of(tmp_path / "scores" / "scores.csv"), rows_of(tmp_path / "scores" / "summary.csv")
    assert [row["utterance"] for row in rows] == DataDir.read(clean_dir).utterances
    assert [row["snr"] for row in summary] == ["0", "20", "all"]
    for line in summary[:2]:
        values = [float(row["si_sdr"]) for row in rows if row["snr"] == line["snr"]]
        assert float(line["si_sdr"]) == pytest.approx(np.mean(values), abs=1e-3)
        assert abs(float(line["si_sdr"]) - float(line["snr"])) < 6  # active level against all samples
    assert means["utterances"] == 5
    assert float(summary[0]["pesq"]) < float(summary[1]["pesq"])


def test_an_utterance_without_a_score_is_named_and_enters_no_mean(clean_dir, tmp_path, make_data_dir, make_voice):
    estimate = make_data_dir(tmp_path / "estimate", {"ann-1": 1.3, "ann-2": 0.9, "bob-1": 1.1, "bob-2": 1.4})
    with pytest.raises(AudioError, match=r"2 of 5 utterances have no score \(first: bob-2"):
        score_data_dirs(clean_dir, estimate, tmp_path / "scores", ScoreConfig(), jobs=1)
    rows = {row["utterance"]: row for row in rows_of(tmp_path / "scores" / "scores.csv")}
    assert "samples, its reference" in rows["bob-2"]["problem"]
    assert rows["cyd-1"]["problem"] == "is not in the estimate"
    assert rows["cyd-1"]["pesq"] == ""
    means = score_data_dirs(clean_dir, estimate, tmp_path / "scores", ScoreConfig(max_failed=0.5), jobs=1)
    assert (means["utterances"], means["failed"]) == (3, 2)


def test_silence_gets_no_score(clean_dir, tmp_path):
    data = DataDir.read(clean_dir)
    soundfile.write(data.wav_scp["ann-1"], np.zeros(20800), RATE, "PCM_16")
    with pytest.raises(AudioError, match="ann-1: reference: is silent"):
        score_data_dirs(clean_dir, clean_dir, tmp_path / "scores", ScoreConfig(), jobs=1)


def test_directories_without_a_common_utterance_are_refused(clean_dir, tmp_path, make_data_dir):
    other = make_data_dir(tmp_path / "other", {"dan-1": 1.0})
    with pytest.raises(DataDirError, match="holds none of the utterances"):
        score_data_dirs(clean_dir, other, tmp_path / "scores", ScoreConfig(), jobs=1)
