"""Are two transducers the same up to the numbers of their states? Judged by colour refinement and a full check."""

from __future__ import annotations

import numpy as np

from kaldi_bridge.fsts import FstArrays


def weight_difference(left: FstArrays, right: FstArrays) -> float | None:
    """The largest difference between corresponding weights, or None if the transducers are not isomorphic.

    Weights take no part in finding the correspondence, so rounding cannot hide one.
    """
    if (left.num_states, left.num_arcs) != (right.num_states, right.num_arcs):
        return None
    colours = _refined(left, right)
    if colours is None:
        return None
    image = np.empty(left.num_states, np.int64)  # state of left -> state of right, class by class
    image[np.argsort(colours[0], kind="stable")] = np.argsort(colours[1], kind="stable")
    ours = _rows(image[left.sources()], image[left.nextstate], left)
    theirs = _rows(right.sources(), right.nextstate, right)
    finals = np.empty(left.num_states)
    finals[image] = left.finals
    ends = np.isfinite(finals)
    if not all(map(np.array_equal, ours[:4], theirs[:4])) or not np.array_equal(ends, np.isfinite(right.finals)):
        return None
    arcs = np.abs(ours[4] - theirs[4]).max(initial=0)
    return float(max(arcs, np.abs(finals[ends] - right.finals[ends]).max(initial=0)))


def _refined(left: FstArrays, right: FstArrays) -> list[np.ndarray] | None:
    """Colours of the states of both, refined by their neighbours until stable; None as soon as the two differ."""
    both = (left, right)
    colours = [np.isfinite(f.finals) + 2 * (np.arange(f.num_states) == f.start) for f in both]
    known = 0
    while True:
        keys = [_signature(f, c) for f, c in zip(both, colours, strict=True)]
        found, numbers = np.unique(np.concatenate(keys), return_inverse=True)
        colours = [numbers[: left.num_states], numbers[left.num_states :]]
        if not np.array_equal(np.sort(colours[0]), np.sort(colours[1])):
            return None
        if len(found) == known:
            return colours
        known = len(found)


def _signature(fst: FstArrays, colour: np.ndarray) -> np.ndarray:
    source, total = fst.sources(), colour.astype(np.uint64) * np.uint64(1099511628211)
    for here, there, factor in ((source, fst.nextstate, 31), (fst.nextstate, source, 17)):
        mixed = fst.ilabel.astype(np.uint64) * np.uint64(1000003) + fst.olabel.astype(np.uint64) * np.uint64(7919)
        mixed += colour[there].astype(np.uint64) * np.uint64(2654435761) + np.uint64(12345)
        mixed = (mixed ^ (mixed >> np.uint64(13))) * np.uint64(6364136223846793005)
        np.add.at(total, here, (mixed ^ (mixed >> np.uint64(29))) * np.uint64(factor))
    return total


def _rows(source: np.ndarray, target: np.ndarray, fst: FstArrays) -> tuple[np.ndarray, ...]:
    order = np.lexsort((fst.weight, target, fst.olabel, fst.ilabel, source))
    return source[order], target[order], fst.ilabel[order], fst.olabel[order], fst.weight[order]
