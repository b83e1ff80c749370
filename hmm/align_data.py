"""Alignments and fMLLR transforms of any data directory (steps/align_si.sh, align_fmllr.sh), as Kaldi's directories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.errors import AlignmentError
from harness.log import get_logger
from hmm.align import AlignConfig, Alignments, check_failures, map_threads
from hmm.alignment_dir import GmmDir, carry_model, read_alignments, speaker_parts, write_alignments, write_transforms
from hmm.fmllr import FmllrConfig, accumulate_fmllr, estimate_fmllr
from hmm.rung import make_rung, write_log
from hmm.speaker_features import SpeakerFeatures
from hmm.training import Lang, Trainer, align_utterances, check_lengths, compile_graphs
from kaldi_bridge.data_dir import DataDir

log = get_logger("hmm")


@dataclass(frozen=True, kw_only=True)
class AlignFmllrConfig(AlignConfig):
    """An alignment in two passes, and the transforms estimated from the first (align_fmllr.sh)."""

    fmllr: FmllrConfig = field(default_factory=FmllrConfig)


def align(
    data: str | Path, lang: str | Path, model: str | Path, out: str | Path, config: AlignConfig | None = None, *,
    jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """Align a data directory with a speaker-independent model (align_si.sh)."""
    config = config or AlignConfig()

    def make(aside: Path) -> None:
        corpus, language, system = DataDir.read(data), Lang.read(lang), GmmDir.read(model)
        feats = SpeakerFeatures.read(corpus, system.recipe)
        graphs = compile_graphs(corpus, language, system.tree, system.tm, feats.utterances)
        result = align_utterances(system.tm, system.am, feats, graphs, language, config, jobs=jobs)
        check_failures(str(out), result, config.max_failed)
        carry_model(system.path, aside)
        write_alignments(aside, result.of, speaker_parts(corpus, jobs)[0])
        _log_alignment(aside, str(out), result)

    return make_rung(out, make, {"config": config, "data": data, "lang": lang, "model": model}, force)


def align_fmllr(
    data: str | Path, lang: str | Path, model: str | Path, out: str | Path, config: AlignFmllrConfig | None = None, *,
    jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """Align with final.alimdl, estimate fMLLR per speaker, align again with final.mdl (align_fmllr.sh)."""
    config = config or AlignFmllrConfig()

    def make(aside: Path) -> None:
        corpus, language, system = DataDir.read(data), Lang.read(lang), GmmDir.read(model)
        feats = SpeakerFeatures.read(corpus, system.recipe)
        graphs = compile_graphs(corpus, language, system.tree, system.tm, feats.utterances)
        alimdl = system.alimdl or system.am
        first = align_utterances(system.tm, alimdl, feats, graphs, language, config, jobs=jobs)
        check_failures(str(out), first, config.max_failed)
        transforms = transforms_from_alignments(system, feats, first.of, language, config.fmllr, jobs=jobs)
        adapted = feats.with_transforms(transforms)
        result = align_utterances(system.tm, system.am, adapted, graphs, language, config, jobs=jobs)
        check_failures(str(out), result, config.max_failed)
        carry_model(system.path, aside)
        utt_parts, speaker_lists = speaker_parts(corpus, jobs)
        write_alignments(aside, result.of, utt_parts)
        write_transforms(aside, transforms, speaker_lists)
        _log_alignment(aside, str(out), result)

    return make_rung(out, make, {"config": config, "data": data, "lang": lang, "model": model}, force)


def estimate_transforms(
    data: str | Path, lang: str | Path, model: str | Path, ali: str | Path, out: str | Path,
    config: FmllrConfig | None = None, *, jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """fMLLR transforms of a data directory from alignments made with the same tree, as a directory like align_fmllr's.

    Raises AlignmentError where an alignment is not as long as the features.
    """
    config = config or FmllrConfig()

    def make(aside: Path) -> None:
        corpus, language, system = DataDir.read(data), Lang.read(lang), GmmDir.read(model)
        feats = SpeakerFeatures.read(corpus, system.recipe)
        trainer = Trainer(str(out), system.tm, system.am, system.tree, feats, {}, read_alignments(ali), language)
        check_lengths(trainer)
        transforms = transforms_from_alignments(system, feats, trainer.alignments, language, config, jobs=jobs)
        carry_model(system.path, aside)
        utt_parts, speaker_lists = speaker_parts(corpus, jobs)
        write_alignments(aside, trainer.alignments, utt_parts)
        write_transforms(aside, transforms, speaker_lists)

    return make_rung(out, make, {"config": config, "data": data, "lang": lang, "model": model, "ali": ali}, force)


def copy_alignments(
    data: str | Path, ali: str | Path, out: str | Path, prefixes: Sequence[str] = (), *, max_missing: float = 0.05,
    jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """Give copies (noisy, enhanced) the alignments of their originals, whose ids lack one of the prefixes.

    Transforms are not copied: a copy's channel needs its own.  Raises AlignmentError if more than the stated share of
    the data directory has no original.
    """

    def original(utt: str) -> str:
        return next((utt.removeprefix(prefix) for prefix in prefixes if utt.startswith(prefix)), utt)

    def make(aside: Path) -> None:
        corpus, have = DataDir.read(data), read_alignments(ali)
        made = {utt: have[original(utt)] for utt in corpus.utterances if original(utt) in have}
        lost = [utt for utt in corpus.utterances if utt not in made]
        if len(lost) > max_missing * len(corpus.utterances):
            problem = f"{len(lost)} of {len(corpus.utterances)} utterances have no original there (first: {lost[0]})"
            raise AlignmentError(ali, problem, mend="align the originals first, or check the ids' prefix or suffix")
        carry_model(Path(ali), aside)
        write_alignments(aside, made, speaker_parts(corpus, jobs)[0])
        lines = [f"{len(made)} utterances have the alignments of their originals, {len(lost)} have none"]
        lines += [f"{utt}: no original" for utt in lost]
        log.info("%s: %s", out, lines[0])
        write_log(aside, lines)

    return make_rung(out, make, {"data": data, "ali": ali, "prefixes": prefixes}, force)


def transforms_from_alignments(
    system: GmmDir, feats: SpeakerFeatures, alignments: dict[str, np.ndarray], lang: Lang, config: FmllrConfig, *,
    jobs: int = 1,
) -> dict[str, np.ndarray]:  # fmt: skip
    """fMLLR of every speaker on unadapted features: posteriors from final.alimdl, the transform for final.mdl."""
    weights = np.where(np.isin(system.tm.id2phone, lang.silence), config.silence_weight, 1.0)

    def one(utts: list[str]) -> np.ndarray:
        known = [utt for utt in utts if utt in alignments]
        if not known:
            return np.eye(system.am.dim, system.am.dim + 1)
        frames = np.concatenate([feats.unadapted(utt) for utt in known])
        ids = np.concatenate([alignments[utt] for utt in known])
        if len(ids) != len(frames):
            problem = f"alignments of {len(ids)} frames for {len(frames)} frames of features"
            raise AlignmentError(f"utterances {known[0]} ... {known[-1]}", problem, mend="align these features again")
        stats = accumulate_fmllr(
            system.am, frames, system.tm.id2pdf[ids], weights[ids], posterior_model=system.alimdl or system.am
        )
        return estimate_fmllr(stats, config)[0]

    speakers = feats.speakers()
    return dict(zip(speakers, map_threads(one, list(speakers.values()), jobs), strict=True))


def _log_alignment(aside: Path, where: str, result: Alignments) -> None:
    lines = [f"aligned {len(result.of)} utterances, {result.log_likelihood / max(result.frames, 1):.4f} per frame, "
             f"{result.retried} retried, {len(result.failed)} failed"]  # fmt: skip
    lines += [f"{utt}: {why}" for utt, why in result.failed.items()]
    log.info("%s: %s", where, lines[0])
    write_log(aside, lines)
