"""A data directory, or plain audio files, through a generator.

The contract: the same utterance, recording and segment ids, text and utt2spk; as many samples as before, no delay; the
level kept (nothing is normalised), clipping counted; stale features, CMVN and VAD left out; constant memory; a rerun
after a kill goes on with the recordings that are missing; the directory appears only when whole.  A recording that
cannot be read is listed and counted; past a stated share of them the run fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from enhance.resumable import ResumableDir, stamp_of
from enhance.sounds import AUDIO_SUFFIXES
from harness.atomic import write_whole
from harness.errors import AudioError, ConfigError, DataDirError, DiskError, SchoolyardError
from harness.jobs import map_jobs
from harness.log import get_logger
from kaldi_bridge.audio import AudioTable
from kaldi_bridge.data_dir import STALE_AFTER_NEW_AUDIO, DataDir
from kaldi_bridge.sound_files import WavWriter
from kaldi_bridge.wav_ark import write_wav_ark

REPORT = "denoise.json"
ARK = "wav.ark"


@dataclass(frozen=True, kw_only=True)
class DenoiseConfig:
    model: str = "builtin"  # best.pt of a run, exported weights, or "builtin"
    mix: float = 0.0  # share of the unprocessed signal added back (observation adding)
    resample: bool = False  # convert recordings of another rate instead of refusing them
    device: str = "cpu"
    max_failed: float = 0.05  # share of recordings that may fail, as Kaldi's make_mfcc.sh
    ark: bool = False  # all recordings in one wav.ark, wav.scp with places in it, instead of a wav each

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise ValueError(f"mix must lie in [0, 1], got {self.mix}")
        if not 0 <= self.max_failed < 1:
            raise ValueError(f"max_failed must lie in [0, 1), got {self.max_failed}")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """name: its id.  source: its line in wav.scp.  channel: None for a mono file.  wav: the output in the folder."""

    name: str
    source: str
    channel: int | None
    wav: str


def denoise_data_dir(
    data_path: str | os.PathLike[str], out: str | os.PathLike[str], config: DenoiseConfig, *,
    jobs: int | None = None, force: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write `out`, the data directory with enhanced audio (wav/RECORDING.wav); returns the report that it also holds.

    Raises DataDirError, AudioError (too many failures), CheckpointError, DiskError.
    """
    data = DataDir.read(data_path)
    if data.segments is not None and any(data.segment_of(utterance)[3] is not None for utterance in data.utterances):
        mend = "make a recording of each channel, with an id of its own"
        raise DataDirError(data.path / "segments", "chooses channels by segment, which is not done here", mend=mend)
    recordings = [_recording(data, name) for name in sorted(data.keys("recording"))]
    target, report = _denoise(recordings, str(data_path), out, config, jobs, force)
    if target.done:
        return report
    failed = set(report["failed"])
    keep = [utterance for utterance in data.utterances if data.recording_of(utterance) not in failed]
    kept = _tables(data, keep, target.out)
    if config.ark:
        names = sorted(kept.keys("recording"))
        places = write_wav_ark(target.partial / ARK, ((name, target.partial / f"wav/{name}.wav") for name in names))
        kept.tables["wav.scp"] = {name: f"{target.out / ARK}:{place}" for name, place in places.items()}
    kept.write_tables(target.partial)
    return _finish(target, report, without="wav" if config.ark else None)


def denoise_files(
    source: str | os.PathLike[str], out: str | os.PathLike[str], config: DenoiseConfig, *,
    jobs: int | None = None, force: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write every audio file below `source` (or that one file) as wav into the directory `out`, under the same name."""
    root = Path(source)
    if not root.exists():
        raise AudioError(root, "no such file or directory", mend="give recordings with --in")
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise AudioError(root, "holds no audio files", mend=f"put {', '.join(AUDIO_SUFFIXES)} files there")
    base = root.parent if root.is_file() else root
    recordings = [
        Recording(name=str(file.relative_to(base)), source=str(file), channel=None,
                  wav=str(file.relative_to(base).with_suffix(".wav")))
        for file in files
    ]  # fmt: skip
    if len({recording.wav for recording in recordings}) < len(recordings):
        raise AudioError(root, "holds files that differ in their suffix only", mend="rename one of them")
    target, report = _denoise(recordings, str(source), out, config, jobs, force)
    return report if target.done else _finish(target, report)


def _denoise(
    recordings: list[Recording], where: str, out: str | os.PathLike[str], config: DenoiseConfig, jobs: int | None,
    force: bool,
) -> tuple[ResumableDir, dict[str, Any]]:  # fmt: skip
    """Enhance all recordings into the directory in the making; too many failures raise AudioError."""
    rate = _model(config.model, config.device).sample_rate
    request = {
        "denoise": [[one.name, one.source, one.channel] for one in recordings], "model": _fingerprint(config.model),
        "mix": config.mix, "resample": config.resample, "sources": stamp_of(one.source for one in recordings),
        **({"ark": True} if config.ark else {}),
    }  # fmt: skip
    target = ResumableDir(out, request, force=force)
    if target.done:
        return target, json.loads((target.out / REPORT).read_text(encoding="utf-8"))
    work = partial(_denoise_one, os.fspath(target.partial), config)
    jobs = jobs if config.device == "cpu" else 1
    results = list(map_jobs(work, recordings, jobs=jobs, label=f"denoise {Path(where).name}", unit="rec"))
    failed = {one.name: result for one, result in zip(recordings, results, strict=True) if isinstance(result, str)}
    if len(failed) > config.max_failed * len(recordings):
        for name, problem in failed.items():
            get_logger("enhance").error("failed: %s: %s", name, problem)
        first, problem = next(iter(failed.items()))
        text = f"{len(failed)} of {len(recordings)} recordings failed, the first: {first}: {problem}"
        raise AudioError(where, text, mend=f"repair them, or raise --max-failed (now {config.max_failed:g})")
    notes = [result for result in results if not isinstance(result, str)]
    report = {
        "model": config.model, "model_sha256": _fingerprint(config.model), "mix": config.mix, "sample_rate": rate,
        "recordings": len(notes), "samples": sum(note["samples"] for note in notes),
        "resampled_from": sorted({note["rate"] for note in notes} - {rate}),
        "clipped_recordings": sum(note["clipped"] > 0 for note in notes), "failed": failed,
    }  # fmt: skip
    return target, report


def _finish(target: ResumableDir, report: dict[str, Any], without: str | None = None) -> dict[str, Any]:
    """Write and log the report, and put the directory in its place, without one of its folders."""
    log = get_logger("enhance")
    with write_whole(target.partial / REPORT) as stream:
        json.dump(report, stream, indent=1)
    for folder in ("notes", *([without] if without else [])):
        shutil.rmtree(target.partial / folder, ignore_errors=True)
    target.finish()
    rate, clipped, failed = report["sample_rate"], report["clipped_recordings"], report["failed"]
    log.info("%d recordings enhanced to %s at %d Hz, mono", report["recordings"], target.out, rate)
    if report["resampled_from"]:
        log.info("resampled from %s Hz", ", ".join(map(str, report["resampled_from"])))
    if clipped:
        log.warning("%d recordings clipped (their samples beyond full scale were cut)", clipped)
    for name, problem in failed.items():
        log.warning("left out: %s: %s", name, problem)
    return report


def _denoise_one(partial_dir: str, config: DenoiseConfig, recording: Recording) -> dict[str, int] | str:
    """Enhance one recording, unless an earlier run did: {samples, clipped, rate}, or what is wrong with it."""
    import torch

    wav = Path(partial_dir, recording.wav)
    note = Path(partial_dir, "notes", hashlib.sha256(recording.name.encode()).hexdigest()[:24])
    if wav.is_file() and note.is_file():
        return dict(json.loads(note.read_text(encoding="utf-8")))
    torch.set_num_threads(1)
    model = _model(config.model, config.device)
    try:
        blocks, native_rate = _blocks(recording, model.sample_rate, config.resample)
        with WavWriter(wav, model.sample_rate) as writer:
            from enhance.streaming import enhance_blocks

            for piece in enhance_blocks(model, blocks, mix=config.mix, where=recording.name):
                writer.write(piece)
    except DiskError:
        raise
    except SchoolyardError as error:
        return f"{error.where}: {error.problem}"
    result = {"samples": writer.frames, "clipped": writer.clipped, "rate": native_rate}
    with write_whole(note) as stream:
        json.dump(result, stream)
    return result


def _blocks(recording: Recording, sample_rate: int, resample: bool) -> tuple[Any, int]:
    """Something that opens the recording anew, block by block, and its own rate; a command runs only once."""
    from enhance.streaming import BLOCK_SECONDS

    tables: dict[str, Any] = {"wav_scp": {recording.name: recording.source}, "utt2spk": {recording.name: "-"}}
    if recording.channel is not None:
        tables["reco2file_and_channel"] = {recording.name: f"{recording.name} {'AB'[recording.channel]}"}
    table = AudioTable(DataDir.build(recording.source, **tables), sample_rate=sample_rate, resample=resample)
    size = int(BLOCK_SECONDS * sample_rate)
    rate = table.info(recording.name).rate if not recording.source.endswith("|") else sample_rate
    if rate == sample_rate and not recording.source.endswith("|"):
        return partial(table.blocks, recording.name, size), rate
    samples = table.read(recording.name)
    return lambda: _pieces(samples, size), rate


def _pieces(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    yield from (samples[i : i + size] for i in range(0, len(samples), size))


def _recording(data: DataDir, name: str) -> Recording:
    """A recording with the channel that segments or reco2file_and_channel choose."""
    if data.wav_scp is None or name not in data.wav_scp:
        mend = "validate the directory: python -m kaldi_bridge validate"
        raise DataDirError(data.path / "wav.scp", f"recording {name} is missing", mend=mend)
    line = data.tables.get("reco2file_and_channel", {}).get(name, "").split()
    channel = {"A": 0, "B": 1}.get(line[-1]) if line else None
    return Recording(name=name, source=data.wav_scp[name].strip(), channel=channel, wav=f"wav/{name}.wav")


def _tables(data: DataDir, utterances: Iterable[str], out: Path) -> DataDir:
    """Every table of the source but stale ones, with the new audio: mono, so channels are gone."""
    keep = list(utterances)
    if not keep:
        raise AudioError(data.path, "no utterance is left", mend="repair the recordings")
    kept = data.subset(keep).without(*STALE_AFTER_NEW_AUDIO, "reco2file_and_channel")
    kept.tables["wav.scp"] = {name: str(out / "wav" / f"{name}.wav") for name in kept.keys("recording")}
    return kept


@lru_cache(maxsize=2)
def _model(path: str, device: str) -> Any:
    from enhance.weights import load_generator

    return load_generator(path, device)[1]


def _fingerprint(model: str) -> str:
    """SHA-256 of the file with the weights."""
    from enhance.weights import BUILTIN

    return hashlib.sha256((BUILTIN if model == "builtin" else Path(model)).read_bytes()).hexdigest()


def check_choice(data: Path | None, source: Path | None, ark: bool = False) -> None:
    """Exactly one kind of input, and a data directory where its archive is asked for.  Raises ConfigError."""
    if (data is None) == (source is None):
        raise ConfigError("enhance denoise", "needs either --data or --in", mend="give one of the two")
    if ark and data is None:
        raise ConfigError("--ark", "needs the wav.scp of a data directory", mend="give --data, or leave it out")
