"""Archives of Kaldi's lattices, read and written: Lattice and CompactLattice, plain or .gz, and whole decode dirs.

Format: the utterance, a blank, then an OpenFst vector transducer of type lattice4 or compactlattice44.  Everything
after its header is made of 4-byte words, so one compiled loop splits it and numpy scatters it.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.atomic import write_whole
from harness.errors import TableError
from kaldi_bridge.lattice_arrays import CompactLattice, Lattice, arc_starts, topological_arcs

__all__ = ["CompactLattice", "Lattice", "read_decode_dir", "read_lattices", "write_lattices"]
MAGIC = 2125659606
HEADER = struct.Struct("<iiQqqq")  # version, flags, properties, start, states, arcs
ACCEPTOR = 0x10000 | 0x3  # properties: acceptor, expanded and mutable
EXPANDED = 0x3
MEND = "decode again; the archive was cut short or is no lattice archive of Kaldi"


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _split(words, states, compact, final_base, arcs, finals, ids):  # type: ignore[no-untyped-def]
    """Walk the 4-byte words of one transducer; called first with final_base -1 to count, then to fill.

    final_base: where the strings of finals begin in ids.  arcs [A, 7]: source, target, ilabel, olabel, graph bits,
    acoustic bits, length of the string; finals [S, 3]: graph bits, acoustic bits, length; ids: the strings of all arcs,
    then of all finals.  Returns (words used, arcs, ids of arcs, ids of finals), the first -1 where the data end early.
    """
    fill = final_base >= 0
    at, n_arcs, n_arc_ids, n_final_ids = 0, 0, 0, 0
    total = len(words)
    state_words = 5 if compact else 4  # without strings; an arc takes one more
    for s in range(states):
        if at + state_words > total:
            return -1, 0, 0, 0
        length = words[at + 2] if compact else 0
        begin = at + (3 if compact else 2)
        if length < 0 or begin + length + 2 > total:
            return -1, 0, 0, 0
        if fill:
            finals[s, 0], finals[s, 1], finals[s, 2] = words[at], words[at + 1], length
            for i in range(length):
                ids[final_base + n_final_ids + i] = words[begin + i]
        n_final_ids += length
        at = begin + length
        count = words[at]
        at += 2
        for _ in range(count):
            if at + state_words + 1 > total:
                return -1, 0, 0, 0
            length = words[at + 4] if compact else 0
            begin = at + (5 if compact else 4)
            if length < 0 or begin + length + 1 > total:
                return -1, 0, 0, 0
            if fill:
                arcs[n_arcs, 0], arcs[n_arcs, 1] = s, words[begin + length]
                for c in range(4):
                    arcs[n_arcs, 2 + c] = words[at + c]
                arcs[n_arcs, 6] = length
                for i in range(length):
                    ids[n_arc_ids + i] = words[begin + i]
            n_arc_ids += length
            n_arcs += 1
            at = begin + length + 1
    return at, n_arcs, n_arc_ids, n_final_ids


def read_lattices(path: str | Path) -> Iterator[tuple[str, Lattice | CompactLattice]]:
    """The utterances and lattices of an archive, in its order; an empty lattice has 0 states.

    Raises TableError where the file is missing, damaged, or no archive of lattices.
    """
    path = Path(path)
    data = _read_bytes(path)
    position = 0
    while position < len(data):
        end = data.find(b" ", position, position + 4096)
        if end < 0:
            raise TableError(path, f"no utterance name at byte {position}", mend=MEND)
        utterance = data[position:end].decode("utf-8", "replace").lstrip("\n")
        lattice, position = _parse(data, end + 1, f"{path}: {utterance}")
        yield utterance, lattice


def read_decode_dir(decode_dir: str | Path) -> Iterator[tuple[str, Lattice | CompactLattice]]:
    """All lattices of a decode directory (num_jobs, lat.1.gz ... lat.N.gz).  Raises TableError where one is missing."""
    decode_dir = Path(decode_dir)
    mend = "decode again; the same command continues where it stopped"
    try:
        jobs = int((decode_dir / "num_jobs").read_text())
    except (OSError, ValueError):
        raise TableError(decode_dir / "num_jobs", "is missing or is no number", mend=mend) from None
    for job in range(1, jobs + 1):
        path = decode_dir / f"lat.{job}.gz"
        if not path.is_file():
            raise TableError(path, f"is missing ({jobs} jobs were decoded)", mend=mend)
        yield from read_lattices(path)


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except FileNotFoundError:
        raise TableError(path, "there is no such archive", mend="decode first, or correct the path") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise TableError(path, "the compressed file is damaged or cut short", mend=MEND) from None


def _parse(data: bytes, position: int, where: str) -> tuple[Lattice | CompactLattice, int]:
    kind, start, states, position = _header(data, position, where)
    compact = kind == "compactlattice44"
    words = np.frombuffer(data, "<i4", (len(data) - position) // 4, position)
    none = np.empty((0, 7), np.int32), np.empty((0, 3), np.int32), np.empty(0, np.int32)
    used, n_arcs, n_arc_ids, n_final_ids = _split(words, states, compact, -1, *none)
    if used < 0:
        raise TableError(where, "the lattice ends too early", mend=MEND)
    arcs, finals = np.empty((n_arcs, 7), np.int32), np.empty((states, 3), np.int32)
    ids = np.empty(n_arc_ids + n_final_ids, np.int32)
    _split(words, states, compact, n_arc_ids, arcs, finals, ids)
    if states and not (0 <= start < states and (n_arcs == 0 or 0 <= arcs[:, 1].min() <= arcs[:, 1].max() < states)):
        raise TableError(where, f"an arc leads to a state outside 0..{states - 1}", mend=MEND)
    build = _compact if compact else _plain
    return build(arcs, finals, ids, start), position + 4 * used


def _header(data: bytes, position: int, where: str) -> tuple[str, int, int, int]:
    try:
        if struct.unpack_from("<i", data, position)[0] != MAGIC:
            raise TableError(where, "is no lattice (binary archives only; no text)", mend=MEND)
        names, position = [], position + 4
        for _ in range(2):
            (length,) = struct.unpack_from("<i", data, position)
            names.append(data[position + 4 : position + 4 + length].decode("ascii", "replace"))
            position += 4 + length
        _, flags, _, start, states, _ = HEADER.unpack_from(data, position)
    except struct.error:
        raise TableError(where, "the lattice ends too early", mend=MEND) from None
    if names[0] != "vector" or names[1] not in ("lattice4", "compactlattice44") or flags & 3:
        raise TableError(where, f"is a {' '.join(names)}, not a lattice in single precision", mend=MEND)
    return names[1], start, states, position + HEADER.size


def _floats(bits: NDArray[np.int32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(bits).view(np.float32)


def _plain(arcs: NDArray[np.int32], finals: NDArray[np.int32], ids: NDArray[np.int32], start: int) -> Lattice:
    order, states, rank = _order(arcs, len(finals), start)
    return Lattice(
        source=rank[arcs[order, 0]],
        target=rank[arcs[order, 1]],
        transition_id=arcs[order, 2],
        word=arcs[order, 3],
        graph_cost=_floats(arcs[order, 4]),
        acoustic_cost=_floats(arcs[order, 5]),
        final_graph=_floats(finals[states, 0]),
        final_acoustic=_floats(finals[states, 1]),
    )


def _compact(arcs: NDArray[np.int32], finals: NDArray[np.int32], ids: NDArray[np.int32], start: int) -> CompactLattice:
    order, states, rank = _order(arcs, len(finals), start)
    ids, starts = _gather(ids, np.concatenate([arcs[:, 6], finals[:, 2]]), np.concatenate([order, len(arcs) + states]))
    return CompactLattice(
        source=rank[arcs[order, 0]],
        target=rank[arcs[order, 1]],
        word=arcs[order, 3],
        graph_cost=_floats(arcs[order, 4]),
        acoustic_cost=_floats(arcs[order, 5]),
        final_graph=_floats(finals[states, 0]),
        final_acoustic=_floats(finals[states, 1]),
        ids=ids,
        start=starts,
    )


def _order(
    arcs: NDArray[np.int32], states: int, start: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """(arcs in topological order, old number of each new state, new number of each old state)."""
    if not states:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32)
    order, rank = topological_arcs(np.ascontiguousarray(arcs[:, 0]), np.ascontiguousarray(arcs[:, 1]), states, start)
    by_rank = np.argsort(rank, kind="stable")
    return order, by_rank[np.count_nonzero(rank < 0) :], rank


def _gather(
    ids: NDArray[np.int32], lengths: NDArray[np.integer], order: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Strings in a new order: (ids, start [len(order) + 1])."""
    first = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    chosen = np.asarray(lengths, np.int64)[order]
    starts = np.concatenate(([0], np.cumsum(chosen))).astype(np.int64)
    index = np.arange(starts[-1]) + np.repeat(first[order] - starts[:-1], chosen)
    return ids[index], starts


def write_lattices(path: str | Path, items: Iterable[tuple[str, Lattice | CompactLattice]]) -> int:
    """Write an archive (compressed where the name ends in .gz), whole or not at all; returns how many lattices.

    The bytes depend on the lattices only: no time stands in the .gz header.
    """
    path = Path(path)
    count = 0
    with write_whole(path, "wb") as stream:
        out: IO[bytes] = stream
        if path.suffix == ".gz":
            out = gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0, compresslevel=6)  # type: ignore[assignment]
        for utterance, lattice in items:
            out.write(utterance.encode() + b" " + lattice_bytes(lattice))
            count += 1
        if out is not stream:
            out.close()
    return count


def lattice_bytes(lattice: Lattice | CompactLattice) -> bytes:
    """The transducer as OpenFst writes it."""
    compact = isinstance(lattice, CompactLattice)
    kind = b"compactlattice44" if compact else b"lattice4"
    states, arcs = lattice.num_states, lattice.num_arcs
    header = struct.pack("<i", MAGIC) + struct.pack("<i", 6) + b"vector" + struct.pack("<i", len(kind)) + kind
    header += HEADER.pack(2, 0, ACCEPTOR if compact else EXPANDED, 0 if states else -1, states, arcs)
    return header + (_body(lattice) if states else b"")


def _body(lattice: Lattice | CompactLattice) -> bytes:
    """Each state: final weight, number of arcs (8 bytes), arcs; all laid out as 4-byte words at computed places."""
    states, arcs = lattice.num_states, lattice.num_arcs
    if isinstance(lattice, CompactLattice):
        lengths, extra, ids, start = np.diff(lattice.start), 1, lattice.ids, lattice.start
        labels = lattice.word
    else:
        lengths, extra, ids, start = np.zeros(arcs + states, np.int64), 0, np.zeros(0, np.int32), None
        labels = lattice.transition_id
    arc_length, final_length = lengths[:arcs], lengths[arcs:]
    counts = np.bincount(lattice.source, minlength=states)
    before_arc = np.concatenate(([0], np.cumsum(5 + extra + arc_length)))  # words of all earlier arcs
    arc_starts_of = arc_starts(lattice.source, states)
    before_state = np.concatenate(([0], np.cumsum(4 + extra + final_length)))
    state_at = before_state[:-1] + before_arc[arc_starts_of[:-1]]
    arc_at = before_arc[:-1] + before_state[lattice.source + 1]
    words = np.zeros(int(before_state[-1] + before_arc[-1]), np.int32)
    words[state_at], words[state_at + 1] = _bits(lattice.final_graph), _bits(lattice.final_acoustic)
    words[state_at + 2 + extra + final_length] = counts
    words[arc_at], words[arc_at + 1] = labels, lattice.word
    words[arc_at + 2], words[arc_at + 3] = _bits(lattice.graph_cost), _bits(lattice.acoustic_cost)
    words[arc_at + 4 + extra + arc_length] = lattice.target
    if start is not None:
        words[arc_at + 4], words[state_at + 2] = arc_length, final_length
        string_at = np.concatenate([arc_at + 5, state_at + 3])
        words[np.arange(len(ids)) + np.repeat(string_at - start[:-1], lengths)] = ids
    return words.astype("<i4").tobytes()


def _bits(values: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, np.float32).view(np.int32)
