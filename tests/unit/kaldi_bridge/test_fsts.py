"""Transducers in OpenFst's formats, judged by files and programs of a real Kaldi and by kaldifst."""

from __future__ import annotations

import gzip
import os
import subprocess

import numpy as np
import pytest

from harness.errors import ModelError
from kaldi_bridge.fsts import (
    FstArrays,
    const_bytes,
    from_kaldifst,
    parse_fst,
    read_fst,
    read_fst_archive,
    to_kaldifst,
    vector_bytes,
    write_fst,
    write_fst_archive,
)

COLUMNS = ("finals", "offsets", "ilabel", "olabel", "weight", "nextstate")
HEADER = 66  # bytes: kind, arc type, version, flags, properties, start, counts


def equal(left: FstArrays, right: FstArrays) -> bool:
    return left.start == right.start and all(np.array_equal(getattr(left, c), getattr(right, c)) for c in COLUMNS)


def small() -> FstArrays:
    """0 -1:2/0.5-> 1 -3:0/0.25-> 2, a self-loop on 1; 2 is final; 3 stands alone."""
    return FstArrays.from_arcs(
        0, np.array([np.inf, np.inf, 0.75, np.inf]), np.array([1, 0, 1]), np.array([3, 1, 4]), np.array([0, 2, 4]),
        np.array([0.25, 0.5, 1.5]), np.array([2, 1, 1]),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["data/lang/L.fst", "data/lang/L_disambig.fst", "data/lang_test/tmp/LG.fst"])
def test_the_body_of_a_vector_file_of_kaldi_is_written_back_byte_for_byte(golden_dir, name):
    data = (golden_dir / name).read_bytes()
    assert vector_bytes(read_fst(golden_dir / name))[HEADER:] == data[HEADER:]


def test_a_const_file_of_kaldi_reads_as_kaldifst_reads_it(golden_dir):
    import kaldifst

    path = golden_dir / "exp/tri3b/graph/HCLG.fst"
    ours, theirs = read_fst(path), kaldifst.StdConstFst.read(str(path))
    assert (ours.num_states, ours.num_arcs) == (136, 343)
    arcs = [
        (a.ilabel, a.olabel, a.weight.value, a.nextstate) for s in range(136) for a in kaldifst.ArcIterator(theirs, s)
    ]
    assert arcs == list(zip(*(getattr(ours, c).tolist() for c in COLUMNS[2:]), strict=True))


@pytest.mark.parametrize("form", [vector_bytes, const_bytes])
def test_a_transducer_survives_both_formats(form):
    assert equal(parse_fst(form(small()))[0], small())


@pytest.mark.parametrize("const", [False, True])
def test_a_transducer_survives_kaldifst(const):
    assert equal(from_kaldifst(to_kaldifst(small(), const=const)), small())


def test_a_transducer_survives_kaldifst_where_files_in_memory_are_missing(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    assert equal(from_kaldifst(to_kaldifst(small())), small())


def test_the_empty_transducer_survives_kaldifst():
    assert from_kaldifst(to_kaldifst(FstArrays.empty())).num_states == 0


def test_an_archive_of_kaldi_reads_whole_and_is_written_back(golden_dir, tmp_path):
    path = golden_dir / "exp/tri3b/fsts.1.gz"
    items = list(read_fst_archive(path))
    assert write_fst_archive(tmp_path / "fsts.1.gz", items) == 45
    again = dict(read_fst_archive(tmp_path / "fsts.1.gz"))
    assert list(again) == [key for key, _ in items]
    assert all(equal(again[key], fst) for key, fst in items)
    assert len(gzip.decompress((tmp_path / "fsts.1.gz").read_bytes())) == len(gzip.decompress(path.read_bytes()))


def test_an_archive_cut_short_is_refused(golden_dir, tmp_path):
    (tmp_path / "fsts.1.gz").write_bytes((golden_dir / "exp/mono/fsts.1.gz").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"fsts\.1\.gz: is a damaged gzip file"):
        list(read_fst_archive(tmp_path / "fsts.1.gz"))


def test_a_key_that_is_no_text_is_refused(tmp_path):
    write_fst_archive(tmp_path / "fsts.1", [("utt", small())])
    (tmp_path / "fsts.1").write_bytes((tmp_path / "fsts.1").read_bytes().replace(b"utt", b"\xfctt", 1))
    with pytest.raises(ModelError, match=r"fsts\.1: the key at byte 0 is not UTF-8"):
        list(read_fst_archive(tmp_path / "fsts.1"))


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [("nextstate", 4, r"outside 0\.\.3"), ("ilabel", -1, "negative"), ("weight", np.nan, "not a number")],
)
def test_arrays_that_would_crash_openfst_are_refused(column, value, problem):
    fst = small()
    getattr(fst, column)[1] = value
    with pytest.raises(ModelError, match=problem):
        to_kaldifst(fst)


def test_a_start_state_that_is_not_there_is_refused():
    fst = small()
    fst.start = 9
    with pytest.raises(ModelError, match="start state 9"):
        vector_bytes(fst)


@pytest.mark.parametrize("form", [vector_bytes, const_bytes])
def test_a_file_cut_short_is_refused(form, tmp_path):
    (tmp_path / "x.fst").write_bytes(form(small())[:-10])
    with pytest.raises(ModelError, match=r"x\.fst: the transducer ends too early"):
        read_fst(tmp_path / "x.fst")


@pytest.mark.parametrize("form", [vector_bytes, const_bytes])
def test_damaged_bytes_give_our_error_or_a_sound_transducer(form):
    rng, whole, refused = np.random.default_rng(0), form(small()), 0
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        try:
            parse_fst(bytes(data))[0].check()
        except ModelError:
            refused += 1
    assert refused > 100


def test_a_lattice_is_refused_by_its_arc_type(tmp_path):
    (tmp_path / "x.fst").write_bytes(vector_bytes(small()).replace(b"standard", b"lattice4"))
    with pytest.raises(ModelError, match="'lattice4' arcs"):
        read_fst(tmp_path / "x.fst")


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "x.fst").write_text("0 1 2 3\n1\n")
    with pytest.raises(ModelError, match="does not start as a transducer"):
        read_fst(tmp_path / "x.fst")


@pytest.mark.kaldi
@pytest.mark.parametrize("const", [False, True])
def test_programs_of_openfst_print_what_we_write(kaldi_root, tmp_path, const):
    write_fst(tmp_path / "x.fst", small(), const=const)
    command = f". {kaldi_root}/path.sh; fstprint {tmp_path}/x.fst"
    printed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
    assert [line.split() for line in printed.splitlines()] == [
        ["0", "1", "1", "2", "0.5"], ["1", "2", "3", "0", "0.25"], ["1", "1", "4", "4", "1.5"],
        ["2", "0.75"], ["3", "Infinity"],
    ]  # fmt: skip


@pytest.mark.kaldi
def test_kaldi_reads_our_archive(golden_dir, kaldi_root, tmp_path):
    write_fst_archive(tmp_path / "fsts.1.gz", read_fst_archive(golden_dir / "exp/mono/fsts.1.gz"))
    command = f". {kaldi_root}/path.sh; fsts-to-transcripts 'ark:gunzip -c {tmp_path}/fsts.1.gz|' ark,t:-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == 45, done.stderr
