"""Utterances to hear and see: where enhancement took away most errors, and where it made most.

Sound goes into the page as it was recognised (FLAC), so that nobody judges the artefacts of a codec; MP3 and Opus are
there for small pages.  Spectrograms: 25 ms Hann windows every 10 ms, 0 to half the rate, 60 dB below the loudest of the
three pictures of an utterance.
"""

from __future__ import annotations

import base64
import csv
import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from am.reporting.findings import Findings
from am.wer import align_words
from am.wer_details import operation
from harness.errors import DataDirError, SchoolyardError
from kaldi_bridge.audio import AudioTable
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.text_tables import fields_of, read_text_table

AudioFormat = Literal["flac", "mp3", "opus"]
FORMATS: dict[AudioFormat, tuple[str, str, str]] = {  # of libsndfile, and the type for the browser
    "flac": ("FLAC", "PCM_16", "audio/flac"),
    "mp3": ("MP3", "MPEG_LAYER_III", "audio/mpeg"),
    "opus": ("OGG", "OPUS", "audio/ogg"),
}
VERSIONS = {"noisy": "noisy", "enhanced": "enhanced", "clean": "clean"}  # test condition -> how it is called
RANGE = 60.0  # dB shown
BANDS, SHADES = 128, 48  # rows of a spectrogram, and its steps from dark to light
COLOURS = ("#000004", "#1c1044", "#4f127b", "#812581", "#b5367a", "#e55964", "#fb8761", "#fec287", "#fcfdbf")


@dataclass(frozen=True, kw_only=True)
class Version:
    """An utterance in one condition: how it sounds and looks (data: URIs, empty where there is no sound)."""

    name: str
    sound: str
    picture: str


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was recognised in one condition.  pairs: (reference word, recognised word, operation C, S, I or D)."""

    name: str
    errors: int
    pairs: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Example:
    utterance: str
    facts: str  # speaker, age, SNR, length
    words: int
    change: int  # errors after enhancement less errors before
    transcripts: tuple[Transcript, ...]
    versions: tuple[Version, ...]

    @property
    def title(self) -> str:
        many = "error" if abs(self.change) == 1 else "errors"
        return f"{abs(self.change)} {many} {'fewer' if self.change < 0 else 'more'}"


@dataclass(frozen=True, kw_only=True)
class Examples:
    wins: tuple[Example, ...]
    losses: tuple[Example, ...]
    silent: int  # examples whose sound does not fit into the page or cannot be read
    problem: str  # of the first of these


def read_hypotheses(folder: Path) -> dict[str, tuple[str, ...]]:
    """Utterance -> recognised words, from per_utt.tsv of a scored decoding."""
    with open(folder / "per_utt.tsv", encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["utterance"]: tuple(fields_of(row.get("hypothesis") or "")) for row in rows}


def ranked(findings: Findings, many: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The utterances with most errors taken away and most made by enhancement, as (utterance, change in errors).

    Ties: shorter references first, since there the change weighs more; then by name.
    """
    before, after = findings.errors(findings.main, "noisy"), findings.errors(findings.main, "enhanced")
    if before is None or after is None or before.utterances != after.utterances:
        return [], []
    rows = [
        (int(new - old), int(words), utterance)
        for utterance, words, old, new in zip(before.utterances, before.words, before.errors, after.errors, strict=True)
    ]
    wins = sorted(row for row in rows if row[0] < 0)[:many]
    losses = sorted((-row[0], row[1], row[2]) for row in rows if row[0] > 0)[:many]
    return [(utterance, change) for change, _, utterance in wins], [(utt, -change) for change, _, utt in losses]


def gather(
    work: Path, findings: Findings, *, many: int, audio: AudioFormat, max_bytes: int
) -> Examples | None:  # fmt: skip
    """Up to ``many`` wins and losses of the main system.  None where there are no transcripts or no such utterance."""
    text = work / "data" / "test" / "text"
    wins, losses = ranked(findings, many)
    if not text.is_file() or not (wins or losses):
        return None
    references = {utt: tuple(fields_of(words)) for utt, words in read_text_table(text).items()}
    if without := [utterance for utterance, _ in wins + losses if utterance not in references]:
        mend = "score the decodings again with this data directory"
        raise DataDirError(text, f"lacks utterance {without[0]}, which was decoded and scored", mend=mend)
    cells = {test: findings.cells.get((findings.main, test)) for test in VERSIONS}
    folders = {test: cell.folder for test, cell in cells.items() if cell}
    hypotheses = {test: read_hypotheses(folder) for test, folder in folders.items()}
    sounds = _Sounds(work / "data", audio, max_bytes)
    facts = _Facts(work / "data")
    made: dict[str, Example] = {}
    for utterance, change in _turns(wins, losses):
        made[utterance] = Example(
            utterance=utterance, facts=facts.of(utterance), words=len(references[utterance]), change=change,
            transcripts=tuple(
                _transcript(VERSIONS[test], references[utterance], found.get(utterance, ()))
                for test, found in hypotheses.items()
            ),
            versions=sounds.versions(utterance),
        )  # fmt: skip
    return Examples(
        wins=tuple(made[utterance] for utterance, _ in wins), losses=tuple(made[utterance] for utterance, _ in losses),
        silent=len(sounds.silent), problem=sounds.problem,
    )  # fmt: skip


def _turns(first: Sequence[tuple[str, int]], second: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """One of each in turn, so that a full page leaves out as many of either."""
    both = [(n, 0, row) for n, row in enumerate(first)] + [(n, 1, row) for n, row in enumerate(second)]
    return [row for _, _, row in sorted(both)]


def _transcript(name: str, reference: Sequence[str], hypothesis: Sequence[str]) -> Transcript:
    pairs = tuple((ref, hyp, operation((ref, hyp))) for ref, hyp in align_words(reference, hypothesis))
    return Transcript(name=name, errors=sum(op != "C" for _, _, op in pairs), pairs=pairs)


class _Facts:
    """What the tables of the test set know about an utterance."""

    def __init__(self, data: Path) -> None:
        self.speakers, self.ages = _table(data / "test" / "utt2spk"), _table(data / "test" / "spk2age")
        self.snr, self.noises = _table(data / "test_noisy" / "utt2snr"), _table(data / "test_noisy" / "utt2noise")

    def of(self, utterance: str) -> str:
        speaker = self.speakers.get(utterance, "")
        parts = [f"speaker {speaker}" if speaker else ""]
        parts.append(f"{self.ages[speaker]} years" if speaker in self.ages else "")
        parts.append(f"{float(self.snr[utterance]):g} dB SNR" if utterance in self.snr else "")
        parts.append(f"noise {Path(self.noises[utterance].split()[0]).stem}" if utterance in self.noises else "")
        return ", ".join(part for part in parts if part)


def _table(path: Path) -> Mapping[str, str]:
    return read_text_table(path) if path.is_file() else {}


class _Sounds:
    """Sounds and pictures of utterances, up to a number of bytes in all."""

    def __init__(self, data: Path, audio: AudioFormat, max_bytes: int) -> None:
        self.data, self.audio, self.left = data, audio, max_bytes
        self.silent: list[str] = []
        self.problem = ""
        self.tables: dict[str, AudioTable] = {}

    def versions(self, utterance: str) -> tuple[Version, ...]:
        """Every condition with sound and picture; none at all where one cannot be read or the page is full."""
        try:
            sounds = {test: self._read(test, utterance) for test in VERSIONS}
        except SchoolyardError as error:
            return self._without(utterance, str(error).splitlines()[0])
        levels = {test: spectrogram(samples, rate) for test, (samples, rate) in sounds.items()}
        top = max(float(level.max()) for level in levels.values())
        versions = tuple(
            Version(name=name, sound=encode(*sounds[test], self.audio), picture=picture(levels[test], top))
            for test, name in VERSIONS.items()
        )
        size = sum(len(version.sound) + len(version.picture) for version in versions)
        if size > self.left:
            return self._without(utterance, "the page is full (see the options for the size and format of sounds)")
        self.left -= size
        return versions

    def _without(self, utterance: str, problem: str) -> tuple[Version, ...]:
        self.silent.append(utterance)
        self.problem = self.problem or problem
        return ()

    def _read(self, test: str, utterance: str) -> tuple[NDArray[np.float32], int]:
        if test not in self.tables:
            data = DataDir.read(self.data / ("test" if test == "clean" else f"test_{test}"), validate=False)
            self.tables[test] = AudioTable(data, sample_rate=None, allow_commands=False)
        if utterance not in self.tables[test].data.tables["utt2spk"]:
            raise DataDirError(self.tables[test].data.path, f"has no utterance {utterance}", mend="denoise it again")
        return self.tables[test].read_native(utterance)


def encode(samples: NDArray[np.float32], rate: int, audio: AudioFormat) -> str:
    """A sound [n] as a data: URI."""
    import soundfile

    form, subtype, mime = FORMATS[audio]
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1, 1), rate, format=form, subtype=subtype)
    return f"data:{mime};base64,{base64.b64encode(stream.getvalue()).decode()}"


def spectrogram(samples: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """Level in dB, [BANDS, frames], lowest frequencies in the last row; the loudest line of each band counts."""
    window = max(int(0.025 * rate), 2)
    step = max(int(0.010 * rate), 1)
    padded = np.pad(samples.astype(np.float64), (0, max(window - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::step]
    size = max(512, 1 << (window - 1).bit_length())
    power = np.abs(np.fft.rfft(frames * np.hanning(window), size)) ** 2  # [frames, size / 2 + 1]
    bands = power[:, 1:].reshape(len(frames), BANDS, -1).max(2)
    return np.asarray(10 * np.log10(bands + 1e-12).T[::-1])


def picture(level: NDArray[np.float64], top: float) -> str:
    """A level [rows, columns] in dB as a PNG in a data: URI; ``top`` is the lightest."""
    shade = np.clip((level - top + RANGE) / RANGE, 0, 1) * (SHADES - 1)
    return "data:image/png;base64," + base64.b64encode(_png(np.rint(shade).astype(np.uint8))).decode()


def _png(shades: NDArray[np.uint8]) -> bytes:
    """Portable Network Graphics, a palette of SHADES colours (RFC 2083)."""
    height, width = shades.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), shades], axis=1).tobytes()  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", _palette()), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _palette() -> bytes:
    """SHADES colours in even steps along COLOURS; lightness rises all the way, so that grey shows it too."""
    anchors = np.array([[int(colour[n : n + 2], 16) for n in (1, 3, 5)] for colour in COLOURS], np.float64)
    places = np.linspace(0, len(COLOURS) - 1, SHADES)
    channels = [np.interp(places, np.arange(len(COLOURS)), anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, 1)).astype(np.uint8).tobytes()
