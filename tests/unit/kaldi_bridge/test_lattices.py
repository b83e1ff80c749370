"""Lattice archives: golden ones read, ours read by a real Kaldi, damaged ones refused."""

from __future__ import annotations

import dataclasses
import gzip
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from harness.errors import TableError
from kaldi_bridge.lattices import (
    CompactLattice,
    Lattice,
    lattice_bytes,
    read_decode_dir,
    read_lattices,
    write_lattices,
)


def plain() -> Lattice:
    """0 -> 1 -> 2 with an epsilon arc and two ways."""
    return Lattice(
        source=np.array([0, 0, 1], np.int32), target=np.array([1, 2, 2], np.int32),
        transition_id=np.array([4, 0, 6], np.int32), word=np.array([7, 8, 0], np.int32),
        graph_cost=np.array([0.5, 1.25, 2.0], np.float32), acoustic_cost=np.array([10, 20, 30], np.float32),
        final_graph=np.array([np.inf, np.inf, 0.75], np.float32),
        final_acoustic=np.array([np.inf, np.inf, 0.0], np.float32),
    )  # fmt: skip


def compact() -> CompactLattice:
    """Two words in a row or one word, with strings on arcs and on the final weight."""
    return CompactLattice(
        source=np.array([0, 0, 1], np.int32), target=np.array([1, 2, 2], np.int32),
        word=np.array([7, 8, 9], np.int32),
        graph_cost=np.array([0.5, 1.25, 2.0], np.float32), acoustic_cost=np.array([10, 20, 30], np.float32),
        final_graph=np.array([np.inf, np.inf, 0.75], np.float32),
        final_acoustic=np.array([np.inf, np.inf, 0.0], np.float32),
        ids=np.array([4, 4, 3, 2, 1, 6], np.int32), start=np.array([0, 2, 5, 5, 5, 5, 6]),
    )  # fmt: skip


def equal(first: object, second: object) -> bool:
    return type(first) is type(second) and all(
        np.array_equal(getattr(first, f.name), getattr(second, f.name))
        for f in dataclasses.fields(first)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("name", ["lat.ark", "lat.1.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    items = [("utt-1", compact()), ("utt-2", plain()), ("utt-3", compact())]
    assert write_lattices(tmp_path / name, items) == 3
    for (utterance, lattice), (found_name, found) in zip(items, read_lattices(tmp_path / name), strict=True):
        assert found_name == utterance
        assert equal(found, lattice)


def test_strings_belong_to_their_arcs_and_finals() -> None:
    lattice = compact()
    assert [lattice.arc_ids(a).tolist() for a in range(3)] == [[4, 4], [3, 2, 1], []]
    assert [lattice.final_ids(s).tolist() for s in range(3)] == [[], [], [6]]


def test_two_writes_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        write_lattices(tmp_path / name, [("u", compact())])
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_golden_lattices_keep_every_value_through_a_round_trip(golden_dir: Path, tmp_path: Path) -> None:
    golden = list(read_decode_dir(golden_dir / "exp/tri3b/decode_test"))
    assert [name for name, _ in golden] == [f"dov-{n:03d}" for n in range(15)]
    assert all(isinstance(lattice, CompactLattice) for _, lattice in golden)
    assert all((lattice.source < lattice.target).all() for _, lattice in golden)
    write_lattices(tmp_path / "again.gz", golden)
    for (name, lattice), (name_again, again) in zip(golden, read_lattices(tmp_path / "again.gz"), strict=True):
        assert name == name_again
        assert equal(again, lattice)


def test_states_out_of_order_are_sorted(tmp_path: Path) -> None:
    """Kaldi's own lattices are not always in topological order: here the start is state 1 of the file."""
    data = bytearray(lattice_bytes(plain()))
    header = 4 + 4 + 6 + 4 + 8
    arcs = [(1, 0, 4, 7, 0.5), (1, 2, 0, 8, 1.25), (0, 2, 6, 0, 2.0)]
    body = b""
    for state in range(3):
        final = (0.75, 0.0) if state == 2 else (np.inf, np.inf)
        body += np.array(final, "<f4").tobytes()
        mine = [arc for arc in arcs if arc[0] == state]
        body += np.array([len(mine)], "<i8").tobytes()
        for _, target, label, word, cost in mine:
            body += np.array([label, word], "<i4").tobytes() + np.array([cost, 1.0], "<f4").tobytes()
            body += np.array([target], "<i4").tobytes()
    data[header + 16 : header + 24] = np.array([1], "<i8").tobytes()  # the start, after version, flags, properties
    (tmp_path / "mixed").write_bytes(b"u " + bytes(data[: header + 40]) + body)
    ((_, lattice),) = read_lattices(tmp_path / "mixed")
    assert isinstance(lattice, Lattice)
    assert lattice.source.tolist() == [0, 0, 1]
    assert lattice.transition_id.tolist() == [4, 0, 6]
    assert lattice.target.tolist() == [1, 2, 2]
    assert lattice.final_graph.tolist() == [np.inf, np.inf, 0.75]


@pytest.mark.parametrize("keep", [10, 40, 80, 120])
def test_a_lattice_cut_short_names_file_and_utterance(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.ark"
    path.write_bytes((b"child7 " + lattice_bytes(compact()))[:keep])
    with pytest.raises(TableError, match=r"cut.ark: child7: .*(ends too early|is a )"):
        list(read_lattices(path))


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lat.1.gz"
    path.write_bytes(gzip.compress(b"u " + lattice_bytes(compact()))[:-12])
    with pytest.raises(TableError, match=r"lat.1.gz: the compressed file is damaged or cut short"):
        list(read_lattices(path))


def test_something_else_is_no_lattice(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("utt-1 0 1 2 3 this is text, no lattice at all")
    with pytest.raises(TableError, match="is no lattice"):
        list(read_lattices(tmp_path / "text"))
    with pytest.raises(TableError, match="there is no such archive"):
        list(read_lattices(tmp_path / "absent"))


def test_an_arc_out_of_range_is_refused(tmp_path: Path) -> None:
    lattice = dataclasses.replace(plain(), target=np.array([1, 2, 99], np.int32))
    (tmp_path / "wild").write_bytes(b"u " + lattice_bytes(lattice))
    with pytest.raises(TableError, match=r"u: an arc leads to a state outside 0\.\.2"):
        list(read_lattices(tmp_path / "wild"))


def test_an_empty_lattice_has_no_states(tmp_path: Path) -> None:
    nothing = np.zeros(0, np.int32)
    empty = CompactLattice(
        source=nothing, target=nothing, word=nothing, graph_cost=nothing.astype(np.float32),
        acoustic_cost=nothing.astype(np.float32), final_graph=nothing.astype(np.float32),
        final_acoustic=nothing.astype(np.float32), ids=nothing, start=np.zeros(1, np.int64),
    )  # fmt: skip
    write_lattices(tmp_path / "lat.gz", [("u1", empty), ("u2", compact())])
    found = dict(read_lattices(tmp_path / "lat.gz"))
    assert found["u1"].num_states == 0
    assert equal(found["u2"], compact())


def test_a_decode_dir_without_one_of_its_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="num_jobs: is missing"):
        list(read_decode_dir(tmp_path))
    (tmp_path / "num_jobs").write_text("2\n")
    write_lattices(tmp_path / "lat.1.gz", [("u1", compact())])
    with pytest.raises(TableError, match=r"lat.2.gz: is missing \(2 jobs"):
        list(read_decode_dir(tmp_path))


@pytest.mark.kaldi
def test_kaldi_reads_ours_as_it_reads_its_own(golden_dir: Path, kaldi_root: Path, tmp_path: Path) -> None:
    """lattice-copy to text of the golden archive, and of what we read and write again: equal but for state numbers."""
    golden = golden_dir / "exp/tri3b/decode_test/lat.1.gz"
    write_lattices(tmp_path / "ours.gz", read_lattices(golden))
    write_lattices(tmp_path / "plain.gz", [("u", plain())])
    texts = {}
    for name, path in {"golden": golden, "ours": tmp_path / "ours.gz", "plain": tmp_path / "plain.gz"}.items():
        copy = f"lattice-copy --write-compact={name != 'plain'}"
        command = f". {kaldi_root}/path.sh; {copy} 'ark:gunzip -c {path}|' ark,t:-"
        environment = os.environ | {"LC_ALL": "C"}
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, env=environment)
        texts[name] = [line.split() for line in done.stdout.splitlines() if line.strip()]
    weights = {name: sorted(fields[2:] for fields in lines if len(fields) > 2) for name, lines in texts.items()}
    assert weights["ours"] == weights["golden"]
    assert len(weights["golden"]) > 30
    assert ["0", "1", "4", "7", "0.5,10"] in texts["plain"]
    assert ["2", "0.75,0"] in texts["plain"]
