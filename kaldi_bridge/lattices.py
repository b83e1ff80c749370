"""Kaldi's lattices as numpy arrays, and their archives (Lattice and CompactLattice, plain or .gz) read and written.

A Lattice has a transition id on each arc (states come in time, not one a frame); a CompactLattice is an acceptor of
words whose arcs carry the transition ids as a string.  Costs are negated natural log probabilities, the acoustic ones
unscaled, as Kaldi's decode scripts store them (latgen writes them divided by the acoustic scale).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
