"""The rungs of the ladder: monophones, triphones on deltas, LDA + MLLT, speaker-adaptive training; and alignments.

Schedules are those of Kaldi's steps/train_mono.sh, train_deltas.sh, train_lda_mllt.sh, train_sat.sh, align_si.sh and
align_fmllr.sh.  Each rung reads a data dir, a lang dir and the alignment of the rung before, and
leaves one directory in Kaldi's layout.  A directory appears when it is whole; a rung whose directory stands, made from
the same inputs and configuration, is not made again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.atomic import whole_dir
from harness.errors import AlignmentError
from harness.log import get_logger
from hmm.align import AlignConfig, check_failures, equal_alignment, map_threads
from hmm.alignment_dir import (
    GmmDir,
    carry_model,
    speaker_parts,
    write_alignments,
    write_gmm_dir,
    write_transforms,
)  # fmt: skip
from hmm.fmllr import FmllrConfig, accumulate_fmllr, estimate_fmllr
from hmm.gmm import SplitConfig, UpdateConfig, single_gaussians, transform_means, update
from hmm.phone_windows import convert_alignments
from hmm.questions import phone_questions
from hmm.speaker_features import FeatureRecipe, SpeakerFeatures
from hmm.training import Lang, Trainer, align_utterances, compile_graphs
from hmm.transforms import (
    LdaStats,
    MlltStats,
    accumulate_mllt,
    compose,
    estimate_lda,
    estimate_mllt,
)  # fmt: skip
from hmm.tree import (
    BuiltTree,
    TreeConfig,
    TreeStats,
    accumulate_tree_stats,
    build_tree,
    merge_tree_stats,
    monophone_tree,
    read_roots,
)  # fmt: skip
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.models import AmDiagGmm, TransitionModel, read_topology
from kaldi_bridge.tables import write_matrix

log = get_logger("hmm")
STAMP = "schoolyard.json"  # what a finished directory was made from


@dataclass(frozen=True, kw_only=True)
class MonoConfig:
    """Monophones (train_mono.sh)."""

    gaussians: int = 1000
    iterations: int = 40
    last_growth: int = 30  # Gaussians are added up to this iteration
    realign: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 29, 32, 35, 38)
    first_beam: float = 6.0  # of the first realignment
    first_min_occupancy: float = 3.0  # in the first update: rare phones must get a model at all
    align: AlignConfig = field(default_factory=AlignConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DeltasConfig:
    """Triphones on deltas (train_deltas.sh); the base of the rungs above."""

    leaves: int = 1000  # at most
    gaussians: int = 6000
    iterations: int = 35
    last_growth: int = 25
    realign: tuple[int, ...] = (10, 20, 30)
    tree: TreeConfig = field(default_factory=TreeConfig)  # its `leaves` is replaced by the one above
    align: AlignConfig = field(default_factory=AlignConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.gaussians < self.leaves:
            raise ValueError(f"{self.gaussians} Gaussians are fewer than {self.leaves} leaves")


@dataclass(frozen=True, kw_only=True)
class LdaMlltConfig(DeltasConfig):
    """Triphones on spliced frames through LDA and MLLT (train_lda_mllt.sh)."""

    dim: int = 40
    left_context: int = 4  # frames
    right_context: int = 4
    mllt: tuple[int, ...] = (2, 4, 6, 12)  # iterations that estimate MLLT anew


@dataclass(frozen=True, kw_only=True)
class SatConfig(DeltasConfig):
    """Speaker-adaptive training with fMLLR (train_sat.sh)."""

    adapt: tuple[int, ...] = (2, 4, 6, 12)  # iterations that estimate the speakers' transforms anew
    split: SplitConfig = field(default_factory=lambda: SplitConfig(power=0.2))
    fmllr: FmllrConfig = field(default_factory=FmllrConfig)


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

    return _rung(out, make, {"config": config, "data": data, "lang": lang}, force)


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

    return _rung(out, make, {"config": config, "data": data, "lang": lang, "ali": ali}, force)


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

    return _rung(out, make, {"config": config, "data": data, "lang": lang, "ali": ali}, force)


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
            before = Trainer(str(out), previous.tm, previous.am, previous.tree, feats, {}, previous.alignments(),
                             language, jobs)  # fmt: skip
            _check_lengths(before)
            start, gain = before.speaker_transforms(config.fmllr)
            log.info("%s: first fMLLR gains %.4f per frame", out, gain)
        feats = feats.with_transforms(start)
        trainer = _triphone_trainer(str(out), corpus, language, previous, feats, config, jobs)
        _iterate(trainer, config, lambda iteration: _fmllr_step(trainer, config.fmllr)
                 if iteration in config.adapt else None)  # fmt: skip
        stats, _ = trainer.accumulate(stat_feats=trainer.feats.unadapted)
        alimdl = update(trainer.am, stats, UpdateConfig(remove_low_count=False))
        _write_rung(aside, trainer, corpus, jobs, alimdl)

    return _rung(out, make, {"config": config, "data": data, "lang": lang, "ali": ali}, force)


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

    return _rung(out, make, {"config": config, "data": data, "lang": lang, "model": model}, force)


def align_fmllr(
    data: str | Path, lang: str | Path, model: str | Path, out: str | Path, config: AlignConfig | None = None, *,
    fmllr: FmllrConfig | None = None, jobs: int = 1, force: bool = False,
) -> Path:  # fmt: skip
    """Align with final.alimdl, estimate fMLLR per speaker, align again with final.mdl (align_fmllr.sh)."""
    config, fmllr = config or AlignConfig(), fmllr or FmllrConfig()

    def make(aside: Path) -> None:
        corpus, language, system = DataDir.read(data), Lang.read(lang), GmmDir.read(model)
        feats = SpeakerFeatures.read(corpus, system.recipe)
        graphs = compile_graphs(corpus, language, system.tree, system.tm, feats.utterances)
        alimdl = system.alimdl or system.am
        first = align_utterances(system.tm, alimdl, feats, graphs, language, config, jobs=jobs)
        check_failures(str(out), first, config.max_failed)
        transforms = transforms_from_alignments(system, feats, first.of, language, fmllr, jobs=jobs)
        adapted = feats.with_transforms(transforms)
        result = align_utterances(system.tm, system.am, adapted, graphs, language, config, jobs=jobs)
        check_failures(str(out), result, config.max_failed)
        carry_model(system.path, aside)
        utt_parts, speaker_lists = speaker_parts(corpus, jobs)
        write_alignments(aside, result.of, utt_parts)
        write_transforms(aside, transforms, speaker_lists)
        _log_alignment(aside, str(out), result)

    return _rung(out, make, {"config": config, "fmllr": fmllr, "data": data, "lang": lang, "model": model}, force)


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
        stats = accumulate_fmllr(
            system.am, frames, system.tm.id2pdf[ids], weights[ids], posterior_model=system.alimdl or system.am
        )
        return estimate_fmllr(stats, config)[0]

    speakers = feats.speakers()
    return dict(zip(speakers, map_threads(one, list(speakers.values()), jobs), strict=True))


def _flat_model(feats: SpeakerFeatures, pdfs: int) -> AmDiagGmm:
    """The same Gaussian in every pdf, from ten utterances (gmm-init-mono)."""
    frames = np.concatenate([feats.of(utt) for utt in feats.utterances[:10]]).astype(np.float64)
    count = np.full(pdfs, float(len(frames)))
    first, second = np.tile(frames.sum(axis=0), (pdfs, 1)), np.tile((frames**2).sum(axis=0), (pdfs, 1))
    return single_gaussians(count, first, second)


def _check_lengths(trainer: Trainer) -> None:
    """Raises AlignmentError where an alignment is not as long as the features, or too few utterances have both."""
    for utt, matrix in trainer.feats.base.items():
        ids = trainer.alignments.get(utt)
        if ids is not None and len(ids) != len(matrix):
            problem = f"the alignment has {len(ids)} frames, the features {len(matrix)}"
            raise AlignmentError(f"{trainer.where}: {utt}", problem, mend="align again after making new features")
    have, total = len(trainer.aligned()), len(trainer.feats.utterances)
    if have < 0.5 * total:
        problem = f"only {have} of {total} utterances have an alignment"
        raise AlignmentError(trainer.where, problem, mend="use the alignment of this data directory")
    if have < total:
        log.warning("%s: %d of %d utterances have no alignment and are left out", trainer.where, total - have, total)


def _triphone_trainer(
    where: str, data: DataDir, lang: Lang, previous: GmmDir, feats: SpeakerFeatures, config: DeltasConfig, jobs: int
) -> Trainer:
    """Tree, first model, converted alignments and graphs."""
    topology = read_topology(lang.path / "topo")
    trainer = Trainer(where, previous.tm, previous.am, previous.tree, feats, {}, previous.alignments(), lang, jobs,
                      config.seed)  # fmt: skip
    _check_lengths(trainer)
    stats = _tree_stats(trainer, config.tree)
    questions = phone_questions(stats, lang.sets, lang.extra_questions, seed=config.seed)
    roots = read_roots(lang.path / "phones/roots.int")
    built = build_tree(stats, roots, questions, topology, replace(config.tree, leaves=config.leaves))
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
    _write_log(aside, trainer.history)


def _log_alignment(aside: Path, where: str, result: Any) -> None:
    lines = [f"aligned {len(result.of)} utterances, {result.log_likelihood / max(result.frames, 1):.4f} per frame, "
             f"{result.retried} retried, {len(result.failed)} failed"]  # fmt: skip
    lines += [f"{utt}: {why}" for utt, why in result.failed.items()]
    log.info("%s: %s", where, lines[0])
    _write_log(aside, lines)


def _write_log(aside: Path, lines: list[str]) -> None:
    (aside / "log").mkdir(exist_ok=True)
    (aside / "log" / "train.log").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _rung(out: str | Path, make: Callable[[Path], None], inputs: dict[str, Any], force: bool) -> Path:
    """Make a directory unless it stands already, made from the same inputs."""
    target = Path(out)
    stamp = json.dumps({name: _fingerprint(value) for name, value in inputs.items()}, sort_keys=True)
    if not force and (target / STAMP).is_file() and (target / STAMP).read_text(encoding="utf-8") == stamp:
        log.info("%s: stands already", target)
        return target
    start = time.monotonic()
    with whole_dir(target, force=True) as aside:
        make(aside)
        (aside / STAMP).write_text(stamp, encoding="utf-8")
    log.info("%s: done in %.0f s", target, time.monotonic() - start)
    return target


def _fingerprint(value: Any) -> Any:
    """A configuration as plain data; a directory as the hash of the tables and models in it."""
    if not isinstance(value, str | Path):
        return json.loads(json.dumps(asdict(value)))
    digest = hashlib.sha256()
    directory = Path(value)
    for name in ("utt2spk", "text", "feats.scp", "cmvn.scp", "words.txt", "L.fst", "topo", "phones/roots.int",
                 "phones/extra_questions.int", "final.mdl", "final.alimdl", "tree", "final.mat", STAMP):  # fmt: skip
        if (directory / name).is_file():
            digest.update(name.encode() + b"\0" + (directory / name).read_bytes())
    for part in sorted(directory.glob("ali.*.gz")):
        digest.update(part.read_bytes())
    return digest.hexdigest()
