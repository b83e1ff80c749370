"""OpenFst's weighted transducers as numpy arrays: files (vector and const), archives (fsts.N.gz), and kaldifst objects.

The bulk road from arrays to kaldifst is the const format through a file in memory: a loop over add_arc is 25 times
slower.
Every array is checked here, since a state out of range ends the interpreter inside OpenFst.
"""

from __future__ import annotations

import gzip
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.atomic import write_whole
from harness.errors import ModelError
from kaldi_bridge.objects import unzipped

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]
MAGIC = 2125659606
MEND = "make the file again; it is no transducer of OpenFst with standard arcs, or was cut short"
HEADER = struct.Struct("<iiQqqq")  # version, flags, properties, start, states, arcs
ALIGNED = 4  # header flag: states and arcs start at multiples of 16 bytes
SYMBOL_TABLES = 3  # header flags of embedded symbol tables
_STATE = np.dtype([("final", "<f4"), ("position", "<u4"), ("arcs", "<u4"), ("iepsilons", "<u4"), ("oepsilons", "<u4")])
_ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("nextstate", "<i4")])


@dataclass(eq=False)
class FstArrays:
    """A transducer in the tropical semiring: costs add up, the least wins. State s owns arcs offsets[s]:offsets[s + 1].

    start: the first state, -1 if there is none.  finals: +inf where a state is not final.  Label 0 is epsilon.
    """

    start: int
    finals: FloatArray  # [states]
    offsets: NDArray[np.int64]  # [states + 1]
    ilabel: IntArray  # [arcs]
    olabel: IntArray  # [arcs]
    weight: FloatArray  # [arcs]
    nextstate: IntArray  # [arcs]

    @property
    def num_states(self) -> int:
        return len(self.finals)

    @property
    def num_arcs(self) -> int:
        return len(self.ilabel)

    def sources(self) -> IntArray:
        """[arcs] the state that each arc leaves."""
        return np.repeat(np.arange(self.num_states, dtype=np.int32), np.diff(self.offsets))

    @classmethod
    def empty(cls) -> FstArrays:
        """The transducer that accepts nothing."""
        return cls.from_arcs(-1, np.zeros(0), *(np.zeros(0, np.int32) for _ in range(5)))

    @classmethod
    def from_arcs(
        cls, start: int, finals: NDArray[Any], source: NDArray[Any], ilabel: NDArray[Any], olabel: NDArray[Any],
        weight: NDArray[Any], nextstate: NDArray[Any],
    ) -> FstArrays:  # fmt: skip
        """Arcs in any order; those of one state keep theirs."""
        order = np.argsort(source, kind="stable")
        counts = np.bincount(np.asarray(source, np.int64), minlength=len(finals))
        columns = [np.ascontiguousarray(np.asarray(column)[order], np.int32) for column in (ilabel, olabel, nextstate)]
        return cls(
            int(start), np.asarray(finals, np.float32), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            columns[0], columns[1], np.ascontiguousarray(np.asarray(weight)[order], np.float32), columns[2],
        )  # fmt: skip

    def check(self, where: str = "transducer") -> None:
        """Raises ModelError if a state number lies outside or a count disagrees: such arrays crash OpenFst."""
        states, arcs = self.num_states, self.num_arcs
        problem = None
        if (
            len(self.offsets) != states + 1
            or self.offsets[0] != 0
            or self.offsets[-1] != arcs
            or np.any(np.diff(self.offsets) < 0)
        ):
            problem = "its rows do not cover its arcs"
        elif not len(self.olabel) == len(self.weight) == len(self.nextstate) == arcs:
            problem = "its arc columns differ in length"
        elif arcs and not (self.nextstate.min() >= 0 and self.nextstate.max() < states):
            problem = f"an arc leads to a state outside 0..{states - 1}"
        elif not -1 <= self.start < states or (states and self.start < 0):
            problem = f"the start state {self.start} lies outside 0..{states - 1}"
        elif arcs and (self.ilabel.min() < 0 or self.olabel.min() < 0):
            problem = "a label is negative"
        elif np.isnan(self.weight).any() or np.isnan(self.finals).any():
            problem = "a weight is not a number"
        if problem:
            raise ModelError(where, problem, mend=MEND)


def parse_fst(
    data: bytes, where: str = "transducer", position: int = 0, *, trusted: bool = False
) -> tuple[FstArrays, int]:
    """The transducer (vector or const, standard arcs) at `position`, and the position after it. Raises ModelError.

    trusted: the bytes come from OpenFst in this process; its state numbers are not checked again.
    """
    try:
        kind, flags, start, states, arcs, position = _parse_header(data, position, where)
        if not 0 <= states <= len(data):
            raise ValueError("cut short")
        if kind == "const":
            fst, position = _parse_const(data, position, flags, start, states, arcs)
        else:
            fst, position = _parse_vector(data, position, start, states)
    except (struct.error, IndexError, ValueError, OverflowError):
        raise ModelError(where, "the transducer ends too early", mend=MEND) from None
    if not trusted:
        fst.check(where)
    return fst, position


def _parse_header(data: bytes, position: int, where: str) -> tuple[str, int, int, int, int, int]:
    if struct.unpack_from("<i", data, position)[0] != MAGIC:
        raise ModelError(where, "does not start as a transducer of OpenFst", mend=MEND)
    position += 4
    names = []
    for _ in range(2):
        (size,) = struct.unpack_from("<i", data, position)
        names.append(data[position + 4 : position + 4 + size].decode(errors="replace"))
        position += 4 + size
    _, flags, _, start, states, arcs = HEADER.unpack_from(data, position)
    if names[0] not in ("vector", "const") or names[1] != "standard":
        problem = (
            f"is a {names[0]!r} transducer with {names[1]!r} arcs; only vector and const with standard arcs are read"
        )
        raise ModelError(where, problem, mend="convert it: fstconvert --fst_type=vector")
    if flags & SYMBOL_TABLES:
        raise ModelError(
            where, "embeds symbol tables", mend="remove them: fstsymbols --clear_isymbols --clear_osymbols"
        )
    return names[0], flags, start, states, arcs, position + HEADER.size


def _parse_const(data: bytes, position: int, flags: int, start: int, states: int, arcs: int) -> tuple[FstArrays, int]:
    def aligned(place: int) -> int:
        return -(-place // 16) * 16 if flags & ALIGNED else place

    position = aligned(position)
    rows = np.frombuffer(data, _STATE, states, position)
    position = aligned(position + rows.nbytes)
    table = np.frombuffer(data, _ARC, arcs, position)
    offsets = np.concatenate([[0], np.cumsum(rows["arcs"], dtype=np.int64)]).astype(np.int64)
    return _from_table(start, rows["final"], offsets, table), position + table.nbytes


def _parse_vector(data: bytes, position: int, start: int, states: int) -> tuple[FstArrays, int]:
    heads, place = [0] * states, position
    arcs_of = struct.Struct("<q").unpack_from
    for state in range(states):  # a row: final cost, number of arcs (8 bytes), the arcs (16 bytes each)
        heads[state] = place
        place += 12 + 16 * arcs_of(data, place + 4)[0]
    words = np.frombuffer(data, "<i4", (place - position) // 4, position)
    rows = (np.array(heads, np.int64) - position) // 4
    counts = words[rows + 1].astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    body = np.ones(len(words), bool)
    for shift in range(3):
        body[rows + shift] = False
    table = words[body].view(_ARC)
    return _from_table(start, words[rows].view("<f4"), offsets, table), place


def _from_table(start: int, finals: NDArray[Any], offsets: NDArray[np.int64], table: NDArray[Any]) -> FstArrays:
    return FstArrays(
        int(start), finals.astype(np.float32), offsets,
        table["ilabel"].astype(np.int32), table["olabel"].astype(np.int32),
        table["weight"].astype(np.float32), table["nextstate"].astype(np.int32),
    )  # fmt: skip


def _header(kind: str, version: int, properties: int, fst: FstArrays) -> bytes:
    names = b"".join(struct.pack("<i", len(name)) + name.encode() for name in (kind, "standard"))
    return (
        struct.pack("<i", MAGIC) + names + HEADER.pack(version, 0, properties, fst.start, fst.num_states, fst.num_arcs)
    )


def _table(fst: FstArrays) -> NDArray[Any]:
    table = np.empty(fst.num_arcs, _ARC)
    table["ilabel"], table["olabel"], table["weight"], table["nextstate"] = (
        fst.ilabel,
        fst.olabel,
        fst.weight,
        fst.nextstate,
    )
    return table


def vector_bytes(fst: FstArrays) -> bytes:
    """The transducer in OpenFst's vector format, which every program of Kaldi reads."""
    fst.check()
    counts = np.diff(fst.offsets)
    rows = 3 * np.arange(fst.num_states, dtype=np.int64) + 4 * fst.offsets[:-1]
    words = np.zeros(3 * fst.num_states + 4 * fst.num_arcs, "<i4")
    body = np.ones(len(words), bool)
    for shift in range(3):
        body[rows + shift] = False
    words[rows] = fst.finals.astype("<f4").view("<i4")
    words[rows + 1] = counts
    words[body] = _table(fst).view("<i4")
    expanded_and_mutable = 3
    return _header("vector", 2, expanded_and_mutable, fst) + words.tobytes()


def const_bytes(fst: FstArrays) -> bytes:
    """The transducer in OpenFst's const format, unaligned."""
    fst.check()
    rows = np.zeros(fst.num_states, _STATE)
    source = fst.sources()
    rows["final"], rows["position"], rows["arcs"] = fst.finals, fst.offsets[:-1], np.diff(fst.offsets)
    rows["iepsilons"] = np.bincount(source[fst.ilabel == 0], minlength=fst.num_states)
    rows["oepsilons"] = np.bincount(source[fst.olabel == 0], minlength=fst.num_states)
    expanded = 1
    return _header("const", 2, expanded, fst) + rows.tobytes() + _table(fst).tobytes()


def read_fst(path: str | Path) -> FstArrays:
    """The transducer in a file (HCLG.fst, L.fst ...)."""
    return parse_fst(_bytes_of(path), str(path))[0]


def _bytes_of(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(path, f"cannot be read: {error.strerror}", mend="check the path") from None


def write_fst(path: str | Path, fst: FstArrays, *, const: bool = False) -> None:
    """Writes the transducer, whole or not at all."""
    with write_whole(path, "wb") as file:
        file.write(const_bytes(fst) if const else vector_bytes(fst))


def read_fst_archive(path: str | Path) -> Iterator[tuple[str, FstArrays]]:
    """(key, transducer) of a Kaldi archive such as fsts.1.gz, gzipped or not."""
    data = unzipped(_bytes_of(path), path)
    position = 0
    while position < len(data):
        end = data.find(b" ", position)
        if end < 0:
            raise ModelError(path, f"expected '<key> ' at byte {position}", mend=MEND)
        try:
            key = data[position:end].decode()
        except UnicodeDecodeError:
            raise ModelError(path, f"the key at byte {position} is not UTF-8 text", mend=MEND) from None
        fst, position = parse_fst(data, f"{path}: {key}", end + 1)
        yield key, fst


def write_fst_archive(path: str | Path, items: Iterable[tuple[str, FstArrays]]) -> int:
    """Writes a Kaldi archive, gzipped if the name ends in .gz; returns the number of transducers."""
    count = 0
    with write_whole(path, "wb") as file:
        out = gzip.GzipFile("", "wb", 5, file, mtime=0) if str(path).endswith(".gz") else file
        for key, fst in items:
            out.write(key.encode() + b" " + vector_bytes(fst))
            count += 1
        if out is not file:
            out.close()
    return count


def _through_file(use: Callable[[str], Any], data: bytes | None) -> tuple[Any, bytes]:
    """Calls `use` with the path of a file in memory that holds `data`; returns its answer and the bytes there after."""
    if hasattr(os, "memfd_create"):
        handle, path, named = os.memfd_create("fst"), "", False
        path = f"/proc/self/fd/{handle}"
    else:
        handle, path = tempfile.mkstemp(suffix=".fst")
        named = True
    try:
        with open(handle, "r+b", closefd=True) as file:
            if data is not None:
                file.write(data)
                file.flush()
            answer = use(path)
            file.seek(0)
            return answer, b"" if data is not None else file.read()
    finally:
        if named:
            os.unlink(path)


def to_kaldifst(fst: FstArrays, *, const: bool = False) -> Any:
    """A kaldifst StdVectorFst (StdConstFst if `const`) with the same states and arcs."""
    import kaldifst

    if fst.num_states == 0:
        return kaldifst.StdVectorFst()
    made, _ = _through_file(kaldifst.StdConstFst.read, const_bytes(fst))
    if made is None:
        raise ModelError("transducer", "kaldifst refuses it", mend="check that kaldifst>=1.8,<1.9 is installed")
    return made if const else kaldifst.StdVectorFst(made)


def from_kaldifst(fst: Any) -> FstArrays:
    """The arrays of a kaldifst StdVectorFst or StdConstFst."""
    import kaldifst

    if fst.num_states == 0:
        return FstArrays.empty()
    const = fst if isinstance(fst, kaldifst.StdConstFst) else kaldifst.StdConstFst(fst)
    written, data = _through_file(const.write, None)
    if not written:
        raise ModelError("transducer", "kaldifst cannot write it", mend="check the free memory")
    return parse_fst(data, trusted=True)[0]
