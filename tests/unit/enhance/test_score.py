import csv
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pystoi import stoi

from enhance.metrics.recordings import open_recordings
from enhance.mixing import MixConfig, mix_data_dir
from enhance.score import ScoreConfig, score_data_dirs, scores_of
from harness.errors import AudioError, ConfigError, DataDirError, SchoolyardError
from kaldi_bridge.data_dir import DataDir

RATE = 16000
SPEAKERS = ("ann", "bob", "cyd")


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


@pytest.mark.parametrize(
    ("side", "sound", "said"),
    [
        ("clean", np.full(16000, 0.25), "SI-SDR: gives no score (the reference is constant)"),
        ("enhanced", np.full(16000, 0.25), "SI-SDR: gives no score (the estimate is constant)"),
        ("both", 0.1 * np.sin(np.arange(100.0)), "STOI: gives no score"),  # less than a frame
    ],
    ids=["reference", "estimate", "short"],
)  # fmt: skip
def test_a_dead_or_tiny_recording_is_counted_and_the_others_are_scored(tmp_path, make_voice, side, sound, said):
    for kind in ("clean", "enhanced"):
        (tmp_path / kind).mkdir()
        for name, samples in (
            ("a", make_voice(1, 1.0)),
            ("b", sound if side in (kind, "both") else make_voice(2, 1.0)),
        ):
            soundfile.write(tmp_path / kind / f"{name}.wav", samples, 16000, "PCM_16")
    config = ScoreConfig(metrics=("si_sdr", "stoi"), max_failed=0.5)
    means = score_data_dirs(tmp_path / "clean", tmp_path / "enhanced", tmp_path / "out", config, jobs=1)
    assert (means["utterances"], means["failed"]) == (1, 1)
    assert means["si_sdr"] > 100
    assert said in (tmp_path / "out" / "scores.csv").read_text()


def test_directories_without_a_common_utterance_are_refused(clean_dir, tmp_path, make_data_dir):
    other = make_data_dir(tmp_path / "other", {"dan-1": 1.0})
    with pytest.raises(DataDirError, match="holds none of the utterances"):
        score_data_dirs(clean_dir, other, tmp_path / "scores", ScoreConfig(), jobs=1)


# ---- what is scored


@pytest.fixture
def folders(tmp_path):
    """clean/ and noisy/ with a/one.wav, a/two.flac, b/one.wav of half a second; noisy is at 20 dB."""
    rng = np.random.default_rng(99)
    for number, name in enumerate(("a/one.wav", "a/two.flac", "b/one.wav")):
        clean = 0.1 * np.random.default_rng(number).standard_normal(RATE // 2)
        noise = rng.standard_normal(RATE // 2)
        noise *= 0.1 * np.linalg.norm(clean) / np.linalg.norm(noise)
        for side, sound in (("clean", clean), ("noisy", clean + noise)):
            path = tmp_path / side / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound, RATE, "PCM_16")
    return tmp_path / "clean", tmp_path / "noisy"


def test_directories_of_audio_are_scored_file_by_file(folders, tmp_path):
    means = score_data_dirs(*folders, tmp_path / "s", ScoreConfig(metrics=("plain_snr",)), jobs=1)
    rows = rows_of(tmp_path / "s" / "scores.csv")
    assert [row["utterance"] for row in rows] == ["a/one", "a/two", "b/one"]
    assert [float(row["plain_snr"]) for row in rows] == pytest.approx([20.0] * 3, abs=0.02)
    assert means["plain_snr"] == pytest.approx(20.0, abs=0.02)
    assert json.loads((tmp_path / "s" / "summary.json").read_text())["groups"][0]["speakers"] == 3


def test_lists_are_scored_by_their_names(folders, tmp_path):
    clean, noisy = folders
    (tmp_path / "clean.list").write_text(f"x {clean}/a/one.wav\ny {clean}/b/one.wav\n")
    (tmp_path / "noisy.list").write_text(f"x {noisy}/a/one.wav\ny {clean}/a/two.flac\n")
    config = ScoreConfig(metrics=("plain_snr",))
    score_data_dirs(tmp_path / "clean.list", tmp_path / "noisy.list", tmp_path / "s", config, jobs=1)
    values = {row["utterance"]: float(row["plain_snr"]) for row in rows_of(tmp_path / "s" / "scores.csv")}
    assert values["x"] == pytest.approx(20.0, abs=0.02)
    assert values["y"] == pytest.approx(-3.0, abs=0.2)  # two independent noises of one power


def test_places_without_recordings_or_with_a_name_twice_are_refused(folders, tmp_path):
    clean, _ = folders
    (tmp_path / "one.list").write_text("x\n")
    with pytest.raises(DataDirError, match=r"one.list:1: expected '<name> <file>', got 'x' alone"):
        open_recordings(tmp_path / "one.list")
    (tmp_path / "none.list").write_text("")
    with pytest.raises(DataDirError, match="the list is empty"):
        open_recordings(tmp_path / "none.list")
    soundfile.write(clean / "a" / "one.flac", np.zeros(10), RATE)
    with pytest.raises(DataDirError, match=r"holds a/one twice: one\.flac and one\.wav"):
        open_recordings(clean)
    with pytest.raises(DataDirError, match="no such data directory, directory of audio or list"):
        open_recordings(tmp_path / "nowhere")


def test_another_rate_is_refused_or_converted(folders, tmp_path):
    clean, noisy = folders
    sound, _ = soundfile.read(noisy / "a" / "one.wav")
    soundfile.write(noisy / "a" / "one.wav", np.repeat(sound, 3), 3 * RATE)
    config = ScoreConfig(metrics=("lsd",), max_failed=0.5)
    assert score_data_dirs(clean, noisy, tmp_path / "s", config, jobs=1)["failed"] == 1
    assert "48000 samples a second" in rows_of(tmp_path / "s" / "scores.csv")[0]["problem"]
    config = ScoreConfig(metrics=("lsd",), resample=True)
    assert score_data_dirs(clean, noisy, tmp_path / "s", config, jobs=1)["failed"] == 0
    config = ScoreConfig(metrics=("lsd",), resample=True, sample_rate=8000)
    assert score_data_dirs(clean, noisy, tmp_path / "s8", config, jobs=1)["failed"] == 0


def test_without_a_reference_only_metrics_that_need_none_are_given(folders, tmp_path, monkeypatch):
    _, noisy = folders
    monkeypatch.setitem(sys.modules, "the_predictor", sys.modules[__name__])
    config = ScoreConfig(predictors={"power": "the_predictor:power"})
    means = score_data_dirs(None, noisy, tmp_path / "s", config, jobs=1)
    assert means["power"] == pytest.approx(1.01, abs=0.03)
    with pytest.raises(ConfigError, match="pesq compares with clean speech, and there is none"):
        score_data_dirs(None, noisy, tmp_path / "s", ScoreConfig(metrics=("pesq",)), jobs=1)


def power():
    return lambda sound: 100 * sound.square().mean(-1)


def test_a_metric_asked_for_by_name_whose_package_is_missing_is_an_error(folders, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "pesq" else real(name, *rest))
    with pytest.raises(SchoolyardError, match=r"covl: needs pesq\n  mend: pip install pesq"):
        score_data_dirs(*folders, tmp_path / "s", ScoreConfig(metrics=("covl",)), jobs=1)


# ---- the summary


def test_groups_hold_means_by_every_condition_the_data_dir_knows(clean_dir, tmp_path):
    data = DataDir.read(clean_dir)
    noise = {utt: f"dog-bark-{n}-A.ogg 17" if n % 2 else "rain/9.wav 4" for n, utt in enumerate(data.utterances)}
    tables = data.tables | {"utt2snr": dict.fromkeys(data.utterances, "5"), "utt2noise": noise}
    tables["spk2gender"] = {"ann": "f", "bob": "m", "cyd": "f"}
    estimate = DataDir(tmp_path / "estimate", tables).write().path
    score_data_dirs(clean_dir, estimate, tmp_path / "s", ScoreConfig(metrics=("plain_snr", "lsd")), jobs=1)
    groups = json.loads((tmp_path / "s" / "summary.json").read_text())["groups"]
    found = {(group["by"], group["value"]): (group["utterances"], group["speakers"]) for group in groups}
    assert found[("all", "all")] == found[("snr", "5")] == (5, 3)
    assert found[("age", "6-8")] == (2, 1)
    assert found[("age", "9-11")] == (2, 1)
    assert found[("gender", "f")] == (3, 2)
    assert found[("noise", "dog-bark")] == (2, 2)
    assert [group["value"] for group in groups if group["by"] == "age"] == ["6-8", "9-11", "12-15"]
    long = rows_of(tmp_path / "s" / "groups.csv")
    assert {row["metric"] for row in long} == {"plain_snr", "lsd"}
    assert [row["low"] for row in long if row["value"] == "6-8"] == ["", ""]  # one speaker: no interval


def test_interval_of_a_mean_is_that_of_whole_speakers(clean_dir, noise_dir, tmp_path):
    noisy = mix_data_dir(clean_dir, noise_dir, tmp_path / "noisy", MixConfig(snr=(0.0, 20.0), seed=2), jobs=1)
    score_data_dirs(clean_dir, noisy, tmp_path / "s", ScoreConfig(metrics=("plain_snr",), replicas=400), jobs=1)
    rows = rows_of(tmp_path / "s" / "scores.csv")
    own = {speaker: [float(row["plain_snr"]) for row in rows if row["speaker"] == speaker] for speaker in SPEAKERS}
    by_speaker = [np.mean(values) for values in own.values()]
    found = json.loads((tmp_path / "s" / "summary.json").read_text())["groups"][0]["metrics"]["plain_snr"]
    assert found["low"] == pytest.approx(min(by_speaker), abs=1e-3)  # drawn thrice in one of 27 draws
    assert found["high"] == pytest.approx(max(by_speaker), abs=1e-3)
    again = ScoreConfig(metrics=("plain_snr",), replicas=37, seed=5)
    score_data_dirs(clean_dir, noisy, tmp_path / "s", again, jobs=1)
    other = json.loads((tmp_path / "s" / "summary.json").read_text())["groups"][0]["metrics"]["plain_snr"]
    assert other["mean"] == found["mean"] and (other["low"], other["high"]) != (found["low"], found["high"])


def test_gain_against_clipping_is_taken_back(clean_dir, tmp_path, audio_of):
    data = DataDir.read(clean_dir)
    (tmp_path / "half").mkdir()
    wav_scp = {utt: str(tmp_path / "half" / f"{utt}.wav") for utt in data.utterances}
    for utterance, sound in audio_of(clean_dir).items():
        soundfile.write(wav_scp[utterance], 0.5 * sound, RATE, "FLOAT")
    scaled = data.tables | {"wav.scp": wav_scp, "utt2scale": dict.fromkeys(data.utterances, "0.5")}
    estimate = DataDir(tmp_path / "estimate", scaled).write().path
    assert (
        score_data_dirs(clean_dir, estimate, tmp_path / "s", ScoreConfig(metrics=("plain_snr",)), jobs=1)["plain_snr"]
        > 60
    )


def test_one_process_and_two_write_the_same_bytes(folders, tmp_path):
    config = ScoreConfig(metrics=("plain_snr", "wss", "stoi"))
    for jobs in (1, 2):
        score_data_dirs(*folders, tmp_path / str(jobs), config, jobs=jobs)
    for name in ("scores.csv", "summary.csv", "groups.csv", "summary.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


# ---- kill and resume, memory


KILLED_AT_THE_FOURTH = """
import os, runpy, signal
from enhance import score
real, scored = score._score_one, []
def score_one(*item):
    if len(scored) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    scored.append(item)
    return real(*item)
score._score_one = score_one
runpy.run_module("enhance", run_name="__main__")
"""


def test_a_killed_run_goes_on_and_scores_no_row_again(folders, tmp_path, monkeypatch):
    clean, noisy = folders
    names = [f"u{n:03d}" for n in range(60)]
    for side, place in (("clean", clean), ("noisy", noisy)):
        (tmp_path / f"{side}.list").write_text("".join(f"{name} {place}/a/one.wav\n" for name in names))
    command = [
        sys.executable, "-c", KILLED_AT_THE_FOURTH, "score", "--reference", tmp_path / "clean.list", "--estimate",
        tmp_path / "noisy.list", "--out", tmp_path / "s", "--metrics", "stoi,wss", "--jobs", "1",
    ]  # fmt: skip
    killed = subprocess.run(command, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    [kept] = tmp_path.glob("s/.rows.*")
    with open(kept, "ab") as stream:
        stream.write(b'{"utterance": "cut in the mid')
    done = kept.read_bytes().count(b"\n")
    assert done == 3 and not (tmp_path / "s" / "scores.csv").exists()
    scored = []
    from enhance import score as engine

    real = engine._score_one
    monkeypatch.setattr(engine, "_score_one", lambda *a: scored.append(a[-1][0]) or real(*a))
    config, lists = ScoreConfig(metrics=("stoi", "wss")), (tmp_path / "clean.list", tmp_path / "noisy.list")
    score_data_dirs(*lists, tmp_path / "s", config, jobs=1)
    assert scored == names[done:]
    score_data_dirs(*lists, tmp_path / "whole", config, jobs=1)
    assert (tmp_path / "s" / "scores.csv").read_bytes() == (tmp_path / "whole" / "scores.csv").read_bytes()
    assert not list(tmp_path.glob("*/.rows.*"))


def test_other_sounds_or_metrics_are_another_request(folders, tmp_path):
    config = ScoreConfig(metrics=("plain_snr",))
    from enhance import score as engine
    from enhance.metrics import chosen

    sides = [open_recordings(place) for place in folders]
    first = engine._request(sides, config, chosen(config.metrics))
    assert engine._request(sides, config, chosen(["lsd"])) != first
    assert engine._request(sides, ScoreConfig(metrics=("plain_snr",), resample=True), chosen(config.metrics)) != first
    os.utime(folders[1] / "a" / "one.wav", ns=(0, 0))
    assert engine._request(sides, config, chosen(config.metrics)) != first


def test_five_times_the_utterances_take_no_more_memory(folders, tmp_path):
    clean, noisy = folders
    config, peaks = ScoreConfig(metrics=("plain_snr", "ssnr", "wss", "stoi"), replicas=10), []
    for count in (20, 20, 100):  # the first warms up
        for side, place in (("clean", clean), ("noisy", noisy)):
            (tmp_path / f"{side}.list").write_text("".join(f"u{n:03d} {place}/a/one.wav\n" for n in range(count)))
        score_data_dirs(tmp_path / "clean.list", tmp_path / "noisy.list", tmp_path / "s", config, jobs=1)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB, the highest so far
    assert peaks[2] - peaks[1] < 4 * 1024


@pytest.mark.parametrize("options", [{"max_failed": 1.5}, {"sample_rate": 4000}, {"replicas": 0}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ScoreConfig(**options)
