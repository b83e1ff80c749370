"""Lattice algorithms: topological order, best paths at any language model weight and insertion penalty, sweeps.

Cost of a path at weight W and penalty P: graph + acoustic / W + P * words, as `lattice-scale --inv-acoustic-scale=W |
lattice-add-penalty --word-ins-penalty=P | lattice-best-path` of Kaldi.
"""

# Compiled functions carry no annotations: numba infers their types.
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.errors import DecodeError
from kaldi_bridge.lattice_arrays import CompactLattice, Lattice


@dataclass(frozen=True, kw_only=True)
class Path:
    """A path through a lattice: words [N] and transition ids [frames], unscaled costs."""

    words: NDArray[np.int32]
    transition_ids: NDArray[np.int32]
    graph_cost: float
    acoustic_cost: float


@njit(cache=True, nogil=True)
def _best_arcs(source, target, word, graph, acoustic, final_graph, final_acoustic, inverse_weight, penalty, best, back):
    """Forward pass into best [S] and back [S] (arc that leads there); returns (last state, cost)."""
    best[:] = np.inf
    best[0] = 0.0
    for a in range(len(source)):
        total = best[source[a]] + graph[a] + inverse_weight * acoustic[a]
        if word[a] > 0:
            total += penalty
        if total < best[target[a]]:
            best[target[a]] = total
            back[target[a]] = a
    last, cost = -1, np.inf
    for s in range(len(final_graph)):
        if final_graph[s] < np.inf:
            total = best[s] + final_graph[s] + inverse_weight * final_acoustic[s]
            if total < cost:
                last, cost = s, total
    return last, cost


def best_path(
    lattice: Lattice | CompactLattice,
    lm_weight: float = 12.0,
    word_ins_penalty: float = 0.0,
    *,
    utterance: str = "lattice",
) -> Path:
    """The cheapest path.  Raises DecodeError, naming the utterance, where no path reaches a final state."""
    mend = "decode again with a wider --beam"
    if lattice.num_states == 0:
        raise DecodeError(utterance, "the lattice is empty", mend=mend)
    best, back = np.empty(lattice.num_states), np.empty(lattice.num_states, np.int32)
    last, _ = _best_arcs(
        lattice.source, lattice.target, lattice.word, lattice.graph_cost, lattice.acoustic_cost, lattice.final_graph,
        lattice.final_acoustic, 1.0 / lm_weight, float(word_ins_penalty), best, back,
    )  # fmt: skip
    if last < 0:
        raise DecodeError(utterance, "no path of the lattice reaches a final state", mend=mend)
    arcs = []
    state = last
    while state != 0:
        arcs.append(back[state])
        state = lattice.source[back[state]]
    chosen = np.array(arcs[::-1], np.int64)
    words = lattice.word[chosen]
    if isinstance(lattice, Lattice):
        ids = lattice.transition_id[chosen]
        ids = ids[ids > 0]
    else:
        ids = np.concatenate([*(lattice.arc_ids(a) for a in chosen), lattice.final_ids(last)]).astype(np.int32)
    return Path(
        words=words[words > 0],
        transition_ids=ids,
        graph_cost=float(lattice.graph_cost[chosen].sum(dtype=np.float64) + lattice.final_graph[last]),
        acoustic_cost=float(lattice.acoustic_cost[chosen].sum(dtype=np.float64) + lattice.final_acoustic[last]),
    )


@njit(cache=True, nogil=True)
def _sweep_one(source, target, word, graph, acoustic, final_graph, final_acoustic, weights, penalties):
    """Words of the best path at every (weight, penalty): (words, offsets [W * P + 1]); failure: offset -1."""
    settings = len(weights) * len(penalties)
    offsets = np.zeros(settings + 1, np.int64)
    out = np.empty(64 * settings, np.int32)
    best, back = np.empty(len(final_graph)), np.empty(len(final_graph), np.int32)
    path = np.empty(len(final_graph) + 1, np.int32)
    filled = 0
    for w in range(len(weights)):
        for p in range(len(penalties)):
            state, _ = _best_arcs(
                source, target, word, graph, acoustic, final_graph, final_acoustic, 1.0 / weights[w], penalties[p],
                best, back,
            )  # fmt: skip
            length = 0
            while state > 0:
                arc = back[state]
                if word[arc] > 0:
                    path[length] = word[arc]
                    length += 1
                state = source[arc]
            if filled + length > len(out):
                longer = np.empty(2 * (filled + length), np.int32)
                longer[:filled] = out[:filled]
                out = longer
            for i in range(length):
                out[filled + i] = path[length - 1 - i]
            filled += length
            offsets[w * len(penalties) + p + 1] = filled
    return out[:filled].copy(), offsets


def sweep(
    lattice: Lattice | CompactLattice, lm_weights: Sequence[float], penalties: Sequence[float]
) -> list[list[NDArray[np.int32]]]:
    """Words of the best path at every setting: [len(lm_weights)][len(penalties)] arrays of word ids."""
    words, offsets = _sweep_one(
        lattice.source, lattice.target, lattice.word, lattice.graph_cost, lattice.acoustic_cost, lattice.final_graph,
        lattice.final_acoustic, np.asarray(lm_weights, np.float64), np.asarray(penalties, np.float64),
    )  # fmt: skip
    n = len(penalties)
    return [[words[offsets[w * n + p] : offsets[w * n + p + 1]] for p in range(n)] for w in range(len(lm_weights))]
