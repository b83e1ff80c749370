"""Phonetic decision trees: statistics of phones in context, greedy splitting by questions, merging of alike leaves.

Programs: acc-tree-stats, build-tree (Odell 1995, "The use of context in large vocabulary speech recognition").  An
event is a window of phones and a pdf class; the gain of a question is the rise in likelihood of single Gaussians with
variances floored at 0.01.  Leaves below one root are merged again while that costs less than the least split gained.
Differs: the number of leaves is not rounded to a multiple of 8.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import ModelError
from hmm.phone_windows import phone_windows
from kaldi_bridge.models import HmmTopology, Leaf, Node, Split, Table, TransitionModel, Tree

VARIANCE_FLOOR = 0.01
PDF_CLASS = -1


@dataclass(frozen=True, kw_only=True)
class TreeConfig:
    """Context and stopping rules of build-tree."""

    threshold: float = 300.0  # least gain in log likelihood of a split
    merge_threshold: float = -1.0  # log likelihood that a merge may cost; negative: the least gain; 0: no merging
    context_width: int = 3
    central_position: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.central_position < self.context_width:
            problem = f"got {self.central_position} and {self.context_width}"
            raise ValueError(f"need 0 <= central_position < context_width, {problem}")


@dataclass(frozen=True)
class TreeStats:
    """Sums per event: events [events, width + 1] (phones, pdf class), sums [events, 1 + 2 dim] (count, x, x^2)."""

    events: np.ndarray
    sums: np.ndarray
    position: int  # column of the modelled phone


@dataclass(frozen=True)
class Root:
    """A line of phones/roots.int: phones that share a tree; `shared`: their HMM states too; `split`: may be split."""

    phones: tuple[int, ...]
    shared: bool
    split: bool


@dataclass(frozen=True)
class BuiltTree:
    """The tree, the sums of its leaves [pdfs, 1 + 2 dim], and the likelihood gained per frame."""

    tree: Tree
    pdf_sums: np.ndarray
    gain_per_frame: float


def read_roots(path: str | Path) -> list[Root]:
    """The roots file of a lang directory (integers).  Raises ModelError naming the line."""
    roots = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.split()
        known = len(words) > 2 and words[0] in ("shared", "not-shared") and words[1] in ("split", "not-split")
        if not known or not all(word.isdecimal() for word in words[2:]):
            problem = f"expected '(shared|not-shared) (split|not-split) phone ...', got {line[:60]!r}"
            raise ModelError(f"{path}:{number}", problem, mend="prepare the lang directory again")
        roots.append(Root(tuple(map(int, words[2:])), words[0] == "shared", words[1] == "split"))
    return roots


def gaussian_objective(sums: np.ndarray) -> np.ndarray:
    """Log likelihood of the frames in each row of sums [..., 1 + 2 dim] under their own floored Gaussian."""
    dim = (sums.shape[-1] - 1) // 2
    count = sums[..., 0]
    safe = np.maximum(count, 1.0e-10)[..., None]
    mean = sums[..., 1 : 1 + dim] / safe
    variance = sums[..., 1 + dim :] / safe - mean**2
    floored = np.maximum(variance, VARIANCE_FLOOR)
    per_frame = -0.5 * (np.log(floored).sum(axis=-1) + (variance / floored).sum(axis=-1) + dim * np.log(2 * np.pi))
    return np.where(count > 0, per_frame * count, 0.0)


def accumulate_tree_stats(
    tm: TransitionModel,
    alignments: list[np.ndarray],
    feats: list[np.ndarray],
    independent: set[int],
    config: TreeConfig,
) -> TreeStats:
    """Sums of the frames of every event.  independent: phones without context (phones/context_indep.int).

    alignments: [frames] each; feats: [frames, dim] each, of the same utterances.  May be called on parts and merged.
    """
    found = phone_windows(tm, alignments, width=config.context_width, position=config.central_position)
    windows = found.windows.copy()
    alone = np.isin(windows[:, config.central_position], sorted(independent))
    others = [column for column in range(config.context_width) if column != config.central_position]
    for column in others:
        windows[alone, column] = 0
    ids = np.concatenate(alignments)
    classes = np.array([-1] + [
        tm.topology.hmm(int(phone))[state].pdf_class
        for phone, state in zip(tm.id2phone[1:], tm.id2hmm_state[1:], strict=True)
    ])  # fmt: skip
    events = np.column_stack([windows[found.phone_of_frame], classes[ids]])
    frames = np.concatenate(feats).astype(np.float64)
    order, begins, distinct = _groups(events)
    sums = np.empty((len(begins), 1 + 2 * frames.shape[1]))
    sorted_frames = frames[order]
    sums[:, 0] = np.diff(np.append(begins, len(frames)))
    sums[:, 1 : 1 + frames.shape[1]] = np.add.reduceat(sorted_frames, begins, axis=0)
    sums[:, 1 + frames.shape[1] :] = np.add.reduceat(sorted_frames**2, begins, axis=0)
    return TreeStats(distinct, sums, config.central_position)


def merge_tree_stats(parts: list[TreeStats]) -> TreeStats:
    """Sums of several parts, events in sorted order whatever the parts were."""
    events = np.concatenate([part.events for part in parts])
    sums = np.concatenate([part.sums for part in parts])
    order, begins, distinct = _groups(events)
    return TreeStats(distinct, np.add.reduceat(sums[order], begins, axis=0), parts[0].position)


def _groups(events: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(order that sorts rows stably, begin of each group in it, the distinct rows)."""
    order = np.lexsort(events.T[::-1])
    ranked = events[order]
    changed = np.any(ranked[1:] != ranked[:-1], axis=1)
    begins = np.concatenate([[0], np.flatnonzero(changed) + 1])
    return order, begins, ranked[begins]


def build_tree(
    stats: TreeStats, roots: list[Root], questions: list[list[int]], topology: HmmTopology, config: TreeConfig, *,
    leaves: int,
) -> BuiltTree:  # fmt: skip
    """Grow a tree over the events and number its leaves.

    leaves: at most, before merging.  Raises ModelError if a phone of the topology belongs to no root.
    """
    covered = {phone for root in roots for phone in root.phones}
    if missing := sorted(set(topology.phones) - covered):
        raise ModelError("roots", f"phones without a root: {missing[:5]}", mend="prepare the lang directory again")
    grower = _Grower(stats, questions, topology, config)
    tops = [(root, grower.plant(root, number)) for number, root in enumerate(roots)]
    least_gain = grower.grow(leaves)
    limit = least_gain if config.merge_threshold < 0 else config.merge_threshold
    pdf_of, pdf_sums = grower.number_leaves(limit)
    top = _stub([(root.phones, _emit(grower, node, pdf_of)) for root, node in tops], config.central_position)
    tree = Tree(context_width=config.context_width, central_position=config.central_position, root=top)
    return BuiltTree(tree, pdf_sums, grower.gain / max(stats.sums[:, 0].sum(), 1.0))


@dataclass
class _NodeInProgress:
    rows: np.ndarray  # the events below it
    root: int  # leaves of one root may be merged
    question: tuple[int, frozenset[int]] | None = None
    children: tuple[int, int] | None = None


class _Grower:
    """Greedy best-first splitting."""

    def __init__(self, stats: TreeStats, questions: list[list[int]], topology: HmmTopology, config: TreeConfig) -> None:
        self.stats, self.config, self.topology = stats, config, topology
        self.questions = [frozenset(question) for question in questions]
        self.asked = np.zeros((len(questions), int(stats.events[:, :-1].max(initial=0)) + 1))
        for row, question in enumerate(questions):
            self.asked[row, [phone for phone in question if phone < self.asked.shape[1]]] = 1.0
        classes = max(topology.num_pdf_classes(phone) for phone in topology.phones)
        self.class_questions = [frozenset(range(k + 1)) for k in range(classes - 1)]
        self.class_asked = np.tril(np.ones((classes - 1, classes)))
        self.nodes: list[_NodeInProgress] = []
        self.queue: list[tuple[float, int, tuple[int, frozenset[int]]]] = []
        self.leaves, self.gain = 0, 0.0

    def plant(self, root: Root, number: int) -> int | list[int]:
        """The node of a root, or one a pdf class where its states are not shared."""
        rows = np.flatnonzero(np.isin(self.stats.events[:, self.stats.position], root.phones))
        if root.shared:
            return self._add(rows, number, root.split)
        classes = {self.topology.num_pdf_classes(phone) for phone in root.phones}
        if len(classes) != 1:
            problem = f"phones {list(root.phones)[:5]} of one root have different numbers of states"
            raise ModelError("roots", problem, mend="give phones of one root one topology")
        in_class = self.stats.events[rows, -1]
        return [self._add(rows[in_class == k], number, root.split) for k in range(classes.pop())]

    def grow(self, leaves: int) -> float:
        """Split until no gain is left or there are so many leaves; returns the least gain of a split made."""
        least = np.inf
        while self.queue and self.leaves < leaves:
            negative_gain, index, (column, values) = heapq.heappop(self.queue)
            node = self.nodes[index]
            yes = np.isin(self.stats.events[node.rows, column], sorted(values))
            key = PDF_CLASS if column == self.stats.events.shape[1] - 1 else column
            node.question = (key, values)
            self.leaves -= 1
            node.children = (self._add(node.rows[yes], node.root, True), self._add(node.rows[~yes], node.root, True))
            self.gain -= negative_gain
            least = min(least, -negative_gain)
        return least if np.isfinite(least) else 0.0

    def number_leaves(self, limit: float) -> tuple[dict[int, int], np.ndarray]:
        """(leaf -> pdf, sums [pdfs, 1 + 2 dim]) after merging the leaves of each root."""
        pdf_of: dict[int, int] = {}
        sums: list[np.ndarray] = []
        by_root: dict[int, list[int]] = {}
        for index, node in enumerate(self.nodes):
            if node.children is None:
                by_root.setdefault(node.root, []).append(index)
        for members in by_root.values():
            parts = [self.stats.sums[self.nodes[index].rows].sum(axis=0) for index in members]
            for group in _merge(np.array(parts), limit) if limit > 0 else [[k] for k in range(len(parts))]:
                for k in group:
                    pdf_of[members[k]] = len(sums)
                sums.append(np.sum([parts[k] for k in group], axis=0))
        return pdf_of, np.array(sums)

    def _add(self, rows: np.ndarray, root: int, may_split: bool) -> int:
        self.nodes.append(_NodeInProgress(rows, root))
        self.leaves += 1
        if may_split and len(rows) > 1:
            gain, question = self._best_question(rows)
            if question is not None and gain > self.config.threshold:
                heapq.heappush(self.queue, (-gain, len(self.nodes) - 1, question))
        return len(self.nodes) - 1

    def _best_question(self, rows: np.ndarray) -> tuple[float, tuple[int, frozenset[int]] | None]:
        sums = self.stats.sums[rows]
        total = sums.sum(axis=0)
        base = float(gaussian_objective(total))
        best_gain, best = 0.0, None
        last = self.stats.events.shape[1] - 1
        for column in range(last + 1):
            values, inverse = np.unique(self.stats.events[rows, column], return_inverse=True)
            if len(values) < 2:
                continue
            asked, questions = (
                (self.class_asked, self.class_questions) if column == last else (self.asked, self.questions)
            )
            by_value = _sum_by(sums, inverse, len(values))
            answers = asked[:, values]
            useful = np.flatnonzero(answers.any(axis=1) & ~answers.all(axis=1))
            if len(useful) == 0:
                continue
            yes = answers[useful] @ by_value
            gains = gaussian_objective(yes) + gaussian_objective(total - yes) - base
            k = int(np.argmax(gains))
            if gains[k] > best_gain:
                best_gain, best = float(gains[k]), (column, questions[useful[k]])
        return best_gain, best


def _sum_by(sums: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    order = np.argsort(group, kind="stable")
    return np.add.reduceat(sums[order], np.searchsorted(group[order], np.arange(groups)), axis=0)


def _merge(parts: np.ndarray, limit: float) -> list[list[int]]:
    """Bottom-up clustering: merge the pair that costs least while it costs less than `limit`."""
    groups: dict[int, list[int]] = {k: [k] for k in range(len(parts))}
    sums = parts.copy()
    objective = gaussian_objective(sums)
    queue: list[tuple[float, int, int, int, int]] = []
    version = [0] * len(parts)

    def consider(i: int, others: list[int]) -> None:
        if not others:
            return
        costs = objective[i] + objective[others] - gaussian_objective(sums[others] + sums[i])
        for j, cost in zip(others, costs.tolist(), strict=True):
            if cost < limit:
                a, b = min(i, j), max(i, j)
                heapq.heappush(queue, (cost, a, b, version[a], version[b]))

    for i in range(len(parts)):
        consider(i, list(range(i)))
    while queue:
        _, i, j, version_i, version_j = heapq.heappop(queue)
        if i not in groups or j not in groups or (version[i], version[j]) != (version_i, version_j):
            continue
        groups[i] += groups.pop(j)
        sums[i] += sums[j]
        objective[i] = gaussian_objective(sums[i])
        version[i] += 1
        consider(i, [k for k in groups if k != i])
    return list(groups.values())


def _emit(grower: _Grower, node: int | list[int], pdf_of: dict[int, int]) -> Node:
    if isinstance(node, list):
        return Table(PDF_CLASS, tuple(_emit(grower, child, pdf_of) for child in node))
    built = grower.nodes[node]
    if built.children is None or built.question is None:
        return Leaf(pdf_of[node])
    yes, no = (_emit(grower, child, pdf_of) for child in built.children)
    return yes if yes == no and isinstance(yes, Leaf) else Split(built.question[0], built.question[1], yes, no)


def _stub(tops: list[tuple[tuple[int, ...], Node]], position: int) -> Node:
    """A balanced tree of questions on the modelled phone that leads to the roots."""
    if len(tops) == 1:
        return tops[0][1]
    half = len(tops) // 2
    phones = frozenset(phone for group, _ in tops[:half] for phone in group)
    return Split(position, phones, _stub(tops[:half], position), _stub(tops[half:], position))


def monophone_tree(phone_sets: list[list[int]], topology: HmmTopology) -> Tree:
    """One pdf for each HMM state of each phone set (gmm-init-mono --shared-phones)."""
    children: list[Node | None] = [None] * (max(topology.phones) + 1)
    pdfs = 0
    for group in phone_sets:
        classes = topology.num_pdf_classes(group[0])
        if any(topology.num_pdf_classes(phone) != classes for phone in group):
            problem = f"phones {group[:5]} of one set have different numbers of states"
            raise ModelError("phones/sets.int", problem, mend="prepare the lang directory again")
        states = Table(PDF_CLASS, tuple(Leaf(pdfs + k) for k in range(classes)))
        pdfs += classes
        for phone in group:
            children[phone] = states
    return Tree(context_width=1, central_position=0, root=Table(0, tuple(children)))
