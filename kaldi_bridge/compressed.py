"""Kaldi's compressed matrices, to the bit: what copy-feats --compress=true writes, and back.

Format CM (speech features, more than 8 rows): four percentiles a column in 16 bits, then a byte a value, linear
between the percentiles.  CM2, CM3: 16 or 8 bits a value, linear.  Kaldi's matrix/compressed-matrix.cc; every step is
done in the precision that Kaldi uses, so that feature dumps, CMVN statistics and alignments agree exactly.
"""

from __future__ import annotations

import struct
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
HEADER = struct.Struct("<ffii")  # minimum, range, rows, columns
PER_65535 = np.float32(1.52590218966964e-05)  # as Kaldi spells it
SMALL_ROWS = 8  # up to here percentiles do not pay


def decompress(stream: IO[bytes], kind: str) -> Floats:
    """The matrix [rows, columns] after the token ``kind`` ("CM", "CM2" or "CM3").  ValueError if it breaks off."""
    head = stream.read(HEADER.size)
    if len(head) < HEADER.size:
        raise ValueError("the archive ends inside a matrix header")
    low, extent, rows, columns = HEADER.unpack(head)
    if rows < 0 or columns < 0:
        raise ValueError(f"impossible size {rows} x {columns}")
    low, extent = np.float32(low), np.float32(extent)
    match kind:
        case "CM":
            percentiles = _take(stream, "<u2", 4 * columns).reshape(columns, 4)
            points = low + extent * PER_65535 * percentiles.astype(np.float32)
            codes = _take(stream, "u1", rows * columns).reshape(columns, rows)
            return np.ascontiguousarray(np.take_along_axis(_values(points), codes.astype(np.intp), axis=1).T)
        case "CM2":
            step = np.float32(float(extent) * (1 / 65535))
            return low + _take(stream, "<u2", rows * columns).reshape(rows, columns) * step
        case "CM3":
            step = np.float32(float(extent) * (1 / 255))
            return low + _take(stream, "u1", rows * columns).reshape(rows, columns) * step
        case _:
            raise ValueError(f"unknown compressed matrix {kind!r}")


def _take(stream: IO[bytes], dtype: str, count: int) -> NDArray[Any]:
    size = count * np.dtype(dtype).itemsize
    raw = stream.read(size)
    if len(raw) < size:
        raise ValueError(f"the archive ends inside a matrix: {len(raw)} of {size} bytes")
    return np.frombuffer(raw, dtype)


def _values(points: Floats) -> Floats:
    """[columns, 256]: what each byte means, given the percentiles 0, 25, 75, 100 [columns, 4] of the columns."""
    p0, p25, p75, p100 = (points[:, i, None] for i in range(4))
    code = np.arange(256, dtype=np.float32)
    table = np.empty((len(points), 256), np.float64)
    table[:, :65] = p0 + ((p25 - p0) * code[:65]).astype(np.float64) * (1 / 64)
    table[:, 65:193] = p25 + ((p75 - p25) * (code[65:193] - 64)).astype(np.float64) * (1 / 128)
    table[:, 193:] = p75 + ((p100 - p75) * (code[193:] - 192)).astype(np.float64) * (1 / 63)
    return table.astype(np.float32)


def compress(matrix: Floats) -> bytes:
    """An archive entry (with its \\0B) of a finite float32 matrix [rows, columns]; Kaldi's automatic method."""
    rows, columns = matrix.shape
    low, high = np.float32(matrix.min()), np.float32(matrix.max())
    if low == high:
        high = low + np.float32(1 + abs(low))
    extent = np.float32(high - low)
    header = HEADER.pack(low, extent, rows, columns)
    if rows <= SMALL_ROWS:
        return b"\0BCM2 " + header + _to_16_bits(matrix, low, extent).astype("<u2").tobytes()
    percentiles = _percentiles(matrix, low, extent)
    points = low + extent * PER_65535 * percentiles.astype(np.float32)
    return b"\0BCM " + header + percentiles.astype("<u2").tobytes() + _codes(matrix.T, points).tobytes()


def _to_16_bits(values: Floats, low: np.float32, extent: np.float32) -> NDArray[np.int64]:
    share = np.clip((values - low) / extent, np.float32(0), np.float32(1))
    codes: NDArray[np.int64] = ((share * np.float32(65535)).astype(np.float64) + 0.499).astype(np.int64)
    return codes


def _percentiles(matrix: Floats, low: np.float32, extent: np.float32) -> NDArray[np.int64]:
    """[columns, 4] in 16 bits: percentiles 0, 25, 75, 100, strictly rising."""
    quarter = len(matrix) // 4
    places = [0, quarter, 3 * quarter, len(matrix) - 1]
    ranked = np.partition(matrix, places, axis=0)[places]
    coded = _to_16_bits(ranked.T, low, extent)
    coded[:, 0] = np.minimum(coded[:, 0], 65532)
    coded[:, 1] = np.minimum(np.maximum(coded[:, 1], coded[:, 0] + 1), 65533)
    coded[:, 2] = np.minimum(np.maximum(coded[:, 2], coded[:, 1] + 1), 65534)
    coded[:, 3] = np.maximum(coded[:, 3], coded[:, 2] + 1)
    return coded


def _codes(values: Floats, points: Floats) -> NDArray[np.uint8]:
    """[columns, rows] bytes of values [columns, rows]."""
    p0, p25, p75, p100 = (points[:, i, None] for i in range(4))
    below = np.clip(_rounded((values - p0) / (p25 - p0) * 64), 0, 64)
    middle = np.clip(64 + _rounded((values - p25) / (p75 - p25) * 128), 64, 192)
    above = np.clip(192 + _rounded((values - p75) / (p100 - p75) * 63), 192, 255)
    return np.where(values < p25, below, np.where(values < p75, middle, above)).astype(np.uint8)


def _rounded(values: Floats) -> NDArray[np.int32]:
    return (values.astype(np.float64) + 0.5).astype(np.int32)
