"""One recording through a generator in blocks: constant memory, sample-exact, and the level told beforehand.

Two passes: the first measures the level (and refuses what is not finite), the second enhances.  The unprocessed signal
may be added back (observation adding, Iwamoto et al. 2022, arXiv:2201.06685): it waits for the delayed enhanced one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from enhance.models import Generator
from harness.errors import AudioError

BLOCK_SECONDS = 8.0

Blocks = Callable[[], Iterable[np.ndarray]]  # opens the recording anew: float32 [samples] a block


def level_of(blocks: Iterable[np.ndarray], where: str) -> tuple[float, int]:
    """Root mean square over all samples and their number.  Raises AudioError: none, or samples that are not finite."""
    energy, count = 0.0, 0
    for block in blocks:
        energy += float(np.square(block, dtype=np.float64).sum())
        count += len(block)
    if not count:
        raise AudioError(where, "holds no samples", mend="remove this recording")
    if not np.isfinite(energy):
        raise AudioError(where, "holds samples that are not finite", mend="remove or repair this recording")
    return (energy / count) ** 0.5, count


@torch.inference_mode()
def enhance_blocks(model: Generator, blocks: Blocks, *, mix: float = 0.0, where: str = "audio") -> Iterator[np.ndarray]:
    """Yield the enhanced recording in pieces; together they have exactly its length.

    mix: share of the unprocessed signal in the sum, 0 to 1.
    """
    level, count = level_of(blocks(), where)
    stream = model.open_stream(level)
    device = next(model.parameters()).device
    waiting = np.zeros(0, np.float32)  # noisy samples whose enhanced ones are not there yet
    given = 0

    def pieces() -> Iterator[torch.Tensor]:
        nonlocal waiting
        for block in blocks():
            waiting = np.concatenate([waiting, block])
            yield stream.push(torch.from_numpy(np.ascontiguousarray(block)).to(device))
        yield stream.finish()

    for piece in pieces():
        enhanced = piece.cpu().numpy()
        noisy, waiting = waiting[: len(enhanced)], waiting[len(enhanced) :]
        given += len(enhanced)
        if len(enhanced):
            yield enhanced if mix == 0 else (1 - mix) * enhanced + np.float32(mix) * noisy
    if given != count:
        raise AssertionError(f"{where}: {count} samples went in, {given} came out")


def enhance_samples(model: Generator, samples: np.ndarray, *, mix: float = 0.0) -> np.ndarray:
    """[samples] float32 -> [samples], in blocks as a long recording."""
    size = int(BLOCK_SECONDS * model.sample_rate)
    blocks = [samples[i : i + size] for i in range(0, len(samples), size)]
    return np.concatenate(list(enhance_blocks(model, lambda: blocks, mix=mix)))
