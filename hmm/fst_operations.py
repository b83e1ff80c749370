"""What Kaldi's fstrmsymbols, fstpushspecial and fstconnect do, on arrays; and guarded calls of kaldifst.

Source: kaldi's fstext/push-special.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import njit

from harness.errors import ModelError
from kaldi_bridge.fsts import FstArrays

PUSH_DELTA = 1.0 / 1024  # as fstpushspecial
PUSH_ITERATIONS = 200


def compose(first: Any, second: Any, what: str, *, mend: str) -> Any:
    """kaldifst's composition, refused where it would silently be empty for want of sorting.

    Raises ModelError if it is empty.
    """
    import kaldifst

    assert first.is_olabel_sorted or second.is_ilabel_sorted, f"{what}: neither side is sorted"
    result = kaldifst.compose(first, second)
    if result.num_states == 0 or result.start < 0:
        raise ModelError(what, "the composition is empty: no path of the one side meets the other", mend=mend)
    return result


def determinize_star(fst: Any, max_states: int, what: str) -> None:
    """kaldifst.determinize_star in place, in the log semiring; it could run for ever.

    Raises ModelError beyond `max_states`.
    """
    import kaldifst

    mend = "check that L_disambig.fst and G.fst carry disambiguation symbols; raise max_states for a truly larger graph"
    problem = f"determinisation needs more than {max_states} states"
    try:
        partial = kaldifst.determinize_star(fst, use_log=True, max_states=max_states)
    except RuntimeError as error:
        raise ModelError(what, f"{problem} ({error})" if str(error) else problem, mend=mend) from None
    if partial:
        raise ModelError(what, problem, mend=mend)


def remove_input_symbols(fst: FstArrays, symbols: Iterable[int]) -> FstArrays:
    """The transducer with these input labels made epsilon (fstrmsymbols)."""
    ilabel = fst.ilabel.copy()
    ilabel[np.isin(ilabel, list(symbols))] = 0
    return FstArrays(fst.start, fst.finals, fst.offsets, ilabel, fst.olabel, fst.weight, fst.nextstate)


def push_special(fst: FstArrays) -> FstArrays:
    """Spreads the weights so that what leaves each state adds up to one same total (fstpushspecial: power method)."""
    source, target = fst.sources(), fst.nextstate
    arc_prob, final_prob = np.exp(-fst.weight.astype(np.float64)), np.exp(-fst.finals.astype(np.float64))
    states = fst.num_states
    potential = np.full(states, states**-0.5)
    for iteration in range(PUSH_ITERATIONS):
        step = np.bincount(source, arc_prob * potential[target], minlength=states) + final_prob * potential[fst.start]
        if iteration > 1 and iteration % 5 == 1:
            ratio = step / potential
            if np.log(ratio.max() / ratio.min()) <= PUSH_DELTA:
                break
        potential = 0.1 * potential + step
        potential /= np.sqrt((potential**2).sum())
    cost = -np.log(potential)
    weight = (fst.weight + (cost[target] - cost[source])).astype(np.float32)
    finals = (fst.finals + (cost[fst.start] - cost)).astype(np.float32)
    return FstArrays(fst.start, finals, fst.offsets, fst.ilabel, fst.olabel, weight, fst.nextstate)


def trim(fst: FstArrays) -> FstArrays:
    """Only the states on a path from the start to a final state (fstconnect), in their order."""
    useful = _useful(fst.start, np.isfinite(fst.finals), fst.offsets, fst.nextstate)
    if not useful.any():
        return FstArrays.empty()
    number = np.cumsum(useful, dtype=np.int32) - 1
    source = fst.sources()
    kept = useful[source] & useful[fst.nextstate]
    counts = np.bincount(number[source[kept]], minlength=int(useful.sum()))
    return FstArrays(
        int(number[fst.start]), fst.finals[useful], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        fst.ilabel[kept], fst.olabel[kept], fst.weight[kept], number[fst.nextstate[kept]].astype(np.int32),
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _useful(start, final, offsets, nextstate):  # type: ignore[no-untyped-def]
    """[states] whether the start reaches the state and the state reaches an end."""
    states = len(final)
    reached, ends = np.zeros(states, np.bool_), np.zeros(states, np.bool_)
    stack = np.empty(states, np.int64)
    entering = np.zeros(states + 1, np.int64)  # the arcs into each state, by a counting sort
    source = np.empty(len(nextstate), np.int64)
    for arc in range(len(nextstate)):
        entering[nextstate[arc] + 1] += 1
    entering = np.cumsum(entering)
    place = entering.copy()
    for state in range(states):
        for arc in range(offsets[state], offsets[state + 1]):
            source[place[nextstate[arc]]] = state
            place[nextstate[arc]] += 1
    height = 0
    if start >= 0:
        stack[0], height, reached[start] = start, 1, True
    while height:
        height -= 1
        state = stack[height]
        for arc in range(offsets[state], offsets[state + 1]):
            target = nextstate[arc]
            if not reached[target]:
                reached[target] = True
                stack[height] = target
                height += 1
    for state in range(states):
        if final[state] and reached[state]:
            ends[state] = True
            stack[height] = state
            height += 1
    while height:
        height -= 1
        state = stack[height]
        for k in range(entering[state], entering[state + 1]):
            before = source[k]
            if reached[before] and not ends[before]:
                ends[before] = True
                stack[height] = before
                height += 1
    return ends
