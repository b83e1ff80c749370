"""Archives and indexes against Kaldi's own files and programs."""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess

import numpy as np
import pytest

from harness.errors import DiskError, ProgramError, TableError
from kaldi_bridge.programs import run_kaldi
from kaldi_bridge.tables import (
    MatrixWriter,
    numbered_files,
    read_int_vectors,
    read_matrix,
    read_matrix_ark,
    read_matrix_scp,
    read_number_table,
    split_specifier,
    write_int_vectors,
    write_matrix,
)


def matrices(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = {"a": (300, 13), "b": (9, 13), "c": (8, 13), "d": (1, 13), "e": (257, 40)}
    return {key: (rng.normal(0, 30, size)).astype(np.float32) for key, size in sizes.items()}


def write(tmp_path, items, *, compress=False, name="x"):
    ark, scp = tmp_path / f"{name}.ark", tmp_path / f"{name}.scp"
    with MatrixWriter(ark, scp, compress=compress) as writer:
        for key, value in items.items():
            writer.write(key, value)
    return ark, scp


def test_plain_matrices_and_vectors_come_back_bit_for_bit(tmp_path):
    items = {**matrices(), "v": np.arange(5, dtype=np.float32), "z": np.ones((2, 14), np.float64) / 3}
    ark, scp = write(tmp_path, items)
    table = read_matrix_scp(scp)
    assert list(table) == list(items)
    assert "nobody" not in table
    for key, value in read_matrix_ark(ark):
        assert value.dtype == items[key].dtype
        assert np.array_equal(value, items[key])
        assert np.array_equal(table[key], items[key])


def test_an_empty_matrix_comes_back_empty(tmp_path):
    ark, _ = write(tmp_path, {"a": np.zeros((0, 13), np.float32)})
    assert next(iter(read_matrix_ark(ark)))[1].size == 0


def test_a_table_can_be_sent_to_a_worker_while_it_is_read(tmp_path):
    _, scp = write(tmp_path, matrices())
    table = read_matrix_scp(scp)
    assert table["a"].shape == (300, 13)
    assert np.array_equal(pickle.loads(pickle.dumps(table))["e"], table["e"])  # noqa: S301


def test_ranges_in_an_scp_include_their_ends_and_must_fit(tmp_path):
    _ark, scp = write(tmp_path, matrices())
    places = dict(line.split() for line in scp.read_text().splitlines())
    ranged = tmp_path / "ranged.scp"
    ranged.write_text(
        f"u {places['a']}[10:19]\nv {places['a']}[0:4,2:3]\nw {places['a']}[:,0:12]\nx {places['a']}[0:303]\n"
    )
    table, whole = read_matrix_scp(ranged), matrices()["a"]
    assert np.array_equal(table["u"], whole[10:20])
    assert np.array_equal(table["v"], whole[0:5, 2:4])
    assert np.array_equal(table["w"], whole)
    with pytest.raises(TableError, match=r"ranged.scp: x: range 0:303 does not fit 300"):
        table["x"]


@pytest.mark.kaldi
@pytest.mark.parametrize("bounds", ["0:299", "290:302", "0:303", "299:299", "0:10,0:13"])
def test_a_range_that_ends_a_little_late_is_cut_where_kaldi_cuts_it(tmp_path, kaldi_root, bounds):
    _, scp = write(tmp_path, matrices())
    place = dict(line.split() for line in scp.read_text().splitlines())["a"]
    (tmp_path / "one.scp").write_text(f"a {place}[{bounds}]\n")
    try:
        run_kaldi(f"copy-feats scp:{tmp_path}/one.scp ark:{tmp_path}/kaldi.ark")
    except ProgramError:
        with pytest.raises(TableError, match="does not fit"):
            read_matrix_scp(tmp_path / "one.scp")["a"]
    else:
        [(_, theirs)] = read_matrix_ark(tmp_path / "kaldi.ark")
        assert np.array_equal(read_matrix_scp(tmp_path / "one.scp")["a"], theirs)


def test_a_range_may_name_three_rows_after_the_last(tmp_path):
    _, scp = write(tmp_path, matrices())
    place = dict(line.split() for line in scp.read_text().splitlines())["a"]
    (tmp_path / "one.scp").write_text(f"a {place}[290:302]\n")
    assert np.array_equal(read_matrix_scp(tmp_path / "one.scp")["a"], matrices()["a"][290:])


def test_pipes_are_read_and_their_failure_is_told(tmp_path):
    ark, scp = write(tmp_path, matrices())
    piped = tmp_path / "piped.scp"
    _, place = scp.read_text().splitlines()[0].split()
    offset = place.rsplit(":", 1)[1]
    piped.write_text(f"a tail -c +{int(offset) + 1} {ark} |\nb cat {tmp_path}/nothing | cat |\n")
    table = read_matrix_scp(piped)
    assert np.array_equal(table["a"], matrices()["a"])
    with pytest.raises(TableError, match=r"piped.scp: b: .*failed with exit code 1; it said:\n.*No such file"):
        table["b"]
    assert [key for key, _ in read_matrix_ark(f"ark:cat {ark} |")] == list(matrices())
    assert list(read_matrix_scp(f"scp:head -n 2 {scp} |")) == ["a", "b"]


@pytest.mark.parametrize("compress", [False, True])
def test_a_truncated_archive_names_the_utterance(tmp_path, compress):
    ark, scp = write(tmp_path, matrices(), compress=compress)
    data = ark.read_bytes()
    ark.write_bytes(data[: len(data) - 700])
    with pytest.raises(TableError, match=r"x.ark: e: not a whole Kaldi matrix"):
        list(read_matrix_ark(ark))
    with pytest.raises(TableError, match=r"x.scp: e: not a whole Kaldi matrix"):
        read_matrix_scp(scp)["e"]


def test_missing_files_and_wrong_offsets_are_named(tmp_path):
    scp = tmp_path / "x.scp"
    scp.write_text(f"a {tmp_path}/none.ark:3\n")
    with pytest.raises(TableError, match=r"x.scp: a: no such file: .*none.ark"):
        read_matrix_scp(scp)["a"]
    with pytest.raises(TableError, match=r"nowhere.scp: no such file"):
        read_matrix_scp(tmp_path / "nowhere.scp")
    ark, _ = write(tmp_path, matrices())
    scp.write_text(f"a {ark}:77\n")
    with pytest.raises(TableError, match=r"the offset is of another"):
        read_matrix_scp(scp)["a"]


def test_nan_blank_keys_and_doubled_keys_are_refused_and_nothing_is_left(tmp_path):
    for items, words in (
        ([("a", np.array([[np.nan]]))], "NaN or infinite"),
        ([("a b", np.ones((1, 1)))], "blanks"),
        ([("a", np.ones((1, 1))), ("a", np.ones((1, 1)))], "written twice"),
    ):
        with pytest.raises(TableError, match=words), MatrixWriter(tmp_path / "y.ark", tmp_path / "y.scp") as writer:
            for key, value in items:
                writer.write(key, value)
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match=r"x.ark: no space left"):
        write(tmp_path, matrices())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ali.1.gz", "ali.1"])
@pytest.mark.parametrize("text", [False, True])
def test_integer_vectors_come_back_the_same_with_the_same_bytes(tmp_path, name, text):
    items = {"a": np.array([1, -2, 300000], np.int32), "b": np.array([], np.int32), "c": np.arange(1000)}
    write_int_vectors(tmp_path / name, items, text=text)
    first = (tmp_path / name).read_bytes()
    write_int_vectors(tmp_path / name, iter(items.items()), text=text)
    assert (tmp_path / name).read_bytes() == first
    back = read_int_vectors(tmp_path / name)
    assert list(back) == list(items)
    assert all(np.array_equal(back[key], items[key]) and back[key].dtype == np.int32 for key in items)


@pytest.mark.parametrize("kept", [10, 1000, -30, -5])
def test_a_packed_archive_that_breaks_off_is_refused(tmp_path, kept):
    ark, _ = write(tmp_path, matrices())
    (tmp_path / "feats.gz").write_bytes(gzip.compress(ark.read_bytes())[:kept])
    with pytest.raises(TableError, match=r"feats.gz"):
        list(read_matrix_ark(tmp_path / "feats.gz"))


def test_packed_archives_with_a_changed_byte_are_refused(tmp_path):
    ark, _ = write(tmp_path, matrices())
    write_int_vectors(tmp_path / "ali.1", {"a": np.arange(10), "b": np.arange(10)})
    for path, read in ((ark, lambda packed: list(read_matrix_ark(packed))), (tmp_path / "ali.1", read_int_vectors)):
        raw = bytearray(gzip.compress(path.read_bytes()))
        raw[14] ^= 0xFF
        (tmp_path / "packed.gz").write_bytes(raw)
        with pytest.raises(TableError, match=r"packed.gz"):
            read(tmp_path / "packed.gz")


@pytest.mark.parametrize("text", ["a 1 2\n\nb 3\n", "a 1\nb 99999999999\n", "a 1\nb x\n"])
def test_text_that_is_no_vector_of_integers_is_named_by_its_line(tmp_path, text):
    (tmp_path / "ali.txt").write_text(text)
    with pytest.raises(TableError, match=r"ali.txt:2: expected integers"):
        read_int_vectors(tmp_path / "ali.txt")


def test_a_key_of_integer_vectors_that_is_no_text_is_refused(tmp_path):
    write_int_vectors(tmp_path / "ali.1", {"abc": np.arange(10)})
    (tmp_path / "ali.1").write_bytes((tmp_path / "ali.1").read_bytes().replace(b"abc", b"\xfcbc", 1))
    with pytest.raises(TableError, match=r"ali.1: the key at byte 0 is not UTF-8"):
        read_int_vectors(tmp_path / "ali.1")


def test_damaged_integer_vectors_are_refused(tmp_path):
    write_int_vectors(tmp_path / "ali.1", {"a": np.arange(10), "b": np.arange(10)})
    data = (tmp_path / "ali.1").read_bytes()
    (tmp_path / "ali.1").write_bytes(data[:-3])
    with pytest.raises(TableError, match=r"ali.1: b: the archive ends inside"):
        read_int_vectors(tmp_path / "ali.1")
    (tmp_path / "ali.1.gz").write_bytes(gzip.compress(data)[:-20])
    with pytest.raises(TableError, match=r"ali.1.gz: cannot be read"):
        read_int_vectors(tmp_path / "ali.1.gz")
    ark, _ = write(tmp_path, matrices())
    with pytest.raises(TableError, match=r"no integer vector at byte 0"):
        read_int_vectors(ark)


def test_numbered_files_come_in_numeric_order_without_gaps(tmp_path):
    for number in range(1, 12):
        (tmp_path / f"ali.{number}.gz").touch()
    assert [path.name for path in numbered_files(tmp_path, "ali", ".gz")][9] == "ali.10.gz"
    (tmp_path / "ali.5.gz").unlink()
    with pytest.raises(TableError, match="have a gap"):
        numbered_files(tmp_path, "ali", ".gz")
    with pytest.raises(TableError, match=r"trans.1: no such file"):
        numbered_files(tmp_path, "trans")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("feats.scp", ("scp", "feats.scp")), ("trans.1", ("ark", "trans.1")), ("ark,s,cs:x.scp", ("ark", "x.scp")),
        ("scp,p:y", ("scp", "y")), ("ark:gunzip -c a.gz |", ("ark", "gunzip -c a.gz |")),
        ("archive:1", ("ark", "archive:1")),
    ],
)  # fmt: skip
def test_specifiers_are_taken_apart(name, parts):
    assert split_specifier(name) == parts


def test_golden_matrices_transforms_and_alignments_are_read(golden_dir, monkeypatch):
    monkeypatch.chdir(golden_dir)
    feats = read_matrix_scp("data/train/feats.scp")
    frames = read_number_table("data/train/utt2num_frames")
    assert {key: value.shape for key, value in feats.items()} == {key: (count, 13) for key, count in frames.items()}
    shapes = {key: value.shape for key, value in read_matrix_ark("exp/tri3b/trans.1")}
    assert shapes == dict.fromkeys(["ana", "ben", "cho"], (40, 41))
    assert read_matrix("exp/tri2b/final.mat").shape == (40, 117)
    alignments = read_int_vectors("exp/tri3b_ali/ali.1.gz")
    assert {key: len(value) for key, value in alignments.items()} == frames


@pytest.mark.kaldi
def test_kaldi_reads_what_we_write_and_compresses_to_the_same_bytes(tmp_path, kaldi_root):
    items = matrices()
    _ark, scp = write(tmp_path, items)
    packed, _ = write(tmp_path, items, compress=True, name="packed")
    run_kaldi(f"copy-feats --compress=true scp:{scp} ark:{tmp_path}/kaldi.ark")
    assert (tmp_path / "kaldi.ark").read_bytes() == packed.read_bytes()
    run_kaldi(f"copy-feats ark:{packed} ark:{tmp_path}/unpacked.ark")
    theirs = dict(read_matrix_ark(tmp_path / "unpacked.ark"))
    ours = dict(read_matrix_ark(packed))
    assert all(np.array_equal(ours[key], theirs[key]) for key in items)


@pytest.mark.kaldi
@pytest.mark.parametrize("method", [3, 4, 5, 6, 7])
def test_every_compression_of_kaldi_is_read_exactly(tmp_path, kaldi_root, method):
    ark, _ = write(tmp_path, {key: np.abs(value) % 1 if method == 7 else value for key, value in matrices().items()})
    run_kaldi(f"copy-feats --compress=true --compression-method={method} ark:{ark} ark:{tmp_path}/c.ark")
    run_kaldi(f"copy-feats ark:{tmp_path}/c.ark ark:{tmp_path}/u.ark")
    theirs = dict(read_matrix_ark(tmp_path / "u.ark"))
    for key, value in read_matrix_ark(tmp_path / "c.ark"):
        assert np.array_equal(value, theirs[key])


@pytest.mark.kaldi
def test_kaldi_copies_our_vectors_alignments_and_single_matrices(tmp_path, kaldi_root):
    write_int_vectors(tmp_path / "ali.1.gz", {"a": np.arange(7), "b": np.array([5])})
    said = run_kaldi(f"copy-int-vector 'ark:gunzip -c {tmp_path}/ali.1.gz|' ark,t:-")
    assert said == b"a 0 1 2 3 4 5 6 \nb 5 \n"
    (tmp_path / "t.ark").write_bytes(said)
    assert np.array_equal(read_int_vectors(tmp_path / "t.ark")["a"], np.arange(7))
    write_matrix(tmp_path / "final.mat", matrices()["b"])
    said = run_kaldi(f"copy-matrix --binary=false {tmp_path}/final.mat -")
    (tmp_path / "text.mat").write_bytes(said)
    assert np.allclose(read_matrix(tmp_path / "text.mat"), matrices()["b"], rtol=1e-5)
    run_kaldi(f"copy-feats scp:{write(tmp_path, matrices())[1]} ark,t:{tmp_path}/text.ark")
    for key, value in read_matrix_ark(tmp_path / "text.ark"):
        assert np.allclose(value, matrices()[key], rtol=1e-5)


def test_importing_tables_does_not_import_kaldiio():
    code = "import sys, kaldi_bridge.tables; sys.exit('kaldiio' in sys.modules)"
    assert subprocess.run(["python", "-c", code], check=False).returncode == 0
