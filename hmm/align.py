"""Forced alignment: the best path of an utterance through the graph of its transcript (Kaldi's gmm-align-compiled).

Token passing follows Kaldi's FasterDecoder (beam, min_active 20, a second try with a wider beam); a pdf is scored only
on the frames where a token needs it, which is what makes it cheap.  The equal alignment that starts a monophone system
(align-equal-compiled) walks at random through the graph and shares the frames out over the states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit

from harness.errors import AlignmentError
from harness.seed import rng_for
from hmm.gmm import pdf_log_likelihood
from kaldi_bridge.fsts import FstArrays
from kaldi_bridge.models import AmDiagGmm, TransitionModel

INF = np.inf


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """Scales and beams of gmm-align-compiled as Kaldi's training scripts call it."""

    acoustic_scale: float = 0.1
    transition_scale: float = 1.0
    self_loop_scale: float = 0.1
    beam: float = 10.0
    retry_beam: float = 40.0  # tried when no token reaches the end
    min_active: int = 20  # tokens kept although outside the beam
    boost_silence: float = 1.0  # factor on the weights of the optional silence's pdfs while aligning
    max_failed: float = 0.05  # share of utterances without alignment above which the run fails

    def __post_init__(self) -> None:
        if not 0 < self.beam <= self.retry_beam:
            raise ValueError(f"need 0 < beam <= retry_beam, got {self.beam} and {self.retry_beam}")


@dataclass
class Alignments:
    """What an alignment pass gives, in the order of the utterances."""

    of: dict[str, np.ndarray]  # utterance -> transition ids, int32 [frames]
    failed: dict[str, str] = field(default_factory=dict)  # utterance -> why it has none
    retried: int = 0
    log_likelihood: float = 0.0  # acoustic and graph score of the best paths, unscaled
    frames: int = 0


def arc_costs(tm: TransitionModel, config: AlignConfig) -> np.ndarray:
    """Cost added to an arc for its transition id, float32 [ids + 1] (AddTransitionProbs); 0 for epsilon."""
    leaving = config.self_loop_scale * tm.non_self_loop_log_probs[tm.id2state]
    moving = config.transition_scale * tm.log_probs_without_self_loops()
    costs = -np.where(tm.is_self_loop, config.self_loop_scale * tm.log_probs, leaving + moving)
    costs[0] = 0.0
    return costs.astype(np.float32)


@njit(cache=True, nogil=True)
def _cutoff(costs, count, beam, min_active):  # type: ignore[no-untyped-def]
    """Kaldi's GetCutoff without max_active: (cost limit of this frame, beam for the next)."""
    best = INF
    for i in range(count):
        best = min(best, costs[i])
    if count <= min_active:
        return INF, INF
    within = 0
    for i in range(count):
        within += costs[i] <= best + beam
    if within > min_active:
        return best + beam, beam
    lowest = np.full(min_active + 1, INF)  # the cost of rank min_active: rare, so sorting in place does
    for i in range(count):
        k = min_active
        if costs[i] < lowest[k]:
            while k > 0 and lowest[k - 1] > costs[i]:
                lowest[k] = lowest[k - 1]
                k -= 1
            lowest[k] = costs[i]
    limit = lowest[min_active]
    if limit <= best + beam:
        return best + beam, beam
    return limit, limit - best + 0.5


@njit(cache=True, nogil=True)
def _grown(pool):  # type: ignore[no-untyped-def]
    bigger = np.empty(2 * len(pool), np.int32)
    bigger[: len(pool)] = pool
    return bigger


@njit(cache=True, nogil=True)
def _align(  # type: ignore[no-untyped-def]
    feats, start, finals, arc_begin, ilabel, weight, nextstate, label_cost,
    id2pdf, offsets, gconsts, means_invvars, inv_vars, scale, beam, min_active, path,
):  # fmt: skip
    """Fill path [frames] with transition ids; returns the cost, or infinity if no token reaches a final state.

    A token is (arc that made it, token before it), kept in pools that grow; cost_of and token_of hold the best one of
    each state on the current and on the next frame.
    """
    frames, states = feats.shape[0], len(finals)
    token_arc, token_back = np.empty(1024, np.int32), np.empty(1024, np.int32)
    here_cost, there_cost = np.full(states, INF), np.full(states, INF)
    here_token, there_token = np.zeros(states, np.int32), np.zeros(states, np.int32)
    here, there = np.empty(states, np.int32), np.empty(states, np.int32)
    costs = np.empty(states)
    scores, scored = np.empty(len(offsets)), np.full(len(offsets), -1, np.int32)
    stack, values = np.empty(states + 1, np.int32), np.empty(len(gconsts))
    token_arc[0], token_back[0], tokens = -1, -1, 1
    here[0], here_cost[start], here_token[start], count = start, 0.0, 0, 1
    for t in range(-1, frames):
        limit = INF
        if t >= 0:
            for i in range(count):
                costs[i] = here_cost[here[i]]
            cutoff, wide = _cutoff(costs, count, beam, min_active)
            reached = 0
            for i in range(count):
                state = here[i]
                cost = here_cost[state]
                if cost <= cutoff:
                    for a in range(arc_begin[state], arc_begin[state + 1]):
                        label = ilabel[a]
                        if label == 0:
                            continue
                        pdf = id2pdf[label]
                        if scored[pdf] != t:
                            scored[pdf] = t
                            scores[pdf] = scale * pdf_log_likelihood(
                                feats, t, offsets[pdf], offsets[pdf + 1], gconsts, means_invvars, inv_vars, values
                            )
                        total = cost + weight[a] + label_cost[label] - scores[pdf]
                        if total < limit:
                            limit = min(limit, total + wide)
                            after = nextstate[a]
                            if total < there_cost[after]:
                                if there_cost[after] == INF:
                                    there[reached] = after
                                    reached += 1
                                    if tokens == len(token_arc):
                                        token_arc, token_back = _grown(token_arc), _grown(token_back)
                                    there_token[after] = tokens
                                    tokens += 1
                                there_cost[after] = total
                                token_arc[there_token[after]] = a
                                token_back[there_token[after]] = here_token[state]
                here_cost[state] = INF
            here, there = there, here
            here_cost, there_cost = there_cost, here_cost
            here_token, there_token = there_token, here_token
            count = reached
            if count == 0:
                return INF
        # epsilon arcs: relax until nothing improves; a token that improved a state later gets a record of its own
        depth = 0
        for i in range(count):
            stack[depth] = here[i]
            depth += 1
        while depth > 0:
            depth -= 1
            state = stack[depth]
            cost = here_cost[state]
            for a in range(arc_begin[state], arc_begin[state + 1]):
                if ilabel[a] != 0:
                    continue
                after, total = nextstate[a], cost + weight[a]
                if total < limit and total < here_cost[after]:
                    if here_cost[after] == INF:
                        here[count] = after
                        count += 1
                    if tokens == len(token_arc):
                        token_arc, token_back = _grown(token_arc), _grown(token_back)
                    here_cost[after], here_token[after] = total, tokens
                    token_arc[tokens], token_back[tokens] = a, here_token[state]
                    tokens += 1
                    if depth == len(stack):
                        stack = _grown(stack)
                    stack[depth] = after
                    depth += 1
    best, token = INF, -1
    for i in range(count):
        total = here_cost[here[i]] + finals[here[i]]
        if total < best:
            best, token = total, here_token[here[i]]
    t = frames - 1
    while token > 0:
        label = ilabel[token_arc[token]]
        if label != 0:
            path[t] = label
            t -= 1
        token = token_back[token]
    return best


class Aligner:
    """Aligns utterances with one model; safe to call from several threads (the search releases the interpreter)."""

    def __init__(self, tm: TransitionModel, am: AmDiagGmm, config: AlignConfig) -> None:
        self.am, self.config, self.id2pdf = am, config, tm.id2pdf
        self.label_cost = arc_costs(tm, config)
        if tm.num_pdfs > am.num_pdfs:
            problem = f"the tree has {tm.num_pdfs} pdfs, the GMMs {am.num_pdfs}"
            raise AlignmentError("model", problem, mend="use the tree and model of one directory")

    def align(self, graph: FstArrays, feats: np.ndarray) -> tuple[np.ndarray, float, bool] | str:
        """(transition ids [frames], cost, whether the wide beam was needed), or the reason why there is none.

        feats: [frames, dim] float32.
        """
        if graph.num_states == 0 or len(feats) == 0:
            return "the transcript has no graph" if len(feats) else "no frames"
        if not np.isfinite(feats).all():
            return "features are not finite"
        path = np.zeros(len(feats), np.int32)
        config, am = self.config, self.am
        feats = np.ascontiguousarray(feats, np.float32)
        for beam in (config.beam, config.retry_beam):
            cost = _align(
                feats, graph.start, graph.finals, graph.offsets, graph.ilabel, graph.weight, graph.nextstate,
                self.label_cost, self.id2pdf, am.offsets, am.gconsts, am.means_invvars, am.inv_vars,
                config.acoustic_scale, beam, config.min_active, path,
            )  # fmt: skip
            if cost < INF:
                return path, float(cost), beam != config.beam
        return f"no path of {len(feats)} frames within the retry beam of {config.retry_beam:g}"


def align_set(
    aligner: Aligner,
    utterances: Sequence[str],
    graph_of: Callable[[str], FstArrays],
    feats_of: Callable[[str], np.ndarray],
    *,
    jobs: int = 1,
) -> Alignments:
    """Align utterances on `jobs` threads; the result does not depend on their number."""

    def one(utt: str) -> tuple[np.ndarray, float, bool] | str:
        return aligner.align(graph_of(utt), feats_of(utt))

    result = Alignments({})
    for utt, found in zip(utterances, map_threads(one, utterances, jobs), strict=True):
        if isinstance(found, str):
            result.failed[utt] = found
            continue
        path, cost, retried = found
        result.of[utt] = path
        result.retried += retried
        result.log_likelihood -= cost / aligner.config.acoustic_scale
        result.frames += len(path)
    return result


def map_threads(function: Callable, items: Sequence, jobs: int) -> Iterator:  # type: ignore[type-arg]
    """map on threads, in input order; with one job on this thread.  A few results a job wait, never those of all."""
    if jobs <= 1:
        yield from map(function, items)
        return
    pending: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= 4 * jobs:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def check_failures(where: str, result: Alignments, max_failed: float) -> None:
    """Raise AlignmentError, naming the first utterances, if more than the stated share has no alignment."""
    total = len(result.of) + len(result.failed)
    if total == 0:
        raise AlignmentError(where, "no utterances to align", mend="check the data directory's feats.scp and text")
    if len(result.failed) > max_failed * total:
        first = "; ".join(f"{utt}: {why}" for utt, why in list(result.failed.items())[:3])
        problem = f"{len(result.failed)} of {total} utterances have no alignment ({first})"
        raise AlignmentError(where, problem, mend="check their text, or align with a wider retry_beam (--set)")


def equal_alignment(graph: FstArrays, frames: int, seed: int, utt: str, *, tries: int = 10) -> np.ndarray | None:
    """A random path through the graph, self-loops repeated to fill `frames`; None if none is short enough."""
    rng = rng_for(seed, "equal alignment", utt)
    sources = graph.sources()
    is_loop = (graph.nextstate == sources) & (graph.ilabel > 0)
    for _ in range(tries):
        arcs = _random_walk(graph, is_loop, rng)
        labels = [a for a in arcs if graph.ilabel[a] > 0]
        if labels and len(labels) <= frames:
            return _stretch(graph, labels, is_loop, frames)
    return None


def _random_walk(graph: FstArrays, is_loop: np.ndarray, rng: np.random.Generator) -> list[int]:
    state, arcs = graph.start, []
    for _ in range(100 * graph.num_states):
        choices = [a for a in range(graph.offsets[state], graph.offsets[state + 1]) if not is_loop[a]]
        stop = np.isfinite(graph.finals[state])
        pick = int(rng.integers(len(choices) + stop)) if len(choices) + stop else -1
        if pick == len(choices) or pick < 0:
            break
        arcs.append(choices[pick])
        state = int(graph.nextstate[choices[pick]])
    return arcs


def _stretch(graph: FstArrays, arcs: list[int], is_loop: np.ndarray, frames: int) -> np.ndarray | None:
    """Repeat the self-loop of the state after each arc, evenly."""
    loops = []
    for a in arcs:
        state = graph.nextstate[a]
        rows = np.arange(graph.offsets[state], graph.offsets[state + 1])
        own = rows[is_loop[rows]]
        loops.append(int(graph.ilabel[own[0]]) if len(own) else 0)
    holders = [k for k, label in enumerate(loops) if label]
    extra = frames - len(arcs)
    if extra and not holders:
        return None
    share, rest = divmod(extra, len(holders)) if holders else (0, 0)
    path: list[int] = []
    for k, a in enumerate(arcs):
        path.append(int(graph.ilabel[a]))
        if loops[k]:
            path += [loops[k]] * (share + (holders.index(k) < rest))
    return np.array(path, np.int32)
