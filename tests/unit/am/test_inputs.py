"""Feature streams and targets against files that a real Kaldi made, and the refusals."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from am.inputs import InputConfig, Source, numbered, position_free, read_frames, read_phones, read_targets
from harness.errors import AlignmentError, ModelError, TableError
from kaldi_bridge.tables import MatrixWriter, read_int_vectors, read_matrix_scp, write_int_vectors

PLAIN = InputConfig(speaker_norm="none")


@pytest.fixture
def train(golden_dir, tmp_path, monkeypatch) -> Path:
    """A writable copy of the golden training dir; the tables name files relative to the golden folder."""
    monkeypatch.chdir(golden_dir)
    return Path(shutil.copytree(golden_dir / "data" / "train", tmp_path / "train", copy_function=shutil.copy))


def source(data: Path, golden: Path, **changes: object) -> Source:
    places = {
        "data": data,
        "ali": golden / "exp/tri3b_ali",
        "fmllr": golden / "exp/tri3b_ali",
        "lang": golden / "data/lang",
    }
    return Source(**{**places, **changes})  # type: ignore[arg-type]


def test_fmllr_stream_equals_kaldis_make_fmllr_feats(golden_dir, monkeypatch):
    monkeypatch.chdir(golden_dir)
    frames = read_frames(
        Source(data=golden_dir / "data/test", fmllr=golden_dir / "exp/tri3b/decode_test"), PLAIN, storage="float32"
    )
    theirs = read_matrix_scp(golden_dir / "data-fmllr/test/feats.scp")
    assert set(frames.utterances) == set(theirs)
    for utterance, start, length in zip(frames.utterances, frames.starts, frames.lengths, strict=True):
        ours, golden = frames.rows(start, start + length), theirs[utterance]
        step = (golden.max(0) - golden.min(0)) / 100  # Kaldi stored them compressed to 8 bits
        assert (np.abs(ours - golden) <= step + 0.02).all()
        assert np.abs(ours - golden).mean() < 0.03


def test_targets_are_kaldis_pdfs_and_phones(golden_dir, monkeypatch):
    """Against the transition model read by hand: show-transitions' order of tuples is the numbering of ids."""
    monkeypatch.chdir(golden_dir)
    targets = read_targets(golden_dir / "exp/tri3b_ali", golden_dir / "data/lang")
    assert targets.phones[:2] == ("SIL", "SPN")
    assert not any(phone.endswith(("_B", "_E", "_I", "_S")) for phone in targets.phones)
    ids = np.concatenate(list(targets.alignments.values()))
    assert targets.pdf_of[ids].max() < targets.num_pdfs
    assert len(targets.phone_of) == len(targets.pdf_of)


@pytest.mark.kaldi
def test_targets_equal_ali_to_pdf_and_ali_to_phones_of_a_real_kaldi(golden_dir, kaldi_root, monkeypatch):
    monkeypatch.chdir(golden_dir)
    frames = read_frames(source(golden_dir / "data/train", golden_dir), PLAIN)
    programs = {"pdfs": "ali-to-pdf", "phones": "ali-to-phones --per-frame=true"}
    symbols = dict(line.split() for line in (golden_dir / "data/lang/phones.txt").read_text().splitlines())
    names = {int(number): symbol for symbol, number in symbols.items()}
    for what, program in programs.items():
        command = (
            f". {kaldi_root}/path.sh; {program} exp/tri3b_ali/final.mdl 'ark:gunzip -c exp/tri3b_ali/ali.1.gz|' ark,t:-"
        )
        lines = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
        theirs = {line.split()[0]: [int(one) for one in line.split()[1:]] for line in lines}
        for utterance, start, length in zip(frames.utterances, frames.starts, frames.lengths, strict=True):
            ours = getattr(frames, what)[start : start + length].tolist()
            if what == "phones":
                assert [frames.meta.phones[one] for one in ours] == [
                    names[one].rsplit("_", 1)[0] for one in theirs[utterance]
                ]
            else:
                assert ours == theirs[utterance]


def test_each_speaker_has_mean_zero_and_variance_one(golden_dir, train):
    frames = read_frames(source(train, golden_dir), InputConfig(), storage="float32")
    assert len(set(frames.speakers)) == 3
    for speaker in set(frames.speakers):
        own = [i for i, one in enumerate(frames.speakers) if one == speaker]
        rows = frames.subset(own).rows(0, int(frames.lengths[own].sum()))
        assert np.abs(rows.mean(0)).max() < 1e-4
        assert rows.std(0) == pytest.approx(np.ones(frames.dim), abs=1e-3)


def test_streams_are_joined_column_wise(golden_dir, train):
    one = read_frames(source(train, golden_dir), PLAIN, storage="float32")
    both = read_frames(source(train, golden_dir, extra=(train,)), PLAIN, storage="float32")
    assert both.meta.streams == ("fmllr:40", "feats:13")
    assert np.array_equal(both.features[:, :40], one.features)
    first = read_matrix_scp(train / "feats.scp")[both.utterances[0]]
    assert np.allclose(both.features[: len(first), 40:], first)


def test_utterances_without_alignment_are_counted_and_named(golden_dir, train, tmp_path, caplog):
    ali = shorter_alignment(golden_dir, tmp_path, drop=2)
    frames = read_frames(source(train, golden_dir, ali=ali), PLAIN)
    assert "2 of 45 utterances have no features or alignment (ana-000, ana-001)" in caplog.text
    assert len(frames.utterances) == 43
    assert frames.frames == len(frames.pdfs) == frames.lengths.sum()


def test_too_many_utterances_without_alignment_are_an_error(golden_dir, train, tmp_path):
    ali = shorter_alignment(golden_dir, tmp_path, drop=3)
    with pytest.raises(
        AlignmentError, match=r"3 of 45 utterances have no features or alignment \(ana-000, ana-001, ana-002\)"
    ):
        read_frames(source(train, golden_dir, ali=ali), PLAIN)


def shorter_alignment(golden: Path, tmp_path: Path, *, drop: int = 0, cut: int = 0) -> Path:
    """The golden alignment without its first utterances, or with one of them cut."""
    ali = tmp_path / "ali"
    ali.mkdir()
    shutil.copy(golden / "exp/tri3b_ali/final.mdl", ali / "final.mdl")
    (ali / "num_jobs").write_text("1\n")
    pairs = sorted(read_int_vectors(golden / "exp/tri3b_ali/ali.1.gz").items())[drop:]
    pairs[0] = (pairs[0][0], pairs[0][1][: len(pairs[0][1]) - cut])
    write_int_vectors(ali / "ali.1.gz", pairs)
    return ali


def test_frames_that_disagree_with_the_alignment_name_the_utterance(golden_dir, train, tmp_path):
    ali = shorter_alignment(golden_dir, tmp_path, cut=1)
    with pytest.raises(AlignmentError, match=r"utterance ana-000 has (\d+) frames of features but an alignment of \d+"):
        read_frames(source(train, golden_dir, ali=ali), PLAIN)


def test_features_that_are_not_numbers_name_the_utterance(golden_dir, train, tmp_path):
    table = dict(read_matrix_scp(train / "feats.scp").items())
    with MatrixWriter(tmp_path / "f.ark", tmp_path / "f.scp") as writer:
        for utterance, matrix in table.items():
            writer.write(utterance, matrix)
    data = bytearray((tmp_path / "f.ark").read_bytes())
    data[-8:] = np.array([np.nan, np.nan], dtype=np.float32).tobytes()
    (tmp_path / "f.ark").write_bytes(bytes(data))
    shutil.copy(tmp_path / "f.scp", train / "feats.scp")
    last = list(table)[-1]
    with pytest.raises(AlignmentError, match=f"utterance {last} has features that are not numbers"):
        read_frames(source(train, golden_dir, fmllr=None), PLAIN)


def test_a_missing_part_of_the_alignment_is_named(golden_dir, train, tmp_path):
    ali = shorter_alignment(golden_dir, tmp_path)
    (ali / "num_jobs").write_text("2\n")
    with pytest.raises(AlignmentError, match=r"has 1 files ali\.N\.gz, but num_jobs says 2"):
        numbered(ali, "ali", ".gz")
    (ali / "num_jobs").write_bytes(b"\xff")
    with pytest.raises(AlignmentError, match="but num_jobs says"):
        numbered(ali, "ali", ".gz")


@pytest.mark.parametrize("line", [b"AA \xc2\xb2", b"\xe9 4", b"AA"])
def test_a_damaged_phone_table_is_named_with_its_line(tmp_path, line):
    (tmp_path / "phones.txt").write_bytes(b"<eps> 0\n" + line + b"\n")
    with pytest.raises(TableError, match=r"phones\.txt:2: expected '<phone> <number>'"):
        read_phones(tmp_path, tmp_path)


def test_missing_features_say_how_to_make_them(golden_dir, train):
    (train / "feats.scp").unlink()
    with pytest.raises(TableError, match=r"(?s)feats\.scp: no such file.*mend: make the features first"):
        read_frames(source(train, golden_dir), PLAIN)


def test_transforms_of_another_system_are_refused(golden_dir, train, tmp_path):
    with MatrixWriter(tmp_path / "trans.1") as writer:
        for speaker in ("ana", "ben", "cho"):
            writer.write(speaker, np.zeros((13, 14), dtype=np.float32))
    with pytest.raises(ModelError, match="takes 13 columns, the features have 40"):
        read_frames(source(train, golden_dir, fmllr=tmp_path, gmm=golden_dir / "exp/tri3b"), PLAIN)


def test_position_free_phones_by_hand():
    symbols = {"<eps>": 0, "SIL": 1, "SIL_B": 2, "AA_B": 3, "AA_E": 4, "B_S": 5, "#0": 6}
    assert position_free(symbols) == (("SIL", "AA", "B"), {1: 0, 2: 0, 3: 1, 4: 1, 5: 2})
