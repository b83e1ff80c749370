"""Speed and volume perturbation of data directories (Ko et al. 2015; Kaldi's perturb_data_dir_speed.sh and _volume.sh).

Kaldi writes sox pipes into wav.scp; here the changed recordings are written as wav files beside the tables, which any
Kaldi reads without sox and which cost no process per utterance.  pipes=True writes Kaldi's sox pipes instead.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np

from harness.atomic import whole_dir
from harness.errors import DataDirError
from harness.jobs import map_jobs
from harness.log import get_logger
from harness.seed import rng_for
from kaldi_bridge.audio import resample
from kaldi_bridge.data_dir import STALE_AFTER_NEW_AUDIO, DataDir
from kaldi_bridge.extended_names import kind_of
from kaldi_bridge.sound_files import Samples, read_sound, write_wav
from kaldi_bridge.text_tables import fields_of, number_text

DURATIONS = ("utt2dur", "reco2dur")
FRAME_BASED = (*STALE_AFTER_NEW_AUDIO, "utt2warp", "spk2warp")


@dataclass(frozen=True)
class _Change:
    """What happens to one recording."""

    recording: str
    name: str  # extended file name of the old one
    speed: float
    volume: float
    wav: str  # file name of the new one, under wav/


def perturb_speed(
    source: str | os.PathLike[str], out: str | os.PathLike[str], factor: float, *, jobs: int | None = None,
    pipes: bool = False, allow_commands: bool = True, force: bool = False,
) -> DataDir:  # fmt: skip
    """Write a copy of ``source`` that is ``factor`` times as fast (and as high): 0.9 is slower and lower.

    Utterances, speakers and recordings get the prefix sp0.9-, so that a changed voice is a speaker of its own; utt2uniq
    keeps the old names, times and durations are divided by the factor, features are left out.
    """
    if not 0.25 <= factor <= 4 or factor == 1:
        raise ValueError(f"a speed factor lies between 0.25 and 4 and is not 1, got {factor}")
    data = _without_features(DataDir.read(source))
    prefix = f"sp{number_text(factor)}-"
    uniq = data.tables.get("utt2uniq") or {utt: utt for utt in data.utterances}
    renamed = data.rename(*[lambda old: prefix + old] * 3)
    renamed.tables["utt2uniq"] = {prefix + utterance: origin for utterance, origin in uniq.items()}
    for name in DURATIONS:
        if name in renamed.tables:
            renamed.tables[name] = {k: number_text(float(v) / factor) for k, v in renamed.tables[name].items()}
    if renamed.segments is not None:
        renamed.tables["segments"] = {utt: _faster(line, factor) for utt, line in renamed.segments.items()}
    speeds = dict.fromkeys(_wav_scp(renamed), factor)
    return _write_changed(renamed, Path(out), speeds, {}, jobs, pipes, allow_commands, force)


def perturb_volume(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, low: float = 0.125, high: float = 2.0,
    seed: int = 0, jobs: int | None = None, pipes: bool = False, allow_commands: bool = True, force: bool = False,
) -> DataDir:  # fmt: skip
    """Write a copy of ``source`` with each recording's samples multiplied by a factor drawn from low..high.

    The factor hangs on seed and recording alone; the table reco2vol keeps it.  Clipped samples are counted and said.
    """
    if not 0 < low <= high:
        raise ValueError(f"need 0 < low <= high, got {low} and {high}")
    data = _without_features(DataDir.read(source))
    volumes = {name: round(float(rng_for(seed, "volume", name).uniform(low, high)), 4) for name in _wav_scp(data)}
    data.tables["reco2vol"] = {name: number_text(volume) for name, volume in volumes.items()}
    return _write_changed(data, Path(out), {}, volumes, jobs, pipes, allow_commands, force)


def change_speed(samples: Samples, rate: int, factor: float) -> Samples:
    """Samples [n] played ``factor`` times as fast: [round(n / factor)] (soxr, high quality)."""
    return resample(samples, rate * factor, rate)


def _wav_scp(data: DataDir) -> dict[str, str]:
    if data.wav_scp is None:
        raise DataDirError(data.path / "wav.scp", "no such file", mend="perturbation needs the recordings")
    return data.wav_scp


def _without_features(data: DataDir) -> DataDir:
    return data.without(*FRAME_BASED, "frame_shift")


def _faster(segment: str, factor: float) -> str:
    recording, start, end, *channel = fields_of(segment)
    times = [number_text(float(value) / factor if float(value) > 0 else float(value)) for value in (start, end)]
    return " ".join([recording, *times, *channel])


def _write_changed(
    data: DataDir, out: Path, speeds: dict[str, float], volumes: dict[str, float], jobs: int | None, pipes: bool,
    allow_commands: bool, force: bool,
) -> DataDir:  # fmt: skip
    """Write the directory with its changed recordings; it appears when whole."""
    changes = [
        _Change(key, name, speeds.get(key, 1.0), volumes.get(key, 1.0), f"{quote(key, safe='')}.wav")
        for key, name in sorted(_wav_scp(data).items())
    ]
    final = Path(os.path.abspath(out))
    with whole_dir(out, force=force) as aside:
        if pipes:
            data.tables["wav.scp"] = {change.recording: _sox_pipe(change) for change in changes}
        else:
            data.tables["wav.scp"] = {change.recording: str(final / "wav" / change.wav) for change in changes}
            (aside / "wav").mkdir()
            work = partial(_write_recording, aside / "wav", data.path / "wav.scp", allow_commands)
            clipped = sum(map_jobs(work, changes, jobs=jobs, label=f"perturb {data.path.name}", unit="recordings"))
            if clipped:
                get_logger("kaldi_bridge").warning("%s: %d samples were clipped", out, clipped)
        DataDir(aside, data.tables, data.values).write_tables(aside)
    return DataDir(Path(out), data.tables, data.values)


def _write_recording(directory: Path, wav_scp: Path, allow_commands: bool, change: _Change) -> int:
    """Runs in a worker: write one changed recording, all channels; returns the clipped samples."""
    samples, info = read_sound(change.name, where=f"{wav_scp}: {change.recording}", allow_commands=allow_commands)
    if change.speed != 1:
        samples = np.stack([change_speed(column, info.rate, change.speed) for column in samples.T], axis=1)
    return write_wav(directory / change.wav, samples * np.float32(change.volume), info.rate)


def _sox_pipe(change: _Change) -> str:
    """The pipe that Kaldi's scripts write; names with blanks are quoted, and what is no wav tells sox its own kind."""
    name = shlex.quote(change.name)
    effect = f" speed {number_text(change.speed)}" if change.speed != 1 else ""
    volume = f" --vol {number_text(change.volume)}" if change.volume != 1 else ""
    match kind_of(change.name):
        case "pipe":
            return f"{change.name.rstrip('| ')} | sox{volume} -t wav - -t wav -{effect} |"
        case "place":
            return f"wav-copy {name} - | sox{volume} -t wav - -t wav -{effect} |"
        case _:
            kind = " -t wav" if change.name.lower().endswith(".wav") else ""
            return f"sox{volume}{kind} {name} -t wav -{effect} |"
