"""Decoding to lattices: a graph, a matrix of log-likelihoods of pdfs, a beam.

Equals Kaldi's LatticeFasterDecoder (latgen-faster-mapped, gmm-latgen-faster) in pruning, best paths and lattice depth;
the loops stand in token_passing.py.  The matrix has one column a pdf: nothing is expanded to transition ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DecodeError, ModelError
from hmm.token_passing import EPSILON_LOOP, NO_TOKENS, pass_tokens
from kaldi_bridge.fsts import read_fst
from kaldi_bridge.lattice_arrays import Lattice, sort_topologically
from kaldi_bridge.models import TransitionModel


class NoPathError(DecodeError):
    """No token survived: this utterance has no lattice, though graph and likelihoods are sound."""


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """Kaldi's decoder options, under its names and with the defaults of its decode scripts."""

    beam: float = 13.0
    max_active: int = 7000
    min_active: int = 200
    lattice_beam: float = 6.0
    acoustic_scale: float = 1 / 12
    beam_delta: float = 0.5  # added to the beam where max_active or min_active sets the cutoff
    prune_interval: int = 25  # frames between two prunings of the lattice
    prune_scale: float = 0.1  # of lattice_beam: smaller changes are not carried back before the end

    def __post_init__(self) -> None:
        if self.beam <= 0 or self.lattice_beam <= 0 or self.acoustic_scale <= 0:
            raise ValueError("beam, lattice_beam and acoustic_scale must be positive")
        if self.max_active < 2 or not 0 <= self.min_active <= self.max_active:
            raise ValueError(
                "need 0 <= min_active <= max_active >= 2, "
                f"got min_active {self.min_active}, max_active {self.max_active}"
            )
        if self.prune_interval < 1 or not 0 < self.prune_scale < 1:
            raise ValueError("need prune_interval >= 1 and 0 < prune_scale < 1")


class DecodingGraph:
    """HCLG as arrays, emitting and epsilon arcs apart, the transition ids already mapped to columns of likelihoods."""

    def __init__(
        self,
        *,
        start: int,
        final: NDArray[np.floating],  # [S] cost, inf where not final
        source: NDArray[np.integer],  # [A]
        target: NDArray[np.integer],
        transition_id: NDArray[np.integer],  # 0 = epsilon
        word: NDArray[np.integer],
        cost: NDArray[np.floating],
        id2pdf: NDArray[np.integer],  # [transition ids + 1], entry 0 unused
        where: str = "graph",
    ) -> None:
        """Raises ModelError where the graph is empty, leads out of itself, or has ids the model lacks."""
        states, ids = len(final), np.asarray(transition_id)
        _check_graph(where, start, states, np.asarray(source), np.asarray(target), ids, len(id2pdf))
        self.where, self.start, self.num_states, self.num_arcs = where, int(start), states, len(ids)
        self.final = np.asarray(final, np.float32)
        self.num_pdfs = int(np.max(id2pdf)) + 1
        order = np.argsort(source, kind="stable")
        emits = ids[order] > 0
        emitting, epsilon = order[emits], order[~emits]
        self.emit_ptr, self.eps_ptr = _offsets(source, emitting, states), _offsets(source, epsilon, states)
        self.emit = np.empty((len(emitting), 3), np.int32)
        self.emit[:, 0], self.emit[:, 1] = target[emitting], np.asarray(id2pdf)[ids[emitting]]
        self.emit[:, 2] = np.asarray(cost[emitting], np.float32).view(np.int32)
        self.eps = np.empty((len(epsilon), 2), np.int32)
        self.eps[:, 0], self.eps[:, 1] = target[epsilon], np.asarray(cost[epsilon], np.float32).view(np.int32)
        self.emit_id = np.asarray(ids[emitting], np.int32)
        self.emit_word = np.asarray(word[emitting], np.int32)
        self.eps_word = np.asarray(word[epsilon], np.int32)

    @classmethod
    def read(cls, path: str | Path, transitions: TransitionModel) -> DecodingGraph:
        """HCLG.fst, or the graph directory that holds it.  Raises ModelError where it does not fit the model."""
        path = Path(path)
        path = path / "HCLG.fst" if path.is_dir() else path
        if not path.is_file():
            raise ModelError(path, "there is no graph here", mend="make it with hmm graph (or Kaldi's mkgraph.sh)")
        fst = read_fst(path)
        return cls(
            start=fst.start, final=fst.finals, source=fst.sources(), target=fst.nextstate, transition_id=fst.ilabel,
            word=fst.olabel, cost=fst.weight, id2pdf=transitions.id2pdf, where=str(path),
        )  # fmt: skip

    @cached_property
    def arrays(self) -> tuple[object, ...]:
        """What token_passing takes."""
        return (
            self.start, self.final, self.emit_ptr, self.emit, self.emit.view(np.float32),
            self.eps_ptr, self.eps, self.eps.view(np.float32),
        )  # fmt: skip


def _check_graph(
    where: str,
    start: int,
    states: int,
    source: NDArray[np.integer],
    target: NDArray[np.integer],
    ids: NDArray[np.integer],
    num_ids: int,
) -> None:
    mend = "make the graph again (hmm graph, or mkgraph.sh) with this model"
    if states == 0 or not 0 <= start < states or len(ids) == 0:
        raise ModelError(where, "the graph is empty", mend=mend)
    if min(source.min(), target.min()) < 0 or max(source.max(), target.max()) >= states:
        raise ModelError(where, f"an arc leads to a state outside 0..{states - 1}", mend=mend)
    if ids.min() < 0 or ids.max() >= num_ids:
        problem = f"input labels reach {ids.max()} but the model has {num_ids - 1} transition ids"
        raise ModelError(where, problem, mend=mend)


def _offsets(source: NDArray[np.integer], arcs: NDArray[np.integer], states: int) -> NDArray[np.int64]:
    counts = np.bincount(np.asarray(source)[arcs], minlength=states)
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)


def decode(
    graph: DecodingGraph, loglikes: NDArray[np.float32], config: DecodeConfig, *, utterance: str = "utterance"
) -> Lattice:
    """The lattice of one utterance.

    loglikes: [frames, pdfs] float32, unscaled log-likelihoods.  Raises DecodeError, naming the utterance, where the
    matrix is empty, of another width or not finite, NoPathError where no token survives.
    """
    loglikes = check_loglikes(graph, loglikes, utterance)
    status, frame, *result = pass_tokens(graph.arrays, loglikes, _options(config))
    if status == NO_TOKENS:
        problem = f"no token survives frame {frame} of {len(loglikes)}"
        raise NoPathError(utterance, problem, mend="decode with a wider --beam; do graph and model belong together?")
    if status == EPSILON_LOOP:
        problem = f"the graph {graph.where} has an epsilon loop of negative cost"
        raise DecodeError(utterance, problem, mend="make the graph again; its weights are damaged")
    return _lattice(graph, loglikes, *result)


def check_loglikes(graph: DecodingGraph, loglikes: NDArray[np.float32], utterance: str) -> NDArray[np.float32]:
    """The matrix, contiguous; DecodeError where it cannot be decoded with this graph."""
    mend = "look at the acoustic model's output for this utterance"
    if loglikes.ndim != 2 or loglikes.size == 0:
        raise DecodeError(utterance, f"likelihoods have the shape {list(loglikes.shape)}", mend=mend)
    if loglikes.shape[1] != graph.num_pdfs:  # of more, none would be missed: the words would be nonsense
        problem = f"likelihoods have {loglikes.shape[1]} columns but the graph's model {graph.num_pdfs} pdfs"
        raise DecodeError(utterance, problem, mend="decode with the graph of the model that made the likelihoods")
    if not np.isfinite(np.sum(loglikes)):  # one pass; the slow look only where something is wrong
        bad = np.isnan(loglikes).any(1) | (loglikes == np.inf).any(1) | (loglikes == -np.inf).all(1)
        if bad.any():
            frame = int(np.flatnonzero(bad)[0])
            problem = f"{int(bad.sum())} of {len(bad)} frames have NaN or infinite likelihoods (first: frame {frame})"
            raise DecodeError(utterance, problem, mend=mend)
    return np.ascontiguousarray(loglikes, np.float32)


def _options(config: DecodeConfig) -> tuple[object, ...]:
    f32 = np.float32
    return (
        f32(config.acoustic_scale), f32(config.beam), config.max_active, config.min_active,
        f32(config.lattice_beam), f32(config.beam_delta), config.prune_interval, f32(config.prune_scale),
    )  # fmt: skip


def _lattice(
    graph: DecodingGraph,
    loglikes: NDArray[np.float32],
    reached_final: bool,
    frame_start: NDArray[np.int64],
    block_start: NDArray[np.int64],
    state: NDArray[np.int32],
    links: NDArray[np.int32],
    end_cost: NDArray[np.float32],
) -> Lattice:
    """Tokens and links of the kernel as a lattice: graph costs of the arcs, acoustic costs of the matrix."""
    counts = np.diff(block_start)
    block = np.repeat(np.arange(len(counts)), counts)
    frame, emits = block // 2, block % 2 == 1
    arc = links[:, 2]
    emitting, epsilon = arc[emits], arc[~emits]

    def on_arcs(of_emitting: NDArray[Any], of_epsilon: NDArray[Any]) -> NDArray[Any]:
        values = np.empty(len(arc), of_emitting.dtype)
        values[emits], values[~emits] = of_emitting, of_epsilon
        return values

    final_graph = np.full(len(state), np.inf, np.float32)
    final_graph[frame_start[-2] :] = end_cost
    return sort_topologically(
        Lattice(
            source=(links[:, 0] + frame_start[frame]).astype(np.int32),
            target=(links[:, 1] + frame_start[frame + emits]).astype(np.int32),
            transition_id=on_arcs(graph.emit_id[emitting], np.zeros_like(epsilon)),
            word=on_arcs(graph.emit_word[emitting], graph.eps_word[epsilon]),
            graph_cost=on_arcs(graph.emit.view(np.float32)[emitting, 2], graph.eps.view(np.float32)[epsilon, 1]),
            acoustic_cost=on_arcs(-loglikes[frame[emits], graph.emit[emitting, 1]], np.zeros(len(epsilon), np.float32)),
            final_graph=final_graph,
            final_acoustic=np.where(np.isfinite(final_graph), np.float32(0), np.float32(np.inf)),
            reached_final=bool(reached_final),
        )
    )
