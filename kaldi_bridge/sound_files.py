"""One sound file to samples and back: wav, flac, ogg, NIST sphere (also mu-law), through libsndfile.

Damage that libsndfile passes over is refused here: a header that promises more than the file holds, no samples at all,
NaN or infinity in float files.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harness.atomic import write_whole
from harness.errors import AudioError
from kaldi_bridge.extended_names import kind_of, open_place, place_of, run_pipe

Samples = NDArray[np.float32]
STREAMED = 0x7FFF0000  # data sizes from here on, and 0, mean "unknown: read to the end" in a wav written to a pipe
UNKNOWN_FRAMES = 1 << 60  # libsndfile gives a number above it for a FLAC whose encoder could not go back to its header
FLOATS = ("FLOAT", "DOUBLE")
RAW_FULL_SCALE = 32768.0
VORBIS_TAIL = 60  # seconds: longer than a page of Ogg
LOSSY_END = {"VORBIS": 8192, "OPUS": 5760}  # one block: what the last may lack of the length in the header


@dataclass(frozen=True)
class SoundInfo:
    """What a header says."""

    rate: int  # samples per second
    channels: int
    frames: int  # samples per channel
    subtype: str  # libsndfile's name of the encoding: PCM_16, ULAW, FLOAT, ...


def read_sound(
    name: str, *, where: str = "", allow_commands: bool = True, start: int = 0, stop: int | None = None
) -> tuple[Samples, SoundInfo]:
    """(float32 [frames, channels] in [-1, 1], header) of an extended file name; frames start:stop alone if given.

    Raises AudioError at ``where`` for everything that is wrong with it.
    """
    with open_sound(name, where=where, allow_commands=allow_commands) as (sound, info):
        stop = info.frames if stop is None else min(stop, info.frames)
        if start:
            seek_to(sound, info, start)
        samples = sound.read(max(0, stop - start), dtype="float32", always_2d=True)
    return checked(samples, max(0, stop - start), info, where or name), info


def seek_to(sound: Any, info: SoundInfo, frame: int) -> None:
    """Go to a frame of an open sound file.

    Within the last page of an Ogg Vorbis file libsndfile (1.2.2) lands beside it: from VORBIS_TAIL before the end on,
    what lies before the frame is read and let go.
    """
    safe = info.frames - VORBIS_TAIL * info.rate if info.subtype == "VORBIS" else frame
    sound.seek(min(frame, max(0, safe)))
    if frame > max(0, safe):
        sound.read(frame - max(0, safe), dtype="float32", always_2d=True)


@contextmanager
def open_sound(name: str, *, where: str = "", allow_commands: bool = True) -> Iterator[tuple[Any, SoundInfo]]:
    """(soundfile.SoundFile, header) of an extended file name; the header is checked against the size of the file."""
    where = where or name
    with _byte_stream(name, where, allow_commands) as stream, _sound_in(stream, where) as opened:
        yield opened


def sound_of(raw: bytes, where: str) -> tuple[Samples, SoundInfo]:
    """(float32 [frames, channels] in [-1, 1], header) of a sound file in memory, as a pipe brings it.

    Raises AudioError at ``where`` as read_sound does.
    """
    with _sound_in(_with_length(io.BytesIO(raw)), where) as (sound, info):
        samples = sound.read(info.frames, dtype="float32", always_2d=True)
    return checked(samples, info.frames, info, where), info


@contextmanager
def _sound_in(stream: IO[bytes], where: str) -> Iterator[tuple[Any, SoundInfo]]:
    import soundfile

    _check_size(stream, where)
    try:
        sound = soundfile.SoundFile(stream)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        problem = f"is not sound that can be read ({_reason(error)})"
        mend = (
            "give wav, flac, ogg or sph; convert others (ffmpeg -i IN OUT.wav), in wav.scp also by a command "
            "(sph2pipe ... |, ffmpeg ... |)"
        )
        raise AudioError(where, problem, mend=mend) from error
    with sound:
        if sound.frames <= 0:
            raise AudioError(where, "has no samples", mend="remove the recording, or record it again")
        if sound.frames > UNKNOWN_FRAMES:
            mend = "convert it to wav (ffmpeg -i IN OUT.wav), or let the command write wav"
            raise AudioError(where, f"does not tell its length, as a {sound.format} from a pipe", mend=mend)
        try:
            yield sound, SoundInfo(sound.samplerate, sound.channels, sound.frames, sound.subtype)
        except soundfile.LibsndfileError as error:
            problem = f"breaks off or is damaged ({_reason(error)})"
            raise AudioError(where, problem, mend="copy the file again from its source") from error
        except MemoryError as error:
            problem = f"promises {sound.frames} samples, more than there is memory for"
            mend = "copy the file again from its source, for its header may be damaged; or cut it into parts"
            raise AudioError(where, problem, mend=mend) from error


def checked(samples: Samples, expected: int, info: SoundInfo, where: str) -> Samples:
    """float32 [expected, channels]: refuses fewer than the header promised, and NaN or infinity in float files.

    Some encoders round the length of an Ogg file up; what its last block lacks is silence.
    """
    missing = expected - len(samples)
    if missing > LOSSY_END.get(info.subtype, 0):
        problem = f"is truncated: {expected} samples promised, {len(samples)} there"
        raise AudioError(where, problem, mend="copy the file again from its source")
    if info.subtype in FLOATS and not np.isfinite(samples).all():
        first = int(np.flatnonzero(~np.isfinite(samples).all(axis=1))[0])
        raise AudioError(where, f"holds NaN or infinity, first at sample {first}", mend="make the recording again")
    return np.pad(samples, ((0, missing), (0, 0))) if missing > 0 else samples


@contextmanager
def _byte_stream(name: str, where: str, allow_commands: bool) -> Iterator[IO[bytes]]:
    name = name.strip()
    kind = kind_of(name)
    if kind == "pipe":
        yield _with_length(io.BytesIO(run_pipe(name, error=AudioError, where=where, allow=allow_commands)))
    elif kind == "stdin":
        raise AudioError(where, "standard input is no recording of a data directory", mend="give a file or a command |")
    else:
        with open_place(name, error=AudioError, where=where) as stream:
            in_archive = kind == "place" and not os.path.exists(name) and place_of(name) is not None
            yield io.BytesIO(_archived(stream, where)) if in_archive else stream


def _with_length(stream: io.BytesIO) -> io.BytesIO:
    """A wav from a pipe with its real length in the header, where the program could only write 0 or the largest."""
    raw = stream.getvalue()
    if raw[:4] == b"RIFF" and raw[8:12] == b"WAVE":
        place, promised = _data_chunk(stream, len(raw))
        if place and (promised == 0 or promised >= STREAMED):
            stream.seek(place - 4)
            stream.write(struct.pack("<I", len(raw) - place))
    stream.seek(0)
    return stream


def _archived(stream: IO[bytes], where: str) -> bytes:
    """The sound at an offset of an archive: as long as its RIFF header says, or all that follows for other formats."""
    head = stream.read(8)
    if head[:4] != b"RIFF" or len(head) < 8:
        return head + stream.read()
    length = int.from_bytes(head[4:], "little")
    if length == 0 or length >= STREAMED:  # the recordings after it would be taken for its end
        mend = "write the archive from wav files with a length: sox IN.wav OUT.wav"
        raise AudioError(where, "is a wav of unknown length, which has no end in an archive", mend=mend)
    return head + stream.read(length)


def _check_size(stream: IO[bytes], where: str) -> None:
    """Compare the size in a wav or sphere header with what is there; leaves the stream where it was."""
    head = stream.read(12)
    if not head:
        raise AudioError(where, "is empty (0 bytes)", mend="copy the file again from its source")
    size = stream.seek(0, os.SEEK_END)
    promised, there = 0, 0
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        promised, there = _wav_data(stream, size)
    elif head[:7] == b"NIST_1A":
        promised, there = _sphere_data(stream, size)
    elif head[:4] == b"OggS" and not _ogg_ends(stream, size):
        raise AudioError(where, "is truncated: the last Ogg page is missing", mend="copy the file again")
    stream.seek(0)
    if promised > there:
        problem = f"is truncated: its header promises {promised} bytes of samples, {there} are there"
        raise AudioError(where, problem, mend="copy the file again from its source")


def _wav_data(stream: IO[bytes], size: int) -> tuple[int, int]:
    """(bytes promised, bytes there) of the data chunk; (0, 0) for a length that the header does not know."""
    place, promised = _data_chunk(stream, size)
    if not place:
        return 1, 0  # it breaks off before the samples
    return (0, 0) if promised == 0 or promised >= STREAMED else (promised, size - place)


def _data_chunk(stream: IO[bytes], size: int) -> tuple[int, int]:
    """(position of the first sample, bytes promised) of a wav; (0, 0) where there is no data chunk."""
    position = 12
    while position + 8 <= size:
        stream.seek(position)
        name, length = struct.unpack("<4sI", stream.read(8))
        if name == b"data":
            return position + 8, length
        position += 8 + length + length % 2
    return 0, 0


def _ogg_ends(stream: IO[bytes], size: int) -> bool:
    """Whether the last page is marked as the last (a page has at most 65307 bytes)."""
    stream.seek(max(0, size - 65307))
    tail = stream.read()
    page = tail.rfind(b"OggS")
    return page >= 0 and page + 5 < len(tail) and bool(tail[page + 5] & 4)


def _sphere_data(stream: IO[bytes], size: int) -> tuple[int, int]:
    stream.seek(0)
    lines = stream.read(1024).decode("ascii", "replace").split("\n")
    header = int(lines[1]) if len(lines) > 1 and lines[1].strip().isdigit() else 1024
    fields = {parts[0]: parts[2] for line in lines if len(parts := line.split()) == 3}
    if "shorten" in fields.get("sample_coding", ""):
        return 0, 0  # compressed: libsndfile will say that it cannot read it
    try:
        return (int(fields["sample_count"]) * int(fields["sample_n_bytes"]) * int(fields.get("channel_count", 1)),
                size - header)  # fmt: skip
    except (KeyError, ValueError):
        return 0, 0


def _reason(error: Exception) -> str:
    return str(error).split(": ", 1)[-1].rstrip(".") or type(error).__name__


# ---- writing


def to_pcm16(samples: Samples) -> tuple[NDArray[np.int16], int]:
    """(16-bit samples, how many had to be clipped) of float samples; full scale is 32768, rounded to the nearest."""
    scaled = np.rint(np.asarray(samples, np.float64) * RAW_FULL_SCALE)
    clipped = int(np.count_nonzero((scaled > 32767) | (scaled < -32768)))
    return np.clip(scaled, -32768, 32767).astype("<i2"), clipped


def write_wav(path: str | os.PathLike[str], samples: Samples, rate: int) -> int:
    """Write 16-bit wav, whole, from float32 [n] or [n, channels] in [-1, 1]; returns the number of clipped samples.

    Raises AudioError for NaN or infinity, DiskError where the disk is full.
    """
    array = np.asarray(samples, np.float32)
    with WavWriter(path, rate, channels=1 if array.ndim == 1 else array.shape[1]) as writer:
        writer.write(array)
    return writer.clipped


class WavWriter:
    """Write a 16-bit wav block by block, in constant memory; the file appears when the with block ends well."""

    def __init__(self, path: str | os.PathLike[str], rate: int, *, channels: int = 1) -> None:
        self.path, self.rate, self.channels = path, rate, channels
        self.frames = self.clipped = 0
        self._whole = write_whole(path, "wb")

    def __enter__(self) -> WavWriter:
        self._stream = self._whole.__enter__()
        self._stream.write(wav_header(0, self.rate, self.channels))
        return self

    def write(self, samples: Samples) -> None:
        """Append float32 [n] or [n, channels] in [-1, 1]."""
        array = np.asarray(samples, np.float32)
        if not np.isfinite(array).all():
            raise AudioError(self.path, "was to be written with NaN or infinite samples", mend="check what made them")
        pcm, clipped = to_pcm16(array)
        self._stream.write(pcm.tobytes())
        self.frames += len(array)
        self.clipped += clipped

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            if error is None:
                self._stream.seek(0)
                self._stream.write(wav_header(self.frames, self.rate, self.channels))
                self._stream.seek(0, os.SEEK_END)
        except OSError as full:
            return self._whole.__exit__(type(full), full, full.__traceback__)
        return self._whole.__exit__(kind, error, trace)


def wav_header(frames: int, rate: int, channels: int = 1) -> bytes:
    """The 44 bytes before 16-bit samples."""
    data = 2 * frames * channels
    fields = (1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    riff = b"RIFF" + struct.pack("<I", min(36 + data, 0xFFFFFFFF)) + b"WAVE"
    form = b"fmt " + struct.pack("<IHHIIHH", 16, *fields)
    return riff + form + b"data" + struct.pack("<I", min(data, 0xFFFFFFFF))
