"""A training set in memory and as one compact file: features, targets, utterance ids and speakers.

A Kaldi data dir with alignments, transforms and models becomes one .npz that another machine can train on without
any of them: features as float16 or as 8 bits a value (the coarseness of Kaldi's own compressed matrices), targets as
int16.  Frames of all utterances lie one after another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.atomic import write_whole
from harness.errors import AlignmentError, TableError

FORMAT = "schoolyard-frames-1"
BLOCK = 50_000  # frames
Storage = Literal["float32", "float16", "uint8"]


@dataclass(frozen=True, kw_only=True)
class FrameMeta:
    """What must agree between sets that one model sees."""

    streams: tuple[str, ...]  # what the feature columns are, as "fmllr:40"
    speaker_norm: str  # "mean_variance", "mean" or "none", applied already
    num_pdfs: int = 0  # 0: no targets
    phones: tuple[str, ...] = ()  # position-free phone of each phone target


@dataclass(frozen=True, kw_only=True)
class FrameSet:
    """Utterances with their frames, in one piece."""

    meta: FrameMeta
    utterances: tuple[str, ...]
    speakers: tuple[str, ...]  # of each utterance
    lengths: NDArray[np.int64]  # [utterances] frames
    features: NDArray[np.generic]  # [frames, dim] float32, float16 or uint8
    low: NDArray[np.float32] | None = None  # [dim] value of a stored 0 (uint8 only)
    step: NDArray[np.float32] | None = None  # [dim] value of one stored unit (uint8 only)
    pdfs: NDArray[np.int16] | None = None  # [frames]
    phones: NDArray[np.int16] | None = None  # [frames]

    @property
    def frames(self) -> int:
        """Frames of all utterances."""
        return len(self.features)

    @property
    def dim(self) -> int:
        """Features a frame."""
        return int(self.features.shape[1])

    @property
    def starts(self) -> NDArray[np.int64]:
        """[utterances] first frame of each utterance."""
        return np.cumsum(self.lengths) - self.lengths

    def rows(self, begin: int, end: int) -> NDArray[np.float32]:
        """[end - begin, dim] features as numbers."""
        rows = self.features[begin:end].astype(np.float32)
        return rows if self.low is None or self.step is None else rows * self.step + self.low

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """([dim] mean, [dim] standard deviation) of the features, block by block: as numbers the set is much larger."""
        blocks = [(begin, begin + BLOCK) for begin in range(0, self.frames, BLOCK)]
        mean = sum(self.rows(*block).sum(0, dtype=np.float64) for block in blocks) / self.frames
        square = sum(((self.rows(*block) - mean) ** 2).sum(0) for block in blocks) / self.frames
        return mean, np.sqrt(square)

    def stored_as(self, storage: Storage) -> FrameSet:
        """The same set with its features in another form; uint8 keeps each column's range within 6 deviations.

        Raises TableError where float16 would be infinite.
        """
        if storage == str(self.features.dtype):
            return self
        values = self.rows(0, self.frames)
        if storage == "float16" and max(values.max(initial=0), -values.min(initial=0)) > np.finfo(np.float16).max:
            problem = f"reach {max(values.max(), -values.min()):g}, which is infinite in float16"
            mend = "normalise them (inputs.speaker_norm), or store them with 'am pack --storage float32'"
            raise TableError("features", problem, mend=mend)
        if storage != "uint8":
            return _with(self, features=values.astype(storage), low=None, step=None)
        centre, spread = values.mean(0), 6 * values.std(0)
        low = np.maximum(values.min(0), centre - spread).astype(np.float32)
        high = np.minimum(values.max(0), centre + spread)
        step = np.maximum((high - low) / 255, 1e-12).astype(np.float32)
        stored = np.clip(np.rint((values - low) / step), 0, 255).astype(np.uint8)
        return _with(self, features=stored, low=low, step=step)

    def subset(self, chosen: Sequence[int] | NDArray[np.int64]) -> FrameSet:
        """The utterances with these positions, in this order."""
        index = np.asarray(chosen, dtype=np.int64)
        starts = self.starts
        kept = [np.arange(starts[i], starts[i] + self.lengths[i]) for i in index]
        frames = np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)
        return _with(
            self,
            utterances=tuple(self.utterances[i] for i in index),
            speakers=tuple(self.speakers[i] for i in index),
            lengths=self.lengths[index],
            features=self.features[frames],
            pdfs=None if self.pdfs is None else self.pdfs[frames],
            phones=None if self.phones is None else self.phones[frames],
        )

    def fingerprint(self) -> str:
        """SHA-256 over everything a training sees; a resumed training refuses another."""
        digest = hashlib.sha256(json.dumps(asdict(self.meta)).encode())
        digest.update("\n".join(self.utterances).encode())
        for array in (self.lengths, self.features, self.low, self.step, self.pdfs, self.phones):
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)  # its memory as it lies; bytes would be a second set
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the set as one .npz; the same set gives the same bytes."""
        arrays: dict[str, Any] = {"lengths": self.lengths.astype(np.int32), "features": self.features}
        arrays["text"] = np.frombuffer(self._text().encode(), dtype=np.uint8)
        for name in ("low", "step", "pdfs", "phones"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        with write_whole(path, "wb") as stream:
            np.savez_compressed(stream, **arrays)

    def _text(self) -> str:
        names = {"format": FORMAT, "utterances": self.utterances, "speakers": self.speakers, "meta": asdict(self.meta)}
        return json.dumps(names)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FrameSet:
        """Read what ``save`` wrote.  Raises TableError where the file is missing, damaged or something else."""
        mend = "make it again with 'am pack'"
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            names = json.loads(arrays.pop("text").tobytes().decode())
        except FileNotFoundError:
            raise TableError(
                path, "no such packed data set", mend="make it with 'am pack', or check the path"
            ) from None
        except MemoryError:
            raise
        except Exception as error:  # zipfile, zlib and numpy answer damage with whatever they trip over
            raise TableError(path, f"is not a packed data set ({error})", mend=mend) from error
        if names.get("format") != FORMAT:
            raise TableError(path, f"is a packed data set of format {names.get('format')!r}, not {FORMAT!r}", mend=mend)
        meta: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in names["meta"].items()
        }
        lengths = arrays.pop("lengths").astype(np.int64)
        if lengths.sum() != len(arrays["features"]):
            raise TableError(
                path, f"has {len(arrays['features'])} frames where its utterances say {lengths.sum()}", mend=mend
            )
        return cls(
            meta=FrameMeta(**meta),
            utterances=tuple(names["utterances"]),
            speakers=tuple(names["speakers"]),
            lengths=lengths,
            **arrays,
        )


def _with(frames: FrameSet, **changes: object) -> FrameSet:
    return FrameSet(**{**{name: getattr(frames, name) for name in FrameSet.__dataclass_fields__}, **changes})


def merge(sets: Sequence[FrameSet], names: Sequence[str]) -> FrameSet:
    """Several sets as one (clean, noisy and enhanced copies; shards).  names: what errors call them.

    Raises AlignmentError where streams, normalisation, pdfs or phones differ.
    """
    first = sets[0]
    if len(sets) == 1:
        return first
    for other, name in zip(sets[1:], names[1:], strict=True):
        for what in FrameMeta.__dataclass_fields__:
            here, there = getattr(first.meta, what), getattr(other.meta, what)
            if here != there:
                problem = f"{what} is {_brief(there)}, but {_brief(here)} in {names[0]}"
                raise AlignmentError(name, problem, mend="pack all sets with the same model, streams and options")
    if len({str(one.features.dtype) for one in sets}) > 1 or first.features.dtype == np.uint8:
        sets = [one.stored_as("float16") for one in sets]
    return _with(
        sets[0],
        utterances=tuple(utterance for one in sets for utterance in one.utterances),
        speakers=tuple(speaker for one in sets for speaker in one.speakers),
        lengths=np.concatenate([one.lengths for one in sets]),
        features=np.concatenate([one.features for one in sets]),
        pdfs=None if first.pdfs is None else np.concatenate([one.pdfs for one in sets]),
        phones=None if first.phones is None else np.concatenate([one.phones for one in sets]),
    )


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def hold_out(frames: FrameSet, speakers: int) -> tuple[FrameSet, FrameSet]:
    """Split off a development set of whole speakers, the first by SHA-256 of their ids.

    Copies whose speaker is that of the original behind a prefix (noisy-spk1, sp0.9-spk1) go where the original goes.
    Raises AlignmentError where fewer than two speakers would remain to train on.
    """
    known = set(frames.speakers)
    persons = [_original(speaker, known) for speaker in frames.speakers]
    ordered = sorted(set(persons), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if speakers < 1 or len(ordered) - speakers < 2:
        problem = f"cannot hold {speakers} of {len(ordered)} speakers out for development"
        raise AlignmentError("development set", problem, mend="give a development set, or change train.dev_speakers")
    held = set(ordered[:speakers])
    dev = [i for i, person in enumerate(persons) if person in held]
    train = [i for i, person in enumerate(persons) if person not in held]
    return frames.subset(train), frames.subset(dev)


def _original(speaker: str, known: set[str]) -> str:
    words = speaker.split("-")
    ends = ("-".join(words[first:]) for first in range(len(words) - 1, 0, -1))
    return next((end for end in ends if end in known), speaker)
