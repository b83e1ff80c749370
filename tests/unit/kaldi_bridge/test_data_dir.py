"""Data directories in memory and on disk: read, write, subset, rename, split, choose, combine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import DataDirError, DiskError
from kaldi_bridge.combine import combine
from kaldi_bridge.data_dir import DataDir, key_kind, read_spk2utt
from kaldi_bridge.programs import kaldi_workspace, run_kaldi
from kaldi_bridge.split import choose_utterances, refuse_shared_speakers, split_by_utterance, write_split
from kaldi_bridge.text_tables import read_text_table


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_what_is_written_is_read_back_with_every_extra_table(make_data):
    data = make_data()
    data.tables["utt2snr"] = dict.fromkeys(data.utterances, "5.0")
    data.tables["utt2noise"] = dict.fromkeys(data.utterances, "fan hum")
    data.values["frame_shift"] = "0.01"
    data.write()
    back = DataDir.read(data.path)
    assert back.tables == data.tables
    assert back.values == {"frame_shift": "0.01"}
    assert back.spk2utt == read_spk2utt(data.path / "spk2utt")
    assert back.spk2age == {"kid01": "7", "kid02": "8"}
    assert back.segments is None


def test_tables_are_written_in_the_order_of_bytes(tmp_path):
    text = {"b": "x", "Z": "y", "ä": "z", "a": ""}
    DataDir.build(tmp_path / "d", utt2spk={key: key for key in text}, text=text).write()
    assert (tmp_path / "d" / "text").read_bytes() == "Z y\na\nb x\nä z\n".encode()


def test_writing_again_keeps_other_files_and_drops_stale_tables(make_data):
    data = make_data()
    (data.path / "conf").mkdir()
    (data.path / "conf" / "mfcc.conf").write_text("--use-energy=false\n")
    (data.path / "notes").write_text("ours\n")
    (data.path / "split2").mkdir()
    (data.path / "split_notes").mkdir()
    data.without("spk2gender").write()
    assert (data.path / "conf" / "mfcc.conf").exists()
    assert (data.path / "notes").exists()
    assert not (data.path / "spk2gender").exists()
    assert not (data.path / "split2").exists()
    assert (data.path / "split_notes").exists()
    with pytest.raises(DiskError, match="already exists"):
        data.write(force=False)


def test_a_full_disk_leaves_the_old_directory_whole(make_data, monkeypatch):
    data = make_data()
    before = files_of(data.path)
    calls = []

    def full_at_the_third(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_third)
    with pytest.raises(DiskError, match="no space left"):
        data.subset(data.utterances[:2]).write(data.path)
    assert files_of(data.path) == before
    assert [path.name for path in data.path.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("text", "utterance"), ("utt2anything", "utterance"), ("wav.scp", "recording"), ("spk2age", "speaker"),
     ("cmvn.scp", "speaker"), ("cmvn_utt.scp", "utterance"), ("spk2utt", None), ("README", None), ("text.tmp", None)],
)  # fmt: skip
def test_a_table_is_keyed_by_what_its_name_says(name, kind):
    assert key_kind(name) == kind


@pytest.mark.parametrize(
    ("content", "words"),
    [("a x\na y\n", r"text:2: key 'a' comes twice"), ("a x\n\n", r"text:2: empty line"),
     (b"a \xff\n", r"text:1: byte 3 is not UTF-8")],
)  # fmt: skip
def test_a_bad_table_is_refused_at_its_line_even_without_validation(tmp_path, content, words):
    (tmp_path / "utt2spk").write_text("a s\n")
    (tmp_path / "text").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataDirError, match=words):
        DataDir.read(tmp_path, validate=False)


def test_missing_directories_and_utt2spk_are_named(tmp_path):
    with pytest.raises(DataDirError, match=r"nowhere: no such data directory"):
        DataDir.read(tmp_path / "nowhere")
    with pytest.raises(DataDirError, match=r"utt2spk: no such file"):
        DataDir.read(tmp_path, validate=False)


def test_a_subset_keeps_the_speakers_and_recordings_it_needs(make_data):
    data = make_data()
    data.tables["segments"] = {utt: f"rec-{utt[:5]} 0 1" for utt in data.utterances}
    data.tables["wav.scp"] = {"rec-kid01": "x", "rec-kid02": "y"}
    data.tables["reco2dur"] = {"rec-kid01": "9", "rec-kid02": "9"}
    small = data.subset(["kid02-001", "kid02-000"])
    assert small.utterances == ["kid02-000", "kid02-001"]
    assert small.tables["wav.scp"] == {"rec-kid02": "y"}
    assert small.tables["reco2dur"] == {"rec-kid02": "9"}
    assert small.spk2age == {"kid02": "8"}
    with pytest.raises(DataDirError, match=r"1 of the wanted utterances are not here \(first: nobody\)"):
        data.subset(["nobody"])
    with pytest.raises(DataDirError, match="no utterances"):
        data.subset([])
    with pytest.raises(DataDirError, match="wanted speakers are not here"):
        data.subset_speakers(["nobody"])
    assert data.subset_speakers(["kid01"]).speakers == ["kid01"]


def test_renaming_renames_in_every_table(make_data):
    data = make_data()
    data.tables["segments"] = {utt: f"{utt} 0 0.5" for utt in data.utterances}
    new = data.rename(lambda utt: "x-" + utt, lambda spk: "x-" + spk, lambda rec: "r-" + rec)
    assert new.tables["segments"]["x-kid01-000"] == "r-kid01-000 0 0.5"
    assert new.utt2spk["x-kid01-000"] == "x-kid01"
    assert sorted(new.wav_scp) == ["r-" + utt for utt in data.utterances]
    assert new.spk2age == {"x-kid01": "7", "x-kid02": "8"}


def test_a_speaker_in_two_sets_is_refused(make_data):
    train, test = make_data("train", speakers=2), make_data("test", speakers=2, first=2)
    with pytest.raises(DataDirError, match=r"test/utt2spk: speaker kid02 is also in .*train"):
        refuse_shared_speakers([train, test.path])
    refuse_shared_speakers([train, make_data("dev", first=7)])


def test_splits_refuse_more_parts_than_there_are(make_data):
    data = make_data(speakers=2, utterances=3)
    with pytest.raises(DataDirError, match="cannot be split into 3 parts: it has 2 speakers"):
        data.split_by_speaker(3)
    with pytest.raises(DataDirError, match="cannot be split into 7 parts"):
        split_by_utterance(data, 7)


def test_choices_follow_their_rules_and_the_seed(make_data):
    data = make_data(speakers=3, utterances=5)
    data.tables["utt2dur"] = {utt: str(10 - index % 7) for index, utt in enumerate(data.utterances)}
    assert choose_utterances(data, first=2) == ["kid01-000", "kid01-001"]
    assert choose_utterances(data, last=1) == ["kid03-004"]
    assert choose_utterances(data, shortest=2) == ["kid02-001", "kid03-003"]
    drawn = choose_utterances(data, random=6, seed=1)
    assert (
        drawn == sorted(drawn) == choose_utterances(data, random=6, seed=1) != choose_utterances(data, random=6, seed=2)
    )
    whole = choose_utterances(data, speakers=6)
    assert len(whole) == 10
    assert {utt[:5] for utt in whole} <= {"kid01", "kid02", "kid03"}
    with pytest.raises(DataDirError, match="cannot give 16 of 15"):
        choose_utterances(data, first=16)
    with pytest.raises(ValueError, match="exactly one rule"):
        choose_utterances(data)


def test_combining_keeps_common_tables_and_makes_segments(make_data, tmp_path, caplog):
    one, two = make_data("one", speakers=1), make_data("two", speakers=1, first=2)
    two.tables["segments"] = {utt: f"{utt} 0 0.5" for utt in two.utterances}
    two.tables.pop("spk2gender")
    caplog.set_level("INFO")
    both = combine([one, two], tmp_path / "both").write()
    assert DataDir.read(both.path).utterances == one.utterances + two.utterances
    assert both.tables["segments"]["kid01-000"] == "kid01-000 0 0.5"
    assert both.tables["segments"]["kid01-002"] == "kid01-002 0 0.6"
    assert "spk2gender" not in both.tables
    assert "spk2gender is left out: " in caplog.text
    assert both.spk2age == {"kid01": "7", "kid02": "8"}


def test_combining_refuses_contradictions(make_data, tmp_path):
    one, two = make_data("one"), make_data("two")
    with pytest.raises(DataDirError, match=r"two/wav.scp: kid01-000 is .* here and .* in .*one/wav.scp"):
        combine([one, two], tmp_path / "both")
    two = make_data("three", first=5)
    one.values["frame_shift"], two.values["frame_shift"] = "0.01", "0.0125"
    for data in (one, two):
        data.tables["feats.scp"] = dict.fromkeys(data.utterances, "x")
    with pytest.raises(DataDirError, match="do not go together"):
        combine([one, two], tmp_path / "both")


def test_statistics_of_a_speaker_in_two_directories_are_left_out(make_data, tmp_path):
    data = make_data()
    data.tables["cmvn.scp"] = {spk: f"first.ark:{spk}" for spk in data.speakers}
    one, two = data.subset(data.utterances[:2], tmp_path / "1"), data.subset(data.utterances[2:], tmp_path / "2")
    two.tables["cmvn.scp"] = {spk: f"second.ark:{spk}" for spk in two.speakers}
    assert combine([one, two], tmp_path / "both").cmvn_scp is None


def test_a_single_value_that_is_no_text_is_named(make_data):
    data = make_data()
    (data.path / "frame_shift").write_bytes(b"\xff\n")
    with pytest.raises(DataDirError, match=r"frame_shift:1: byte 1 is not UTF-8 text"):
        DataDir.read(data.path)


@pytest.fixture(scope="module")
def workspace(kaldi_root, tmp_path_factory) -> Path:
    return kaldi_workspace(tmp_path_factory.mktemp("kaldi"), kaldi_root)


@pytest.fixture
def uneven(tmp_path) -> DataDir:
    """Nine speakers of 1 to 17 utterances, with all kinds of tables."""
    utt2spk = {f"s{spk}-{n:02d}": f"s{spk}" for spk in range(9) for n in range(1 + (spk * 7) % 17)}
    return DataDir.build(
        tmp_path / "uneven",
        utt2spk=utt2spk,
        text={utt: f"WORD {utt}" for utt in utt2spk},
        wav_scp={f"r{spk}": f"/x/{spk}.wav" for spk in range(9)},
        segments={utt: f"r{utt[1]} {int(utt[3:])} {int(utt[3:]) + 1}" for utt in utt2spk},
        feats_scp=dict.fromkeys(utt2spk, "f.ark:1"),
        spk2gender={f"s{spk}": "f" for spk in range(9)},
        cmvn_scp={f"s{spk}": "c.ark:1" for spk in range(9)},
        utt2num_frames=dict.fromkeys(utt2spk, "100"),
    ).write()


@pytest.mark.kaldi
@pytest.mark.parametrize("option", ["", "--per-utt"])
@pytest.mark.parametrize("parts", [1, 2, 4, 9])
def test_our_parts_are_those_of_split_data(uneven, workspace, parts, option, tmp_path):
    ours = [files_of(path) for path in write_split(uneven.path, parts, per_utterance=bool(option))]
    for path in uneven.path.glob("split*"):
        path.rename(tmp_path / "ours")
    run_kaldi(f"utils/split_data.sh {option} {uneven.path} {parts}", cwd=workspace)
    base = uneven.path / f"split{parts}{'utt' if option else ''}"
    assert [files_of(base / str(number)) for number in range(1, parts + 1)] == ours


@pytest.mark.kaldi
@pytest.mark.parametrize(
    ("option", "rule"),
    [("--first 20", {"first": 20}), ("--last 7", {"last": 7}), ("--per-spk 3", {"per_speaker": 3})],
)
def test_our_subsets_are_those_of_subset_data_dir(uneven, workspace, tmp_path, option, rule):
    kind, count = option.split()
    run_kaldi(f"utils/subset_data_dir.sh {kind} {uneven.path} {count} {tmp_path}/kaldi", cwd=workspace)
    theirs = DataDir.read(tmp_path / "kaldi")
    ours = uneven.subset(choose_utterances(uneven, **rule), tmp_path / "ours").write()
    assert ours.tables == theirs.tables
    assert read_text_table(tmp_path / "kaldi" / "spk2utt") == read_text_table(tmp_path / "ours" / "spk2utt")


@pytest.mark.kaldi
def test_our_combination_is_that_of_combine_data(uneven, workspace, tmp_path):
    parts = uneven.split_by_speaker(3)
    paths = [part.write(tmp_path / str(number)).path for number, part in enumerate(parts)]
    run_kaldi(["utils/combine_data.sh", str(tmp_path / "kaldi"), *map(str, paths)], cwd=workspace)
    combine(parts, tmp_path / "ours").write()
    assert files_of(tmp_path / "kaldi") == files_of(tmp_path / "ours") == files_of(uneven.path)
