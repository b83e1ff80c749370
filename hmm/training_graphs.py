"""Training graphs: all ways to say a known transcript, as transition ids, for alignment (Kaldi's compile-train-graphs).

The lexicon is composed with each transcript by a search over (state of L, words said); context, H, determinisation and
minimisation are done with kaldifst, with one H for all utterances of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hmm.fst_operations import determinize_star, remove_input_symbols, trim
from hmm.h_transducer import add_self_loops, h_transducer
from hmm.lang import read_integers
from kaldi_bridge.fsts import FstArrays, from_kaldifst, read_fst, to_kaldifst
from kaldi_bridge.models import TransitionModel, Tree

MAX_STATES = 5_000_000  # of one utterance's graph in determinisation; a transcript of 1000 words needs some 20 000


@dataclass
class TrainingGraphs:
    """Compiles transcripts of word ids to graphs over the transition ids of `model`.

    lexicon: L.fst (without disambiguation symbols).  Scales 0, Kaldi's choice for stored graphs: alignment adds the
    transition probabilities of the model it uses.
    """

    lexicon: FstArrays
    disambig_phones: Sequence[int]
    tree: Tree
    model: TransitionModel
    transition_scale: float = 0.0
    self_loop_scale: float = 0.0
    _by_word: FstArrays = field(init=False, repr=False)  # the lexicon with the arcs of each state sorted by word

    def __post_init__(self) -> None:
        order = np.lexsort((self.lexicon.olabel, self.lexicon.sources()))
        lexicon = self.lexicon
        self._by_word = FstArrays(
            lexicon.start, lexicon.finals, lexicon.offsets, lexicon.ilabel[order], lexicon.olabel[order],
            lexicon.weight[order], lexicon.nextstate[order],
        )  # fmt: skip

    @classmethod
    def from_lang(cls, lang_dir: str | Path, tree: Tree, model: TransitionModel, **scales: float) -> TrainingGraphs:
        """With L.fst and phones/disambig.int of a lang directory."""
        lang = Path(lang_dir)
        disambig = [phone for row in read_integers(lang / "phones/disambig.int") for phone in row]
        return cls(read_fst(lang / "L.fst"), disambig, tree, model, **scales)

    def compile(self, word_ids: Sequence[int]) -> FstArrays | None:
        """The graph of one transcript; None if the lexicon has no path for it (a word without pronunciation)."""
        return self.compile_batch([word_ids])[0]

    def compile_batch(self, transcripts: Sequence[Sequence[int]]) -> list[FstArrays | None]:
        """The graphs of many transcripts, in their order: a batch shares one H and is faster than one by one."""
        import kaldifst

        number_of: dict[tuple[int, ...], int] = {(): 0}
        contexts = [self._with_context(words, number_of) for words in transcripts]
        h, disambig = h_transducer([list(window) for window in number_of], self.tree, self.model, self.transition_scale)
        left = to_kaldifst(h)
        kaldifst.arcsort(left, "olabel")
        graphs: list[FstArrays | None] = []
        for clg in contexts:
            graphs.append(None if clg is None else self._finish(left, clg, disambig))
        return graphs

    def _with_context(self, words: Sequence[int], number_of: dict[tuple[int, ...], int]) -> FstArrays | None:
        """C o L o transcript, its windows numbered through all utterances by `number_of`."""
        import kaldifst

        lg = compose_with_words(self._by_word, np.asarray(words, np.int32))
        if lg.num_states == 0:
            return None
        right = to_kaldifst(lg)
        kaldifst.arcsort(right, "ilabel")
        tree = self.tree
        clg, windows = kaldifst.compose_context(
            disambig_syms=list(self.disambig_phones), context_width=tree.context_width,
            central_position=tree.central_position, ifst=right,
        )  # fmt: skip
        fst = from_kaldifst(clg)
        shared = np.zeros(len(windows), np.int32)
        for label in set(
            fst.ilabel.tolist()
        ):  # a window may be listed and not be used: that of a disambiguation symbol
            shared[label] = number_of.setdefault(tuple(windows[label]), len(number_of))
        fst.ilabel = shared[fst.ilabel]
        return fst

    def _finish(self, h: Any, clg: FstArrays, disambig: list[int]) -> FstArrays | None:
        import kaldifst

        right = to_kaldifst(clg)
        kaldifst.arcsort(right, "ilabel")
        graph = kaldifst.compose(h, right)
        if graph.num_states == 0 or graph.start < 0:
            return None
        determinize_star(graph, MAX_STATES, "training graph")
        if disambig and not _blank_start_arcs(graph, disambig, clg):
            graph = to_kaldifst(remove_input_symbols(from_kaldifst(graph), disambig))
        kaldifst.minimize_encoded(graph)
        return add_self_loops(from_kaldifst(graph), self.model, self.self_loop_scale)


def _blank_start_arcs(graph: Any, disambig: list[int], clg: FstArrays) -> bool:
    """Removes the disambiguation symbol that starts a triphone graph, in place; False if the graph has others too.

    Without disambiguation symbols in L, the only one that context adds stands before the first phone.
    """
    import kaldifst

    first = slice(int(clg.offsets[clg.start]), int(clg.offsets[clg.start + 1]))
    if first.start != 0 or len(set(clg.ilabel[first])) != 1 or (clg.ilabel == clg.ilabel[0]).sum() != first.stop:
        return False
    if (clg.nextstate == clg.start).any() or len(disambig) != 1:
        return False
    arcs = [
        (arc.ilabel, arc.olabel, float(arc.weight.value), arc.nextstate)
        for arc in kaldifst.ArcIterator(graph, graph.start)
    ]
    if any(arc[0] != disambig[0] for arc in arcs):
        return False
    graph.delete_arcs(graph.start, len(arcs))
    for _, olabel, cost, target in arcs:
        graph.add_arc(graph.start, kaldifst.StdArc(ilabel=0, olabel=olabel, weight=cost, nextstate=target))
    return True


def compose_with_words(lexicon: FstArrays, words: NDArray[np.int32]) -> FstArrays:
    """The paths of the lexicon that say exactly `words`, trimmed; without states if there is none.

    lexicon: arcs of each state sorted by output label.
    """
    finals, offsets, ilabel, olabel, weight, nextstate = _compose_with_words(
        lexicon.start, lexicon.finals, lexicon.offsets, lexicon.ilabel, lexicon.olabel, lexicon.weight,
        lexicon.nextstate, words,
    )  # fmt: skip
    return trim(FstArrays(0, finals, offsets, ilabel, olabel, weight, nextstate))


@njit(cache=True, nogil=True)
def _compose_with_words(first, finals, offsets, ilabel, olabel, weight, nextstate, words):  # type: ignore
    """Breadth-first over pairs (state, words said), numbered as they are found; some reach no end."""
    number = {}
    number[np.int64(first) * (len(words) + 1)] = np.int64(0)
    pairs = [np.int64(first) * (len(words) + 1)]
    sources, arcs, targets = [np.int64(0)], [np.int64(0)], [np.int64(0)]
    sources.clear()
    arcs.clear()
    targets.clear()
    done = 0
    while done < len(pairs):
        state, said = pairs[done] // (len(words) + 1), pairs[done] % (len(words) + 1)
        low, high = offsets[state], offsets[state + 1]
        for wanted in (np.int32(0), words[said] if said < len(words) else np.int32(0)):
            arc = low + np.searchsorted(olabel[low:high], wanted)
            while arc < high and olabel[arc] == wanted:
                pair = np.int64(nextstate[arc]) * (len(words) + 1) + said + (1 if wanted else 0)
                if pair not in number:
                    number[pair] = np.int64(len(pairs))
                    pairs.append(pair)
                sources.append(np.int64(done))
                arcs.append(np.int64(arc))
                targets.append(number[pair])
                arc += 1
            if said == len(words):
                break
        done += 1
    final = np.full(len(pairs), np.inf, np.float32)
    for k in range(len(pairs)):
        if pairs[k] % (len(words) + 1) == len(words):
            final[k] = finals[pairs[k] // (len(words) + 1)]
    rows = np.zeros(len(pairs) + 1, np.int64)
    columns, costs = np.empty((3, len(arcs)), np.int32), np.empty(len(arcs), np.float32)
    for k in range(len(arcs)):  # sources come in ascending order
        columns[0, k], columns[1, k], columns[2, k] = ilabel[arcs[k]], olabel[arcs[k]], targets[k]
        costs[k] = weight[arcs[k]]
        rows[sources[k] + 1] += 1
    return final, np.cumsum(rows), columns[0].copy(), columns[1].copy(), costs, columns[2].copy()
