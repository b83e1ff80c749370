"""Kaldi's lattices as numpy arrays, their states in topological order.

A Lattice has a transition id on each arc (states come in time, not one a frame); a CompactLattice is an acceptor of
words whose arcs carry the transition ids as a string.  Costs are negated natural log probabilities, the acoustic ones
unscaled, as Kaldi's decode scripts store them (latgen writes them divided by the acoustic scale).
"""

# Compiled functions carry no annotations: numba infers their types.
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.errors import TableError

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """State-level lattice; arcs are sorted by source state and states are numbered in topological order.

    source, target, transition_id, word [A] int32 (0 = epsilon); graph_cost, acoustic_cost [A] float32; final_graph,
    final_acoustic [S] float32, inf where a state is not final.  State 0 is the start.
    """

    source: Ints
    target: Ints
    transition_id: Ints
    word: Ints
    graph_cost: Floats
    acoustic_cost: Floats
    final_graph: Floats
    final_acoustic: Floats
    reached_final: bool = True  # False: no final state of the graph was reached, every last token counts as final

    @property
    def num_states(self) -> int:
        return len(self.final_graph)

    @property
    def num_arcs(self) -> int:
        return len(self.source)


@dataclass(frozen=True, kw_only=True)
class CompactLattice:
    """Word-level lattice; arcs are sorted by source state and states are numbered in topological order.

    source, target, word [A] int32; graph_cost, acoustic_cost [A] float32; final_graph, final_acoustic [S] float32, inf
    where not final; the transition ids of arc a are ids[start[a] : start[a + 1]], those of the final weight of
    state s ids[start[A + s] : start[A + s + 1]].  State 0 is the start.
    """

    source: Ints
    target: Ints
    word: Ints
    graph_cost: Floats
    acoustic_cost: Floats
    final_graph: Floats
    final_acoustic: Floats
    ids: Ints
    start: NDArray[np.int64]

    @property
    def num_states(self) -> int:
        return len(self.final_graph)

    @property
    def num_arcs(self) -> int:
        return len(self.source)

    def arc_ids(self, arc: int) -> Ints:
        """Transition ids of an arc."""
        return self.ids[self.start[arc] : self.start[arc + 1]]

    def final_ids(self, state: int) -> Ints:
        """Transition ids of a final weight."""
        return self.ids[self.start[self.num_arcs + state] : self.start[self.num_arcs + state + 1]]


@njit(cache=True, nogil=True)
def _topological_order(arc_start, target, start):
    """New number of each state by depth-first search; -1 if unreachable, all -2 where there is a cycle."""
    states = len(arc_start) - 1
    rank = np.full(states, -1, np.int32)
    color = np.zeros(states, np.int8)  # 1 on the path, 2 done
    stack = np.empty(states, np.int32)
    next_arc = arc_start[:-1].copy()
    stack[0], depth, done = start, 1, 0
    color[start] = 1
    while depth > 0:
        s = stack[depth - 1]
        if next_arc[s] == arc_start[s + 1]:
            color[s] = 2
            rank[s] = done  # finished first comes last
            done += 1
            depth -= 1
            continue
        d = target[next_arc[s]]
        next_arc[s] += 1
        if color[d] == 1:
            rank[:] = -2
            return rank, 0
        if color[d] == 0:
            color[d] = 1
            stack[depth] = d
            depth += 1
    for s in range(states):
        if rank[s] >= 0:
            rank[s] = done - 1 - rank[s]
    return rank, done


def arc_starts(source: NDArray[np.int32], states: int) -> NDArray[np.int64]:
    """[states + 1] first arc of each state, arcs sorted by source."""
    return np.concatenate(([0], np.cumsum(np.bincount(source, minlength=states)))).astype(np.int64)


def sort_topologically(lattice: Lattice, *, start: int = 0) -> Lattice:
    """The same lattice, states numbered in topological order from the start, unreachable ones left out.

    Raises TableError where the lattice has a cycle.
    """
    order, rank = topological_arcs(lattice.source, lattice.target, lattice.num_states, start)
    states = np.argsort(rank[rank >= 0], kind="stable")
    states = np.flatnonzero(rank >= 0)[states]
    return Lattice(
        source=rank[lattice.source[order]],
        target=rank[lattice.target[order]],
        transition_id=lattice.transition_id[order],
        word=lattice.word[order],
        graph_cost=lattice.graph_cost[order],
        acoustic_cost=lattice.acoustic_cost[order],
        final_graph=lattice.final_graph[states],
        final_acoustic=lattice.final_acoustic[states],
        reached_final=lattice.reached_final,
    )


def topological_arcs(
    source: NDArray[np.int32], target: NDArray[np.int32], states: int, start: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(order of the arcs by new source state, new number of each state, -1 where unreachable)."""
    by_source = np.argsort(source, kind="stable")
    rank, _ = _topological_order(arc_starts(source, states), target[by_source], start)
    if states and rank[start] < 0:
        raise TableError("lattice", "the lattice has a cycle", mend="decode again; Kaldi's lattices are acyclic")
    new_source = rank[source[by_source]]
    order = by_source[np.argsort(new_source, kind="stable")]
    return order[np.count_nonzero(new_source < 0) :], rank
