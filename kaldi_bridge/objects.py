"""The tokens, numbers, vectors and matrices that Kaldi objects are made of: read from binary and text, written binary.

Format: kaldi's base/io-funcs and matrix/*.  A file starts with the two bytes "\\0B" if binary; a token ends in a space;
a basic type is preceded by its size in bytes (negative if unsigned), a vector of ints by its length, a float vector by
"FV ".  Both readers offer the same methods, so that every object has one parser.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import ModelError

BINARY_MARK = b"\0B"
FloatArray = NDArray[np.float32]
MEND = "check that the file is a whole Kaldi object of this kind; make it again if it was cut short"


class ObjectReader(Protocol):
    """What a parser of a Kaldi object needs; every method raises ModelError naming the file and the place."""

    binary: bool

    def token(self, expected: str | None = None) -> str: ...
    def peek(self) -> str: ...
    def integer(self) -> int: ...
    def real(self) -> float: ...
    def integers(self) -> list[int]: ...
    def vector(self) -> FloatArray: ...
    def matrix(self) -> FloatArray: ...
    def finish(self) -> None: ...


class BinaryReader:
    """Reads a binary Kaldi object from memory."""

    binary = True

    def __init__(self, data: bytes, where: str, position: int = 2) -> None:
        self.data, self.where, self.position = data, where, position

    def _fail(self, problem: str) -> ModelError:
        return ModelError(f"{self.where}:byte {self.position}", problem, mend=MEND)

    def _word_end(self) -> int:
        end = self.data.find(b" ", self.position, self.position + 200)
        if end < 0:
            raise self._fail("expected a token, found the end of the file or bytes that are no token")
        return end

    def peek(self) -> str:
        return self.data[self.position : self._word_end()].decode(errors="replace")

    def token(self, expected: str | None = None) -> str:
        word = self.peek()
        if expected is not None and word != expected:
            raise self._fail(f"expected the token {expected!r}, found {word[:40]!r}")
        self.position = self._word_end() + 1
        return word

    def _basic(self, layout: str, sizes: tuple[int, ...]) -> bytes:
        raw = self.data[self.position : self.position + 5]
        if len(raw) < 5:
            raise self._fail("the file ends in the middle of a number")
        if raw[0] not in sizes:
            raise self._fail(f"expected a 4-byte {layout}, found size byte {raw[0]}")
        self.position += 5
        return raw[1:]

    def integer(self) -> int:
        return int(struct.unpack("<i", self._basic("integer", (4, 0xFC)))[0])

    def real(self) -> float:
        return float(struct.unpack("<f", self._basic("float", (4,)))[0])

    def _array(self, dtype: str, count: int) -> NDArray[np.generic]:
        size = np.dtype(dtype).itemsize * count
        if count < 0 or self.position + size > len(self.data):
            raise self._fail(f"{count} numbers announced, but the file ends after {len(self.data)} bytes")
        values = np.frombuffer(self.data, dtype, count, self.position).copy()
        self.position += size
        return values

    def integers(self) -> list[int]:
        return [int(value) for value in self._array("<i4", self.integer())]

    def _float_type(self, single: str, double: str) -> str:
        kind = self.token()
        if kind not in (single, double):
            raise self._fail(f"expected {single!r} or {double!r}, found {kind[:40]!r}")
        return "<f4" if kind == single else "<f8"

    def vector(self) -> FloatArray:
        dtype = self._float_type("FV", "DV")
        return self._array(dtype, self.integer()).astype(np.float32)

    def matrix(self) -> FloatArray:
        dtype = self._float_type("FM", "DM")
        rows, columns = self.integer(), self.integer()
        if rows < 0 or columns < 0:
            raise self._fail(f"a matrix of {rows} rows and {columns} columns")
        return self._array(dtype, rows * columns).astype(np.float32).reshape(rows, columns)

    def finish(self) -> None:
        if self.position != len(self.data):
            raise self._fail(f"{len(self.data) - self.position} bytes follow the end of the object")


class TextReader:
    """Reads a Kaldi object in text mode (`--binary=false`): the same tokens, split at white space."""

    binary = False

    def __init__(self, text: str, where: str) -> None:
        self.words, self.where, self.position = _words_of(text), where, 0

    def _fail(self, problem: str) -> ModelError:
        return ModelError(f"{self.where}:word {self.position + 1}", problem, mend=MEND)

    def peek(self) -> str:
        if self.position >= len(self.words):
            raise self._fail("the file ends too early")
        return self.words[self.position]

    def token(self, expected: str | None = None) -> str:
        word = self.peek()
        if expected is not None and word != expected:
            raise self._fail(f"expected the token {expected!r}, found {word[:40]!r}")
        self.position += 1
        return word

    def integer(self) -> int:
        word = self.token()
        try:
            return int(word)
        except ValueError:
            raise self._fail(f"expected a whole number, found {word[:40]!r}") from None

    def real(self) -> float:
        word = self.token()
        try:
            return float(np.float32(word))
        except ValueError:
            raise self._fail(f"expected a number, found {word[:40]!r}") from None

    def _bracketed(self) -> list[str]:
        self.token("[")
        start = self.position
        while self.peek() != "]":
            self.position += 1
        self.position += 1
        return self.words[start : self.position - 1]

    def integers(self) -> list[int]:
        try:
            return [int(word) for word in self._bracketed()]
        except ValueError:
            raise self._fail("expected whole numbers between brackets") from None

    def vector(self) -> FloatArray:
        return self._floats(self._bracketed())

    def _floats(self, words: list[str]) -> FloatArray:
        try:
            return np.array(words, dtype=np.float32)
        except ValueError:
            raise self._fail("expected numbers between brackets") from None

    def matrix(self) -> FloatArray:
        """Rows end at line ends, kept by `_words_of` as ";" between the brackets."""
        rows = [row.split() for row in " ".join(self._bracketed()).split(";") if row.strip()]
        if len({len(row) for row in rows}) > 1:
            raise self._fail("the rows of a matrix differ in length")
        return self._floats([word for row in rows for word in row]).reshape(len(rows), -1 if rows else 0)

    def finish(self) -> None:
        if self.position != len(self.words):
            raise self._fail(f"{len(self.words) - self.position} words follow the end of the object")


def _words_of(text: str) -> list[str]:
    """Words of a text object; inside a bracket a line end that separates two rows of numbers becomes the word ';'."""
    words: list[str] = []
    inside = False
    for line in text.split("\n"):
        fields = line.replace("[", " [ ").replace("]", " ] ").split()
        if inside and fields and words[-1] != "[" and fields[0] != "]":
            words.append(";")
        for field in fields:
            inside = field == "[" or (inside and field != "]")
        words.extend(fields)
    return words


class ObjectWriter:
    """Collects a binary Kaldi object; `data()` is the whole file."""

    def __init__(self) -> None:
        self._bytes = bytearray(BINARY_MARK)

    def token(self, word: str) -> ObjectWriter:
        self._bytes += word.encode() + b" "
        return self

    def integer(self, value: int, *, unsigned: bool = False) -> ObjectWriter:
        self._bytes += struct.pack("<BI", 0xFC, value) if unsigned else struct.pack("<Bi", 4, value)
        return self

    def real(self, value: float) -> ObjectWriter:
        self._bytes += struct.pack("<Bf", 4, value)
        return self

    def integers(self, values: list[int]) -> ObjectWriter:
        self.integer(len(values))
        self._bytes += np.asarray(values, "<i4").tobytes()
        return self

    def vector(self, values: NDArray[np.floating]) -> ObjectWriter:
        self.token("FV").integer(len(values))
        self._bytes += np.ascontiguousarray(values, "<f4").tobytes()
        return self

    def matrix(self, values: NDArray[np.floating]) -> ObjectWriter:
        self.token("FM").integer(values.shape[0]).integer(values.shape[1])
        self._bytes += np.ascontiguousarray(values, "<f4").tobytes()
        return self

    def data(self) -> bytes:
        return bytes(self._bytes)


def unzipped(data: bytes, path: str | Path) -> bytes:
    """The content of a gzipped file; other bytes as they are. Raises ModelError naming `path` if it is damaged."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ModelError(path, f"is a damaged gzip file ({error})", mend=MEND) from None


def open_object(path: str | Path) -> ObjectReader:
    """A reader for the Kaldi object in `path` (binary or text, gzipped or not)."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(path, f"cannot be read: {error.strerror}", mend="check the path") from None
    data = unzipped(data, path)
    if data[:2] == BINARY_MARK:
        return BinaryReader(data, str(path))
    try:
        return TextReader(data.decode(), str(path))
    except UnicodeDecodeError:
        raise ModelError(path, "is neither a binary nor a text Kaldi object", mend=MEND) from None
