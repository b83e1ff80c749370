"""How sure a transcript is, word by word: posteriors of its words under the lattice's expected edit distance.

Paper: Xu, Povey, Mangu, Zhu 2011, "Minimum Bayes risk decoding and system combination based on a recursion for edit
distance", figures 4 and 5 (Kaldi's lattice-to-ctm-conf --decode-mbr=false).  Each path of the lattice is aligned to the
transcript; the confidence of a word is the share of probability aligned to it that says the same word.
"""

# Compiled functions carry no annotations: numba infers their types.
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.errors import DecodeError
from hmm.lattice import best_path
from kaldi_bridge.lattice_arrays import CompactLattice, Lattice

DELTA = 1e-5  # prefers alignments with fewer words of the lattice where costs are equal


@njit(cache=True, nogil=True)
def _loss(first, second, penalty):
    return 0.0 if first == second else 1.0 + penalty


@njit(cache=True, nogil=True)
def _align_arc(reached, word, text, arc_cost, choice):
    """Edit costs [Q + 1] after one arc, from those before it, and the choice: 1 both, 2 lattice only, 3 text only."""
    arc_cost[0] = reached[0] + _loss(word, 0, DELTA)
    for q in range(1, len(text) + 1):
        both = reached[q - 1] + _loss(word, text[q - 1], DELTA)
        inserted = reached[q] + _loss(word, 0, DELTA)
        deleted = arc_cost[q - 1] + _loss(0, text[q - 1], 0.0)
        if both <= inserted and both <= deleted:
            arc_cost[q], choice[q] = both, 1
        elif inserted <= deleted and inserted < both:
            arc_cost[q], choice[q] = inserted, 2
        else:
            arc_cost[q], choice[q] = deleted, 3


@njit(cache=True, nogil=True)
def _confidences(source, target, word, log_prob, states, text):
    """Share of probability that says text[q], [Q]; arcs sorted by target, states in topological order, one end."""
    n_text = len(text)
    alpha = np.full(states, -np.inf)
    alpha[0] = 0.0
    for a in range(len(source)):
        value = alpha[source[a]] + log_prob[a]
        high, low = max(alpha[target[a]], value), min(alpha[target[a]], value)
        alpha[target[a]] = high if low == -np.inf else high + np.log1p(np.exp(low - high))
    reached, back = np.zeros((states, n_text + 1)), np.zeros((states, n_text + 1))
    arc_cost, arc_back = np.zeros(n_text + 1), np.zeros(n_text + 1)
    choice = np.zeros(n_text + 1, np.int8)
    sure = np.zeros(n_text)
    for q in range(1, n_text + 1):
        reached[0, q] = reached[0, q - 1] + _loss(0, text[q - 1], 0.0)
    for a in range(len(source)):
        _align_arc(reached[source[a]], word[a], text, arc_cost, choice)
        share = np.exp(alpha[source[a]] + log_prob[a] - alpha[target[a]])
        for q in range(n_text + 1):
            reached[target[a], q] += share * arc_cost[q]
    back[states - 1, n_text] = 1.0
    for a in range(len(source) - 1, -1, -1):
        _align_arc(reached[source[a]], word[a], text, arc_cost, choice)
        share = np.exp(alpha[source[a]] + log_prob[a] - alpha[target[a]])
        arc_back[:] = 0.0
        for q in range(n_text, 0, -1):
            arc_back[q] += share * back[target[a], q]
            if choice[q] == 1:
                back[source[a], q - 1] += arc_back[q]
                if word[a] == text[q - 1]:
                    sure[q - 1] += arc_back[q]
            elif choice[q] == 2:
                back[source[a], q] += arc_back[q]
            else:
                arc_back[q - 1] += arc_back[q]
        arc_back[0] += share * back[target[a], 0]
        back[source[a], 0] += arc_back[0]
    return sure


def word_confidences(
    lattice: Lattice | CompactLattice,
    words: Sequence[int] | None = None,
    *,
    lm_weight: float = 12.0,
    word_ins_penalty: float = 0.0,
    utterance: str = "lattice",
) -> NDArray[np.float64]:
    """Confidence in 0..1 of each word of a transcript (word ids; default: the best path's).

    Posteriors are those at the weight and penalty, with the costs of best_path.  Raises DecodeError where no path
    reaches a final state.
    """
    best = best_path(lattice, lm_weight, word_ins_penalty, utterance=utterance)
    spoken = best.words.tolist() if words is None else list(words)
    if any(number <= 0 for number in spoken):
        raise DecodeError(utterance, "a transcript holds word 0 or less", mend="give the word ids of words.txt")
    text = np.zeros(2 * len(spoken) + 1, np.int32)  # a gap before, between and behind, for words of other paths
    text[1::2] = spoken
    ends = np.flatnonzero(np.isfinite(lattice.final_graph))
    final = lattice.final_graph[ends] + lattice.final_acoustic[ends] / lm_weight
    cost = lattice.graph_cost + lattice.acoustic_cost.astype(np.float64) / lm_weight
    cost = np.concatenate([cost + word_ins_penalty * (lattice.word > 0), final])
    states = lattice.num_states + 1
    source = np.concatenate([lattice.source, ends]).astype(np.int32)
    target = np.concatenate([lattice.target, np.full(len(ends), states - 1)]).astype(np.int32)
    word = np.concatenate([lattice.word, np.zeros(len(ends), np.int32)]).astype(np.int32)
    order = np.argsort(target, kind="stable")
    sure: NDArray[np.float64] = _confidences(source[order], target[order], word[order], -cost[order], states, text)
    sure = np.minimum(sure[1::2], 1.0)
    return sure
