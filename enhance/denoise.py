"""A data directory, or plain audio files, through a generator.

The contract: the same utterance, recording and segment ids, text and utt2spk; as many samples as before, no delay; the
level kept (nothing is normalised), clipping counted; stale features, CMVN and VAD left out; constant memory; the
directory appears only when whole.  A recording that cannot be read is listed and counted; past a stated share of them
the run fails.  A rerun, after a kill or a repair, goes on with the recordings that are missing or have changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from enhance.recording import DenoiseConfig, Recording, enhance_recording, fingerprint_of, model_of
from enhance.resumable import REQUEST, ResumableDir, stamp_of, stamp_of_tables, wav_of
from enhance.sounds import AUDIO_SUFFIXES
from harness.atomic import write_whole
from harness.errors import AudioError, ConfigError, DataDirError, DiskError, SchoolyardError
from harness.jobs import map_jobs
from harness.log import get_logger
from kaldi_bridge.audio import CHANNEL_NAMES
from kaldi_bridge.data_dir import STALE_AFTER_NEW_AUDIO, DataDir
from kaldi_bridge.wav_ark import write_wav_ark

REPORT = "denoise.json"
NOTES = ".notes"  # folder of the directory in the making: what each recording there was made of
# of the request: the notes tell for each recording, and tables are written anew
FILE_BY_FILE = ("denoise", "sources", "resample", "channel", "tables")
ARK = "wav.ark"


def denoise_data_dir(
    data_path: str | os.PathLike[str], out: str | os.PathLike[str], config: DenoiseConfig, *,
    jobs: int | None = None, force: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write `out`, the data directory with enhanced audio (wav/RECORDING.wav); returns the report that it also holds.

    Raises DataDirError, AudioError (too many failures), CheckpointError, DiskError, ConfigError (`out` holds the data).
    """
    if Path(data_path).is_dir() and not Path(data_path, "utt2spk").exists():
        mend = "make utt2spk, spk2utt and wav.scp there, or give plain audio with --in instead of --data"
        raise DataDirError(data_path, "is no data directory, for it has no utt2spk", mend=mend)
    data = DataDir.read(data_path)
    _check_apart(Path(data_path), Path(out))
    if data.segments is not None and any(data.segment_of(utterance)[3] is not None for utterance in data.utterances):
        mend = "make a recording of each channel, with an id of its own"
        raise DataDirError(data.path / "segments", "chooses channels by segment, which is not done here", mend=mend)
    recordings = [_recording(data, name) for name in sorted(data.keys("recording"))]
    tables = stamp_of_tables(data.without(*STALE_AFTER_NEW_AUDIO, "utt2dur").tables)  # features may come later
    target, report = _denoise(recordings, str(data_path), out, config, jobs, force, tables=tables)
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
    """Write every audio file below `source` (or that one file) as wav into the directory `out`, under the same name.

    One file goes to `out` itself where that is named as a sound file.  Raises as denoise_data_dir does.
    """
    root = Path(source)
    if not root.exists():
        raise AudioError(root, "no such file or directory", mend="give recordings with --in")
    if Path(out).suffix.lower() in AUDIO_SUFFIXES:
        return _denoise_to_file(root, Path(out), config, force)
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise AudioError(root, "holds no audio files", mend=f"put {', '.join(AUDIO_SUFFIXES)} files there")
    _check_apart(root, Path(out), beside=True)
    base = root.parent if root.is_file() else root
    recordings: dict[str, Recording] = {}  # by what they will be called
    for file in files:
        name = file.relative_to(base)
        one = Recording(name=str(name), source=str(file), channel=None, wav=str(name.with_suffix(".wav")))
        if recordings.setdefault(one.wav, one) is not one:
            problem = f"{recordings[one.wav].name} and {one.name} differ in their suffix only"
            raise AudioError(root, problem, mend="rename one of them: both would be enhanced to the same wav")
    target, report = _denoise(list(recordings.values()), str(source), out, config, jobs, force)
    return report if target.done else _finish(target, report)


def _denoise_to_file(source: Path, out: Path, config: DenoiseConfig, force: bool) -> dict[str, Any]:
    """Enhance one file into one wav, without a report beside it."""
    if not source.is_file():
        problem = "has the name of a sound file, and --in is a directory"
        raise ConfigError(f"--out {out}", problem, mend="name a directory")
    if out.suffix.lower() != ".wav":
        raise ConfigError(f"--out {out}", "only wav is written", mend=f"--out {out.with_suffix('.wav')}")
    _check_apart(source, out)
    if out.is_dir() or (out.exists() and not force):
        raise DiskError(out, "already exists", mend="remove it, choose another --out, or pass --force for a file")
    note = enhance_recording(Recording(name=source.name, source=str(source), channel=None, wav=str(out)), out, config)
    report = _report(config, [note], {})
    _say(report, out)
    return report


def _check_apart(source: Path, out: Path, *, beside: bool = False) -> None:
    """Raise ConfigError where `out` is or holds the source; beside: also where it lies in it."""
    ours, theirs = out.resolve(), source.resolve()
    if ours == theirs or ours in theirs.parents:
        raise ConfigError(f"--out {out}", f"would replace the input {source}", mend="choose another place for it")
    if beside and theirs in ours.parents:
        problem = f"lies inside the input {source}: a rerun would enhance the output again"
        raise ConfigError(f"--out {out}", problem, mend="choose a place beside it")


def _denoise(
    recordings: list[Recording], where: str, out: str | os.PathLike[str], config: DenoiseConfig, jobs: int | None,
    force: bool, *, tables: str | None = None,
) -> tuple[ResumableDir, dict[str, Any]]:  # fmt: skip
    """Enhance all recordings into the directory in the making; too many failures raise AudioError.

    tables: stamp of those that will stand beside the sound.
    """
    model_of(config.model, config.device)  # a model that cannot be read stops the run before any recording does
    request = {
        "denoise": [[one.name, one.source, one.channel] for one in recordings], "model": fingerprint_of(config.model),
        "mix": config.mix, "resample": config.resample, "sources": stamp_of(one.source for one in recordings),
        **({"ark": True} if config.ark else {}), **({} if config.channel is None else {"channel": config.channel}),
        **({} if tables is None else {"tables": tables}),
    }  # fmt: skip
    target = ResumableDir(out, request, force=force, file_by_file=FILE_BY_FILE)
    if target.done:
        return target, json.loads((target.out / REPORT).read_text(encoding="utf-8"))
    _remove_others(target.partial, recordings)
    work = partial(_denoise_one, os.fspath(target.partial), config)
    jobs = jobs if config.device == "cpu" else 1
    results = list(map_jobs(work, recordings, jobs=jobs, label=f"denoise {Path(where).name}", unit="rec"))
    notes = [result for result in results if isinstance(result, dict)]
    errors = {one.name: result for one, result in zip(recordings, results, strict=True) if not isinstance(result, dict)}
    failed = {name: f"{error.where}: {error.problem}" for name, error in errors.items()}
    if len(failed) > config.max_failed * len(recordings):
        for name, problem in failed.items():
            get_logger("enhance").error("failed: %s: %s", name, problem)
        first, problem = next(iter(failed.items()))
        text = f"{len(failed)} of {len(recordings)} recordings failed, the first: {first}: {problem}"
        mend = "; ".join(dict.fromkeys(error.mend for error in errors.values()))
        if notes:
            mend += f"; then run again: the {len(notes)} that were enhanced are kept in {target.partial}"
        raise AudioError(where, text, mend=f"{mend}; or raise --max-failed (now {config.max_failed:g})")
    return target, _report(config, notes, failed)


def _remove_others(partial_dir: Path, recordings: Iterable[Recording]) -> None:
    """Take away what an earlier run left of recordings that are no longer asked for, its tables and its archive."""
    stays = {partial_dir / one.wav for one in recordings} | {partial_dir / REQUEST}
    for path in list(partial_dir.rglob("*")):
        if path.is_file() and path not in stays and path.parent != partial_dir / NOTES:
            path.unlink()


def _report(config: DenoiseConfig, notes: list[dict[str, Any]], failed: dict[str, str]) -> dict[str, Any]:
    """What denoise.json says.  notes: of the recordings that were enhanced."""
    rate = model_of(config.model, config.device).sample_rate
    return {
        "model": config.model, "model_sha256": fingerprint_of(config.model), "mix": config.mix, "sample_rate": rate,
        "recordings": len(notes), "samples": sum(note["samples"] for note in notes),
        "resampled_from": sorted({note["rate"] for note in notes} - {rate}),
        "clipped_recordings": sum(note["clipped"] > 0 for note in notes), "failed": failed,
    }  # fmt: skip


def _finish(target: ResumableDir, report: dict[str, Any], without: str | None = None) -> dict[str, Any]:
    """Write and log the report, and put the directory in its place, without one of its folders."""
    with write_whole(target.partial / REPORT) as stream:
        json.dump(report, stream, indent=1)
    for folder in (NOTES, *([without] if without else [])):
        shutil.rmtree(target.partial / folder, ignore_errors=True)
    target.finish()
    _say(report, target.out)
    return report


def _say(report: dict[str, Any], out: Path) -> None:
    log = get_logger("enhance")
    rate, clipped, failed = report["sample_rate"], report["clipped_recordings"], report["failed"]
    log.info("%d recordings enhanced to %s at %d Hz, mono", report["recordings"], out, rate)
    if report["resampled_from"]:
        log.info("resampled from %s Hz", ", ".join(map(str, report["resampled_from"])))
    if clipped:
        log.warning("%d recordings clipped (their samples beyond full scale were cut)", clipped)
    for name, problem in failed.items():
        log.warning("left out: %s: %s", name, problem)


def _denoise_one(partial_dir: str, config: DenoiseConfig, recording: Recording) -> dict[str, Any] | SchoolyardError:
    """Enhance one recording, unless an earlier run did: its note as of enhance_recording, or what is wrong with it."""
    wav = Path(partial_dir, recording.wav)
    place = Path(partial_dir, NOTES, hashlib.sha256(recording.name.encode()).hexdigest()[:24])
    made_of = [stamp_of([recording.source]), recording.channel]
    if wav.is_file() and place.is_file():
        note: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        if note["made_of"] == made_of and all(getattr(config, name) == value for name, value in note["needed"].items()):
            return note
    wav.unlink(missing_ok=True)
    try:
        note = enhance_recording(recording, wav, config) | {"made_of": made_of}
    except DiskError:
        raise
    except SchoolyardError as error:
        return error
    with write_whole(place) as stream:
        json.dump(note, stream)
    return note


def _recording(data: DataDir, name: str) -> Recording:
    """A recording with the channel that segments or reco2file_and_channel choose."""
    if data.wav_scp is None or name not in data.wav_scp:
        mend = "validate the directory: python -m kaldi_bridge validate"
        raise DataDirError(data.path / "wav.scp", f"recording {name} is missing", mend=mend)
    line = data.tables.get("reco2file_and_channel", {}).get(name, "").split()
    channel = CHANNEL_NAMES.get(line[-1]) if line else None
    return Recording(name=name, source=data.wav_scp[name].strip(), channel=channel, wav=wav_of(name, data.path))


def _tables(data: DataDir, utterances: Iterable[str], out: Path) -> DataDir:
    """Every table of the source but stale ones, with the new audio: mono, so channels are gone."""
    keep = list(utterances)
    if not keep:
        raise AudioError(data.path, "no utterance is left", mend="repair the recordings")
    kept = data.subset(keep).without(*STALE_AFTER_NEW_AUDIO, "reco2file_and_channel")
    kept.tables["wav.scp"] = {name: str(out / "wav" / f"{name}.wav") for name in kept.keys("recording")}
    return kept


def check_choice(data: Path | None, source: Path | None, ark: bool = False) -> None:
    """Exactly one kind of input, and a data directory where its archive is asked for.  Raises ConfigError."""
    if (data is None) == (source is None):
        raise ConfigError("enhance denoise", "needs either --data or --in", mend="give one of the two")
    if ark and data is None:
        raise ConfigError("--ark", "needs the wav.scp of a data directory", mend="give --data, or leave it out")
