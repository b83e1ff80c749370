"""Decoding of a set: many utterances, several processes, lat.N.gz as Kaldi's decode scripts leave them.

A job is a share of the utterances; its archive appears when it is whole, so that the same command after a kill goes on
with the jobs that are missing.  Utterances that no token survives are listed and counted; none vanishes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.atomic import write_whole
from harness.errors import DecodeError
from harness.jobs import default_jobs, map_jobs
from harness.log import get_logger
from hmm.decoder import DecodeConfig, DecodingGraph, NoPathError, decode
from hmm.determinize import determinize
from hmm.lattice import best_path
from kaldi_bridge.lattices import CompactLattice, write_lattices
from kaldi_bridge.models import read_transition_model

Loglikes = Callable[[str], NDArray[np.float32]] | Mapping[str, NDArray[np.float32]]
UTTERANCES_A_JOB = 25  # small enough that progress shows and a kill costs little

SCORES = (  # what 'am score' and 'am confidence' leave beside the lattices, and a report would take for these
    "score.json", "per_utt.tsv", "aligned.tsv", "breakdown.json", "confidence.json", "confidences.tsv",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DecodeSummary:
    """What became of a set: failed have no lattice; partial reached no final state, all last tokens count as final."""

    utterances: int
    frames: int
    failed: tuple[str, ...]
    partial: tuple[str, ...]
    arcs: int  # of the determinized lattices
    cost: float  # of all best paths, at the acoustic scale
    cpu_seconds: float

    @property
    def real_time_factor(self) -> float:
        """CPU time over the length of the audio, at 100 frames a second."""
        return 100.0 * self.cpu_seconds / max(self.frames, 1)


@dataclass(frozen=True)
class _Work:
    """What the processes inherit."""

    graph: DecodingGraph
    loglikes: Loglikes
    config: DecodeConfig
    out_dir: Path
    shares: list[list[str]]


_work: _Work | None = None  # inherited through fork: neither graphs nor acoustic models travel through pipes


def decode_set(
    graph: DecodingGraph | str | Path,
    loglikes: Loglikes,
    utterances: Sequence[str],
    out_dir: str | Path,
    config: DecodeConfig | None = None,
    *,
    model: str | Path | None = None,
    jobs: int | None = None,
    identity: str = "",
    max_failed: float = 0.5,
) -> DecodeSummary:
    """Decode every utterance; writes lat.N.gz, num_jobs, log/decode.N.json and decode.json into out_dir.

    graph: a DecodingGraph, or a graph directory together with model (final.mdl).  loglikes: utterance to matrix
    [frames, pdfs], unscaled; a mapping or a function, called in the processes.  jobs: processes.  Jobs already done
    with the same graph, config, utterances and identity (what the caller knows of the likelihoods: a model's checksum)
    are kept.  Raises DecodeError where likelihoods are damaged, or more than max_failed of the utterances have no path.
    """
    config, out_dir = config or DecodeConfig(), Path(out_dir)
    if not isinstance(graph, DecodingGraph):
        if model is None:
            raise DecodeError(graph, "a graph directory needs its model", mend="give model=.../final.mdl")
        graph = DecodingGraph.read(graph, read_transition_model(model))
    if not utterances:
        raise DecodeError(out_dir, "there are no utterances to decode", mend="see whether the likelihoods are empty")
    count = max(1, round(len(utterances) / UTTERANCES_A_JOB))
    shares = [[str(name) for name in share] for share in np.array_split(np.array(sorted(utterances)), count)]
    _prepare(out_dir, {"identity": identity, **_fingerprint(graph, config, shares)})
    todo = [n for n in range(1, count + 1) if not _is_done(out_dir, n)]
    if len(todo) < count:
        get_logger("hmm").info("%s: %d of %d jobs were done before", out_dir, count - len(todo), count)
    _run(_Work(graph, loglikes, config, out_dir, shares), todo, jobs)
    with write_whole(out_dir / "num_jobs") as stream:
        stream.write(f"{count}\n")
    return _summary(out_dir, count, max_failed)


def _run(work: _Work, todo: list[int], jobs: int | None) -> None:
    global _work
    if not todo:
        return
    jobs = default_jobs() if jobs is None else jobs
    if not hasattr(os, "fork"):
        jobs = 1
    if jobs > 1:
        _compile(work.graph)
    _work = work
    try:
        for _ in map_jobs(_decode_share, todo, jobs=jobs, label=f"decode {work.out_dir.name}", unit="job"):
            pass
    finally:
        _work = None


def _compile(graph: DecodingGraph) -> None:
    """Compile (or load) the kernels once, before the processes start."""
    frames = np.zeros((3, graph.num_pdfs), np.float32)
    with contextlib.suppress(DecodeError):  # three empty frames need not have a path
        determinize(decode(graph, frames, DecodeConfig(beam=1.0, lattice_beam=0.5, max_active=10, min_active=0)))


def _fingerprint(graph: DecodingGraph, config: DecodeConfig, shares: list[list[str]]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for array in (graph.final, graph.emit, graph.eps, graph.emit_id, graph.emit_word, graph.eps_word):
        digest.update(array.tobytes())
    names = hashlib.sha256("\n".join(" ".join(share) for share in shares).encode()).hexdigest()
    return {"graph": digest.hexdigest(), "config": asdict(config), "utterances": names, "num_jobs": len(shares)}


def _prepare(out_dir: Path, wanted: dict[str, Any]) -> None:
    """Drop what was decoded with another graph, config or set, and its scores; note what is decoded now."""
    (out_dir / "log").mkdir(parents=True, exist_ok=True)
    note = out_dir / "decode.json"
    try:
        same = json.loads(note.read_text()) == json.loads(json.dumps(wanted))
    except (OSError, ValueError):
        same = False
    if not same:
        scores = [out_dir / name for name in SCORES]
        for old in [*out_dir.glob("lat.*.gz"), *out_dir.glob("log/decode.*.json"), out_dir / "num_jobs", *scores]:
            old.unlink(missing_ok=True)
        with write_whole(note) as stream:
            stream.write(json.dumps(wanted, indent=2) + "\n")


def _is_done(out_dir: Path, job: int) -> bool:
    return (out_dir / f"lat.{job}.gz").is_file() and (out_dir / "log" / f"decode.{job}.json").is_file()


def _decode_share(job: int) -> int:
    """One job, in a process of its own: its archive last, so that an archive means a finished job."""
    assert _work is not None
    start = time.process_time()
    lattices: list[tuple[str, CompactLattice]] = []
    report: dict[str, Any] = {"frames": 0, "failed": [], "partial": [], "arcs": 0, "cost": 0.0}
    config = _work.config
    for utterance in _work.shares[job - 1]:
        matrix = _loglikes_of(_work.loglikes, utterance)
        report["frames"] += len(matrix)
        try:
            raw = decode(_work.graph, matrix, config, utterance=utterance)
        except NoPathError as error:
            report["failed"].append(utterance)
            get_logger("hmm").warning("%s", error)
            continue
        if not raw.reached_final:
            report["partial"].append(utterance)
        lattice = determinize(raw, beam=config.lattice_beam, acoustic_scale=config.acoustic_scale, utterance=utterance)
        path = best_path(lattice, 1 / config.acoustic_scale)
        report["arcs"] += lattice.num_arcs
        report["cost"] += path.graph_cost + config.acoustic_scale * path.acoustic_cost
        lattices.append((utterance, lattice))
    report["utterances"], report["cpu_seconds"] = len(_work.shares[job - 1]), time.process_time() - start
    with write_whole(_work.out_dir / "log" / f"decode.{job}.json") as stream:
        stream.write(json.dumps(report, indent=2) + "\n")
    write_lattices(_work.out_dir / f"lat.{job}.gz", lattices)
    return job


def _loglikes_of(loglikes: Loglikes, utterance: str) -> NDArray[np.float32]:
    if callable(loglikes):
        return loglikes(utterance)
    try:
        return loglikes[utterance]
    except KeyError:
        raise DecodeError(utterance, "has no likelihoods", mend="run the acoustic model on this set again") from None


def _summary(out_dir: Path, count: int, max_failed: float) -> DecodeSummary:
    reports = [json.loads((out_dir / "log" / f"decode.{n}.json").read_text()) for n in range(1, count + 1)]
    summary = DecodeSummary(
        utterances=sum(report["utterances"] for report in reports),
        frames=sum(report["frames"] for report in reports),
        failed=tuple(name for report in reports for name in report["failed"]),
        partial=tuple(name for report in reports for name in report["partial"]),
        arcs=sum(report["arcs"] for report in reports),
        cost=sum(report["cost"] for report in reports),
        cpu_seconds=sum(report["cpu_seconds"] for report in reports),
    )
    logger = get_logger("hmm")
    logger.info(
        "%s: %d utterances, %d frames, %.2f arcs a frame, cost %.4f a frame, real-time factor %.4f",
        out_dir, summary.utterances, summary.frames, summary.arcs / max(summary.frames, 1),
        summary.cost / max(summary.frames, 1), summary.real_time_factor,
    )  # fmt: skip
    for names, what in ((summary.failed, "have no path"), (summary.partial, "reached no final state")):
        if names:
            all_of = summary.utterances
            logger.warning("%s: %d of %d utterances %s (first: %s)", out_dir, len(names), all_of, what, names[0])
    if len(summary.failed) > max_failed * summary.utterances:
        problem = f"{len(summary.failed)} of {summary.utterances} utterances have no path (first: {summary.failed[0]})"
        raise DecodeError(out_dir, problem, mend="decode with a wider --beam; do graph and model belong together?")
    return summary
