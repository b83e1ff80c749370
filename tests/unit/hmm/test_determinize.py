"""Determinization against every path of random lattices, and against Kaldi's lattice-determinize-pruned."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DecodeError
from hmm.determinize import determinize
from hmm.lattice import best_path
from kaldi_bridge.lattice_arrays import CompactLattice, Lattice
from kaldi_bridge.lattices import read_lattices, write_lattices

SCALE = 0.1
Words = tuple[int, ...]


def random_lattice(seed: int, states: int = 9, arcs: int = 26, words: int = 3) -> Lattice:
    """An acyclic lattice with few different words, so that many paths say the same."""
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.integers(0, states, (arcs, 2)), 1)
    ends = np.concatenate([ends[ends[:, 0] < ends[:, 1]], np.stack([np.arange(states - 1), np.arange(1, states)], 1)])
    ends = ends[np.argsort(ends[:, 0], kind="stable")].astype(np.int32)
    n = len(ends)
    final = np.full(states, np.inf, np.float32)
    final[[states - 2, states - 1]] = rng.random(2)
    return Lattice(
        source=ends[:, 0].copy(), target=ends[:, 1].copy(),
        transition_id=np.where(rng.random(n) < 0.8, rng.integers(1, 9, n), 0).astype(np.int32),
        word=np.where(rng.random(n) < 0.4, rng.integers(1, words + 1, n), 0).astype(np.int32),
        graph_cost=rng.gamma(1, 2, n).astype(np.float32), acoustic_cost=rng.normal(0, 20, n).astype(np.float32),
        final_graph=final, final_acoustic=np.where(np.isfinite(final), np.float32(0.5), np.float32(np.inf)),
    )  # fmt: skip


def timed_lattice(seed: int, frames: int, width: int) -> Lattice:
    """A lattice as a decoder makes them: one transition id a frame, several states a frame."""
    rng = np.random.default_rng(seed)
    source, target = [], []
    for frame in range(frames):
        for i in range(width if frame else 1):
            here = 1 + (frame - 1) * width + i if frame else 0
            for j in rng.choice(width, 2, replace=False):
                source.append(here)
                target.append(1 + frame * width + int(j))
    n, states = len(source), 1 + frames * width
    final = np.full(states, np.inf, np.float32)
    final[-width:] = 0
    return Lattice(
        source=np.array(source, np.int32), target=np.array(target, np.int32),
        transition_id=rng.integers(1, 30, n).astype(np.int32),
        word=np.where(rng.random(n) < 0.1, rng.integers(1, 8, n), 0).astype(np.int32),
        graph_cost=rng.gamma(1, 1, n).astype(np.float32), acoustic_cost=rng.gamma(3, 10, n).astype(np.float32),
        final_graph=final, final_acoustic=final.copy(),
    )  # fmt: skip


def best_by_words(lattice: Lattice) -> dict[Words, tuple[float, list[int]]]:
    """The least cost of each word sequence, and its transition ids."""
    best: dict[Words, tuple[float, list[int]]] = {}

    def walk(state: int, words: Words, ids: list[int], cost: float) -> None:
        if np.isfinite(lattice.final_graph[state]):
            end = cost + float(lattice.final_graph[state]) + SCALE * float(lattice.final_acoustic[state])
            if words not in best or end < best[words][0]:
                best[words] = end, ids
        for a in np.flatnonzero(lattice.source == state):
            word, label = int(lattice.word[a]), int(lattice.transition_id[a])
            more = float(lattice.graph_cost[a]) + SCALE * float(lattice.acoustic_cost[a])
            walk(int(lattice.target[a]), words + (word,) * (word > 0), ids + [label] * (label > 0), cost + more)

    walk(0, (), [], 0.0)
    return best


def paths_of(lattice: CompactLattice) -> list[tuple[Words, float, list[int]]]:
    """(words, cost, transition ids) of every path of a compact lattice."""
    found = []

    def walk(state: int, words: Words, ids: list[int], cost: float) -> None:
        if np.isfinite(lattice.final_graph[state]):
            end = cost + float(lattice.final_graph[state]) + SCALE * float(lattice.final_acoustic[state])
            found.append((words, end, ids + lattice.final_ids(state).tolist()))
        for a in np.flatnonzero(lattice.source == state):
            more = float(lattice.graph_cost[a]) + SCALE * float(lattice.acoustic_cost[a])
            step = (int(lattice.word[a]),)
            walk(int(lattice.target[a]), words + step, ids + lattice.arc_ids(a).tolist(), cost + more)

    walk(0, (), [], 0.0)
    return found


@pytest.mark.parametrize("seed", range(25))
def test_each_word_sequence_stands_once_with_its_best_path(seed: int) -> None:
    lattice = random_lattice(seed)
    expected = best_by_words(lattice)
    found = paths_of(determinize(lattice, beam=1e6, acoustic_scale=SCALE, delta=1e-6))
    assert len(found) == len(expected)
    for words, cost, ids in found:
        assert cost == pytest.approx(expected[words][0], abs=1e-3)
        assert ids == expected[words][1]


@pytest.mark.parametrize("seed", range(15))
def test_all_word_sequences_within_the_beam_are_kept_and_no_arc_without_one(seed: int) -> None:
    lattice, beam = random_lattice(seed, states=11, arcs=40), 3.0
    expected = best_by_words(lattice)
    limit = min(cost for cost, _ in expected.values()) + beam
    within = {words for words, (cost, _) in expected.items() if cost <= limit - 1e-3}
    result = determinize(lattice, beam=beam, acoustic_scale=SCALE, delta=1e-6)
    found = {words: cost for words, cost, _ in paths_of(result)}
    assert within <= found.keys()
    for words in within:
        assert found[words] == pytest.approx(expected[words][0], abs=1e-3)
    for arc in range(result.num_arcs):
        through = [c for _, c in arc_path_costs(result, arc)]
        assert min(through) <= limit + 1e-3


def arc_path_costs(lattice: CompactLattice, arc: int) -> list[tuple[int, float]]:
    """Costs of the paths through one arc: best way to its source, the arc, best way to an end."""
    ahead = np.full(lattice.num_states, np.inf)
    ahead[0] = 0.0
    cost = lattice.graph_cost + SCALE * lattice.acoustic_cost
    for a in range(lattice.num_arcs):
        ahead[lattice.target[a]] = min(ahead[lattice.target[a]], ahead[lattice.source[a]] + cost[a])
    back = (lattice.final_graph + SCALE * lattice.final_acoustic).astype(float)
    for a in range(lattice.num_arcs - 1, -1, -1):
        back[lattice.source[a]] = min(back[lattice.source[a]], cost[a] + back[lattice.target[a]])
    return [(arc, float(ahead[lattice.source[arc]] + cost[arc] + back[lattice.target[arc]]))]


def test_no_state_has_two_arcs_with_one_word() -> None:
    result = determinize(timed_lattice(1, 60, 6), beam=8.0, acoustic_scale=SCALE)
    pairs = list(zip(result.source.tolist(), result.word.tolist(), strict=True))
    assert len(pairs) > 20
    assert len(set(pairs)) == len(pairs)
    assert (result.word > 0).all()


def test_every_path_of_a_timed_lattice_has_one_transition_id_a_frame() -> None:
    result = determinize(timed_lattice(2, 25, 4), beam=4.0, acoustic_scale=SCALE)
    lengths = {len(ids) for _, _, ids in paths_of(result)}
    assert lengths == {25}


def test_a_long_lattice_with_a_thousand_states_keeps_its_paths_whole() -> None:
    lattice = timed_lattice(4, 300, 4)
    result = determinize(lattice, beam=1.5, acoustic_scale=SCALE)
    assert result.num_states > 1000
    for weight in (5, 10, 20, 40):
        assert len(best_path(result, weight).transition_ids) == 300
    one, other = best_path(result, 1 / SCALE), best_path(lattice, 1 / SCALE)
    assert one.words.tolist() == other.words.tolist()
    assert one.transition_ids.tolist() == other.transition_ids.tolist()
    not_final = ~np.isfinite(result.final_graph)
    lengths = np.diff(result.start)[result.num_arcs :]
    assert (lengths[not_final] == 0).all()


def test_too_much_work_narrows_the_beam_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    lattice = timed_lattice(3, 80, 8)
    with caplog.at_level(logging.WARNING, logger="schoolyard"):
        small = determinize(lattice, beam=20.0, acoustic_scale=SCALE, max_work=20_000, utterance="long-1")
    assert "long-1: lattice too big to determinize, beam narrowed to 15" in caplog.text
    whole = determinize(lattice, beam=3.0, acoustic_scale=SCALE)
    assert best_path(small, 1 / SCALE).words.tolist() == best_path(whole, 1 / SCALE).words.tolist()


def test_a_lattice_without_end_names_the_utterance() -> None:
    lattice = random_lattice(0)
    lattice.final_graph[:] = np.inf
    with pytest.raises(DecodeError, match="u9: no path of the lattice reaches a final state"):
        determinize(lattice, utterance="u9")


@pytest.mark.kaldi
def test_best_paths_and_costs_are_those_of_lattice_determinize_pruned(
    tmp_path: Path, kaldi: Callable[..., str]
) -> None:
    lattices = {f"u{seed}": timed_lattice(seed, 40, 5) for seed in range(8)}
    write_lattices(tmp_path / "raw.gz", lattices.items())
    kaldi(
        shell=f"lattice-determinize-pruned --acoustic-scale={SCALE} --beam=6 'ark:gunzip -c {tmp_path}/raw.gz|' "
        f"ark:{tmp_path}/det"
    )
    theirs = dict(read_lattices(tmp_path / "det"))
    ours = {name: determinize(lattice, beam=6.0, acoustic_scale=SCALE) for name, lattice in lattices.items()}
    for name, lattice in ours.items():
        for weight in (7, 10, 14):
            one, other = best_path(lattice, weight), best_path(theirs[name], weight)
            assert one.words.tolist() == other.words.tolist()
            assert one.transition_ids.tolist() == other.transition_ids.tolist()
            costs = one.graph_cost, one.acoustic_cost
            assert costs == pytest.approx((other.graph_cost, other.acoustic_cost), abs=0.01)
    arcs = sum(lattice.num_arcs for lattice in ours.values())
    assert arcs == pytest.approx(sum(lattice.num_arcs for lattice in theirs.values()), rel=0.05)


@pytest.mark.kaldi
def test_kaldi_finds_ours_equivalent_to_the_lattice_it_came_from(tmp_path: Path, kaldi: Callable[..., str]) -> None:
    """lattice-best-path reads the words and costs of our determinized lattices as of the raw ones."""
    lattices = {f"u{seed}": timed_lattice(seed, 30, 5) for seed in range(6)}
    write_lattices(tmp_path / "raw.gz", lattices.items())
    write_lattices(
        tmp_path / "det.gz", ((name, determinize(one, acoustic_scale=SCALE)) for name, one in lattices.items())
    )
    for kind in ("raw", "det"):
        kaldi(
            shell=f"lattice-best-path --acoustic-scale={SCALE} 'ark:gunzip -c {tmp_path}/{kind}.gz|' "
            f"ark,t:{tmp_path}/{kind}.words ark,t:{tmp_path}/{kind}.ali"
        )
    assert (tmp_path / "det.words").read_text() == (tmp_path / "raw.words").read_text()
    assert (tmp_path / "det.ali").read_text() == (tmp_path / "raw.ali").read_text()
