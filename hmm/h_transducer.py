"""From context windows to transition ids: the H transducer, and the self-loops of a graph.

Source: kaldi's hmm/hmm-utils (GetHTransducer, AddSelfLoops with reorder) and fstext (MakeLoopFst,
MakePrecedingInputSymbolsSame).  Mohri, Pereira, Riley 2008, "Speech recognition with weighted finite-state
transducers".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import ModelError
from kaldi_bridge.fsts import FstArrays
from kaldi_bridge.models import TransitionModel, Tree

ArcRow = tuple[int, int, int, float, int]  # source, input label, output label, cost, next state


def h_transducer(
    windows: Sequence[Sequence[int]], tree: Tree, model: TransitionModel, transition_scale: float = 1.0
) -> tuple[FstArrays, list[int]]:
    """Transition ids (without self-loops) to the windows of `windows`, looping through state 0.

    windows: entry 0 is empty (epsilon), entry j is what label j of CLG means: `context_width` phones, or one
    disambiguation symbol as [-symbol].  Returns the transducer and the labels given to the disambiguation symbols,
    which lie above all transition ids.
    """
    model.topology.refuse_chain()
    special = [j for j, window in enumerate(windows) if j and len(window) == 1 and window[0] <= 0]
    plain = np.setdiff1d(np.arange(1, len(windows)), special)
    finals, rows = [0.0], list[ArcRow]()
    disambig = list(range(model.num_transition_ids + 1, model.num_transition_ids + 1 + len(special)))
    for label, j in zip(disambig, special, strict=True):
        rows += [(0, label, j, 0.0, len(finals)), (len(finals), 0, 0, 0.0, 0)]
        finals.append(np.inf)

    keys = _hmm_keys(
        np.array([windows[j] for j in plain], np.int32).reshape(len(plain), tree.context_width), tree, model
    )
    unique, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    log_probs = model.log_probs_without_self_loops()
    entries = np.zeros((len(unique), 2), np.int64)  # input label and next state of the arc that enters each HMM
    entry_cost = np.zeros(len(unique))
    for index in np.argsort(first):
        entry, arcs, finals_added = _hmm_arcs(unique[index].tolist(), model, -transition_scale * log_probs, len(finals))
        rows += arcs
        finals += [np.inf] * finals_added
        entries[index], entry_cost[index] = entry[:2], entry[2]

    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), (), ()]
    fst = FstArrays.from_arcs(
        0, np.array(finals), np.concatenate([np.array(columns[0], int), np.zeros(len(plain), int)]),
        np.concatenate([np.array(columns[1], int), entries[inverse, 0]]),
        np.concatenate([np.array(columns[2], int), plain]),
        np.concatenate([np.array(columns[3]), entry_cost[inverse]]),
        np.concatenate([np.array(columns[4], int), entries[inverse, 1]]),
    )  # fmt: skip
    return fst, disambig


def _hmm_keys(windows: NDArray[np.int32], tree: Tree, model: TransitionModel) -> NDArray[np.int32]:
    """[windows, 1 + states] phone and the pdf of each emitting state, -1 beyond its last: equal keys share an HMM."""
    longest = max(len(hmm) - 1 for hmm in model.topology.entries)
    keys = np.full((len(windows), 1 + longest), -1, np.int32)
    if not len(windows):
        return keys
    phones = windows[:, tree.central_position]
    keys[:, 0] = phones
    lookup = np.full(int(phones.max()) + 1, -1)
    for phone in np.unique(phones).tolist():
        model.topology.hmm(phone)  # raises for a phone without topology
        lookup[phone] = model.topology.phone_entry[phone]
    for entry, hmm in enumerate(model.topology.entries):
        rows = np.flatnonzero(lookup[phones] == entry)
        for state, hmm_state in enumerate(hmm[:-1]):
            classes = np.full(len(rows), hmm_state.pdf_class, np.int32)
            keys[rows, 1 + state] = tree.pdfs(windows[rows], classes)
    return keys


def _hmm_arcs(
    key: list[int], model: TransitionModel, costs: NDArray[np.floating], first_state: int
) -> tuple[tuple[int, int, float], list[ArcRow], int]:
    """One HMM without self-loops: (label, next state, cost) of the arc into it, its arcs, the number of its states.

    Where the first state has a single way on and nothing returns to it, the loop state 0 serves as the first state.
    """
    phone, hmm = key[0], model.topology.hmm(key[0])
    ways: list[list[tuple[int, int]]] = []
    for state, hmm_state in enumerate(hmm[:-1]):
        number = model.state_of.get((phone, state, key[1 + state]))
        if number is None:
            problem = f"has no transition state for phone {phone}, state {state}, pdf {key[1 + state]}"
            raise ModelError("transition model", problem, mend="use the tree that the model was trained with")
        ids = range(int(model.first_id[number]), int(model.first_id[number + 1]))
        ways.append([(tid, to) for tid, (to, _) in zip(ids, hmm_state.transitions, strict=True) if to != state])
    shared = len(ways[0]) == 1 and not any(to == 0 for way in ways for _, to in way)
    number_of = [0 if shared and state == 0 else first_state + state - shared for state in range(len(hmm))]
    arcs: list[ArcRow] = []
    for state, way in enumerate(ways):
        if not (shared and state == 0):
            arcs += [(number_of[state], tid, 0, float(costs[tid]), number_of[to]) for tid, to in way]
    arcs.append((number_of[-1], 0, 0, 0.0, 0))
    if shared:
        tid, to = ways[0][0]
        return (tid, number_of[to], float(costs[tid])), arcs, len(hmm) - 1
    return (0, number_of[0], 0.0), arcs, len(hmm)


def add_self_loops(fst: FstArrays, model: TransitionModel, scale: float) -> FstArrays:
    """The graph with each transition state's self-loop after the arcs that enter it (Kaldi's --reorder=true).

    A state entered by several transition states gets one epsilon-linked copy per transition state.  scale: of the
    self-loop's log-probability, and of that of leaving; 0.1 in decoding graphs, 0 in stored training graphs.
    """
    if fst.num_arcs and int(fst.ilabel.max()) > model.num_transition_ids:
        raise ModelError(
            "graph", "an input label is no transition id of this model", mend="use the model the graph was made for"
        )
    source, ilabel, olabel, weight, nextstate = (
        fst.sources(),
        fst.ilabel,
        fst.olabel,
        fst.weight.copy(),
        fst.nextstate.copy(),
    )
    states, entered = fst.num_states, model.id2state[ilabel]  # entered: the transition state that each arc enters with
    lowest, highest = np.full(states, np.iinfo(np.int32).max), np.full(states, -1)
    np.minimum.at(lowest, nextstate, entered)
    np.maximum.at(highest, nextstate, entered)
    if states:
        lowest[fst.start], highest[fst.start] = min(lowest[fst.start], 0), max(highest[fst.start], 0)
    moved = np.flatnonzero((lowest < highest)[nextstate] & (entered > 0))
    key = nextstate[moved].astype(np.int64) * (model.num_transition_states + 1) + entered[moved]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))  # copies are numbered in the order of first use
    targets = np.empty(len(first), np.int32)
    targets[rank] = nextstate[moved][first]
    nextstate[moved] = states + rank[inverse.reshape(-1)]

    total = states + len(targets)
    copies = np.arange(states, total, dtype=np.int32)
    nothing = np.zeros(len(targets), np.int32)
    source, nextstate = np.concatenate([source, copies]), np.concatenate([nextstate, targets])
    ilabel, olabel = np.concatenate([ilabel, nothing]), np.concatenate([olabel, nothing])
    weight = np.concatenate([weight, nothing.astype(np.float32)])
    finals = np.concatenate([fst.finals, np.full(len(targets), np.inf, np.float32)])

    before = np.zeros(total, np.int32)  # the transition state by which each state is entered
    before[nextstate] = model.id2state[ilabel]
    leaving = (-model.non_self_loop_log_probs * np.float32(scale)).astype(np.float32)
    weight, finals = weight + leaving[before[source]], finals + leaving[before]
    loop = model.self_loop_id[before]
    looped = np.flatnonzero(loop > 0).astype(np.int32)
    costs = -model.log_probs[loop[looped]] * np.float32(scale)
    return FstArrays.from_arcs(
        fst.start, finals, np.concatenate([source, looped]), np.concatenate([ilabel, loop[looped]]),
        np.concatenate([olabel, np.zeros(len(looped), np.int32)]), np.concatenate([weight, costs]),
        np.concatenate([nextstate, looped]),
    )  # fmt: skip
