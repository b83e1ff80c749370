"""Questions for the decision tree: groups of phones that sound alike, found from the data (Kaldi's cluster-phones).

The phone sets are split in two again and again, by k-means on one Gaussian a cluster; every group met on the way is a
question.  The lang directory's extra questions (silence, word position, ...) are added.
"""

from __future__ import annotations

import numpy as np

from harness.seed import rng_for
from hmm.tree import TreeStats, gaussian_objective

K_MEANS_TRIES = 10  # as cluster-phones
K_MEANS_ROUNDS = 20


def phone_questions(
    stats: TreeStats, phone_sets: list[list[int]], extra: list[list[int]], *, pdf_class: int = 1, seed: int = 0
) -> list[list[int]]:
    """Sorted, distinct groups of phones: clusters of `phone_sets`, then `extra` (phones/extra_questions.int).

    pdf_class: the HMM state whose frames speak for a phone; 1 is the middle one.
    """
    chosen = stats.events[:, -1] == pdf_class
    phones, centre = stats.events[chosen, stats.position], stats.sums[chosen]
    sums = np.stack([centre[np.isin(phones, group)].sum(axis=0) for group in phone_sets])
    questions: list[list[int]] = []
    pending = [list(range(len(phone_sets)))]
    while pending:
        members = pending.pop(0)
        questions.append(sorted(phone for k in members for phone in phone_sets[k]))
        if len(members) > 1:
            pending += _two_clusters(sums, members, seed)
    questions += [sorted(group) for group in extra]
    distinct: dict[tuple[int, ...], None] = {tuple(question): None for question in questions if question}
    return [list(question) for question in distinct]


def _two_clusters(sums: np.ndarray, members: list[int], seed: int) -> list[list[int]]:
    """The better of several k-means runs with two centres."""
    rng = rng_for(seed, "questions", *members)
    best, best_score = None, -np.inf
    for _ in range(K_MEANS_TRIES):
        side = rng.integers(0, 2, len(members))
        side[rng.permutation(len(members))[:2]] = [0, 1]
        for _ in range(K_MEANS_ROUNDS):
            moved = np.argmax(_scores(sums[members], side), axis=1)
            if len(set(moved.tolist())) < 2 or np.array_equal(moved, side):
                break
            side = moved
        score = sum(float(gaussian_objective(sums[members][side == k].sum(axis=0))) for k in (0, 1))
        if score > best_score:
            best, best_score = side, score
    assert best is not None
    return [[m for m, s in zip(members, best, strict=True) if s == k] for k in (0, 1)]


def _scores(sums: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Log likelihood of each member's frames under each centre's Gaussian, [members, 2]."""
    dim = (sums.shape[1] - 1) // 2
    count, first, second = sums[:, :1], sums[:, 1 : 1 + dim], sums[:, 1 + dim :]
    scores = np.empty((len(sums), 2))
    for k in (0, 1):
        total = sums[side == k].sum(axis=0)
        frames = max(total[0], 1.0e-5)
        mean = total[1 : 1 + dim] / frames
        variance = np.maximum(total[1 + dim :] / frames - mean**2, 0.01)
        distance = (second - 2 * mean * first + mean**2 * count) / variance
        scores[:, k] = -0.5 * (distance.sum(axis=1) + count[:, 0] * np.log(variance).sum())
    return scores
