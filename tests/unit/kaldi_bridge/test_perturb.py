"""Speed and volume perturbation: what happens to ids, times and samples, and that Kaldi takes the result."""

from __future__ import annotations

import shlex

import numpy as np
import pytest

from harness.errors import AudioError, DataDirError
from kaldi_bridge.audio import AudioTable, read_utterances, write_wav
from kaldi_bridge.combine import combine
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.perturb import change_speed, perturb_speed, perturb_volume
from kaldi_bridge.programs import kaldi_workspace, run_kaldi
from kaldi_bridge.validate import problems
from tests.unit.kaldi_bridge.conftest import RATE, sound


def peak_frequency(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * RATE / len(samples))


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_changed_speed_changes_length_and_pitch_together(factor):
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    changed = change_speed(tone, RATE, factor)
    assert abs(len(changed) - RATE / factor) <= 1
    assert peak_frequency(changed) == pytest.approx(1000 * factor, abs=2)


def test_a_faster_copy_has_new_ids_times_and_origins(make_data, tmp_path):
    data = make_data()
    data.tables["utt2dur"] = dict.fromkeys(data.utterances, "0.99")
    data.tables["feats.scp"] = dict.fromkeys(data.utterances, "x")
    data.write()
    faster = perturb_speed(data.path, tmp_path / "sp", 1.1, jobs=1)
    assert problems(faster.path) == [p for p in problems(faster.path) if "feats.scp" in p.where]
    assert faster.utt2spk["sp1.1-kid01-000"] == "sp1.1-kid01"
    assert faster.tables["utt2uniq"]["sp1.1-kid01-000"] == "kid01-000"
    assert faster.utt2dur["sp1.1-kid01-000"] == "0.9"
    assert faster.spk2age == {"sp1.1-kid01": "7", "sp1.1-kid02": "8"}
    assert faster.feats_scp is None
    original = AudioTable(data).read("kid01-001")
    changed = AudioTable(DataDir.read(tmp_path / "sp")).read("sp1.1-kid01-001")
    np.testing.assert_allclose(changed, change_speed(original, RATE, 1.1), atol=1 / 32768)
    three_way = combine([data, faster, perturb_speed(data.path, tmp_path / "slow", 0.9, jobs=2)], tmp_path / "all")
    assert len(three_way.write().utterances) == 18


def test_segments_shrink_with_their_recording(make_data, tmp_path):
    data = make_data(speakers=1, utterances=2)
    recording = next(iter(data.tables["wav.scp"].values()))
    data.tables["wav.scp"] = {"kid01-r": recording}
    data.tables["segments"] = {"kid01-000": "kid01-r 0.09 0.27", "kid01-001": "kid01-r 0.27 0.45"}
    data.write()
    faster = perturb_speed(data.path, tmp_path / "sp", 0.9, jobs=1)
    assert faster.segments == {"sp0.9-kid01-000": "sp0.9-kid01-r 0.1 0.3", "sp0.9-kid01-001": "sp0.9-kid01-r 0.3 0.5"}
    assert len(AudioTable(faster).read("sp0.9-kid01-000")) == 3200


def test_changed_volume_is_drawn_by_recording_kept_and_counted(make_data, tmp_path, caplog):
    data = make_data()
    write_wav(data.tables["wav.scp"]["kid01-000"], np.full(8000, 0.9, np.float32), RATE)
    louder = perturb_volume(data.path, tmp_path / "one", jobs=1, low=1.5, high=2.0)
    again = perturb_volume(data.path, tmp_path / "two", jobs=2, low=1.5, high=2.0)
    other = perturb_volume(data.path, tmp_path / "three", jobs=1, low=1.5, high=2.0, seed=1)
    assert louder.tables["reco2vol"] == again.tables["reco2vol"] != other.tables["reco2vol"]
    assert "8000 samples were clipped" in caplog.text
    assert problems(louder.path) == [p for p in problems(louder.path) if "feats.scp" in p.where]
    before, after = dict(read_utterances(data)), dict(read_utterances(louder))
    for utterance in data.utterances[1:]:
        factor = float(louder.tables["reco2vol"][utterance])
        np.testing.assert_allclose(after[utterance], before[utterance] * factor, atol=1 / 32768)


def test_bad_factors_missing_audio_and_existing_output_are_refused(make_data, tmp_path):
    data = make_data(speakers=1, utterances=2)
    for factor in (1.0, 0.0, -1.0, 9.0):
        with pytest.raises(ValueError, match="speed factor"):
            perturb_speed(data.path, tmp_path / "sp", factor)
    with pytest.raises(ValueError, match="need 0 < low <= high"):
        perturb_volume(data.path, tmp_path / "v", low=0)
    data.tables["wav.scp"]["kid01-001"] = "/nowhere/x.wav"
    data.write()
    with pytest.raises(AudioError, match=r"wav.scp: sp0.9-kid01-001: no such file: /nowhere/x.wav"):
        perturb_speed(data.path, tmp_path / "sp", 0.9, jobs=2)
    assert not (tmp_path / "sp").exists()
    data.without("wav.scp").write()
    with pytest.raises(DataDirError, match=r"wav.scp: no such file"):
        perturb_speed(data.path, tmp_path / "sp", 0.9)


def test_pipes_are_those_of_kaldis_scripts(make_data, tmp_path):
    data = make_data(speakers=1, utterances=3)
    data.tables["wav.scp"] = {"kid01-000": "/a/x.wav", "kid01-001": "cat y |", "kid01-002": "/a/w.ark:17"}
    data.write()
    assert perturb_speed(data.path, tmp_path / "sp", 0.9, pipes=True).tables["wav.scp"] == {
        "sp0.9-kid01-000": "sox -t wav /a/x.wav -t wav - speed 0.9 |",
        "sp0.9-kid01-001": "cat y | sox -t wav - -t wav - speed 0.9 |",
        "sp0.9-kid01-002": "wav-copy /a/w.ark:17 - | sox -t wav - -t wav - speed 0.9 |",
    }


def test_pipes_take_names_with_blanks_as_one_word_and_other_kinds_as_what_they_are(make_data, tmp_path):
    data = make_data(speakers=1, utterances=3)
    names = ["/my school's/x.wav", "/my school's/y.flac", "/my school's/w.ark:17"]
    data.tables["wav.scp"] = {f"kid01-{number:03d}": name for number, name in enumerate(names)}
    data.write()
    pipes = perturb_speed(data.path, tmp_path / "sp", 0.9, pipes=True).tables["wav.scp"]
    assert [shlex.split(pipe)[:4] for pipe in pipes.values()] == [
        ["sox", "-t", "wav", names[0]], ["sox", names[1], "-t", "wav"], ["wav-copy", names[2], "-", "|"],
    ]  # fmt: skip


@pytest.mark.kaldi
def test_kaldi_validates_and_reads_perturbed_directories(make_data, tmp_path, kaldi_root):
    workspace = kaldi_workspace(tmp_path / "kaldi", kaldi_root)
    data = make_data(speakers=2, utterances=2)
    write_wav(data.tables["wav.scp"]["kid01-000"], sound(1.0), RATE)
    faster = perturb_speed(data.path, tmp_path / "sp", 1.1, jobs=1)
    quieter = perturb_volume(faster.path, tmp_path / "vol", jobs=1)
    said = run_kaldi(["utils/validate_data_dir.sh", "--no-feats", str(quieter.path)], cwd=workspace)
    assert b"Successfully validated" in said
    lengths = run_kaldi(f"wav-to-duration scp:{quieter.path}/wav.scp ark,t:-").decode().split()
    assert lengths[:2] == ["sp1.1-kid01-000", f"{round(RATE / 1.1) / RATE:.7g}"]
