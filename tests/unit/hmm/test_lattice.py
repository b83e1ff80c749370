"""Best paths and sweeps against every path of random lattices, and against Kaldi's own transcripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DecodeError, TableError
from hmm.lattice import best_path, sweep
from kaldi_bridge.lattice_arrays import Lattice, sort_topologically
from kaldi_bridge.lattices import read_decode_dir


def random_lattice(seed: int, states: int = 9, arcs: int = 22) -> Lattice:
    """An acyclic lattice from state 0 to state S - 1, a word on about half of the arcs."""
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.integers(0, states, (arcs, 2)), 1)
    ends = np.concatenate([ends[ends[:, 0] < ends[:, 1]], np.stack([np.arange(states - 1), np.arange(1, states)], 1)])
    ends = ends[np.argsort(ends[:, 0], kind="stable")].astype(np.int32)
    n = len(ends)
    final = np.full(states, np.inf, np.float32)
    final[[states - 3, states - 1]] = rng.random(2)
    return Lattice(
        source=ends[:, 0].copy(), target=ends[:, 1].copy(),
        transition_id=rng.integers(1, 50, n).astype(np.int32),
        word=np.where(rng.random(n) < 0.5, rng.integers(1, 5, n), 0).astype(np.int32),
        graph_cost=rng.gamma(1, 2, n).astype(np.float32), acoustic_cost=rng.normal(0, 20, n).astype(np.float32),
        final_graph=final, final_acoustic=np.where(np.isfinite(final), np.float32(1), np.float32(np.inf)),
    )  # fmt: skip


def all_paths(lattice: Lattice) -> list[tuple[list[int], list[int], float, float]]:
    """(words, transition ids, graph cost, acoustic cost) of every path."""
    found = []

    def walk(state: int, words: list[int], ids: list[int], graph: float, acoustic: float) -> None:
        if np.isfinite(lattice.final_graph[state]):
            end = float(lattice.final_graph[state]), float(lattice.final_acoustic[state])
            found.append((words, ids, graph + end[0], acoustic + end[1]))
        for a in np.flatnonzero(lattice.source == state):
            word, label = int(lattice.word[a]), int(lattice.transition_id[a])
            costs = graph + float(lattice.graph_cost[a]), acoustic + float(lattice.acoustic_cost[a])
            walk(int(lattice.target[a]), words + [word] * (word > 0), [*ids, label], *costs)

    walk(0, [], [], 0.0, 0.0)
    return found


@pytest.mark.parametrize("seed", range(10))
def test_best_path_is_the_cheapest_of_all_paths(seed: int) -> None:
    lattice = random_lattice(seed)
    for weight, penalty in [(1.0, 0.0), (12.0, 0.0), (12.0, 3.0), (60.0, -2.0)]:
        words, ids, graph, acoustic = min(all_paths(lattice), key=lambda p: p[2] + p[3] / weight + penalty * len(p[0]))
        path = best_path(lattice, weight, penalty)
        assert path.words.tolist() == words
        assert path.transition_ids.tolist() == ids
        assert (path.graph_cost, path.acoustic_cost) == pytest.approx((graph, acoustic), abs=1e-3)


def test_sweep_equals_best_path_at_every_setting() -> None:
    weights, penalties = [1, 7, 12.5, 60], [-1.0, 0.0, 0.5]
    for seed in range(5):
        lattice = random_lattice(seed, states=30, arcs=200)
        swept = sweep(lattice, weights, penalties)
        for weight, row in zip(weights, swept, strict=True):
            for penalty, words in zip(penalties, row, strict=True):
                assert words.tolist() == best_path(lattice, weight, penalty).words.tolist()


def test_sorting_keeps_the_paths_and_orders_the_states() -> None:
    lattice = random_lattice(4)
    shuffle = np.random.default_rng(0).permutation(lattice.num_states).astype(np.int32)
    order = np.random.default_rng(1).permutation(lattice.num_arcs)
    names = ("transition_id", "word", "graph_cost", "acoustic_cost")
    mixed = replace(
        lattice,
        source=shuffle[lattice.source[order]], target=shuffle[lattice.target[order]],
        **{name: getattr(lattice, name)[order] for name in names},
        final_graph=lattice.final_graph[np.argsort(shuffle)],
        final_acoustic=lattice.final_acoustic[np.argsort(shuffle)],
    )  # fmt: skip
    sorted_again = sort_topologically(mixed, start=int(shuffle[0]))
    assert (sorted_again.source < sorted_again.target).all()
    assert (np.diff(sorted_again.source) >= 0).all()
    assert sorted(all_paths(sorted_again)) == sorted(all_paths(lattice))


def test_a_cycle_is_an_error() -> None:
    lattice = random_lattice(2)
    with pytest.raises(TableError, match="cycle"):
        sort_topologically(replace(lattice, target=lattice.source))


def test_a_lattice_without_an_end_names_the_utterance() -> None:
    lattice = random_lattice(2)
    endless = replace(lattice, final_graph=np.full_like(lattice.final_graph, np.inf))
    with pytest.raises(DecodeError, match="u3: no path of the lattice reaches a final state"):
        best_path(endless, utterance="u3")


def test_transcripts_of_golden_lattices_are_those_of_kaldi(golden_dir: Path) -> None:
    """lattice-scale | lattice-add-penalty | lattice-best-path: 14 weights, 3 penalties, 15 utterances."""
    decode_dir = golden_dir / "exp/tri3b/decode_test"
    words = dict(line.split()[::-1] for line in (golden_dir / "exp/tri3b/graph/words.txt").read_text().splitlines())
    weights, penalties = list(range(7, 21)), [0.0, 0.5, 1.0]
    texts: dict[tuple[int, float], list[str]] = {(w, p): [] for w in weights for p in penalties}
    for utterance, lattice in read_decode_dir(decode_dir):
        for weight, row in zip(weights, sweep(lattice, weights, penalties), strict=True):
            for penalty, ids in zip(penalties, row, strict=True):
                texts[weight, penalty].append(" ".join([utterance, *(words[str(i)] for i in ids)]))
    for (weight, penalty), lines in texts.items():
        golden = (decode_dir / f"scoring_kaldi/penalty_{penalty}/{weight}.txt").read_text().splitlines()
        assert lines == [line.strip() for line in golden]
        assert len(lines) == 15
