"""Sphere and FLAC as plain wav, for Kaldi's own programs, which read nothing else without a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from harness.atomic import whole_dir
from harness.errors import AudioError
from harness.jobs import map_jobs
from kaldi_bridge.audio import resample
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.sound_files import read_sound, write_wav

Wav = Annotated[bool, typer.Option("--wav", help="write the sound as wav into OUT/audio, for Kaldi's own programs")]
Jobs = Annotated[int | None, typer.Option("--jobs", help="processes that convert sound; all cores if not given")]


def as_plain_wav(
    sets: Mapping[str, DataDir], out: Path, *, rate: int = 16000, jobs: int | None = None
) -> dict[str, DataDir]:
    """The sets with every recording as 16-bit mono wav of one rate in out/audio, which appears when whole.

    Other rates are converted (soxr HQ).  Raises AudioError for damaged recordings and for more than one channel.
    """
    folder = out.resolve() / "audio"
    sounds = {name: Path(path) for data in sets.values() for name, path in (data.wav_scp or {}).items()}
    with whole_dir(folder, force=True) as aside:
        list(map_jobs(_Conversion(aside, rate), sorted(sounds.items()), jobs=jobs, label="convert", unit="file"))
    return {
        name: DataDir(data.path, data.tables | {"wav.scp": {key: f"{folder / key}.wav" for key in data.wav_scp or {}}})
        for name, data in sets.items()
    }


@dataclass(frozen=True)
class _Conversion:
    """What a worker needs to convert one recording."""

    folder: Path
    rate: int

    def __call__(self, item: tuple[str, Path]) -> None:
        name, path = item
        samples, info = read_sound(str(path), where=str(path))
        if info.channels != 1:
            raise AudioError(path, f"has {info.channels} channels", mend="get it from the distribution again")
        mono = np.ascontiguousarray(samples[:, 0])
        converted = mono if info.rate == self.rate else resample(mono, info.rate, self.rate)
        write_wav(self.folder / f"{name}.wav", converted, self.rate)
