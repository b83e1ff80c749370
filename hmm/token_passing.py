"""The inner loops of the lattice decoder: token passing over a graph in numpy arrays, compiled by numba.

Algorithm: Kaldi's LatticeFasterDecoder (Povey et al. 2012, "Generating exact lattices in the WFST framework"): beam and
histogram pruning of each frame, forward links, and a backward sweep every few frames that drops what lies outside the
lattice beam.  Differs in storage: tokens and links stand in flat arrays, frame by frame, which the sweep compacts, and
the token of a state is found through one array over all states instead of a hash.

A graph is (start, final [S], emit_ptr [S+1], emit [E, 3], eps_ptr [S+1], eps [N, 2]): int32 rows (next state, pdf,
weight) and (next state, weight), the weight's float32 bits read through a view of the same memory.  Token indices are
relative to their frame.  Links of frame f: block 2f holds those within f (epsilon), block 2f+1 those from f to f+1.
"""

# Compiled functions carry no annotations: numba infers their types.
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np
from numba import njit

INF = np.float32(np.inf)
OK, NO_TOKENS, EPSILON_LOOP = 0, 1, 2  # how a pass ended
_inner = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]  # called by kernels


@_inner
def _kth_smallest(values, k):
    """The k-th smallest (from 0) of a float32 array, which is reordered (quickselect)."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@njit(cache=True, nogil=True)
def cutoff_of(costs, beam, max_active, min_active, beam_delta):
    """Kaldi's GetCutoff: (cost above which tokens of this frame are dropped, beam for the next frame, best token)."""
    best = 0
    for i in range(1, len(costs)):
        if costs[i] < costs[best]:
            best = i
    lowest = costs[best]
    edge = np.float32(lowest + beam)
    inside = np.empty(len(costs), np.float32)
    within = 0
    for i in range(len(costs)):
        if costs[i] < edge:
            inside[within] = costs[i]
            within += 1
    if within > max_active:  # max_active is tighter than the beam
        tight = _kth_smallest(inside[:within], max_active)
        return tight, np.float32(tight - lowest + beam_delta), best
    if len(costs) <= min_active:  # as Kaldi: with so few tokens nothing is pruned at all
        return INF, INF, best
    if within <= min_active:  # min_active may be looser than the beam
        inside[:] = costs
        loose = _kth_smallest(inside, min_active) if min_active > 0 else lowest
        if loose > edge:
            return loose, np.float32(loose - lowest + beam_delta), best
    return edge, beam, best


@_inner
def _longer(array, size):
    """A copy of the array with room for ``size`` and half as much again."""
    longer = np.empty(size + size // 2 + 64, array.dtype)
    for i in range(len(array)):
        longer[i] = array[i]
    return longer


@_inner
def _relax_epsilons(slot, state, cost, base, size, eps_ptr, eps, eps_weight, cutoff):
    """Follow epsilon arcs from the tokens [base, base + size) until no cost improves: (state, cost, size, status)."""
    stack = np.empty(2 * size + 64, np.int32)
    depth = 0
    for i in range(size):
        s = state[base + i]
        if eps_ptr[s + 1] > eps_ptr[s]:
            stack[depth] = i
            depth += 1
    pops = 0
    while depth > 0:
        depth -= 1
        i = stack[depth]
        here = cost[base + i]
        if here >= cutoff:
            continue
        pops += 1
        if pops > 1_000_000 + 1000 * size:
            return state, cost, size, EPSILON_LOOP
        s = state[base + i]
        for k in range(eps_ptr[s], eps_ptr[s + 1]):
            total = np.float32(here + eps_weight[k, 1])
            if total >= cutoff:
                continue
            target = eps[k, 0]
            j = slot[target]
            if j < 0:
                j = size
                if base + size >= len(state):
                    state, cost = _longer(state, base + size + 1), _longer(cost, base + size + 1)
                slot[target] = j
                state[base + j] = target
                cost[base + j] = total
                size += 1
            elif total < cost[base + j]:
                cost[base + j] = total
            else:
                continue
            if eps_ptr[target + 1] > eps_ptr[target]:
                if depth >= len(stack):
                    stack = _longer(stack, depth + 1)
                stack[depth] = j
                depth += 1
    return state, cost, size, OK


@_inner
def _link_epsilons(slot, state, cost, base, size, eps_ptr, eps, eps_weight, cutoff, links, link_cost, n_links):
    """Append the links within a frame, once its token costs stand: (links, link_cost, n_links)."""
    room = n_links
    for i in range(size):
        if cost[base + i] < cutoff:
            room += eps_ptr[state[base + i] + 1] - eps_ptr[state[base + i]]
    if room > len(link_cost):
        links, link_cost = _longer_links(links, room), _longer(link_cost, room)
    for i in range(size):
        here = cost[base + i]
        if here >= cutoff:
            continue
        s = state[base + i]
        for k in range(eps_ptr[s], eps_ptr[s + 1]):
            total = np.float32(here + eps_weight[k, 1])
            if total < cutoff:
                links[n_links, 0], links[n_links, 1], links[n_links, 2] = i, slot[eps[k, 0]], k
                link_cost[n_links] = total
                n_links += 1
    return links, link_cost, n_links


@_inner
def _longer_links(links, size):
    longer = np.empty((size + size // 2 + 64, 3), np.int32)
    for n in range(len(links)):
        for column in range(3):
            longer[n, column] = links[n, column]
    return longer


@_inner
def _sweep_frame(f, frame_start, block_start, cost, extra, links, link_cost, lattice_beam, last_extra):
    """Extra costs of frame f from its links: how much worse than the best the best path through each token is.

    last_extra: of the last frame, from its end costs; empty for the others, which have links ahead.  Returns the
    largest change.
    """
    base, size = frame_start[f], frame_start[f + 1] - frame_start[f]
    fresh = np.full(size, INF, np.float32)
    if len(last_extra):
        fresh[:] = last_extra
    else:
        ahead = frame_start[f + 1]
        for n in range(block_start[2 * f + 1], block_start[2 * f + 2]):
            j = ahead + links[n, 1]
            e = extra[j] + max(link_cost[n] - cost[j], np.float32(0))
            if e <= lattice_beam and e < fresh[links[n, 0]]:
                fresh[links[n, 0]] = e
    changing = True
    while changing:  # links within a frame: almost in order, so one or two rounds
        changing = False
        for n in range(block_start[2 * f + 1] - 1, block_start[2 * f] - 1, -1):
            j = links[n, 1]
            e = fresh[j] + max(link_cost[n] - cost[base + j], np.float32(0))
            if e <= lattice_beam and e < fresh[links[n, 0]]:
                fresh[links[n, 0]] = e
                changing = True
    change = np.float32(0)
    for i in range(size):
        old = extra[base + i]
        if fresh[i] > lattice_beam:
            fresh[i] = INF
        if fresh[i] != old:
            change = max(change, abs(fresh[i] - old))
        extra[base + i] = fresh[i]
    return change


@_inner
def _compact(low, high, n_blocks, frame_start, block_start, state, cost, extra, links, link_cost, lattice_beam):
    """Close the gaps of dropped tokens (extra = inf) and links in frames low..high, in place; returns the link count.

    Block b of links belongs to frame b // 2 and leads to frame (b + 1) // 2.
    """
    to_token, to_link = frame_start[low], block_start[2 * low]
    start, end = frame_start[low], frame_start[low + 1]
    here = _renumber(extra[start:end])
    block = block_start[2 * low]
    for f in range(low, high + 1):
        ahead_end = frame_start[f + 2] if f < high else end
        ahead = _renumber(extra[end:ahead_end])
        for b in range(2 * f, min(2 * f + 2, n_blocks)):
            block_end = block_start[b + 1]
            block_start[b] = to_link
            goal, goal_map = (start, here) if b == 2 * f else (end, ahead)
            for n in range(block, block_end):
                i, j = here[links[n, 0]], goal_map[links[n, 1]]
                if i < 0 or j < 0:
                    continue
                k = goal + links[n, 1]
                if extra[k] + max(link_cost[n] - cost[k], np.float32(0)) <= lattice_beam:
                    links[to_link, 0], links[to_link, 1], links[to_link, 2] = i, j, links[n, 2]
                    link_cost[to_link] = link_cost[n]
                    to_link += 1
            block = block_end
        frame_start[f] = to_token
        for i in range(start, end):
            if extra[i] < INF:
                state[to_token], cost[to_token], extra[to_token] = state[i], cost[i], extra[i]
                to_token += 1
        start, end, here = end, ahead_end, ahead
    frame_start[high + 1] = to_token
    block_start[n_blocks] = to_link
    return to_link


@_inner
def _renumber(extra):
    """New index of each token of a frame, -1 where it is dropped."""
    index = np.full(len(extra), -1, np.int32)
    kept = 0
    for i in range(len(extra)):
        if extra[i] < INF:
            index[i] = kept
            kept += 1
    return index


@_inner
def _sweep_back(
    t, swept, frame_start, block_start, cost, extra, links, link_cost, lattice_beam, small, no_end
):  # fmt: skip
    """Extra costs from frame t - 1 back to where a frame swept before changes little; returns that frame."""
    low = t
    for f in range(t - 1, -1, -1):
        low = f
        change = _sweep_frame(f, frame_start, block_start, cost, extra, links, link_cost, lattice_beam, no_end)
        if change <= small and f <= swept:
            break
    return low


@_inner
def _emit(
    slot, state, cost, base, size, best, keep, adaptive, emit_ptr, emit, emit_weight, minus, links, link_cost, n_links
):
    """Pass the tokens [base, base + size) on to the next frame, behind them; there is room for all arcs.

    minus: cost of each pdf now.  Returns (number of new tokens, n_links, cutoff of the new frame).
    """
    new_base, new, cutoff = base + size, np.int64(0), INF
    s = state[base + best]
    for k in range(emit_ptr[s], emit_ptr[s + 1]):  # the best token first: a tight bound from the beginning
        total = cost[base + best] + minus[emit[k, 1]] + emit_weight[k, 2]
        cutoff = min(cutoff, np.float32(total + adaptive))
    for i in range(size):
        here = cost[base + i]
        if here > keep:
            continue
        s = state[base + i]
        for k in range(emit_ptr[s], emit_ptr[s + 1]):
            total = np.float32(here + minus[emit[k, 1]] + emit_weight[k, 2])
            if not total < cutoff:
                continue
            if total + adaptive < cutoff:
                cutoff = np.float32(total + adaptive)
            target = emit[k, 0]
            j = slot[target]
            if j < 0:
                j = new
                slot[target] = j
                state[new_base + j] = target
                cost[new_base + j] = total
                new += 1
            elif total < cost[new_base + j]:
                cost[new_base + j] = total
            links[n_links, 0], links[n_links, 1], links[n_links, 2] = i, j, k
            link_cost[n_links] = total
            n_links += 1
    return new, n_links, cutoff


@njit(cache=True, nogil=True)
def pass_tokens(graph, loglikes, options):
    """Decode one utterance.

    graph: see the module.  loglikes: [T, P] float32.  options: (acoustic_scale, beam, max_active, min_active,
    lattice_beam, beam_delta, prune_interval, prune_scale).
    Returns (status, frame, reached_final, frame_start [T+2], block_start [2T+2], state, links, end_cost): the pruned
    tokens and links; ``frame`` is where it stopped when status is not OK; end_cost of the last frame's tokens.
    """
    start, final, emit_ptr, emit, emit_weight, eps_ptr, eps, eps_weight = graph
    scale, beam, max_active, min_active, lattice_beam, beam_delta, prune_interval, prune_scale = options
    n_frames, n_pdfs = loglikes.shape
    slot = np.full(len(final), -1, np.int32)
    state, cost, extra = np.empty(1024, np.int32), np.empty(1024, np.float32), np.empty(1024, np.float32)
    links, link_cost, n_links = np.empty((4096, 3), np.int32), np.empty(4096, np.float32), np.int64(0)
    frame_start, block_start = np.zeros(n_frames + 2, np.int64), np.zeros(2 * n_frames + 2, np.int64)
    minus = np.empty(n_pdfs, np.float32)
    no_end = np.empty(0, np.float32)
    state[0], cost[0], slot[start] = start, 0, 0
    swept = 0
    cutoff = beam
    size = np.int64(1)  # int64 from the start: a literal would compile the callees twice
    for t in range(n_frames + 1):
        base = frame_start[t]
        state, cost, size, status = _relax_epsilons(slot, state, cost, base, size, eps_ptr, eps, eps_weight, cutoff)
        if status != OK:
            return status, t, False, frame_start, block_start, state, links, no_end
        links, link_cost, n_links = _link_epsilons(
            slot, state, cost, base, size, eps_ptr, eps, eps_weight, cutoff, links, link_cost, n_links
        )
        if len(extra) < len(cost):
            extra = _longer(extra, len(cost))
        extra[base : base + size] = 0
        frame_start[t + 1] = base + size
        block_start[2 * t + 1] = n_links
        if t == n_frames:
            break
        if t > 0 and t % prune_interval == 0:
            low = _sweep_back(
                t, swept, frame_start, block_start, cost, extra, links, link_cost, lattice_beam,
                lattice_beam * prune_scale, no_end,
            )  # fmt: skip
            swept = t
            n_links = _compact(
                low, t, 2 * t + 1, frame_start, block_start, state, cost, extra, links, link_cost, lattice_beam
            )
            base = frame_start[t]
        keep, adaptive, best = cutoff_of(cost[base : base + size], beam, max_active, min_active, beam_delta)
        lowest = cost[base + best]
        for p in range(n_pdfs):
            minus[p] = -lowest - scale * loglikes[t, p]  # costs stay near 0, where float32 is fine
        arcs = 0
        for i in range(base, base + size):
            slot[state[i]] = -1
            if cost[i] <= keep:
                arcs += emit_ptr[state[i] + 1] - emit_ptr[state[i]]
        if n_links + arcs > len(link_cost):
            links, link_cost = _longer_links(links, n_links + arcs), _longer(link_cost, n_links + arcs)
        new_base = base + size
        if new_base + arcs > len(cost):
            state, cost = _longer(state, new_base + arcs), _longer(cost, new_base + arcs)
        new, n_links, cutoff = _emit(
            slot, state, cost, base, size, best, keep, adaptive, emit_ptr, emit, emit_weight, minus, links, link_cost,
            n_links,
        )  # fmt: skip
        block_start[2 * t + 2] = n_links
        if new == 0:
            return NO_TOKENS, t, False, frame_start, block_start, state, links, no_end
        size = new
    return _finish(final, n_frames, frame_start, block_start, state, cost, extra, links, link_cost, lattice_beam)


@_inner
def _finish(final, n_frames, frame_start, block_start, state, cost, extra, links, link_cost, lattice_beam):
    """Prune with the end costs (all 0 where no final state was reached) back to the first frame."""
    base, size = frame_start[n_frames], frame_start[n_frames + 1] - frame_start[n_frames]
    end = np.empty(size, np.float32)
    reached = False
    for i in range(size):
        end[i] = final[state[base + i]]
        reached = reached or end[i] < INF
    if not reached:
        end[:] = 0
    best = INF
    for i in range(size):
        best = min(best, cost[base + i] + end[i])
    last_extra = cost[base : base + size] + end - best
    _sweep_frame(n_frames, frame_start, block_start, cost, extra, links, link_cost, lattice_beam, last_extra)
    for f in range(n_frames - 1, -1, -1):
        _sweep_frame(f, frame_start, block_start, cost, extra, links, link_cost, lattice_beam, last_extra[:0])
    keep = extra[base : base + size] < INF
    end = end[keep]
    n_links = _compact(
        np.int64(0), n_frames, 2 * n_frames + 1, frame_start, block_start, state, cost, extra, links, link_cost,
        lattice_beam,
    )  # fmt: skip
    tokens = frame_start[n_frames + 1]
    return OK, n_frames, reached, frame_start, block_start, state[:tokens].copy(), links[:n_links].copy(), end
