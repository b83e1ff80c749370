"""Archives of 32-bit integer vectors: alignments, read and written fast, binary or text, packed or not."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.atomic import write_whole
from harness.errors import TableError
from kaldi_bridge.extended_names import open_archive, split_specifier

Array = NDArray[Any]


def read_int_vectors(name: str | os.PathLike[str]) -> dict[str, NDArray[np.int32]]:
    """All of an archive of integer vectors {key: int32 [n]}: path, .gz or pipe, binary or text."""
    where = split_specifier(name)[1]
    try:
        with open_archive(name) as stream:
            data = stream.read()
    except (EOFError, zlib.error, OSError) as error:
        raise TableError(where, f"cannot be read ({error})", mend="the archive is truncated: remake it") from error
    start = data.find(b" ")
    binary = data[start + 1 : start + 3] == b"\0B"
    return _binary_int_vectors(data, where) if binary else _text_int_vectors(data, where)


def _binary_int_vectors(data: bytes, where: str) -> dict[str, NDArray[np.int32]]:
    """``key \\0B \\4 size (\\4 value)*``, back to back."""
    element = np.dtype([("size", "i1"), ("value", "<i4")])
    vectors: dict[str, NDArray[np.int32]] = {}
    position = 0
    while position < len(data):
        blank = data.find(b" ", position)
        if blank < 0 or data[blank + 1 : blank + 4] != b"\0B\4" or blank + 8 > len(data):
            raise TableError(where, f"no integer vector at byte {position}", mend="it is truncated or of another kind")
        try:
            key = data[position:blank].decode()
        except UnicodeDecodeError as error:
            problem = f"the key at byte {position} is not UTF-8 text"
            raise TableError(where, problem, mend="rename the utterance, or remake the archive") from error
        (count,) = struct.unpack_from("<i", data, blank + 4)
        position = blank + 8 + 5 * count
        if count < 0 or position > len(data):
            raise TableError(f"{where}: {key}", "the archive ends inside this vector", mend="remake the archive")
        cells = np.frombuffer(data, element, count, blank + 8)
        if count and not (cells["size"] == 4).all():
            raise TableError(f"{where}: {key}", "is no vector of 32-bit integers", mend="give an archive of alignments")
        vectors[key] = np.ascontiguousarray(cells["value"], np.int32)
    return vectors


def _text_int_vectors(data: bytes, where: str) -> dict[str, NDArray[np.int32]]:
    vectors: dict[str, NDArray[np.int32]] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            key, *values = line.split()
            vectors[key.decode()] = np.array([int(value) for value in values], np.int32)
        except (ValueError, OverflowError) as error:
            raise TableError(f"{where}:{number}", f"expected integers ({error})", mend="give alignments") from error
    return vectors


def write_int_vectors(
    path: str | os.PathLike[str], items: Mapping[str, Array] | Iterable[tuple[str, Array]], *, text: bool = False
) -> None:
    """Write integer vectors as an archive, binary or text, packed if the name ends in .gz; the same bytes each time."""
    pairs = items.items() if isinstance(items, Mapping) else items
    with write_whole(path, "wb") as stream:
        if os.fspath(path).endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6) as packed:
                _put_int_vectors(packed, pairs, text)
        else:
            _put_int_vectors(stream, pairs, text)


def _put_int_vectors(stream: Any, pairs: Iterable[tuple[str, Array]], text: bool) -> None:
    for key, values in pairs:
        array = np.asarray(values)
        if text:
            stream.write(f"{key} {' '.join(map(str, array.tolist()))} \n".encode())
            continue
        cells = np.empty(len(array), np.dtype([("size", "i1"), ("value", "<i4")]))
        cells["size"], cells["value"] = 4, array
        stream.write(key.encode() + b" \0B\4" + struct.pack("<i", len(array)) + cells.tobytes())
