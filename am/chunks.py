"""What a training step sees: sequences cut to the curriculum's length, batched by length, in a drawn order.

Nothing is padded and nothing is dropped: the last, smaller batch is trained on as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sequences:
    """Pieces of utterances: [pieces] first frame in the flat set, and frames."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


def cut(starts: NDArray[np.int64], lengths: NDArray[np.int64], max_frames: int) -> Sequences:
    """Cut what is longer than 1.25 * max_frames into equal pieces of at most max_frames; 0 leaves all whole.

    The quarter of slack spares an utterance that is a little too long a short, context-less rest.
    """
    if max_frames <= 0:
        return Sequences(starts, lengths)
    pieces = np.where(lengths > 1.25 * max_frames, -(-lengths // max_frames), 1)
    owner = np.repeat(np.arange(len(lengths)), pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = number * lengths[owner] // pieces[owner]
    end = (number + 1) * lengths[owner] // pieces[owner]
    return Sequences(starts[owner] + begin, end - begin)


def curriculum_frames(epoch: int, first: int, growth: float, last: int) -> int:
    """The longest sequence of an epoch (from 0): first, first * growth, ... up to last; 0 is no limit.

    pytorch-kaldi's schedule is 100, 200, 400, 800, 1000: short sequences first make the recurrence stable.
    """
    if first <= 0:
        return last
    try:
        frames = int(first * growth**epoch)
    except OverflowError:  # longer than any utterance
        return last
    return min(frames, last) if last > 0 else frames


def plan_batches(
    lengths: NDArray[np.int64], batch_size: int, jitter: float, rng: np.random.Generator | None
) -> list[NDArray[np.int64]]:
    """Positions of each batch's sequences, longest first; sequences of like length share a batch.

    jitter: lengths are taken up to this share longer or shorter before they are sorted, so that batches differ between
    epochs.  rng: None keeps the sorted order, longest batch first (evaluation).
    """
    keys = lengths.astype(np.float64)
    if rng is not None and jitter > 0:
        keys = keys * (1 + jitter * rng.uniform(-1, 1, len(lengths)))
    order = np.argsort(-keys, kind="stable")
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if len(batches) > 1 and lengths[batches[-1]].sum() < 2:  # a batch norm needs two frames
        batches[-2:] = [np.concatenate(batches[-2:])]
    batches = [batch[np.argsort(-lengths[batch], kind="stable")] for batch in batches]
    return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]
