"""Posteriors of the arcs of a lattice, and acoustic rescoring (Kaldi's lattice-to-post and gmm-rescore-lattice)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.errors import DecodeError
from kaldi_bridge.lattice_arrays import Lattice


@dataclass(frozen=True)
class FramePosteriors:
    """What was said when: one row for each (frame, transition id) with a posterior worth keeping, sorted by frame."""

    frames: NDArray[np.int64]  # [rows]
    transition_ids: NDArray[np.int32]  # [rows]
    weights: NDArray[np.float64]  # [rows] posteriors; those of a frame add up to about 1


@njit(cache=True, nogil=True)
def _state_times(source, target, transition_id, states):  # type: ignore[no-untyped-def]
    times = np.zeros(states, np.int64)
    for a in range(len(source)):
        times[target[a]] = times[source[a]] + (transition_id[a] > 0)
    return times


@njit(cache=True, nogil=True)
def _log_add(a, b):  # type: ignore[no-untyped-def]
    if a < b:
        a, b = b, a
    return a if b == -np.inf else a + np.log1p(np.exp(b - a))


@njit(cache=True, nogil=True)
def _arc_posteriors(source, target, log_prob, log_final):  # type: ignore[no-untyped-def]
    """Forward and backward over arcs sorted by source in topological order; returns ([arcs] posteriors, total)."""
    states = len(log_final)
    forward, backward = np.full(states, -np.inf), log_final.copy()
    forward[0] = 0.0
    for a in range(len(source)):
        forward[target[a]] = _log_add(forward[target[a]], forward[source[a]] + log_prob[a])
    for a in range(len(source) - 1, -1, -1):
        backward[source[a]] = _log_add(backward[source[a]], backward[target[a]] + log_prob[a])
    total = backward[0]
    out = np.zeros(len(source))
    if total > -np.inf:
        for a in range(len(source)):
            out[a] = np.exp(forward[source[a]] + log_prob[a] + backward[target[a]] - total)
    return out, total


def state_times(lattice: Lattice) -> NDArray[np.int64]:
    """[states] the frame at which each state stands."""
    return _state_times(lattice.source, lattice.target, lattice.transition_id, lattice.num_states)


def frame_posteriors(
    lattice: Lattice, *, acoustic_scale: float, lm_scale: float = 1.0, least: float = 1.0e-3, utterance: str = "lattice"
) -> FramePosteriors:
    """Posteriors of transition ids by frame; rows below `least` are dropped.

    Raises DecodeError where no path reaches a final state.
    """
    log_prob = -(lm_scale * lattice.graph_cost.astype(np.float64) + acoustic_scale * lattice.acoustic_cost)
    ends = np.isfinite(lattice.final_graph)
    log_final = np.full(lattice.num_states, -np.inf)
    log_final[ends] = -(lm_scale * lattice.final_graph[ends] + acoustic_scale * lattice.final_acoustic[ends])
    posteriors, total = _arc_posteriors(lattice.source, lattice.target, log_prob, log_final)
    if not np.isfinite(total):
        raise DecodeError(utterance, "no path of the lattice reaches a final state", mend="decode with a wider --beam")
    rows = np.flatnonzero((lattice.transition_id > 0) & (posteriors > least))
    times = state_times(lattice)[lattice.source[rows]]
    order = np.argsort(times, kind="stable")
    return FramePosteriors(times[order], lattice.transition_id[rows[order]], posteriors[rows[order]])


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
