"""Removing epsilon arcs where that adds no arcs: Kaldi's fstrmepslocal, on arrays.

Source: kaldi's fstext/remove-eps-local.  What moves is taken off what stays behind, so that a stochastic graph
stays stochastic.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hmm.fst_operations import trim
from kaldi_bridge.fsts import FstArrays

DEAD = -1  # next state of an arc that was removed


def remove_epsilons_locally(fst: FstArrays, *, log_add: bool = True) -> FstArrays:
    """Removes epsilon arcs where that adds no arcs (fstrmepslocal), and trims.

    log_add: reweight so that the graph stays stochastic in the log semiring, as fstrmepslocal does for decoding graphs;
    otherwise in the tropical one, as arpa2fst does.
    """
    finals = fst.finals.astype(np.float64)
    source, ilabel, olabel, weight, nextstate = _rmeps_local(
        fst.start, finals, fst.offsets, fst.ilabel, fst.olabel, fst.weight.astype(np.float64), fst.nextstate, log_add
    )
    return trim(FstArrays.from_arcs(fst.start, finals, source, ilabel, olabel, weight, nextstate))


@njit(cache=True, nogil=True)
def _plus(left, right, log_add):  # type: ignore[no-untyped-def]
    if left == np.inf:
        return right
    if right == np.inf:
        return left
    if not log_add:
        return min(left, right)
    return min(left, right) - np.log1p(np.exp(-abs(left - right)))


@njit(cache=True, nogil=True)
def _rmeps_local(start, finals, offsets, ilabel, olabel, weight, nextstate, log_add):  # type: ignore[no-untyped-def]
    """Kaldi's RemoveEpsLocalClass on linked lists of arcs; changes `finals`; returns the columns of the arcs left."""
    states, count = len(finals), len(ilabel)
    capacity = 2 * count + 16
    ilab, olab = np.zeros(capacity, np.int32), np.zeros(capacity, np.int32)
    cost, dest = np.zeros(capacity, np.float64), np.zeros(capacity, np.int32)
    following = np.full(capacity, -1, np.int64)
    head, tail = np.full(states, -1, np.int64), np.full(states, -1, np.int64)
    arcs_in, arcs_out = np.zeros(states, np.int64), np.zeros(states, np.int64)
    ilab[:count], olab[:count], cost[:count], dest[:count] = ilabel, olabel, weight, nextstate
    for state in range(states):
        for arc in range(offsets[state], offsets[state + 1]):
            arcs_in[nextstate[arc]] += 1
            if head[state] < 0:
                head[state] = arc
            else:
                following[arc - 1] = arc
            tail[state] = arc
        arcs_out[state] = offsets[state + 1] - offsets[state] + (1 if finals[state] != np.inf else 0)
    arcs_in[start] += 1

    for state in range(states):
        arc = head[state]
        while arc >= 0:
            middle = dest[arc]
            if middle in (DEAD, state):
                arc = following[arc]
                continue
            final_here = ilab[arc] == 0 and olab[arc] == 0 and finals[middle] != np.inf
            removed, kept = np.inf, np.inf
            first_new = count
            delete = False
            if arcs_in[middle] == 1 and arcs_out[middle] > 1:
                other = head[middle]
                while other >= 0:
                    if dest[other] != DEAD:
                        if (ilab[arc] and ilab[other]) or (olab[arc] and olab[other]):
                            kept = _plus(kept, cost[other], log_add)
                        else:
                            removed = _plus(removed, cost[other], log_add)
                            if count == capacity:
                                ilab, olab, cost, dest, following, capacity = _grow(ilab, olab, cost, dest, following)
                            ilab[count] = ilab[arc] or ilab[other]
                            olab[count] = olab[arc] or olab[other]
                            cost[count], dest[count] = cost[arc] + cost[other], dest[other]
                            count += 1
                            arcs_out[middle] -= 1
                            arcs_in[dest[other]] -= 1
                            dest[other] = DEAD
                    other = following[other]
                if final_here:
                    removed = _plus(removed, finals[middle], log_add)
                    if finals[state] == np.inf:
                        arcs_out[state] += 1
                    finals[state] = min(finals[state], cost[arc] + finals[middle])
                    arcs_out[middle] -= 1
                    finals[middle] = np.inf
                elif finals[middle] != np.inf:
                    kept = _plus(kept, finals[middle], log_add)
                if removed != np.inf:
                    if kept == np.inf:
                        delete = True
                    else:  # the part that moved up leaves less behind: renormalise what is kept
                        shift = kept - _plus(removed, kept, log_add)
                        cost[arc] += shift
                        other = head[middle]
                        while other >= 0:
                            if dest[other] != DEAD:
                                cost[other] -= shift
                            other = following[other]
                        if finals[middle] != np.inf:
                            finals[middle] -= shift
                if delete:
                    arcs_out[state] -= 1
                    arcs_in[middle] -= 1
                    dest[arc] = DEAD
            elif arcs_out[middle] == 1:
                if finals[middle] != np.inf:
                    if final_here:
                        if finals[state] == np.inf:
                            arcs_out[state] += 1
                        finals[state] = min(finals[state], cost[arc] + finals[middle])
                        delete = True
                else:
                    other = head[middle]
                    while dest[other] == DEAD:
                        other = following[other]
                    if not ((ilab[arc] and ilab[other]) or (olab[arc] and olab[other])):
                        if count == capacity:
                            ilab, olab, cost, dest, following, capacity = _grow(ilab, olab, cost, dest, following)
                        ilab[count] = ilab[arc] or ilab[other]
                        olab[count] = olab[arc] or olab[other]
                        cost[count], dest[count] = cost[arc] + cost[other], dest[other]
                        count += 1
                        delete = True
                if delete:
                    arcs_out[state] -= 1
                    arcs_in[middle] -= 1
                    dest[arc] = DEAD
                    if arcs_in[middle] == 0:  # nothing enters it any more
                        arcs_out[middle] = 0
                        finals[middle] = np.inf
                        other = head[middle]
                        while other >= 0:
                            if dest[other] != DEAD:
                                arcs_in[dest[other]] -= 1
                                dest[other] = DEAD
                            other = following[other]
            for new in range(first_new, count):
                arcs_out[state] += 1
                arcs_in[dest[new]] += 1
                following[tail[state]] = new
                tail[state] = new
            arc = following[arc]
    return _collect(head, following, ilab, olab, cost, dest)


@njit(cache=True, nogil=True)
def _grow(ilab, olab, cost, dest, following):  # type: ignore[no-untyped-def]
    size = len(ilab)
    capacity = 2 * size
    new_ilab, new_olab = np.zeros(capacity, np.int32), np.zeros(capacity, np.int32)
    new_cost, new_dest = np.zeros(capacity, np.float64), np.zeros(capacity, np.int32)
    new_following = np.full(capacity, -1, np.int64)
    new_ilab[:size], new_olab[:size], new_cost[:size], new_dest[:size] = ilab, olab, cost, dest
    new_following[:size] = following
    return new_ilab, new_olab, new_cost, new_dest, new_following, capacity


@njit(cache=True, nogil=True)
def _collect(head, following, ilab, olab, cost, dest):  # type: ignore[no-untyped-def]
    total = 0
    for state in range(len(head)):
        arc = head[state]
        while arc >= 0:
            total += dest[arc] != DEAD
            arc = following[arc]
    order, source = np.empty(total, np.int64), np.empty(total, np.int32)
    place = 0
    for state in range(len(head)):
        arc = head[state]
        while arc >= 0:
            if dest[arc] != DEAD:
                order[place], source[place] = arc, state
                place += 1
            arc = following[arc]
    return source, ilab[order], olab[order], cost[order], dest[order]
