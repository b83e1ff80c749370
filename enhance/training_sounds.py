"""The speech and noise of a training run, from wherever they are: data directories, packs, noise files, a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from enhance.pack import INDEX, read_pack
from enhance.resumable import stamp_of
from enhance.sound_cache import cached
from enhance.sounds import Sounds, gather, load_noise, no_sounds, noise_files
from harness.errors import AudioError, ConfigError
from kaldi_bridge.audio import RESAMPLE_QUALITY, read_utterances
from kaldi_bridge.data_dir import DataDir

SHAPING_TABLES = ("wav.scp", "segments", "utt2spk", "reco2file_and_channel")  # what decides the samples of a directory


@dataclass(frozen=True, kw_only=True)
class Sources:
    """data or pack: clean speech.  noisy: data directory with the same utterances as recorded in noise, instead of
    noise: directory of recordings.  resample: convert other rates (soxr) instead of refusing them.  cache: directory
    of what was read before."""

    data: Path | None = None
    pack: Path | None = None
    noisy: Path | None = None
    noise: Path | None = None
    sample_rate: int = 16000
    resample: bool = False
    cache: Path | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.pack is None):
            raise ConfigError("enhance train", "needs either --data or --pack", mend="give one of the two")
        if self.noisy is not None and self.noise is not None:
            problem = "--noisy speech has its own noise, so --noise has no place"
            raise ConfigError("enhance train", problem, mend="give one of the two")
        if self.noisy is not None and self.data is None:
            raise ConfigError("enhance train", "--noisy is paired with --data", mend="give the clean --data")


def load_speech(sources: Sources) -> Sounds:
    """Clean speech, with its noisy recordings beside it where they are asked for."""
    request = _request(sources, "speech") | {
        "clean": _dir_stamp(sources.data) if sources.data is not None else _pack_stamp(sources.pack),
        "noisy": _dir_stamp(sources.noisy) if sources.noisy is not None else None,
    }
    return cached(sources.cache, request, lambda: _read_speech(sources))


def load_noises(sources: Sources) -> Sounds:
    """Noise, or nothing where none is asked for."""
    if sources.noise is None:
        return no_sounds()
    files = [str(path) for path in noise_files(sources.noise)]
    request = _request(sources, "noise") | {"files": files, "stamp": stamp_of(files)}
    noise, rate, resample = sources.noise, sources.sample_rate, sources.resample
    return cached(sources.cache, request, lambda: load_noise(noise, rate, resample=resample))


def with_noisy(
    clean: Sounds, noisy: Iterable[tuple[str, np.ndarray]], *, where: str, clean_ids: Iterable[str]
) -> Sounds:
    """clean with the noisy recordings of the same ids beside it.

    clean_ids: all ids of the clean corpus, also of those left out for silence.  Raises AudioError naming the ids: one
    without its partner, or partners of different length.
    """
    beside = np.zeros_like(clean.samples)
    places = {name: index for index, name in enumerate(clean.names)}
    known, found, wrong = set(clean_ids), set(), []
    for name, samples in noisy:
        found.add(name)
        if name not in places:
            continue
        start, length = int(clean.starts[places[name]]), int(clean.lengths[places[name]])
        if len(samples) != length:
            wrong.append(f"{name} ({length} samples clean, {len(samples)} noisy)")
            continue
        if not np.isfinite(samples).all():
            raise AudioError(f"{where}: {name}", "holds samples that are not finite", mend="repair this recording")
        beside[start : start + length] = samples
    for problem, names in (
        ("have no noisy recording", sorted(set(clean.names) - found)),
        ("have no clean recording", sorted(found - known)),
        ("differ in length", wrong),
    ):
        if names:
            text = f"{len(names)} utterances {problem}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            raise AudioError(where, text, mend="give clean and noisy directories with the same utterances")
    return replace(clean, noisy=beside)


def _read_speech(sources: Sources) -> Sounds:
    rate = sources.sample_rate
    if sources.data is None:
        assert sources.pack is not None  # as Sources has made sure
        return gather(read_pack(sources.pack, rate), where=str(sources.pack), active=True, sample_rate=rate)
    directory = DataDir.read(sources.data)
    items = _utterances(directory, sources)
    clean = gather(items, where=str(sources.data), active=True, sample_rate=rate)
    if sources.noisy is None:
        return clean
    noisy = ((utterance, samples) for utterance, _, samples in _utterances(DataDir.read(sources.noisy), sources))
    return with_noisy(clean, noisy, where=str(sources.noisy), clean_ids=directory.utterances)


def _utterances(directory: DataDir, sources: Sources) -> Iterator[tuple[str, str, np.ndarray]]:
    """(utterance, speaker, samples) of a data directory."""
    for utterance, samples in read_utterances(directory, sample_rate=sources.sample_rate, resample=sources.resample):
        yield utterance, directory.utt2spk[utterance], samples


def _request(sources: Sources, what: str) -> dict[str, Any]:
    quality = RESAMPLE_QUALITY if sources.resample else None
    return {"what": what, "sample_rate": sources.sample_rate, "resample": quality}


def _dir_stamp(path: Path) -> str:
    """Changes with every table and audio file that decides the samples (of commands, with their text alone)."""
    digest = hashlib.sha256()
    for name in SHAPING_TABLES:
        table = path / name
        digest.update(name.encode() + (table.read_bytes() if table.is_file() else b"") + b"\0")
    return digest.hexdigest() + stamp_of((DataDir.read(path).wav_scp or {}).values())


def _pack_stamp(pack: Path | None) -> str:
    assert pack is not None  # as Sources has made sure
    files = [pack / INDEX, *sorted(pack.glob("*.flac"))]
    return stamp_of(map(str, files))
