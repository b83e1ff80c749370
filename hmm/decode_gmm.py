"""Decoding with a GMM system: one pass, or two with fMLLR where the model is speaker-adaptive.

Two passes as Kaldi's steps/decode_fmllr.sh: a fast speaker-independent pass with final.alimdl; its posteriors give each
speaker a first transform; the main pass with final.mdl gives lattices; their posteriors refine the transform; the
lattices are rescored on the final features.  A speaker is the unit of work, so all of it is done in one visit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from harness.atomic import whole_dir
from harness.errors import DecodeError
from harness.jobs import map_jobs
from harness.log import get_logger
from hmm.alignment_dir import GmmDir, write_transforms
from hmm.decoder import DecodeConfig, DecodingGraph, decode
from hmm.determinize import determinize
from hmm.fmllr import FmllrConfig, FmllrStats, accumulate_fmllr, estimate_fmllr
from hmm.gmm import log_likelihoods
from hmm.lattice_posteriors import frame_posteriors, rescore
from hmm.speaker_features import SpeakerFeatures
from hmm.transforms import apply_transform, compose
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.lattice_arrays import CompactLattice, Lattice
from kaldi_bridge.lattices import write_lattices
from kaldi_bridge.models import AmDiagGmm

log = get_logger("hmm")


@dataclass(frozen=True, kw_only=True)
class DecodeGmmConfig:
    """Beams of decode.sh and decode_fmllr.sh."""

    decode: DecodeConfig = field(default_factory=DecodeConfig)
    first_beam: float = 10.0  # of the speaker-independent pass
    first_max_active: int = 2000
    refine_beam: float = 4.0  # of the lattices whose posteriors refine the transform
    fmllr: FmllrConfig = field(default_factory=lambda: FmllrConfig(silence_weight=0.01))
    adapt: bool = True  # False: speaker-independent, with final.alimdl where the model is speaker-adaptive
    max_failed: float = 0.05  # share of utterances without lattice above which decoding fails

    def __post_init__(self) -> None:
        if self.first_beam <= 0 or self.refine_beam <= 0:
            raise ValueError(f"beams must be positive, got first {self.first_beam}, refine {self.refine_beam}")
        if self.first_max_active < max(2, self.decode.min_active):
            problem = f"got {self.first_max_active} and {self.decode.min_active}"
            raise ValueError(f"need first_max_active >= 2 and >= decode.min_active, {problem}")


@dataclass
class SpeakerResult:
    """What decoding one speaker gives."""

    speaker: str
    lattices: dict[str, CompactLattice]
    transform: np.ndarray | None  # [dim, dim + 1]; None without adaptation
    failed: dict[str, str]


@dataclass(frozen=True)
class System:
    """A model and its graph, loaded once a process."""

    model: GmmDir
    graph: DecodingGraph
    silence: np.ndarray  # [ids + 1] True where the phone is silence

    @classmethod
    def load(cls, model_dir: str, graph_dir: str) -> System:
        """Raises ModelError or DecodeError naming what is missing or does not fit."""
        model = GmmDir.read(model_dir)
        silence = Path(graph_dir) / "phones" / "silence.csl"
        if not silence.is_file():
            raise DecodeError(silence, "no such file", mend="make the graph again")
        listed = silence.read_text(encoding="utf-8", errors="replace").strip().split(":")
        if not all(phone.isdecimal() for phone in listed):
            raise DecodeError(silence, "is no list of phones, as 1:2:3", mend="make the graph again")
        phones = [int(phone) for phone in listed]
        graph = DecodingGraph.read(graph_dir, model.tm)
        return cls(model, graph, np.isin(model.tm.id2phone, phones))


_load = lru_cache(maxsize=1)(System.load)


def decode_gmm(
    model_dir: str | Path, graph_dir: str | Path, data: str | Path, out: str | Path,
    config: DecodeGmmConfig | None = None, *, jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """Decode a data directory; leaves lat.N.gz, trans.N (if adapted), num_jobs and the graph's words.txt in `out`.

    Raises DecodeError if more than the stated share of utterances has no lattice; the others are listed in the log.
    """
    config = config or DecodeGmmConfig()
    for cached in (_load, _load_data):  # of an earlier call: what lies there may have changed
        cached.cache_clear()
    corpus = DataDir.read(data)
    parts = corpus.split_by_speaker(min(jobs, len(corpus.speakers)))
    work = partial(_decode_speaker, str(model_dir), str(graph_dir), str(data), config)
    failed: dict[str, str] = {}
    transforms: dict[str, np.ndarray] = {}
    with whole_dir(out, force=force) as aside:
        results = map_jobs(
            work, [spk for part in parts for spk in sorted(part.spk2utt)], jobs=jobs, label=f"decode {out}", unit="spk"
        )
        for number, part in enumerate(parts, 1):
            count = len(part.spk2utt)
            write_lattices(aside / f"lat.{number}.gz", _collect(results, count, transforms, failed))
        _check_failed(str(out), failed, len(corpus.utterances), config.max_failed)
        (aside / "num_jobs").write_text(f"{len(parts)}\n", encoding="utf-8")
        if transforms:
            write_transforms(aside, transforms, [sorted(part.spk2utt) for part in parts])
        (aside / "log").mkdir()
        lines = [f"{utt}: {why}" for utt, why in failed.items()] or ["all utterances have a lattice"]
        (aside / "log" / "decode.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(out)


def _collect(
    results: Iterator[SpeakerResult], count: int, transforms: dict[str, np.ndarray], failed: dict[str, str]
) -> Iterator[tuple[str, Lattice | CompactLattice]]:
    """Lattices of the next `count` speakers, their transforms and failures put aside."""
    for _ in range(count):
        result = next(results)
        failed |= result.failed
        if result.transform is not None:
            transforms[result.speaker] = result.transform
        yield from sorted(result.lattices.items())


def _check_failed(where: str, failed: dict[str, str], total: int, limit: float) -> None:
    if failed:
        utt, why = next(iter(failed.items()))
        problem = f"{len(failed)} of {total} utterances have no lattice (first: {utt}: {why})"
        if len(failed) > limit * total:
            raise DecodeError(where, problem, mend="look at these utterances' features, or decode with a wider --beam")
        log.warning("%s: %s", where, problem)


def _decode_speaker(model_dir: str, graph_dir: str, data: str, config: DecodeGmmConfig, speaker: str) -> SpeakerResult:
    system = _load(model_dir, graph_dir)
    corpus = _load_data(data).subset_speakers([speaker])
    feats = SpeakerFeatures.read(corpus, system.model.recipe)
    return decode_speaker(system, speaker, feats, config)


_load_data = lru_cache(maxsize=1)(partial(DataDir.read, validate=False))


def decode_speaker(system: System, speaker: str, feats: SpeakerFeatures, config: DecodeGmmConfig) -> SpeakerResult:
    """Decode all utterances of one speaker.  feats: of this speaker alone, unadapted."""
    model, failed = system.model, dict.fromkeys(feats.missing, "no features")
    adaptive = model.alimdl is not None and config.adapt
    if not adaptive:
        am = model.alimdl or model.am
        plain, problems = _pass(system, am, {utt: feats.of(utt) for utt in feats.utterances}, config.decode)
        compact = {utt: _determinize(lattice, utt, config.decode) for utt, lattice in plain.items()}
        return SpeakerResult(speaker, compact, None, failed | problems)
    unadapted = {utt: feats.unadapted(utt) for utt in feats.utterances}
    fast = replace(config.decode, beam=config.first_beam, max_active=config.first_max_active)
    assert model.alimdl is not None
    first, _ = _pass(system, model.alimdl, unadapted, fast)
    before = _transform(system, first, unadapted, config, fast.lattice_beam, posterior_model=model.alimdl)
    adapted = {utt: apply_transform(matrix, before) for utt, matrix in unadapted.items()}
    lattices, problems = _pass(system, model.am, adapted, config.decode)
    after = compose(_transform(system, lattices, adapted, config, config.refine_beam), before)
    compact = {}
    for utt, lattice in lattices.items():
        loglikes = log_likelihoods(model.am, apply_transform(unadapted[utt], after))
        compact[utt] = _determinize(rescore(lattice, loglikes, model.tm.id2pdf), utt, config.decode)
    return SpeakerResult(speaker, compact, after, failed | problems)


def _pass(
    system: System, am: AmDiagGmm, feats: dict[str, np.ndarray], config: DecodeConfig
) -> tuple[dict[str, Lattice], dict[str, str]]:
    """(lattices, reasons of the utterances without one)."""
    lattices, failed = {}, {}
    for utt, matrix in feats.items():
        try:
            lattices[utt] = decode(system.graph, log_likelihoods(am, matrix), config, utterance=utt)
        except DecodeError as error:
            failed[utt] = error.problem
    return lattices, failed


def _transform(
    system: System, lattices: dict[str, Lattice], feats: dict[str, np.ndarray], config: DecodeGmmConfig, beam: float, *,
    posterior_model: AmDiagGmm | None = None,
) -> np.ndarray:  # fmt: skip
    """fMLLR [dim, dim + 1] from the posteriors of one speaker's lattices."""
    stats = FmllrStats.zeros(system.model.am.dim)
    for utt, lattice in lattices.items():
        scale = config.decode.acoustic_scale
        compact = determinize(lattice, beam=beam, acoustic_scale=scale, utterance=utt)
        found = frame_posteriors(compact, acoustic_scale=scale, utterance=utt)
        weights = found.weights * np.where(system.silence[found.transition_ids], config.fmllr.silence_weight, 1.0)
        pdfs = system.model.tm.id2pdf[found.transition_ids]
        stats += accumulate_fmllr(
            system.model.am, feats[utt][found.frames], pdfs, weights, posterior_model=posterior_model
        )
    return estimate_fmllr(stats, config.fmllr)[0]


def _determinize(lattice: Lattice, utt: str, config: DecodeConfig) -> CompactLattice:
    return determinize(lattice, beam=config.lattice_beam, acoustic_scale=config.acoustic_scale, utterance=utt)
