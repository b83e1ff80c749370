"""One recording through a generator, block by block: what it may need (another rate, a channel) and what it gives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AudioError
from kaldi_bridge.audio import AudioTable
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.sound_files import WavWriter


@dataclass(frozen=True, kw_only=True)
class DenoiseConfig:
    model: str = "builtin"  # best.pt of a run, exported weights, or "builtin"
    mix: float = 0.0  # share of the unprocessed signal added back (observation adding)
    resample: bool = False  # convert recordings of another rate instead of refusing them
    channel: int | None = None  # from 0, of recordings that have several and name none; None refuses these
    device: str = "cpu"
    max_failed: float = 0.05  # share of recordings that may fail, as Kaldi's make_mfcc.sh
    ark: bool = False  # all recordings in one wav.ark, wav.scp with places in it, instead of a wav each

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise ValueError(f"mix must lie in [0, 1], got {self.mix}")
        if not 0 <= self.max_failed < 1:
            raise ValueError(f"max_failed must lie in [0, 1), got {self.max_failed}")
        if self.channel is not None and self.channel < 0:
            raise ValueError(f"channel must be 0 or more, got {self.channel}")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """name: its id.  source: its line in wav.scp.  channel: from 0, None where none is named.  wav: what it becomes, in
    the folder of the output."""

    name: str
    source: str
    channel: int | None
    wav: str


def enhance_recording(recording: Recording, wav: Path, config: DenoiseConfig) -> dict[str, Any]:
    """Write one recording: {samples, clipped, rate: its own, needed: options that it would be refused without}.

    Raises AudioError for one that cannot be read, or that needs an option; DiskError.
    """
    import torch

    from enhance.streaming import enhance_blocks

    torch.set_num_threads(1)
    model = model_of(config.model, config.device)
    blocks, rate, needed = _blocks(recording, model.sample_rate, config)
    with WavWriter(wav, model.sample_rate) as writer:
        for piece in enhance_blocks(model, blocks, mix=config.mix, where=recording.name):
            writer.write(piece)
    return {"samples": writer.frames, "clipped": writer.clipped, "rate": rate, "needed": needed}


def _blocks(recording: Recording, sample_rate: int, config: DenoiseConfig) -> tuple[Any, int, dict[str, Any]]:
    """Something that opens the recording anew, block by block, its own rate, and the options that it needed.

    A command runs only once, and its sound is held.
    """
    from enhance.streaming import BLOCK_SECONDS

    name = "_".join(recording.name.split())  # a file's name may hold spaces
    tables = {"wav_scp": {name: recording.source}, "utt2spk": {name: "-"}, "segments": {name: f"{name} 0 -1"}}
    data = DataDir.build(recording.source, **tables)
    table = AudioTable(data, sample_rate=sample_rate, resample=config.resample)
    info = table.info(name)
    channel = recording.channel if info.channels > 1 else None  # a command or an earlier step may have taken it out
    needed: dict[str, Any] = {}
    if info.rate != sample_rate:
        needed["resample"] = config.resample
    if channel is None and info.channels > 1:
        channel = needed["channel"] = _chosen(recording, info.channels, config)
    if channel is not None:
        data.tables["segments"] = {name: f"{name} 0 -1 {channel}"}
    size = int(BLOCK_SECONDS * sample_rate)
    if info.rate == sample_rate and not recording.source.endswith("|"):
        return partial(table.blocks, name, size), info.rate, needed
    samples = table.read(name)
    return lambda: _pieces(samples, size), info.rate, needed


def _chosen(recording: Recording, channels: int, config: DenoiseConfig) -> int:
    if config.channel is None:
        mend = (
            f"choose one with --channel (0 to {channels - 1}), mix down (sox IN OUT remix -), or name one for each "
            "recording in reco2file_and_channel of a data directory"
        )
        problem = f"has {channels} channels and none is chosen"
        raise AudioError(f"{recording.source}: utterance {recording.name}", problem, mend=mend)
    return config.channel


def _pieces(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    yield from (samples[i : i + size] for i in range(0, len(samples), size))


@lru_cache(maxsize=2)
def model_of(path: str, device: str) -> Any:
    """The generator, read once."""
    from enhance.weights import load_generator

    return load_generator(path, device)[1]


def fingerprint_of(model: str) -> str:
    """SHA-256 of the file with the weights."""
    from enhance.weights import BUILTIN

    return hashlib.sha256((BUILTIN if model == "builtin" else Path(model)).read_bytes()).hexdigest()
