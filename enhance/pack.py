"""Clean speech packed for a machine without the corpus: a few FLAC files of whole utterances and an index.

index.tsv has a line an utterance: utterance, speaker, FLAC file, first sample, number of samples.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from harness.atomic import whole_dir
from harness.errors import AudioError

INDEX = "index.tsv"


def pack_speech(
    utterances: Iterable[tuple[str, str, np.ndarray]], out: str | os.PathLike[str], *, sample_rate: int,
    shard_minutes: float, force: bool = False,
) -> int:  # fmt: skip
    """Write (utterance, speaker, samples) into shards of about this length; returns the number of utterances."""
    lines: list[str] = []
    with whole_dir(out, force=force) as folder:
        pieces: list[np.ndarray] = []
        shard = filled = 0
        for utterance, speaker, samples in utterances:
            lines.append(f"{utterance}\t{speaker}\tspeech-{shard:03d}.flac\t{filled}\t{len(samples)}\n")
            pieces.append(samples)
            filled += len(samples)
            if filled >= shard_minutes * 60 * sample_rate:
                _write_shard(folder, shard, pieces, sample_rate)
                pieces, shard, filled = [], shard + 1, 0
        if pieces:
            _write_shard(folder, shard, pieces, sample_rate)
        (folder / INDEX).write_text("".join(lines), encoding="utf-8")
    return len(lines)


def _write_shard(folder: Path, shard: int, pieces: list[np.ndarray], sample_rate: int) -> None:
    """Encoded in memory: libsndfile does not say why it could not write a file, such as a full disk."""
    import soundfile

    encoded = io.BytesIO()
    soundfile.write(encoded, np.concatenate(pieces), sample_rate, "PCM_16", format="FLAC")
    (folder / f"speech-{shard:03d}.flac").write_bytes(encoded.getbuffer())


def read_pack(folder: str | os.PathLike[str], sample_rate: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """The utterances of a pack as (utterance, speaker, samples).  Raises AudioError naming what is missing or wrong."""
    from enhance.sounds import read_sound

    index = Path(folder) / INDEX
    if not index.is_file():
        raise AudioError(index, "no such file", mend="make the pack with: python -m enhance pack-clean")
    current, samples = "", np.zeros(0, np.float32)
    for number, line in enumerate(index.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split("\t")
        if len(fields) != 5 or not (fields[3] + fields[4]).isdigit():
            raise AudioError(f"{index}:{number}", f"expected 5 fields, got {line!r:.80}", mend="make the pack anew")
        utterance, speaker, shard, first, length = fields
        if shard != current:
            current, samples = shard, read_sound(Path(folder) / shard, sample_rate)
        piece = samples[int(first) : int(first) + int(length)]
        if len(piece) != int(length):
            raise AudioError(f"{index}:{number}", f"{shard} is too short", mend="make the pack anew")
        yield utterance, speaker, piece
