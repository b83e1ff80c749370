"""The rungs of the ladder: monophones, triphones on deltas, LDA + MLLT, speaker-adaptive training; and alignments.

Schedules are those of Kaldi's steps/train_mono.sh, train_deltas.sh, train_lda_mllt.sh, train_sat.sh, align_si.sh and
align_fmllr.sh.  Each rung reads a data dir, a lang dir and the alignment of the rung before, and
leaves one directory in Kaldi's layout.  A directory appears when it is whole; a rung whose directory stands, made from
the same inputs and configuration, is not made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AlignmentError, ConfigError
from harness.log import get_logger
from hmm.align import equal_alignment, map_threads
from hmm.align_data import AlignFmllrConfig, align, align_fmllr, transforms_from_alignments
from hmm.alignment_dir import GmmDir, speaker_parts, write_alignments, write_gmm_dir, write_transforms
from hmm.fmllr import FmllrConfig
from hmm.gmm import UpdateConfig, single_gaussians, transform_means, update
from hmm.ladder_config import RUNGS, DeltasConfig, LadderConfig, LdaMlltConfig, MonoConfig, SatConfig
from hmm.phone_windows import convert_alignments
from hmm.questions import phone_questions
from hmm.rung import make_rung, write_log
from hmm.speaker_features import FeatureRecipe, SpeakerFeatures
from hmm.training import Lang, Trainer, check_lengths, compile_graphs
from hmm.transforms import LdaStats, MlltStats, accumulate_mllt, compose, estimate_lda, estimate_mllt
from hmm.tree import (
    BuiltTree,
    TreeConfig,
    TreeStats,
    accumulate_tree_stats,
    build_tree,
    merge_tree_stats,
    monophone_tree,
    read_roots,
)
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.models import AmDiagGmm, TransitionModel, read_topology
from kaldi_bridge.tables import write_matrix

log = get_logger("hmm")


def train_ladder(
    data: str | Path, lang: str | Path, out: str | Path, config: LadderConfig | None = None, *, until: str = "tri3b",
    ali: str | Path | None = None, jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """Train the rungs up to `until` and align after each, in folders mono, mono_ali, ... of `out`; returns the last.

    ali: start from this alignment and train only the speaker-adaptive rung (for multi-condition data whose copies share
    the clean alignments); its directory needs final.mat, and is asked for transforms of the speakers.
    Raises ConfigError for an unknown rung.
    """
    config, exp = config or LadderConfig(), Path(out)
    if until not in RUNGS:
        raise ConfigError("--until", f"no rung {until!r}", mend=f"choose one of {', '.join(RUNGS)}")
    again: dict[str, Any] = {"jobs": jobs, "force": force}
    adapted = AlignFmllrConfig(**vars(config.align), fmllr=config.sat.fmllr)
    if ali is not None:
        train_sat(data, lang, ali, exp / "tri3b", config.sat, **again)
        return align_fmllr(data, lang, exp / "tri3b", exp / "tri3b_ali", adapted, **again)
    wanted = RUNGS[: RUNGS.index(until) + 1]
    train_mono(data, lang, exp / "mono", config.mono, **again)
    last = align(data, lang, exp / "mono", exp / "mono_ali", config.align, **again)
    if "tri1" in wanted:
        train_deltas(data, lang, last, exp / "tri1", config.deltas, **again)
        last = align(data, lang, exp / "tri1", exp / "tri1_ali", config.align, **again)
    if "tri2b" in wanted:
        train_lda_mllt(data, lang, last, exp / "tri2b", config.lda_mllt, **again)
        last = align(data, lang, exp / "tri2b", exp / "tri2b_ali", config.align, **again)
    if "tri3b" in wanted:
        train_sat(data, lang, last, exp / "tri3b", config.sat, **again)
        last = align_fmllr(data, lang, exp / "tri3b", exp / "tri3b_ali", adapted, **again)
    return last


def train_mono(
    data: str | Path, lang: str | Path, out: str | Path, config: MonoConfig | None = None, *, jobs: int = 1,
    force: bool = False,
) -> Path:  # fmt: skip
    """Flat start, equal alignment, then realignment and growth."""
    config = config or MonoConfig()

    def make(aside: Path) -> None:
        corpus, language = DataDir.read(data), Lang.read(lang)
        feats = SpeakerFeatures.read(corpus, FeatureRecipe())
        topology = read_topology(language.path / "topo")
        tree = monophone_tree(language.sets, topology)
        tm = TransitionModel.from_tree(tree, topology)
        graphs = compile_graphs(corpus, language, tree, tm, feats.utterances)
        flat = _flat_model(feats, tree.num_pdfs)
        trainer = Trainer(str(out), tm, flat, tree, feats, graphs, {}, language, jobs, config.seed)
        for utt, graph in graphs.items():
            path = equal_alignment(graph, len(feats.base[utt]), config.seed, utt)
            if path is not None:
                trainer.alignments[utt] = path
        trainer.say(f"equal alignment of {len(trainer.alignments)} of {len(feats.utterances)} utterances")
        gaussians = trainer.am.num_gauss
        step = max(0, (config.gaussians - gaussians) // config.last_growth)
        first = UpdateConfig(min_occupancy=config.first_min_occupancy)
        trainer.improve(0, gaussians, config.split, first)
        for iteration in range(1, config.iterations):
            if iteration in config.realign:
                beam = config.first_beam if iteration == 1 else config.align.beam
                trainer.realign(replace(config.align, beam=beam))
            trainer.improve(iteration, gaussians, config.split)
            if iteration <= config.last_growth:
                gaussians += step
        _write_rung(aside, trainer, corpus, jobs)

    return make_rung(out, make, {"config": config, "data": data, "lang": lang}, force)


def train_deltas(
    data: str | Path, lang: str | Path, ali: str | Path, out: str | Path, config: DeltasConfig | None = None, *,
    jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """Triphones on deltas from a monophone alignment (tri1)."""
    config = config or DeltasConfig()

    def make(aside: Path) -> None:
        corpus, language, previous = DataDir.read(data), Lang.read(lang), GmmDir.read(ali)
        feats = SpeakerFeatures.read(corpus, replace(previous.recipe, matrix=None))
        trainer = _triphone_trainer(str(out), corpus, language, previous, feats, config, jobs)
        _iterate(trainer, config)
        _write_rung(aside, trainer, corpus, jobs)

    return make_rung(out, make, {"config": config, "data": data, "lang": lang, "ali": ali}, force)


def train_lda_mllt(
    data: str | Path, lang: str | Path, ali: str | Path, out: str | Path, config: LdaMlltConfig | None = None, *,
    jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """Triphones on LDA + MLLT features (tri2b)."""
    config = config or LdaMlltConfig()

    def make(aside: Path) -> None:
        corpus, language, previous = DataDir.read(data), Lang.read(lang), GmmDir.read(ali)
        recipe = replace(
            previous.recipe, left_context=config.left_context, right_context=config.right_context, matrix=None
        )
        feats = SpeakerFeatures.read(corpus, recipe)
        matrix, full = _estimate_lda(feats, previous, language, config.dim, jobs)
        feats = feats.with_matrix(matrix)
        trainer = _triphone_trainer(str(out), corpus, language, previous, feats, config, jobs)
        _iterate(trainer, config, lambda iteration: _mllt_step(trainer) if iteration in config.mllt else None)
        _write_rung(aside, trainer, corpus, jobs)
        write_matrix(aside / "full.mat", full)

    return make_rung(out, make, {"config": config, "data": data, "lang": lang, "ali": ali}, force)


def train_sat(
    data: str | Path, lang: str | Path, ali: str | Path, out: str | Path, config: SatConfig | None = None, *,
    jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """Speaker-adaptive triphones (tri3b): final.mdl for adapted features, final.alimdl for unadapted ones.

    Transforms of `ali` are the start where it has them (for every speaker), else they are estimated with its model.
    """
    config = config or SatConfig()

    def make(aside: Path) -> None:
        corpus, language, previous = DataDir.read(data), Lang.read(lang), GmmDir.read(ali)
        feats = SpeakerFeatures.read(corpus, previous.recipe)
        start = previous.transforms()
        if not set(feats.speakers()) <= set(start):
            log.info("%s: estimates the speakers' first fMLLR transforms with %s", out, previous.path)
            start = transforms_from_alignments(
                previous, feats, previous.alignments(), language, config.fmllr, jobs=jobs
            )
        feats = feats.with_transforms(start)
        trainer = _triphone_trainer(str(out), corpus, language, previous, feats, config, jobs)
        _iterate(trainer, config, lambda iteration: _fmllr_step(trainer, config.fmllr)
                 if iteration in config.adapt else None)  # fmt: skip
        stats, _ = trainer.accumulate(stat_feats=trainer.feats.unadapted)
        alimdl = update(trainer.am, stats, UpdateConfig(remove_low_count=False))
        _write_rung(aside, trainer, corpus, jobs, alimdl)

    return make_rung(out, make, {"config": config, "data": data, "lang": lang, "ali": ali}, force)


def _flat_model(feats: SpeakerFeatures, pdfs: int) -> AmDiagGmm:
    """The same Gaussian in every pdf, from ten utterances (gmm-init-mono)."""
    frames = np.concatenate([feats.of(utt) for utt in feats.utterances[:10]]).astype(np.float64)
    count = np.full(pdfs, float(len(frames)))
    first, second = np.tile(frames.sum(axis=0), (pdfs, 1)), np.tile((frames**2).sum(axis=0), (pdfs, 1))
    return single_gaussians(count, first, second)


def _triphone_trainer(
    where: str, data: DataDir, lang: Lang, previous: GmmDir, feats: SpeakerFeatures, config: DeltasConfig, jobs: int
) -> Trainer:
    """Tree, first model, converted alignments and graphs."""
    topology = read_topology(lang.path / "topo")
    trainer = Trainer(where, previous.tm, previous.am, previous.tree, feats, {}, previous.alignments(), lang, jobs,
                      config.seed)  # fmt: skip
    check_lengths(trainer)
    stats = _tree_stats(trainer, config.tree)
    questions = phone_questions(stats, lang.sets, lang.extra_questions, seed=config.seed)
    roots = read_roots(lang.path / "phones/roots.int")
    built = build_tree(stats, roots, questions, topology, config.tree, leaves=config.leaves)
    tm = TransitionModel.from_tree(built.tree, topology)
    trainer.alignments = convert_alignments(previous.tm, tm, built.tree, trainer.alignments)
    trainer.tm, trainer.tree, trainer.am = tm, built.tree, _leaf_model(built)
    trainer.say(
        f"{len(stats.events)} events, {len(questions)} questions, {tm.num_pdfs} leaves, "
        f"{built.gain_per_frame:.4f} per frame gained"
    )
    trainer.graphs = compile_graphs(data, lang, built.tree, tm, feats.utterances)
    return trainer


def _tree_stats(trainer: Trainer, config: TreeConfig) -> TreeStats:
    def one(utts: list[str]) -> TreeStats:
        ids = [trainer.alignments[utt] for utt in utts]
        return accumulate_tree_stats(
            trainer.tm, ids, [trainer.feats.of(utt) for utt in utts], set(trainer.lang.independent), config
        )

    return merge_tree_stats(list(map_threads(one, trainer.aligned_blocks(), trainer.jobs)))


def _leaf_model(built: BuiltTree) -> AmDiagGmm:
    dim = (built.pdf_sums.shape[1] - 1) // 2
    return single_gaussians(built.pdf_sums[:, 0], built.pdf_sums[:, 1 : 1 + dim], built.pdf_sums[:, 1 + dim :])


def _iterate(trainer: Trainer, config: DeltasConfig, adapt: Callable[[int], Any] | None = None) -> None:
    """The schedule of the triphone rungs; `adapt` may change features and model before an iteration's statistics."""
    gaussians = config.leaves
    step = (config.gaussians - gaussians) // config.last_growth
    for iteration in range(1, config.iterations):
        if iteration in config.realign:
            trainer.realign(config.align)
        if adapt is not None:
            adapt(iteration)
        trainer.improve(iteration, gaussians, config.split)
        if iteration <= config.last_growth:
            gaussians += step


def _estimate_lda(
    feats: SpeakerFeatures, previous: GmmDir, lang: Lang, dim: int, jobs: int
) -> tuple[np.ndarray, np.ndarray]:
    """LDA over the aligned speech frames, the classes being the pdfs of the previous system."""
    alignments = previous.alignments()
    silence = np.isin(previous.tm.id2phone, lang.silence)
    total: LdaStats | None = None
    for block in feats.blocks():
        utts = [utt for utt in block if utt in alignments]
        for utt in utts:
            ids, spliced = alignments[utt], feats.spliced(utt)
            if len(ids) != len(spliced):
                problem = f"the alignment has {len(ids)} frames, the features {len(spliced)}"
                raise AlignmentError(f"{previous.path}: {utt}", problem, mend="align again after making new features")
        if not utts:
            continue
        ids = np.concatenate([alignments[utt] for utt in utts])
        frames = np.concatenate([feats.spliced(utt) for utt in utts])
        total = total or LdaStats.zeros(previous.tm.num_pdfs, frames.shape[1])
        speech = ~silence[ids]
        total.add(frames[speech], previous.tm.id2pdf[ids][speech])
    if total is None:
        raise AlignmentError(previous.path, "no utterance has features and alignment", mend="check the ids")
    return estimate_lda(total, dim)


def _mllt_step(trainer: Trainer) -> None:
    """New MLLT from the current features; the model's means move with it."""
    silence = np.isin(trainer.tm.id2phone, trainer.lang.silence)

    def one(utts: list[str]) -> MlltStats:
        frames, ids = trainer.frames_of(utts, trainer.feats.of)
        speech = ~silence[ids]
        return accumulate_mllt(trainer.am, frames[speech], trainer.tm.id2pdf[ids][speech])

    dim = trainer.am.dim
    total = MlltStats(np.zeros((dim, dim, dim)))
    for stats in map_threads(one, trainer.aligned_blocks(), trainer.jobs):
        total += stats
    matrix, gain = estimate_mllt(total)
    assert trainer.feats.recipe.matrix is not None
    trainer.am = transform_means(trainer.am, matrix)
    trainer.feats = trainer.feats.with_matrix(compose(matrix, trainer.feats.recipe.matrix).astype(np.float32))
    trainer.say(f"MLLT gains {gain:.4f} per frame")


def _fmllr_step(trainer: Trainer, config: FmllrConfig) -> None:
    """New fMLLR on top of the present ones."""
    new, gain = trainer.speaker_transforms(config)
    before = trainer.feats.transforms
    trainer.feats = trainer.feats.with_transforms({spk: compose(new[spk], before[spk]) for spk in new})
    trainer.say(f"fMLLR gains {gain:.4f} per frame")


def _write_rung(aside: Path, trainer: Trainer, data: DataDir, jobs: int, alimdl: AmDiagGmm | None = None) -> None:
    write_gmm_dir(
        aside, tm=trainer.tm, am=trainer.am, tree=trainer.tree, recipe=trainer.feats.recipe, lang=trainer.lang.path,
        alimdl=alimdl,
    )  # fmt: skip
    utt_parts, speaker_lists = speaker_parts(data, jobs)
    write_alignments(aside, trainer.alignments, utt_parts)
    if trainer.feats.transforms:
        write_transforms(aside, trainer.feats.transforms, speaker_lists)
    write_log(aside, trainer.history)
