"""Kaldi's archives (ark) and their indexes (scp): matrices, compressed matrices, vectors, integer vectors.

Matrices go through kaldiio, which only this file imports, compressed ones through our own exact codec (compressed.py);
integer vectors have a file of their own (int_vectors.py).  A table is
named by a path (``feats.scp``, ``trans.1``, ``ali.1.gz``) or by a Kaldi specifier (``scp:feats.scp``, ``ark:gunzip -c
ali.1.gz |``).  Every file written appears only when whole.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harness.atomic import disk_error, write_whole
from harness.errors import TableError
from kaldi_bridge import compressed
from kaldi_bridge.extended_names import kind_of, open_archive, open_place, place_of, run_pipe, split_specifier
from kaldi_bridge.int_vectors import read_int_vectors, write_int_vectors
from kaldi_bridge.text_tables import read_text_table, text_lines

Array = NDArray[Any]
ROWS_PAST = 3  # that a range may name after the last row, as Kaldi's length_tolerance: ends of segments are rounded
_RANGE = re.compile(r"\[(?P<rows>[0-9:]*)(?:,(?P<cols>[0-9:]*))?\]$")


# ---- names


def numbered_files(directory: str | os.PathLike[str], stem: str, suffix: str = "") -> list[Path]:
    """``stem.1suffix, stem.2suffix, ...`` as the jobs of one stage left them; none, or a gap, raises TableError."""
    found = {}
    for path in Path(directory).glob(f"{stem}.*{suffix}"):
        number = path.name[len(stem) + 1 : len(path.name) - len(suffix)]
        if number.isdigit():
            found[int(number)] = path
    wanted = Path(directory) / f"{stem}.1{suffix}"
    if not found:
        raise TableError(wanted, "no such file", mend="run the stage that makes it")
    if sorted(found) != list(range(1, len(found) + 1)):
        raise TableError(directory, f"{stem}.N{suffix}: parts {sorted(found)} have a gap", mend="rerun that stage")
    return [found[number] for number in sorted(found)]


# ---- matrices and vectors


def read_matrix_scp(name: str | os.PathLike[str], *, allow_commands: bool = True) -> MatrixTable:
    """The matrices (or vectors) of an scp: a mapping {key: float32 array}, each read when asked for.

    allow_commands: run the commands in the scp, else refuse them with a TableError.
    """
    kind, rest = split_specifier(name)
    if kind != "scp":
        raise TableError(rest, "is not an scp", mend="give an .scp file or scp:NAME")
    if kind_of(rest) != "pipe":
        return MatrixTable(read_text_table(rest, TableError), rest, allow_commands=allow_commands)
    lines = run_pipe(rest, error=TableError, allow=allow_commands, may_be_empty=True).decode().splitlines()
    return MatrixTable(dict(line.split(None, 1) for line in lines), rest, allow_commands=allow_commands)


class MatrixTable(Mapping[str, Array]):
    """{key: array} over extended file names; keeps the last archive open, so that reading in file order is fast."""

    def __init__(self, places: Mapping[str, str], source: str = "scp", *, allow_commands: bool = True) -> None:
        self.places, self.source, self.allow_commands = places, source, allow_commands
        self._open: tuple[str, int, IO[bytes]] | None = None

    def __getitem__(self, key: str) -> Array:
        where = f"{self.source}: {key}"
        name = self.places[key].strip()
        bounds = _RANGE.search(name)
        if bounds:
            name = name[: bounds.start()]
        value = self._read(name, where)
        return _cut(value, bounds["rows"], bounds["cols"], where) if bounds else value

    def _read(self, name: str, where: str) -> Array:
        place = place_of(name)
        if place is None:
            return read_matrix(name, where=where, allow_commands=self.allow_commands)
        path, offset = place
        if self._open is None or self._open[:2] != (path, os.getpid()):  # a forked worker opens its own
            self.close()
            with open_place(path, error=TableError, where=where):
                self._open = path, os.getpid(), open(path, "rb")  # noqa: SIM115
        stream = self._open[2]
        stream.seek(offset)
        return _parse_matrix(stream, where)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, key: object) -> bool:
        return key in self.places

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": None}

    def close(self) -> None:
        """Close the archive that is held open."""
        if self._open is not None:
            self._open[2].close()
            self._open = None

    def __del__(self) -> None:
        self.close()


def read_matrix(name: str | os.PathLike[str], *, where: str = "", allow_commands: bool = True) -> Array:
    """One matrix or vector from a file, place or pipe (global CMVN, final.mat, a line of an scp)."""
    text = os.fspath(name)
    if kind_of(text) == "pipe":
        output = run_pipe(text, error=TableError, where=where, allow=allow_commands)
        return _parse_matrix(io.BytesIO(output), where or text)
    with open_place(text, error=TableError, where=where) as stream:
        return _parse_matrix(stream, where or text)


def write_matrix(path: str | os.PathLike[str], matrix: Array) -> None:
    """One float32 matrix (or vector) as a file of its own, as Kaldi's final.mat."""
    with write_whole(path, "wb") as stream:
        stream.write(packed_matrix(np.asarray(matrix, np.float32)))


def read_matrix_ark(name: str | os.PathLike[str]) -> Iterator[tuple[str, Array]]:
    """Yield (key, array) in the order of an archive: path, .gz or pipe, binary or text."""
    if split_specifier(name)[0] == "scp":
        yield from read_matrix_scp(name).items()
        return
    where = split_specifier(name)[1]
    with open_archive(name) as stream:
        while (key := _read_key(stream, where)) is not None:
            yield key, _parse_matrix(stream, f"{where}: {key}")


class MatrixWriter:
    """Write matrices or vectors into an archive, with an index if asked for.  Both appear when the block ends well.

    ark: archive; scp: index or None.  compress: as copy-feats --compress=true.  The index names ``ark`` as given.
    """

    def __init__(
        self, ark: str | os.PathLike[str], scp: str | os.PathLike[str] | None = None, *, compress: bool = False
    ) -> None:
        self.ark, self.scp, self.compress = os.fspath(ark), scp, compress
        self.index: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> MatrixWriter:
        self._stack.__enter__()
        self._stream = self._stack.enter_context(write_whole(self.ark, "wb"))
        return self

    def write(self, key: str, value: Array) -> None:
        """Add one entry.  float64 stays float64 (as CMVN statistics), all else becomes float32.

        Raises TableError for a key with blanks, a key written before, and NaN or infinity.
        """
        self.write_packed(key, packed_matrix(value, compress=self.compress, where=f"{self.ark}: {key}"))

    def write_packed(self, key: str, packed: bytes) -> None:
        """Add an entry that `packed_matrix` made (in a worker)."""
        if not key or any(letter.isspace() for letter in key):
            raise TableError(self.ark, f"key {key!r} is empty or has blanks", mend="rename the utterance")
        if key in self.index:
            raise TableError(self.ark, f"key {key} written twice", mend="make the keys unique")
        self._stream.write(key.encode() + b" ")
        self.index[key] = f"{self.ark}:{self._stream.tell()}"
        self._stream.write(packed)

    def flush(self) -> None:
        """Put what was written so far on the disk; raises DiskError where it is full."""
        try:
            self._stream.flush()
        except OSError as error:
            raise disk_error(self.ark, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        closed = self._stack.__exit__(kind, error, trace)
        if error is None and self.scp is not None:
            with write_whole(self.scp) as stream:
                stream.writelines(f"{key} {place}\n" for key, place in self.index.items())
        return closed


def packed_matrix(value: Array, *, compress: bool = False, where: str = "matrix") -> bytes:
    """A matrix or vector as the bytes of an archive entry.  Raises TableError for NaN or infinity.

    float64 stays float64 (as CMVN statistics), all else becomes float32.
    """
    from kaldiio.matio import write_array

    array = np.asarray(value)
    array = np.ascontiguousarray(array, np.float64 if array.dtype == np.float64 else np.float32)
    if not np.isfinite(array).all():
        raise TableError(where, "the matrix has NaN or infinite values", mend="check what it was made of")
    if compress and array.ndim == 2 and array.size:
        return compressed.compress(array.astype(np.float32))
    if array.ndim == 2 and array.shape[0] == 0:
        array = np.zeros((0, 0), array.dtype)  # Kaldi's empty matrix has no columns
    stream = io.BytesIO()
    write_array(stream, array)
    return stream.getvalue()


def _parse_matrix(stream: IO[bytes], where: str) -> Array:
    from kaldiio.matio import read_kaldi

    try:
        start = stream.tell()
        head = stream.read(6)
        if head[:4] == b"\0BCM":
            kind = head[2:].split(b" ")[0].decode()
            stream.seek(start + 3 + len(kind))
            return compressed.decompress(stream, kind)
        stream.seek(start)
        value = read_kaldi(stream)
    except Exception as error:  # kaldiio answers damage with whatever its slicing raises
        problem = f"not a whole Kaldi matrix or vector ({type(error).__name__}: {error})"
        mend = "the archive is truncated or the offset is of another one: remake it"
        raise TableError(where, problem, mend=mend) from error
    if not isinstance(value, np.ndarray):
        raise TableError(where, "holds audio, not a matrix", mend="give a feature archive")
    return value


def _cut(value: Array, rows: str, cols: str | None, where: str) -> Array:
    """Kaldi's ``[0:9,2:5]``: ends are included; an end further past the last row than rounding explains is an error."""

    def bounds(text: str, size: int, past: int = 0) -> slice:
        if text in ("", ":"):
            return slice(None)
        first, _, last = text.partition(":")
        if not (first and last) or not int(first) <= int(last) < size + past or int(first) >= size:
            raise TableError(where, f"range {text} does not fit {size} entries", mend="correct the range in the scp")
        return slice(int(first), int(last) + 1)

    cut = value[bounds(rows, value.shape[0], past=ROWS_PAST)]
    return cut[:, bounds(cols, value.shape[1])] if cols else cut


def _read_key(stream: IO[bytes], where: str) -> str | None:
    """The next key; None at the end of the archive.  Leaves the stream after the blank that follows it."""
    try:
        return _parse_key(stream, where)
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise TableError(where, f"cannot be read ({error})", mend="the archive is damaged: remake it") from error


def _parse_key(stream: IO[bytes], where: str) -> str | None:
    letters = bytearray()
    while letter := stream.read(1):
        if letter in b" \t":
            if letters:
                break
        elif letter not in b"\r\n" or letters:
            letters += letter
            if letter == b"\n":  # a key without a value
                break
    if not letter and letters:
        raise TableError(where, f"ends inside the key {bytes(letters)!r}", mend="the archive is truncated: remake it")
    return letters.decode() if letters else None


# ---- text tables of numbers


def read_number_table(path: str | os.PathLike[str]) -> dict[str, float]:
    """{key: number} of a text table (utt2num_frames, utt2dur, spk2warp)."""
    numbers = {}
    for number, line in text_lines(path, TableError):
        parts = line.split()
        try:
            numbers[parts[0]] = float(parts[1])
        except (IndexError, ValueError) as error:
            problem = f"expected 'key number', got {line.strip()!r}"
            raise TableError(f"{os.fspath(path)}:{number}", problem, mend="make the table again") from error
    return numbers


__all__ = [
    "MatrixTable", "MatrixWriter", "numbered_files", "open_archive", "packed_matrix", "read_int_vectors",
    "read_matrix", "read_matrix_ark", "read_matrix_scp", "read_number_table", "split_specifier",
    "write_int_vectors", "write_matrix",
]  # fmt: skip
