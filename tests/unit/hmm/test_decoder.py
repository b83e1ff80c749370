"""The decoder against plain dynamic programming, all paths of small graphs, golden files, and a real Kaldi."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DecodeError, ModelError
from hmm.decoder import DecodeConfig, DecodingGraph, NoPathError, decode
from hmm.lattice import best_path
from hmm.token_passing import cutoff_of
from kaldi_bridge.lattice_arrays import Lattice

WIDE = DecodeConfig(beam=1000.0, lattice_beam=1000.0, acoustic_scale=0.5, min_active=0)
FIELDS = (
    "source", "target", "transition_id", "word", "graph_cost", "acoustic_cost", "final_graph", "final_acoustic",
)  # fmt: skip


def random_graph(seed: int, *, states: int = 8, pdfs: int = 4, arcs: int = 24) -> DecodingGraph:
    """Emitting arcs anywhere, epsilon arcs only forward (no epsilon loop), a word on every third arc."""
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, states, arcs), rng.integers(0, states, arcs)
    ids = np.where((source < target) & (rng.random(arcs) < 0.4), 0, rng.integers(1, pdfs + 1, arcs))
    source = np.concatenate([source, np.arange(states)])  # every state can go on
    target = np.concatenate([target, (np.arange(states) + 1) % states])
    ids = np.concatenate([ids, 1 + np.arange(states) % pdfs])
    words = np.where(rng.random(len(ids)) < 0.34, rng.integers(1, 6, len(ids)), 0)
    final = np.where(rng.random(states) < 0.4, rng.random(states), np.inf)
    final[states - 1] = 0.5
    return DecodingGraph(
        start=0, final=final, source=source, target=target, transition_id=ids, word=words,
        cost=rng.gamma(1.0, 1.0, len(ids)), id2pdf=np.concatenate([[0], np.arange(pdfs)]),
    )  # fmt: skip


def arcs_of(graph: DecodingGraph, state: int, emitting: bool) -> list[tuple[int, int, float]]:
    """(target, pdf or -1, cost) of the arcs that leave a state."""
    ptr, rows = (graph.emit_ptr, graph.emit) if emitting else (graph.eps_ptr, graph.eps)
    costs = rows.view(np.float32)[:, -1]
    return [
        (int(rows[k, 0]), int(rows[k, 1]) if emitting else -1, float(costs[k]))
        for k in range(ptr[state], ptr[state + 1])
    ]


def all_path_costs(graph: DecodingGraph, loglikes: np.ndarray, scale: float) -> list[float]:
    """The cost of every path of the graph that takes as many emitting arcs as there are frames and ends finally."""
    costs = []

    def walk(state: int, frame: int, cost: float) -> None:
        if frame == len(loglikes) and np.isfinite(graph.final[state]):
            costs.append(cost + float(graph.final[state]))
        for target, _, weight in arcs_of(graph, state, emitting=False):
            walk(target, frame, cost + weight)
        if frame < len(loglikes):
            for target, pdf, weight in arcs_of(graph, state, emitting=True):
                walk(target, frame + 1, cost + weight - scale * float(loglikes[frame, pdf]))

    walk(graph.start, 0, 0.0)
    return sorted(costs)


def lattice_path_costs(lattice: Lattice, scale: float) -> list[float]:
    """The cost of every path of a lattice."""
    costs = []

    def walk(state: int, cost: float) -> None:
        if np.isfinite(lattice.final_graph[state]):
            costs.append(cost + float(lattice.final_graph[state] + scale * lattice.final_acoustic[state]))
        for a in np.flatnonzero(lattice.source == state):
            walk(int(lattice.target[a]), cost + float(lattice.graph_cost[a] + scale * lattice.acoustic_cost[a]))

    walk(0, 0.0)
    return sorted(costs)


def viterbi_cost(graph: DecodingGraph, loglikes: np.ndarray, scale: float) -> float:
    """Cost of the best path by dynamic programming over a table of all states."""
    cost = np.full(graph.num_states, np.inf)
    cost[graph.start] = 0.0
    for frame in range(len(loglikes) + 1):
        for _ in range(graph.num_states):
            for state in range(graph.num_states):
                for target, _, weight in arcs_of(graph, state, emitting=False):
                    cost[target] = min(cost[target], cost[state] + weight)
        if frame == len(loglikes):
            break
        fresh = np.full(graph.num_states, np.inf)
        for state in range(graph.num_states):
            for target, pdf, weight in arcs_of(graph, state, emitting=True):
                fresh[target] = min(fresh[target], cost[state] + weight - scale * loglikes[frame, pdf])
        cost = fresh
    return float(np.min(cost + graph.final))


def path_cost(lattice: Lattice, scale: float) -> float:
    path = best_path(lattice, 1 / scale)
    return path.graph_cost + scale * path.acoustic_cost


@pytest.mark.parametrize("seed", range(12))
def test_best_path_costs_what_dynamic_programming_finds(seed: int) -> None:
    graph = random_graph(seed, states=20, pdfs=6, arcs=80)
    loglikes = np.random.default_rng(seed).normal(0, 3, (40, 6)).astype(np.float32)
    lattice = decode(graph, loglikes, replace(WIDE, lattice_beam=3.0))
    assert path_cost(lattice, 0.5) == pytest.approx(viterbi_cost(graph, loglikes, 0.5), abs=1e-3)
    assert len(best_path(lattice).transition_ids) == 40


@pytest.mark.parametrize("seed", range(8))
def test_lattice_holds_exactly_the_paths_within_the_beam_and_no_arc_beyond(seed: int) -> None:
    graph = random_graph(seed, states=5, pdfs=3, arcs=8)
    loglikes = np.random.default_rng(seed + 100).normal(0, 2, (5, 3)).astype(np.float32)
    expected = all_path_costs(graph, loglikes, 0.5)
    found = lattice_path_costs(decode(graph, loglikes, WIDE), 0.5)
    assert found == pytest.approx(expected, abs=1e-3)  # an unlimited beam keeps every path once
    beam = 1.5
    narrow = lattice_path_costs(decode(graph, loglikes, replace(WIDE, lattice_beam=beam)), 0.5)
    within = [cost for cost in expected if cost <= expected[0] + beam - 1e-4]
    assert narrow[: len(within)] == pytest.approx(within, abs=1e-3)
    lattice = decode(graph, loglikes, replace(WIDE, lattice_beam=beam))
    for arc in range(lattice.num_arcs):  # without an arc that lies on a path within the beam, one such path is lost
        keep = np.arange(lattice.num_arcs) != arc
        rest = replace(lattice, **{name: getattr(lattice, name)[keep] for name in FIELDS[:6]})
        fewer = [cost for cost in lattice_path_costs(rest, 0.5) if cost <= expected[0] + beam + 1e-4]
        assert len(fewer) < len([cost for cost in narrow if cost <= expected[0] + beam + 1e-4])


@pytest.mark.parametrize("interval", [1, 3, 7, 1000])
def test_pruning_on_the_way_does_not_change_the_lattice(interval: int) -> None:
    graph = random_graph(3, states=60, pdfs=8, arcs=240)
    loglikes = np.random.default_rng(5).normal(0, 3, (80, 8)).astype(np.float32)
    config = DecodeConfig(beam=8.0, lattice_beam=4.0, acoustic_scale=0.5, min_active=0)
    expected = decode(graph, loglikes, config)
    found = decode(graph, loglikes, replace(config, prune_interval=interval))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def test_two_runs_give_the_same_lattice() -> None:
    graph = random_graph(9, states=40, pdfs=8, arcs=160)
    loglikes = np.random.default_rng(9).normal(0, 3, (50, 8)).astype(np.float32)
    config = DecodeConfig(beam=6.0, acoustic_scale=0.5, max_active=20, min_active=5)
    first, second = decode(graph, loglikes, config), decode(graph, loglikes, config)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def kaldi_cutoff(costs: np.ndarray, beam: float, max_active: int, min_active: int, delta: float) -> tuple[float, float]:
    """GetCutoff of LatticeFasterDecoder, from its description."""
    best, ordered = costs.min(), np.sort(costs)
    if len(costs) > max_active and ordered[max_active] < best + beam:
        return float(ordered[max_active]), float(ordered[max_active] - best + delta)
    loose = np.inf if len(costs) <= min_active else ordered[min_active] if min_active else best
    if loose > best + beam:
        return float(loose), float(loose - best + delta)
    return float(best + beam), beam


@pytest.mark.parametrize("seed", range(30))
def test_cutoff_follows_the_beam_and_the_limits_of_active_tokens(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.gamma(2.0, 5.0, rng.integers(1, 80)).astype(np.float32)
    limits = int(rng.integers(2, 50)), int(rng.integers(0, 20))
    max_active, min_active = max(limits), min(limits)
    beam = float(rng.uniform(1, 25))
    keep, adaptive, best = cutoff_of(costs, np.float32(beam), max_active, min_active, np.float32(0.5))
    assert (keep, adaptive) == pytest.approx(kaldi_cutoff(costs, beam, max_active, min_active, 0.5), rel=1e-5)
    assert costs[best] == costs.min()


def test_without_a_final_state_the_last_tokens_count_as_final() -> None:
    graph = DecodingGraph(
        start=0, final=np.array([np.inf, np.inf, 0.0]), source=np.array([0, 1, 1]), target=np.array([1, 1, 2]),
        transition_id=np.array([1, 1, 2]), word=np.array([4, 0, 0]), cost=np.zeros(3), id2pdf=np.array([0, 0, 1]),
    )  # fmt: skip
    loglikes = np.zeros((3, 2), np.float32)
    loglikes[:, 1] = -1e4  # the way to the final state is outside the beam
    lattice = decode(graph, loglikes, DecodeConfig(beam=5.0, acoustic_scale=1.0, min_active=0))
    assert not lattice.reached_final
    assert best_path(lattice).words.tolist() == [4]
    assert decode(graph, np.zeros((3, 2), np.float32), DecodeConfig()).reached_final


def test_no_surviving_token_names_utterance_and_frame() -> None:
    graph = DecodingGraph(
        start=0, final=np.array([np.inf, 0.0]), source=np.array([0]), target=np.array([1]),
        transition_id=np.array([1]), word=np.array([1]), cost=np.zeros(1), id2pdf=np.array([0, 0]),
    )  # fmt: skip
    with pytest.raises(NoPathError, match=r"u7: no token survives frame 1 of 3"):
        decode(graph, np.zeros((3, 1), np.float32), DecodeConfig(), utterance="u7")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda m: m.__setitem__((2, 1), np.nan), r"child-1: 1 of 6 frames have NaN or infinite .*first: frame 2"),
        (lambda m: m.__setitem__(4, -np.inf), r"child-1: 1 of 6 frames have NaN or infinite .*first: frame 4"),
        (lambda m: m.__setitem__((0, 0), np.inf), r"child-1: 1 of 6 frames have NaN or infinite"),
    ],
)
def test_likelihoods_that_are_not_finite_name_utterance_and_frame(damage, words: str) -> None:  # type: ignore[no-untyped-def]
    loglikes = np.zeros((6, 4), np.float32)
    damage(loglikes)
    with pytest.raises(DecodeError, match=words):
        decode(random_graph(1), loglikes, DecodeConfig(), utterance="child-1")


def test_a_single_impossible_pdf_is_no_error() -> None:
    loglikes = np.zeros((6, 4), np.float32)
    loglikes[:, 2] = -np.inf
    lattice = decode(random_graph(1), loglikes, DecodeConfig(acoustic_scale=1.0))
    assert np.isfinite(lattice.acoustic_cost).all()


@pytest.mark.parametrize("shape", [(0, 4), (5, 0), (5, 3), (5, 5)])
def test_likelihoods_that_are_empty_or_of_another_width_name_the_utterance(shape: tuple[int, int]) -> None:
    with pytest.raises(DecodeError, match=r"^child-2: likelihoods have"):
        decode(random_graph(1), np.zeros(shape, np.float32), DecodeConfig(), utterance="child-2")


def test_a_graph_of_another_model_is_refused() -> None:
    arcs = {"source": np.array([0]), "target": np.array([0]), "word": np.array([0]), "cost": np.zeros(1)}
    with pytest.raises(ModelError, match=r"g: input labels reach 7 but the model has 2 transition ids"):
        DecodingGraph(
            start=0, final=np.zeros(1), transition_id=np.array([7]), id2pdf=np.zeros(3, int), where="g", **arcs
        )
    with pytest.raises(ModelError, match=r"outside 0\.\.0"):
        DecodingGraph(
            start=0, final=np.zeros(1), transition_id=np.array([1]), id2pdf=np.zeros(3, int),
            **{**arcs, "target": np.array([3])},
        )  # fmt: skip


def test_an_epsilon_loop_of_negative_cost_ends_in_an_error() -> None:
    graph = DecodingGraph(
        start=0, final=np.zeros(2), source=np.array([0, 1, 0]), target=np.array([1, 0, 0]),
        transition_id=np.array([0, 0, 1]), word=np.zeros(3, int), cost=np.array([-1.0, 0.5, 0.0]),
        id2pdf=np.array([0, 0]),
    )  # fmt: skip
    with pytest.raises(DecodeError, match="epsilon loop of negative cost"):
        decode(graph, np.zeros((2, 1), np.float32), DecodeConfig())


def test_missing_graph_says_how_to_make_it(tmp_path: Path, golden_dir: Path) -> None:
    from kaldi_bridge.models import read_transition_model

    model = read_transition_model(golden_dir / "exp/tri3b/final.mdl")
    with pytest.raises(ModelError, match=r"HCLG.fst: there is no graph here"):
        DecodingGraph.read(tmp_path, model)


def golden_loglikes(golden_dir: Path, seed: int) -> tuple[DecodingGraph, dict[str, np.ndarray]]:
    """The golden graph and smooth random likelihoods: words compete as in speech."""
    from kaldi_bridge.models import read_transition_model

    model = read_transition_model(golden_dir / "exp/tri3b/final.mdl")
    graph = DecodingGraph.read(golden_dir / "exp/tri3b/graph", model)
    rng = np.random.default_rng(seed)
    matrices = {}
    for n in range(12):
        steps = rng.normal(0, 4, (60 + 10 * n, model.num_pdfs))
        matrices[f"utt{n:02d}"] = np.cumsum(steps, 0).astype(np.float32)
    return graph, matrices


@pytest.mark.kaldi
@pytest.mark.parametrize(("beam", "max_active", "min_active"), [(13.0, 7000, 200), (8.0, 40, 20), (5.0, 7000, 0)])
def test_lattices_are_those_of_latgen_faster_mapped(
    golden_dir: Path, kaldi_root: Path, tmp_path: Path, beam: float, max_active: int, min_active: int
) -> None:
    from kaldi_bridge.lattices import read_lattices
    from kaldi_bridge.tables import MatrixWriter

    graph, matrices = golden_loglikes(golden_dir, 4)
    with MatrixWriter(tmp_path / "like.ark", tmp_path / "like.scp") as writer:
        for utterance, matrix in matrices.items():
            writer.write(utterance, matrix)
    subprocess.run(
        [
            "bash", "-c",
            f". {kaldi_root}/path.sh; latgen-faster-mapped --determinize-lattice=false --allow-partial=true "
            f"--beam={beam} --max-active={max_active} --min-active={min_active} --lattice-beam=6 "
            f"--acoustic-scale=0.083333 {golden_dir}/exp/tri3b/final.mdl {golden_dir}/exp/tri3b/graph/HCLG.fst "
            f"scp:{tmp_path}/like.scp ark:{tmp_path}/kaldi.lat",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    theirs = dict(read_lattices(tmp_path / "kaldi.lat"))
    config = DecodeConfig(
        beam=beam, max_active=max_active, min_active=min_active, lattice_beam=6.0, acoustic_scale=0.083333
    )
    arcs = 0
    for utterance, matrix in matrices.items():
        ours = decode(graph, matrix, config, utterance=utterance)
        one, other = best_path(ours, 12.0), best_path(theirs[utterance], 12.0)
        assert one.words.tolist() == other.words.tolist()
        assert one.transition_ids.tolist() == other.transition_ids.tolist()
        assert one.graph_cost == pytest.approx(other.graph_cost, abs=1e-3)
        assert one.acoustic_cost == pytest.approx(other.acoustic_cost, rel=1e-5)
        arcs += ours.num_arcs
    assert arcs == pytest.approx(sum(lattice.num_arcs for lattice in theirs.values()), rel=0.02)
