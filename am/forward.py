"""Log-likelihoods of a trained model as Kaldi arks, log p(pdf | x) - log p(pdf), for any Kaldi decoder.

The batch norm uses its running statistics, so an utterance's likelihoods do not depend on what it is batched with.
A recurrent model that reads both ways needs an utterance whole; memory is that of the longest batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from am.chunks import plan_batches
from am.dataset import FrameSet
from am.models.denormals import flushed_denormals
from am.models.hybrid import HybridModel, load_model
from am.models.packing import Packing, unpack
from harness.atomic import whole_dir
from harness.errors import ModelError
from harness.log import get_logger, progress
from hmm.graph_note import GraphNote

log = get_logger("am")
Output = Literal["loglikes", "posteriors"]
BATCH_FRAMES = 20_000  # bounds the memory of a batch, whatever the lengths
PIECE_FRAMES = 40_000  # about so many wait for their place in the ark; a frame of 2000 pdfs takes 8 kB


def check_inputs(path: Path, state: dict[str, Any], frames: FrameSet) -> None:
    """Raise ModelError where the features are not what the model was trained on."""
    trained, given = state["inputs"], frames.meta
    if frames.dim != state["input_dim"]:
        problem = f"takes {state['input_dim']} features a frame ({', '.join(trained['streams'])}), got {frames.dim}"
        raise ModelError(path, problem, mend="prepare the same streams as in training")
    for what, then, now in (
        ("streams", list(trained["streams"]), list(given.streams)),
        ("speaker normalisation", trained["speaker_norm"], given.speaker_norm),
    ):
        if then != now:
            raise ModelError(
                path, f"was trained with {what} {then}, got {now}", mend="prepare the inputs as in training"
            )


@torch.no_grad()
def forward_utterances(
    model: HybridModel, frames: FrameSet, *, output: Output = "loglikes", batch_size: int = 8
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(position of the utterance in the set, [frames, num_pdfs] natural logarithms), longest utterances first."""
    device = model.log_priors.device
    model.eval()
    for batch in _bounded(plan_batches(frames.lengths, batch_size, 0.0, None), frames.lengths):
        lengths = frames.lengths[batch]
        packing = Packing.of(lengths.tolist(), directions=model.directions, device=device)
        starts = np.cumsum(lengths) - lengths
        flat = np.concatenate([frames.rows(frames.starts[i], frames.starts[i] + frames.lengths[i]) for i in batch])
        rows = torch.from_numpy(flat).to(device)[packing.gather_rows(torch.from_numpy(starts).to(device))]
        scores = model.log_likelihoods(rows, packing)
        if output == "posteriors":
            scores = scores + model.log_priors
        for position, matrix in zip(batch, unpack(scores, packing), strict=True):
            yield int(position), matrix.cpu().numpy()


def _bounded(batches: list[NDArray[np.int64]], lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for batch in batches:
        size = max(1, BATCH_FRAMES // int(lengths[batch].max()))
        yield from (batch[i : i + size] for i in range(0, len(batch), size))


def forward_to_ark(
    checkpoint: Path, frames: FrameSet, out: Path, *, jobs: int = 1, output: Output = "loglikes",
    device: str = "cpu", force: bool = False,
) -> int:  # fmt: skip
    """Write out/loglikes.{1..jobs}.ark and .scp, and loglikes.scp of all; returns the number of utterances.

    Utterances keep the order of the set within and across the arks.  The note of the graph to decode with goes along,
    where the model has one.  Raises CheckpointError or ModelError where the
    model does not fit the features.
    """
    from kaldi_bridge.tables import MatrixWriter

    model, state = load_model(checkpoint, device=device)
    check_inputs(checkpoint, state, frames)
    parts = [part for part in np.array_split(np.arange(len(frames.utterances)), jobs) if len(part)]
    done = 0
    with flushed_denormals(), whole_dir(out, force=force) as aside:
        for number, part in enumerate(parts, 1):
            results = _in_order(model, frames, part, output)
            label = f"forward {number}/{len(parts)}"
            with MatrixWriter(
                aside / f"{output}.{number}.ark", aside / f"{output}.{number}.scp", compress=False
            ) as writer:
                for utterance, scores in progress(results, total=len(part), label=label):
                    writer.write(utterance, scores)
            done += len(part)
        _join_scp(aside, out, output, len(parts))
        if (note := GraphNote.read(checkpoint.parent)) is not None:
            note.write(aside)
    log.info("%s: %d utterances, %d pdfs -> %s", checkpoint, done, model.num_pdfs, out)
    return done


def _in_order(
    model: HybridModel, frames: FrameSet, part: NDArray[np.int64], output: Output
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(utterance, its matrix) in the order of the set, piece by piece: the matrices of a whole set need not fit."""
    before = np.cumsum(frames.lengths[part]) - frames.lengths[part]
    cuts = np.flatnonzero(np.diff(before // PIECE_FRAMES)) + 1
    for piece in np.split(part, cuts):
        scores = dict(forward_utterances(model, frames.subset(piece), output=output))
        for position, place in enumerate(piece):
            yield frames.utterances[place], scores.pop(position)


def _join_scp(aside: Path, out: Path, output: str, parts: int) -> None:
    """The scp files name the final directory, and one scp names all utterances."""
    joined = []
    for number in range(1, parts + 1):
        path = aside / f"{output}.{number}.scp"
        text = path.read_text(encoding="utf-8").replace(f" {aside}/", f" {out.resolve()}/")
        path.write_text(text, encoding="utf-8")
        joined.append(text)
    (aside / f"{output}.scp").write_text("".join(joined), encoding="utf-8")
