"""lhotse's manifests to data directories and back; judged by lhotse itself where it is installed."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harness.errors import DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.lhotse_manifests import read_manifests, write_manifests
from tests.recipes.preparing import all_bytes

ROOT = Path(__file__).resolve().parents[2]


def prepare(source: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "recipes/lhotse/prepare.py"), "--source", str(source), "--out", str(out)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, *words], env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Two recordings of 2 s, three segments, two speakers."""
    for name in ("r1", "r2"):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.ones(32000), 16000, subtype="PCM_16")
    directory = DataDir.build(
        tmp_path / "data",
        wav_scp={"r1": str(tmp_path / "r1.wav"), "r2": str(tmp_path / "r2.wav")},
        segments={"ann-a": "r1 0 0.75", "ann-b": "r1 0.75 2", "bob-a": "r2 0.5 1.5"},
        text={"ann-a": "ONE", "ann-b": "TWO THREE", "bob-a": "FOUR"},
        utt2spk={"ann-a": "ann", "ann-b": "ann", "bob-a": "bob"},
        spk2age={"ann": "8", "bob": "11"},
        spk2gender={"ann": "f", "bob": "m"},
    )
    return directory.write()


def test_out_and_back_is_the_same_directory(data: DataDir, tmp_path: Path) -> None:
    assert write_manifests(data, tmp_path / "manifests") == (2, 3)
    result = prepare(tmp_path / "manifests", tmp_path / "out", "--part", "test")
    assert result.returncode == 0, result.stderr
    assert DataDir.read(tmp_path / "out/test").tables == data.tables
    prepare(tmp_path / "manifests", tmp_path / "twice", "--part", "test")
    assert all_bytes(tmp_path / "twice") == all_bytes(tmp_path / "out")
    write_manifests(data, tmp_path / "again")
    for name in ("recordings.jsonl.gz", "supervisions.jsonl.gz"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "manifests" / name).read_bytes()


def test_the_channel_of_a_stereo_recording_is_told_and_one_without_a_channel_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "call.wav", 0.1 * np.ones((8000, 2)), 16000, subtype="PCM_16")
    data = DataDir.build(
        tmp_path / "data",
        wav_scp={"call-a": str(tmp_path / "call.wav"), "call-b": str(tmp_path / "call.wav")},
        utt2spk={"call-a": "call-a", "call-b": "call-b"},
        reco2file_and_channel={"call-a": "call A", "call-b": "call B"},
    ).write()
    write_manifests(data, tmp_path / "manifests")
    lines = gzip.decompress((tmp_path / "manifests/supervisions.jsonl.gz").read_bytes()).splitlines()
    assert {row["id"]: row["channel"] for row in map(json.loads, lines)} == {"call-a": 0, "call-b": 1}
    with pytest.raises(DataDirError, match="recording call-a has several channels and none is chosen"):
        write_manifests(data.without("reco2file_and_channel"), tmp_path / "no")


def test_lhotse_reads_what_is_written_and_its_own_files_are_read(data: DataDir, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse", reason="lhotse is not installed (pip install lhotse urllib3)")
    write_manifests(data, tmp_path / "ours")
    recordings = lhotse.load_manifest(tmp_path / "ours/recordings.jsonl.gz")
    supervisions = lhotse.load_manifest(tmp_path / "ours/supervisions.jsonl.gz")
    lhotse.validate_recordings_and_supervisions(recordings=recordings, supervisions=supervisions)
    assert {one.id: (one.start, one.end, one.speaker, one.text, one.gender) for one in supervisions} == {
        "ann-a": (0, 0.75, "ann", "ONE", "f"), "ann-b": (0.75, 2.0, "ann", "TWO THREE", "f"),
        "bob-a": (0.5, 1.5, "bob", "FOUR", "m"),
    }  # fmt: skip
    (tmp_path / "theirs").mkdir()
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions).trim_to_supervisions()
    cuts.to_file(tmp_path / "theirs/cuts.jsonl.gz")
    assert sorted(read_manifests(tmp_path / "theirs"), key=lambda one: one.name) == read_manifests(tmp_path / "ours")


def manifests(folder: Path, wav: Path, **changes: object) -> Path:
    """One recording, one supervision over all of it."""
    folder.mkdir()
    source = {"type": "file", "channels": [0], "source": str(wav)} | dict(changes.pop("source", {}))  # type: ignore[call-overload]
    recording = {"id": "r1", "sources": [source], "sampling_rate": 16000, "num_samples": 32000, "duration": 2.0}
    row = {"id": "s1", "recording_id": "r1", "start": 0.0, "duration": 2.0, "speaker": "ann", "text": "yes!"} | changes
    (folder / "recordings.jsonl").write_text(json.dumps(recording) + "\n")
    with gzip.open(folder / "supervisions.jsonl.gz", "wt") as stream:
        stream.write(json.dumps({key: value for key, value in row.items() if value is not None}) + "\n")
    return folder


def test_a_supervision_over_the_whole_recording_needs_no_segments(data: DataDir, tmp_path: Path) -> None:
    result = prepare(manifests(tmp_path / "m", tmp_path / "r1.wav"), tmp_path / "out", "--part", "train")
    assert result.returncode == 0, result.stderr
    train = DataDir.read(tmp_path / "out/train")
    assert (train.segments, train.text) == (None, {"ann-s1": "YES"})


def test_whole_recordings_beside_cut_ones_get_segments_to_their_end(data: DataDir, tmp_path: Path) -> None:
    folder = manifests(tmp_path / "m", tmp_path / "r1.wav")
    part = {"id": "s2", "recording_id": "r1", "start": 0.5, "duration": 1.0, "speaker": "bob", "text": "no"}
    whole = {"id": "s1", "recording_id": "r1", "start": 0.0, "duration": 2.0, "speaker": "ann", "text": "yes\u2028we"}
    rows = [json.dumps(row, ensure_ascii=False) + "\n" for row in (whole, part)]  # as lhotse writes them
    with gzip.open(folder / "supervisions.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.writelines(rows)
    result = prepare(folder, tmp_path / "out", "--part", "train")
    assert result.returncode == 0, result.stderr
    train = DataDir.read(tmp_path / "out/train")
    assert train.segments == {"ann-s1": "r1 0 2", "bob-s2": "r1 0.5 1.5"}
    assert train.text == {"ann-s1": "YES WE", "bob-s2": "NO"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"speaker": None}, r"supervisions.jsonl.gz:1: has no speaker"),
        ({"recording_id": "r9"}, r"supervisions.jsonl.gz:1: recording r9 is not in recordings.jsonl"),
        ({"source": {"type": "url"}}, r"recording r1 is of type 'url', not a file or a command"),
        ({"source": {"channels": [0, 1]}}, r"recording r1 has several channels or files"),
        ({"source": {"source": None}}, r"supervisions.jsonl.gz:1: is not as lhotse writes it"),
        ({"start": "soon"}, r"supervisions.jsonl.gz:1: is not as lhotse writes it .*soon"),
        ({"custom": "seven"}, r"supervisions.jsonl.gz:1: is not as lhotse writes it"),
    ],
)
def test_what_no_data_directory_can_hold_is_refused(changes, said, data: DataDir, tmp_path: Path) -> None:
    with pytest.raises(DataDirError, match=said):
        read_manifests(manifests(tmp_path / "m", tmp_path / "r1.wav", **changes))


def test_a_folder_without_manifests_and_a_damaged_line_are_refused(data: DataDir, tmp_path: Path) -> None:
    with pytest.raises(DataDirError, match=r"holds neither cuts\.jsonl nor recordings\.jsonl"):
        read_manifests(tmp_path)
    folder = manifests(tmp_path / "m", tmp_path / "r1.wav")
    (folder / "recordings.jsonl").write_text('{"id": "r1", \n')
    with pytest.raises(DataDirError, match=r"recordings.jsonl:1: is no JSON"):
        read_manifests(folder)


def test_a_missing_recording_is_counted_and_too_many_stop_it(data: DataDir, tmp_path: Path) -> None:
    result = prepare(manifests(tmp_path / "m", tmp_path / "gone.wav"), tmp_path / "out", "--part", "test")
    assert result.returncode == 1
    assert "recording missing" in result.stderr
    assert "Traceback" not in result.stderr
