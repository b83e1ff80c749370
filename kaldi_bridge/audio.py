"""The audio of a data directory: wav.scp, segments and channels to mono float32 samples in [-1, 1].

Segments are cut as Kaldi's extract-segments cuts them.  A stereo recording needs a channel (reco2file_and_channel, or a
fifth field in segments); another sample rate is an error unless resampling is asked for, and is then counted and said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType

import numpy as np

from harness.errors import AudioError, DataDirError
from harness.log import get_logger
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.sound_files import (
    Samples,
    SoundInfo,
    WavWriter,
    checked,
    open_sound,
    read_sound,
    seek_to,
    write_wav,
)
from kaldi_bridge.text_tables import fields_of

MAX_OVERSHOOT = 0.5  # seconds a segment may reach past its recording and is cut; extract-segments --max-overshoot
RESAMPLE_QUALITY = "HQ"  # of soxr: linear phase, 20 bit
RESAMPLE_MEND = "convert the recording (sox IN -r RATE OUT), or pass --resample to a command that has it"
CHANNEL_NAMES = {"A": 0, "B": 1, "1": 0}


class AudioTable:
    """Random access to the utterances of a data directory.

    sample_rate: what is delivered; None delivers every recording at its own rate.  resample: convert other rates (soxr
    HQ) instead of refusing them.  allow_commands: run the commands in wav.scp.
    """

    def __init__(
        self, data: DataDir, *, sample_rate: int | None = 16000, resample: bool = False, allow_commands: bool = True
    ) -> None:
        if data.wav_scp is None:
            raise DataDirError(data.path / "wav.scp", "no such file", mend="make wav.scp, or use another directory")
        self.data, self.sample_rate, self.resample, self.allow_commands = data, sample_rate, resample, allow_commands
        self.wav_scp = data.wav_scp
        self.resampled: Counter[int] = Counter()  # utterances by the rate they were converted from
        self._piped: tuple[str, tuple[Samples, SoundInfo]] | None = None  # the last command's output, for its segments

    def read(self, utterance: str) -> Samples:
        """The samples [n] of an utterance, mono, float32 in [-1, 1].  Raises AudioError that names it."""
        samples, rate = self.read_native(utterance)
        if self.sample_rate is None or rate == self.sample_rate:
            return samples
        if not self.resample:
            problem = f"has {rate} samples a second where {self.sample_rate} are expected"
            raise AudioError(self._where(utterance), problem, mend=RESAMPLE_MEND)
        self.resampled[rate] += 1
        return resample(samples, rate, self.sample_rate)

    def read_native(self, utterance: str) -> tuple[Samples, int]:
        """(samples [n], rate) of an utterance at the rate of its recording."""
        where = self._where(utterance)
        recording, start, end, channel = self.data.segment_of(utterance)
        name = self._name(recording, where)
        if self.data.segments is None:
            samples, info = read_sound(name, where=where, allow_commands=self.allow_commands)
        elif name.endswith("|"):
            whole, info = self._pipe_of(recording, name, where)
            first, last = segment_bounds(start, end, info, where)
            samples = whole[first:last]
        else:
            with open_sound(name, where=where, allow_commands=self.allow_commands) as (_, info):
                first, last = segment_bounds(start, end, info, where)
            samples, info = read_sound(name, where=where, start=first, stop=last)
        return self._one_channel(samples, info, recording, channel, where), info.rate

    def info(self, utterance: str) -> SoundInfo:
        """Rate, channels, encoding and number of samples of an utterance, from its header where there is one."""
        where = self._where(utterance)
        recording, start, end, _ = self.data.segment_of(utterance)
        name = self._name(recording, where)
        if name.endswith("|"):
            info = self._pipe_of(recording, name, where)[1]
        else:
            with open_sound(name, where=where, allow_commands=self.allow_commands) as (_, info):
                pass
        first, last = (0, info.frames) if self.data.segments is None else segment_bounds(start, end, info, where)
        return SoundInfo(info.rate, info.channels, last - first, info.subtype)

    def duration(self, utterance: str) -> float:
        """Seconds of an utterance."""
        info = self.info(utterance)
        return info.frames / info.rate

    def blocks(self, utterance: str, size: int) -> Iterator[Samples]:
        """The samples of an utterance in blocks of ``size``, in constant memory for plain files; the rate must fit.

        A recording that has to be resampled is held whole.
        """
        where = self._where(utterance)
        recording, start, end, channel = self.data.segment_of(utterance)
        name = self._name(recording, where)
        with open_sound(name, where=where, allow_commands=self.allow_commands) as (sound, info):
            if self.sample_rate not in (None, info.rate):
                samples = self.read(utterance)
                yield from (samples[i : i + size] for i in range(0, len(samples), size))
                return
            first, last = (0, info.frames) if self.data.segments is None else segment_bounds(start, end, info, where)
            if first:  # GSM 6.10 cannot seek
                seek_to(sound, info, first)
            while first < last:
                wanted = min(size, last - first)
                block = checked(sound.read(wanted, dtype="float32", always_2d=True), wanted, info, where)
                first += len(block)
                yield self._one_channel(block, info, recording, channel, where)

    def say_resampled(self) -> None:
        """Log, once, how many utterances were converted from which rates."""
        if self.resampled:
            text = ", ".join(f"{count} from {rate} Hz" for rate, count in sorted(self.resampled.items()))
            logger = get_logger("kaldi_bridge")
            logger.info(
                "%s: resampled to %s Hz (soxr %s): %s", self.data.path, self.sample_rate, RESAMPLE_QUALITY, text
            )
            self.resampled.clear()

    def __enter__(self) -> AudioTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.say_resampled()

    def _where(self, utterance: str) -> str:
        return f"{self.data.path}: utterance {utterance}"

    def _name(self, recording: str, where: str) -> str:
        if recording not in self.wav_scp:
            problem = f"recording {recording} is not in wav.scp"
            raise AudioError(where, problem, mend="validate the directory: python -m kaldi_bridge validate")
        return self.wav_scp[recording].strip()

    def _pipe_of(self, recording: str, name: str, where: str) -> tuple[Samples, SoundInfo]:
        if self._piped is None or self._piped[0] != recording:
            self._piped = recording, read_sound(name, where=where, allow_commands=self.allow_commands)
        return self._piped[1]

    def _one_channel(
        self, samples: Samples, info: SoundInfo, recording: str, channel: int | None, where: str
    ) -> Samples:
        if channel is None and info.channels > 1:
            line = self.data.tables.get("reco2file_and_channel", {}).get(recording, "")
            channel = CHANNEL_NAMES.get(fields_of(line)[-1] if line else "")
        if channel is None and info.channels > 1:
            mend = "name one in reco2file_and_channel ('<recording> <file> A' or B) or mix it down"
            raise AudioError(where, f"has {info.channels} channels and none is chosen", mend=mend)
        if channel is not None and not 0 <= channel < info.channels:
            raise AudioError(
                where, f"has no channel {channel}, only {info.channels}", mend="correct the channel (from 0)"
            )
        return np.ascontiguousarray(samples[:, channel or 0])


def read_utterances(
    data: DataDir, *, sample_rate: int | None = 16000, resample: bool = False, allow_commands: bool = True,
    utterances: Iterable[str] | None = None,
) -> Iterator[tuple[str, Samples]]:  # fmt: skip
    """Yield (utterance, samples [n]) in sorted order; resampling is logged once at the end.  Raises AudioError."""
    with AudioTable(data, sample_rate=sample_rate, resample=resample, allow_commands=allow_commands) as table:
        for utterance in data.utterances if utterances is None else utterances:
            yield utterance, table.read(utterance)


def segment_bounds(start: float, end: float, info: SoundInfo, where: str) -> tuple[int, int]:
    """(first, past last) sample of a segment; an end a little late (MAX_OVERSHOOT) is cut, -1 is the end."""
    first = int(start * info.rate + 0.5)
    last = info.frames if end < 0 else int(end * info.rate + 0.5)
    total = info.frames / info.rate
    if last > info.frames + int(MAX_OVERSHOOT * info.rate) or not 0 <= first < info.frames:
        problem = f"the segment {start:g} to {end:g} s lies outside its recording of {total:.2f} s"
        raise AudioError(where, problem, mend="correct the times in segments")
    last = min(last, info.frames)
    if last <= first:
        raise AudioError(where, f"the segment {start:g} to {end:g} s is empty", mend="correct the times in segments")
    return first, last


def resample(samples: Samples, from_rate: float, to_rate: float) -> Samples:
    """Samples [n] at another rate (soxr, high quality): [round(n * to / from)], float32."""
    import soxr

    return np.asarray(soxr.resample(samples, from_rate, to_rate, quality=RESAMPLE_QUALITY), np.float32)


__all__ = [
    "AudioTable", "Samples", "SoundInfo", "WavWriter", "read_sound", "read_utterances", "resample", "segment_bounds",
    "write_wav",
]  # fmt: skip
