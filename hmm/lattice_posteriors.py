"""Posteriors of the arcs of a lattice, and acoustic rescoring (Kaldi's lattice-to-post and gmm-rescore-lattice)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.errors import DecodeError
from kaldi_bridge.lattice_arrays import CompactLattice, Lattice


@dataclass(frozen=True)
class FramePosteriors:
    """What was said when: one row for each (frame, transition id) with a posterior worth keeping, sorted by frame."""

    frames: NDArray[np.int64]  # [rows]
    transition_ids: NDArray[np.int32]  # [rows]
    weights: NDArray[np.float64]  # [rows] posteriors; those of a frame add up to about 1


@njit(cache=True, nogil=True)
def _state_times(source, target, lengths, states):  # type: ignore[no-untyped-def]
    times = np.zeros(states, np.int64)
    for a in range(len(source)):
        times[target[a]] = times[source[a]] + lengths[a]
    return times


@njit(cache=True, nogil=True)
def _log_add(a, b):  # type: ignore[no-untyped-def]
    if a < b:
        a, b = b, a
    return a if b == -np.inf else a + np.log1p(np.exp(b - a))


@njit(cache=True, nogil=True)
def _arc_posteriors(source, target, log_prob, log_final):  # type: ignore[no-untyped-def]
    """Forward and backward over arcs sorted by source in topological order.

    Returns (posteriors [arcs], posteriors of ending [states], log of the total).
    """
    states = len(log_final)
    forward, backward = np.full(states, -np.inf), log_final.copy()
    forward[0] = 0.0
    for a in range(len(source)):
        forward[target[a]] = _log_add(forward[target[a]], forward[source[a]] + log_prob[a])
    for a in range(len(source) - 1, -1, -1):
        backward[source[a]] = _log_add(backward[source[a]], backward[target[a]] + log_prob[a])
    total = backward[0]
    out, ending = np.zeros(len(source)), np.zeros(states)
    if total > -np.inf:
        for a in range(len(source)):
            out[a] = np.exp(forward[source[a]] + log_prob[a] + backward[target[a]] - total)
        for s in range(states):
            ending[s] = np.exp(forward[s] + log_final[s] - total)
    return out, ending, total


def state_times(lattice: Lattice | CompactLattice) -> NDArray[np.int64]:
    """[states] the frame at which each state stands."""
    if isinstance(lattice, Lattice):
        lengths = (lattice.transition_id > 0).astype(np.int64)
    else:
        lengths = np.diff(lattice.start[: lattice.num_arcs + 1])
    times: NDArray[np.int64] = _state_times(lattice.source, lattice.target, lengths, lattice.num_states)
    return times


def frame_posteriors(
    lattice: Lattice | CompactLattice,
    *,
    acoustic_scale: float,
    lm_scale: float = 1.0,
    least: float = 1.0e-3,
    utterance: str = "lattice",
) -> FramePosteriors:
    """Posteriors of transition ids by frame; arcs below `least` are dropped.

    Of a Lattice, every alignment counts; of a CompactLattice, each word sequence with its best one, as in Kaldi's
    scripts.  Raises DecodeError where no path reaches a final state.
    """
    log_prob = -(lm_scale * lattice.graph_cost.astype(np.float64) + acoustic_scale * lattice.acoustic_cost)
    ends = np.isfinite(lattice.final_graph)
    log_final = np.full(lattice.num_states, -np.inf)
    log_final[ends] = -(lm_scale * lattice.final_graph[ends] + acoustic_scale * lattice.final_acoustic[ends])
    posteriors, final_posteriors, total = _arc_posteriors(lattice.source, lattice.target, log_prob, log_final)
    if not np.isfinite(total):
        raise DecodeError(utterance, "no path of the lattice reaches a final state", mend="decode with a wider --beam")
    times = state_times(lattice)
    if isinstance(lattice, Lattice):
        rows = np.flatnonzero((lattice.transition_id > 0) & (posteriors > least))
        frames, ids, weights = times[lattice.source[rows]], lattice.transition_id[rows], posteriors[rows]
    else:  # the strings of arcs, then those of final weights, stand back to back in ids
        lengths = np.diff(lattice.start)
        begins = np.concatenate([times[lattice.source], times])
        owners = np.repeat(np.arange(len(lengths)), lengths)
        weights = np.concatenate([posteriors, final_posteriors])[owners]
        places = np.arange(lattice.start[0], lattice.start[-1])
        frames, ids = begins[owners] + places - lattice.start[owners], lattice.ids[places]
        kept = weights > least
        frames, ids, weights = frames[kept], ids[kept], weights[kept]
    order = np.argsort(frames, kind="stable")
    return FramePosteriors(frames[order], ids[order], weights[order])


def rescore(lattice: Lattice, loglikes: NDArray[np.float32], id2pdf: NDArray[np.int32]) -> Lattice:
    """The lattice with acoustic costs from another matrix of log likelihoods [frames, pdfs].

    Raises DecodeError if the lattice is longer than the matrix.
    """
    times = state_times(lattice)
    if len(times) and times.max() > len(loglikes):
        problem = f"the lattice spans {times.max()} frames, the likelihoods {len(loglikes)}"
        raise DecodeError("lattice", problem, mend="rescore with features of the same utterance")
    acoustic = np.zeros(lattice.num_arcs, np.float32)
    rows = np.flatnonzero(lattice.transition_id > 0)
    acoustic[rows] = -loglikes[times[lattice.source[rows]], id2pdf[lattice.transition_id[rows]]]
    return replace(lattice, acoustic_cost=acoustic)
