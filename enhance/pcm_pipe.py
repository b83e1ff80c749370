"""PCM sound through pipes, as it comes: raw samples, or a wav whose length nobody knows yet.  Mono."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np

from harness.errors import AudioError
from kaldi_bridge.sound_files import STREAMED, to_pcm16

Encoding = Literal["s16le", "f32le"]
WHERE = "standard input"
DTYPES: dict[str, str] = {"s16le": "<i2", "f32le": "<f4"}
FORMAT_TAGS = {(1, 16): "s16le", (3, 32): "f32le"}  # (kind, bits a sample) in a wav's header
EXTENSIBLE = 0xFFFE  # the kind stands further back in the header
OPEN_END = 0x7FFFF000  # bytes of samples that a wav in a pipe promises, as sox writes it: "to the end"


@dataclass(frozen=True, kw_only=True)
class PcmFormat:
    rate: int  # samples a second
    encoding: Encoding
    wav: bool  # a header first

    @property
    def width(self) -> int:
        """Bytes a sample."""
        return np.dtype(DTYPES[self.encoding]).itemsize


class PcmReader:
    """Samples of a binary stream, block by block.  form: of raw samples; None reads it from a wav's header.

    Raises AudioError, as `blocks` does: no PCM, several channels, an end inside a sample or before the promised one.
    """

    def __init__(self, stream: BinaryIO, form: PcmFormat | None = None) -> None:
        self.stream = stream
        self.promised: int | None = None  # bytes of samples, where the header knows it
        self.form = form or self._header()

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield float32 [size] in [-1, 1] each time that many samples are there; the last one may be shorter."""
        width, left = self.form.width, self.promised
        while left is None or left > 0:
            want = size * width if left is None else min(left, size * width)
            data = self.stream.read(want)
            if whole := len(data) // width:
                yield self._decoded(data[: whole * width])
            if len(data) < want:
                self._check_end(len(data) % width, None if left is None else left - len(data))
                return
            left = None if left is None else left - want
        while self.stream.read(65536):
            pass  # what follows the samples of a wav

    def _decoded(self, data: bytes) -> np.ndarray:
        samples = np.frombuffer(data, DTYPES[self.form.encoding])
        if self.form.encoding == "s16le":
            return samples.astype(np.float32) / 32768
        if not np.isfinite(samples).all():
            raise AudioError(WHERE, "holds NaN or infinity", mend="check that it is f32le at all")
        return samples.astype(np.float32)

    def _check_end(self, odd: int, lacking: int | None) -> None:
        """At the end of the stream.  odd: bytes of a sample begun.  lacking: bytes still promised."""
        if odd:
            problem = f"breaks off inside a sample: {odd} of {self.form.width} bytes"
            raise AudioError(WHERE, problem, mend="check the program before the pipe, and --raw")
        if lacking:
            problem = f"breaks off: its header promises {lacking} bytes more"
            raise AudioError(WHERE, problem, mend="check the program before the pipe")

    def _header(self) -> PcmFormat:
        start = self._read(12)
        if start[:4] != b"RIFF" or start[8:12] != b"WAVE":
            mend = "send wav, or say what it is: --raw s16le --rate 16000"
            raise AudioError(WHERE, "is no wav", mend=mend)
        form: PcmFormat | None = None
        while True:
            name, length = struct.unpack("<4sI", self._read(8))
            if name == b"data":
                break
            body = self._read(length + length % 2)
            if name == b"fmt ":
                form = _form(body)
        if form is None:
            raise AudioError(WHERE, "is a wav whose samples come before their format", mend="write it anew with sox")
        self.promised = None if length == 0 or length >= STREAMED else length
        return form

    def _read(self, count: int) -> bytes:
        data = self.stream.read(count)
        if len(data) < count:
            raise AudioError(WHERE, "ends before any samples", mend="check the program before the pipe")
        return data


def _form(header: bytes) -> PcmFormat:
    """What the format chunk of a wav says; refuses all but mono 16-bit and 32-bit float samples."""
    if len(header) < 16:
        raise AudioError(WHERE, "has a damaged wav header", mend="check the program before the pipe")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", header[:16])
    if kind == EXTENSIBLE and len(header) >= 26:
        (kind,) = struct.unpack("<H", header[24:26])
    encoding = FORMAT_TAGS.get((kind, bits))
    if encoding is None:
        problem = f"holds samples of {bits} bits (kind {kind}), not 16-bit or float PCM"
        raise AudioError(WHERE, problem, mend="convert before the pipe: sox ... -b 16 -e signed -t wav - | ...")
    if channels != 1:
        raise AudioError(WHERE, f"has {channels} channels, not one", mend="mix before the pipe: sox ... remix - | ...")
    return PcmFormat(rate=rate, encoding="s16le" if encoding == "s16le" else "f32le", wav=True)


class PcmWriter:
    """Samples to a binary stream, flushed at once; a wav header of open length first."""

    def __init__(self, stream: BinaryIO, form: PcmFormat) -> None:
        self.stream, self.form = stream, form
        self.samples = self.clipped = 0
        if form.wav:
            stream.write(_open_header(form))
            stream.flush()

    def write(self, samples: np.ndarray) -> None:
        """float32 [samples]; beyond full scale 16-bit samples are cut and counted."""
        if not len(samples):
            return
        if self.form.encoding == "s16le":
            values, clipped = to_pcm16(samples)
            self.clipped += clipped
            self.stream.write(values.astype("<i2").tobytes())
        else:
            self.stream.write(samples.astype("<f4").tobytes())
        self.samples += len(samples)
        self.stream.flush()


def _open_header(form: PcmFormat) -> bytes:
    kind = next(kind for (kind, _), name in FORMAT_TAGS.items() if name == form.encoding)
    width = form.width
    body = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, 1, form.rate, form.rate * width, width, 8 * width)
    return b"RIFF" + struct.pack("<I", OPEN_END + 36) + b"WAVE" + body + b"data" + struct.pack("<I", OPEN_END)
