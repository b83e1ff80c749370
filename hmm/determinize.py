"""Pruned determinization of state-level lattices on words: at most one path for each word sequence, the best one.

Paper: Povey et al. 2012, "Generating exact lattices in the WFST framework"; Kaldi's lattice-determinize-pruned.  A
state of the result is a set of (lattice state, cost left over, transition ids left over), closed under epsilon arcs and
kept only where a word or an end follows.  Sets are expanded best first, so the first arrival has the least cost and
whatever lies outside the beam is never expanded.  Strings of transition ids are nodes of one trie.  Differs: no
phone-level pass before the word-level one.
"""

# Compiled functions carry no annotations: numba infers their types.
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import heapq

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.errors import DecodeError
from harness.log import get_logger
from kaldi_bridge.lattice_arrays import CompactLattice, Lattice, arc_starts, topological_arcs

_inner = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]  # called by kernels
MAX_WORK = 10_000_000  # elements of all closures of one utterance; beyond it the beam is narrowed, as Kaldi does


@_inner
def _longer(array, size):
    longer = np.empty(size + size // 2 + 64, array.dtype)
    for i in range(len(array)):
        longer[i] = array[i]
    return longer


@_inner
def _longer_rows(array, size):
    longer = np.empty((size + size // 2 + 64, array.shape[1]), array.dtype)
    for i in range(len(array)):
        for column in range(array.shape[1]):
            longer[i, column] = array[i, column]
    return longer


@_inner
def _slot(first, second, mask):
    """Place in a hash table of 2^k slots for a pair of numbers."""
    mixed = (np.uint64(first) * np.uint64(0x9E3779B97F4A7C15)) ^ (np.uint64(second) * np.uint64(0xC2B2AE3D27D4EB4F))
    mixed ^= mixed >> np.uint64(29)
    return np.int64((mixed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask


@_inner
def _extend(trie, size, table, node, label):
    """The node of string(node) + label; added if new.  trie [N, 3]: parent, label, length.  size [1]: nodes in use."""
    mask = len(table) - 1
    h = _slot(np.int64(node), np.int64(label), mask)
    while table[h] >= 0:
        child = table[h]
        if trie[child, 0] == node and trie[child, 1] == label:
            return child
        h = (h + 1) & mask
    child = size[0]
    size[0] += 1
    trie[child, 0], trie[child, 1], trie[child, 2] = node, label, trie[node, 2] + 1
    table[h] = child
    return child


@_inner
def _with_room(trie, size, table, more):
    """Trie and table with room for ``more`` nodes."""
    if size[0] + more > len(trie):
        trie = _longer_rows(trie, size[0] + more)
    if 2 * (size[0] + more) > len(table):
        slots = len(table)
        while slots < 3 * (size[0] + more):
            slots *= 2
        table = np.full(slots, -1, np.int32)
        for child in range(1, size[0]):
            h = _slot(np.int64(trie[child, 0]), np.int64(trie[child, 1]), slots - 1)
            while table[h] >= 0:
                h = (h + 1) & (slots - 1)
            table[h] = child
    return trie, table


@_inner
def _close(low, high, stamp, now, costs, strings, eps_start, eps, eps_cost, scale, keeps, trie, size, table, found):
    """Epsilon closure of the elements stamped ``now`` in states low..high; states are in topological order.

    strings [S, 2]: trie node so far and label still to be added to it.  Writes the states that matter (keeps) to found
    and returns (how many, all elements).
    """
    n = work = 0
    s = low
    while s <= high:
        if stamp[s] == now:
            work += 1
            if strings[s, 1] > 0:  # the best way here is known now: one string, not one for each try
                strings[s, 0] = _extend(trie, size, table, strings[s, 0], strings[s, 1])
            if keeps[s]:
                found[n] = s
                n += 1
            for k in range(eps_start[s], eps_start[s + 1]):
                d = eps[k, 0]
                graph, acoustic = costs[s, 0] + eps_cost[k, 0], costs[s, 1] + eps_cost[k, 1]
                if stamp[d] == now:
                    if graph + scale * acoustic >= costs[d, 0] + scale * costs[d, 1]:
                        continue
                else:
                    stamp[d] = now
                    if d > high:
                        high = d
                costs[d, 0], costs[d, 1] = graph, acoustic
                strings[d, 0], strings[d, 1] = strings[s, 0], eps[k, 1]
        s += 1
    return n, work


@_inner
def _common_prefix(found, n, strings, trie, seen, now):
    """The longest string that all elements begin with: walk up from each until a node that was met before."""
    common = strings[found[0], 0]
    node = common
    while True:
        seen[node] = now
        if node == 0:
            break
        node = trie[node, 0]
    for i in range(1, n):
        node = strings[found[i], 0]
        while seen[node] != now:
            seen[node] = now
            node = trie[node, 0]
        if trie[node, 2] < trie[common, 2]:
            common = node
    return common


@_inner
def _strip(node, common, trie, size, table, moved, moved_now, now, stack):
    """The node of string(node) without the prefix string(common); each trie node is moved once for each set."""
    depth = 0
    while node != common and moved_now[node] != now:
        stack[depth] = node
        depth += 1
        node = trie[node, 0]
    new = np.int32(0) if node == common else moved[node]
    while depth > 0:
        depth -= 1
        new = _extend(trie, size, table, new, trie[stack[depth], 1])
        moved[stack[depth]], moved_now[stack[depth]] = new, now
    return new


@_inner
def _find(found, n, costs, strings, scale, delta, sets, set_cost, set_start, hashes, table, key):
    """(number of the equal set or -1, its place in the table): states and strings equal, costs within delta."""
    mask = len(table) - 1
    h = _slot(key, n, mask)
    while table[h] >= 0:
        other = table[h]
        first = set_start[other]
        if hashes[other] == key and set_start[other + 1] - first == n:
            same = True
            for i in range(n):
                s = found[i]
                cost = costs[s, 0] + scale * costs[s, 1]
                if sets[first + i, 0] != s or sets[first + i, 1] != strings[s, 0]:
                    same = False
                    break
                if abs(set_cost[first + i] - cost) > delta:
                    same = False
                    break
            if same:
                return other, h
        h = (h + 1) & mask
    return -1, h


@_inner
def _cheapest(found, n, costs, scale):
    """The element of least cost."""
    best = found[0]
    for i in range(1, n):
        s = found[i]
        if costs[s, 0] + scale * costs[s, 1] < costs[best, 0] + scale * costs[best, 1]:
            best = s
    return best


@_inner
def _end_of(found, n, costs, strings, final, scale):
    """(graph cost, acoustic cost, trie node) of the best end within a set; inf where none of its states is final."""
    least, graph, acoustic, node = np.inf, np.inf, np.inf, np.int32(0)
    for i in range(n):
        s = found[i]
        if final[s, 0] < np.inf:
            g, a = costs[s, 0] + final[s, 0], costs[s, 1] + final[s, 1]
            if g + scale * a < least:
                least, graph, acoustic, node = g + scale * a, g, a, strings[s, 0]
    return graph, acoustic, node


@_inner
def _leaving(found, n, word_start, word_arcs, word, target, states):
    """The arcs with words that leave a set: (word and target as one number, source, arc), sorted by the first."""
    count = 0
    for i in range(n):
        count += word_start[found[i] + 1] - word_start[found[i]]
    keys, sources, arcs = np.empty(count, np.int64), np.empty(count, np.int32), np.empty(count, np.int32)
    m = 0
    for i in range(n):
        s = found[i]
        for k in range(word_start[s], word_start[s + 1]):
            a = word_arcs[k]
            keys[m], sources[m], arcs[m] = np.int64(word[a]) * states + target[a], s, a
            m += 1
    order = np.argsort(keys)
    return keys[order], sources[order], arcs[order]


@_inner
def _rehash(index, n_sets, hashes, set_start):
    """A table four times as long, with all sets in it."""
    index = np.full(4 * len(index), -1, np.int32)
    for other in range(n_sets):
        h = _slot(hashes[other], set_start[other + 1] - set_start[other], len(index) - 1)
        while index[h] >= 0:
            h = (h + 1) & (len(index) - 1)
        index[h] = other
    return index


@njit(cache=True, nogil=True)
def forward_costs(source, target, cost, states):
    """Cost of the best way from the start to each state, [S] float64; arcs as for backward_costs."""
    alpha = np.full(states, np.inf)
    alpha[0] = 0.0
    for a in range(len(source)):
        alpha[target[a]] = min(alpha[target[a]], alpha[source[a]] + cost[a])
    return alpha


@njit(cache=True, nogil=True)
def backward_costs(source, target, cost, final):
    """Cost of the best way from each state to an end, [S] float64; arcs sorted by topologically numbered source."""
    beta = final.copy()
    for a in range(len(source) - 1, -1, -1):
        beta[source[a]] = min(beta[source[a]], cost[a] + beta[target[a]])
    return beta


@njit(cache=True, nogil=True)
def _determinize(
    source, target, label, word, arc_cost, final, eps_start, eps, eps_cost, word_start, word_arcs, scale, beam, delta,
    max_work,
):  # fmt: skip
    """The result as arrays, and whether the work stayed within max_work; see determinize()."""
    states = len(final)
    beta = backward_costs(source, target, arc_cost[:, 0] + scale * arc_cost[:, 1], final[:, 0] + scale * final[:, 1])
    limit = beta[0] + beam
    keeps = np.zeros(states, np.bool_)
    for s in range(states):
        keeps[s] = word_start[s + 1] > word_start[s] or final[s, 0] < np.inf
    # the trie of strings; node 0 is the empty one
    trie, size, table = np.zeros((1024, 3), np.int32), np.ones(1, np.int64), np.full(2048, -1, np.int32)
    seen, moved, moved_now = np.zeros(1024, np.int64), np.zeros(1024, np.int32), np.zeros(1024, np.int64)
    # one closure at a time
    stamp, costs, strings = np.zeros(states, np.int64), np.empty((states, 2)), np.empty((states, 2), np.int32)
    found, stack = np.empty(states, np.int32), np.empty(states + 1, np.int32)
    # the states of the result
    sets, set_cost, n_sets = np.empty((1024, 2), np.int32), np.empty(1024), 0
    set_start, hashes, alpha = np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(256)
    final_cost, final_node = np.empty((256, 2)), np.zeros(256, np.int32)
    index = np.full(1024, -1, np.int32)
    # its arcs: (source, target, word, trie node)
    arcs, costs_out, n_arcs = np.empty((256, 4), np.int32), np.empty((256, 2)), 0
    # what waits: a word leaving a state of the result, with the set it leads to
    tasks, n_tasks = np.empty((256, 4), np.int64), 0  # from, word, first element, elements
    waiting, waiting_cost, n_waiting = np.empty((1024, 2), np.int32), np.empty((1024, 2)), 0
    queue = [(beta[0], np.int64(0))]
    tasks[0, 0], tasks[0, 1], tasks[0, 2], tasks[0, 3] = -1, 0, 0, 1
    waiting[0, 0], waiting[0, 1], waiting_cost[0, 0], waiting_cost[0, 1] = 0, 0, 0.0, 0.0
    n_tasks = n_waiting = 1
    now = work = np.int64(0)
    while len(queue) > 0 and work <= max_work:
        _, task = heapq.heappop(queue)
        came, by_word, first, count = tasks[task, 0], tasks[task, 1], tasks[task, 2], tasks[task, 3]
        now += 1
        low, high = np.int64(states), np.int64(0)
        for i in range(first, first + count):
            s = waiting[i, 0]
            stamp[s] = now
            costs[s, 0], costs[s, 1] = waiting_cost[i, 0], waiting_cost[i, 1]
            strings[s, 0], strings[s, 1] = waiting[i, 1], 0
            low, high = min(low, np.int64(s)), max(high, np.int64(s))
        trie, table = _with_room(trie, size, table, states)
        n, elements = _close(
            low, high, stamp, now, costs, strings, eps_start, eps, eps_cost, scale, keeps, trie, size, table, found
        )
        work += elements
        if n == 0:
            continue
        # normalize: the least cost and the common prefix go onto the arc
        best = _cheapest(found, n, costs, scale)
        graph, acoustic = costs[best, 0], costs[best, 1]
        if came < 0:  # the start: no arc leads there
            graph = acoustic = 0.0
        trie, table = _with_room(trie, size, table, size[0])
        if len(seen) < len(trie):
            seen, moved, moved_now = _longer(seen, len(trie)), _longer(moved, len(trie)), _longer(moved_now, len(trie))
            seen[:] = 0
            moved_now[:] = 0
        common = _common_prefix(found, n, strings, trie, seen, now) if came >= 0 else np.int32(0)
        key = np.int64(n)
        for i in range(n):
            s = found[i]
            costs[s, 0] -= graph
            costs[s, 1] -= acoustic
            if trie[strings[s, 0], 2] >= len(stack):
                stack = _longer(stack, trie[strings[s, 0], 2] + 1)
            strings[s, 0] = _strip(strings[s, 0], common, trie, size, table, moved, moved_now, now, stack)
            key = (key * 1000003) ^ (np.int64(s) * 7919 + strings[s, 0])
        arrival = (alpha[came] if came >= 0 else 0.0) + graph + scale * acoustic
        goal, place = _find(found, n, costs, strings, scale, delta, sets, set_cost, set_start, hashes, index, key)
        is_new = goal < 0
        if is_new:
            goal = n_sets
            n_sets += 1
            if goal + 2 > len(alpha):
                set_start, hashes = _longer(set_start, goal + 2), _longer(hashes, goal + 2)
                alpha = _longer(alpha, goal + 2)
                final_node = _longer(final_node, goal + 2)
                final_cost = _longer_rows(final_cost, goal + 2)
            begin = set_start[goal]
            if begin + n > len(set_cost):
                set_cost, sets = _longer(set_cost, begin + n), _longer_rows(sets, begin + n)
            for i in range(n):
                s = found[i]
                sets[begin + i, 0], sets[begin + i, 1] = s, strings[s, 0]
                set_cost[begin + i] = costs[s, 0] + scale * costs[s, 1]
            set_start[goal + 1] = begin + n
            hashes[goal], alpha[goal], index[place] = key, arrival, goal
            if 2 * n_sets > len(index):
                index = _rehash(index, n_sets, hashes, set_start)
        if n_arcs + 1 > len(arcs):
            arcs, costs_out = _longer_rows(arcs, n_arcs + 1), _longer_rows(costs_out, n_arcs + 1)
        arcs[n_arcs, 0], arcs[n_arcs, 1], arcs[n_arcs, 2], arcs[n_arcs, 3] = came, goal, by_word, common
        costs_out[n_arcs, 0], costs_out[n_arcs, 1] = graph, acoustic
        n_arcs += 1
        if not is_new:
            continue
        # the end of this state, and the words that leave it
        ending, end_acoustic, end_node = _end_of(found, n, costs, strings, final, scale)
        final_cost[goal, 0], final_cost[goal, 1], final_node[goal] = ending, end_acoustic, end_node
        keys, sources, leaving = _leaving(found, n, word_start, word_arcs, word, target, states)
        m = len(keys)
        trie, table = _with_room(trie, size, table, m)
        if n_waiting + m > len(waiting):
            waiting, waiting_cost = _longer_rows(waiting, n_waiting + m), _longer_rows(waiting_cost, n_waiting + m)
        i = 0
        while i < m:
            this_word, begin, priority = word[leaving[i]], n_waiting, np.inf
            while i < m and word[leaving[i]] == this_word:
                key = keys[i]
                chosen, least, g_best, a_best = -1, np.inf, 0.0, 0.0
                while i < m and keys[i] == key:  # the cheapest way to one state; of equals the first arc
                    s, a = sources[i], leaving[i]
                    g, ac = costs[s, 0] + arc_cost[a, 0], costs[s, 1] + arc_cost[a, 1]
                    cost = g + scale * ac
                    if cost < least or (cost == least and a < leaving[chosen]):
                        chosen, least, g_best, a_best = i, cost, g, ac
                    i += 1
                s, a = sources[chosen], leaving[chosen]
                node = strings[s, 0]
                if label[a] > 0:
                    node = _extend(trie, size, table, node, label[a])
                waiting[n_waiting, 0], waiting[n_waiting, 1] = target[a], node
                waiting_cost[n_waiting, 0], waiting_cost[n_waiting, 1] = g_best, a_best
                n_waiting += 1
                priority = min(priority, alpha[goal] + least + beta[target[a]])
            if priority > limit:
                n_waiting = begin
                continue
            if n_tasks + 1 > len(tasks):
                tasks = _longer_rows(tasks, n_tasks + 1)
            tasks[n_tasks, 0], tasks[n_tasks, 1], tasks[n_tasks, 2], tasks[n_tasks, 3] = (
                goal, this_word, begin, n_waiting - begin,
            )  # fmt: skip
            heapq.heappush(queue, (priority, np.int64(n_tasks)))
            n_tasks += 1
    return (
        work <= max_work, n_sets, arcs[:n_arcs], costs_out[:n_arcs], final_cost[:n_sets], final_node[:n_sets], trie
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _spell(nodes, trie):
    """The strings of trie nodes: (ids, start [len(nodes) + 1])."""
    start = np.zeros(len(nodes) + 1, np.int64)
    for i in range(len(nodes)):
        start[i + 1] = start[i] + trie[nodes[i], 2]
    ids = np.empty(start[-1], np.int32)
    for i in range(len(nodes)):
        node = nodes[i]
        for k in range(start[i + 1] - 1, start[i] - 1, -1):
            ids[k] = trie[node, 1]
            node = trie[node, 0]
    return ids, start


def determinize(
    lattice: Lattice,
    *,
    beam: float = 6.0,
    acoustic_scale: float = 1 / 12,
    delta: float = 1 / 1024,
    max_work: int = MAX_WORK,
    utterance: str = "lattice",
) -> CompactLattice:
    """The word-level lattice of all word sequences within ``beam`` of the best path, each with its best alignment.

    beam: in costs with the acoustic ones scaled by acoustic_scale (the decoder's lattice_beam).  delta: costs this
    close count as equal.  Where a lattice needs more than max_work elements the beam is narrowed by a quarter, with a
    warning, as Kaldi does.  Raises DecodeError where nothing reaches a final state.
    """
    if not np.isfinite(lattice.final_graph).any():
        raise DecodeError(utterance, "no path of the lattice reaches a final state", mend="decode with a wider --beam")
    asked, arcs = beam, np.arange(lattice.num_arcs)
    while beam > 0.01 * asked:
        inputs = _split_arcs(lattice, arcs)
        whole, states, found, costs, *ends = _determinize(*inputs, acoustic_scale, beam, delta, max_work)  # type: ignore[call-arg]
        if whole:
            return _compact_lattice(states, found[1:], costs[1:], *ends)  # the first arc leads to the start
        beam *= 0.75
        arcs = _within(lattice, beam, acoustic_scale)
        get_logger("hmm").warning("%s: lattice too big to determinize, beam narrowed to %.3g", utterance, beam)
    raise DecodeError(utterance, "the lattice is too big to determinize", mend="decode with a narrower --lattice-beam")


def _within(lattice: Lattice, beam: float, scale: float) -> NDArray[np.int64]:
    """The arcs on paths within the beam of the best: closures do not prune, so they should not see the others."""
    cost = lattice.graph_cost.astype(np.float64) + scale * lattice.acoustic_cost
    final = lattice.final_graph.astype(np.float64) + scale * lattice.final_acoustic
    ahead = forward_costs(lattice.source, lattice.target, cost, lattice.num_states)
    back = backward_costs(lattice.source, lattice.target, cost, final)
    through = ahead[lattice.source] + cost + back[lattice.target]
    return np.flatnonzero(through <= back[0] + beam + 1e-6)


def _split_arcs(lattice: Lattice, arcs: NDArray[np.int64]) -> tuple[NDArray[np.generic], ...]:
    """What the kernel takes: the arcs kept, and those with and without a word by state."""
    source, target, word = lattice.source[arcs], lattice.target[arcs], lattice.word[arcs]
    label = lattice.transition_id[arcs]
    arc_cost = np.stack([lattice.graph_cost[arcs], lattice.acoustic_cost[arcs]], 1).astype(np.float64)
    final = np.stack([lattice.final_graph, lattice.final_acoustic], 1).astype(np.float64)
    epsilon, words = np.flatnonzero(word == 0), np.flatnonzero(word)
    eps = np.stack([target[epsilon], label[epsilon]], 1).astype(np.int32)
    states = lattice.num_states
    return (
        source, target, label, word, arc_cost, final, arc_starts(source[epsilon], states), eps, arc_cost[epsilon],
        arc_starts(source[words], states), words,
    )  # fmt: skip


def _compact_lattice(
    n_states: int,
    arcs: NDArray[np.int32],
    costs: NDArray[np.float64],
    final_cost: NDArray[np.float64],
    final_node: NDArray[np.int32],
    trie: NDArray[np.int32],
) -> CompactLattice:
    """Arrays of the kernel, in topological order and with strings spelled out."""
    order, rank = topological_arcs(arcs[:, 0].copy(), arcs[:, 1].copy(), n_states, 0)
    states = np.argsort(rank, kind="stable")
    ids, start = _spell(np.concatenate([arcs[order, 3], final_node[states]]), trie)
    return CompactLattice(
        source=rank[arcs[order, 0]],
        target=rank[arcs[order, 1]],
        word=arcs[order, 2].copy(),
        graph_cost=costs[order, 0].astype(np.float32),
        acoustic_cost=costs[order, 1].astype(np.float32),
        final_graph=final_cost[states, 0].astype(np.float32),
        final_acoustic=final_cost[states, 1].astype(np.float32),
        ids=ids,
        start=start,
    )
