"""The loop all GMM systems share: realign now and then, accumulate, update, grow; and the training graphs it needs.

Statistics are summed per block of speakers and blocks are added in order, so that a model does not depend on how many
threads worked on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.errors import AlignmentError, LexiconError
from harness.log import get_logger
from harness.seed import rng_for
from hmm.align import AlignConfig, Aligner, Alignments, align_set, check_failures, map_threads
from hmm.fmllr import FmllrConfig, FmllrStats, accumulate_fmllr, estimate_fmllr
from hmm.gmm import (
    GmmStats,
    SplitConfig,
    UpdateConfig,
    accumulate,
    boost_silence,
    pdf_occupancies,
    split,
    update,
    update_transitions,
)
from hmm.lang import read_integers, read_symbols
from hmm.speaker_features import SpeakerFeatures
from hmm.training_graphs import TrainingGraphs
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.fsts import FstArrays
from kaldi_bridge.models import AmDiagGmm, TransitionModel, Tree

log = get_logger("hmm")
GRAPH_BATCH = 500  # transcripts compiled with one H


@dataclass(frozen=True)
class Lang:
    """What training reads of a lang directory."""

    path: Path
    words: dict[str, int]
    oov: int  # the word that stands for words outside the lexicon
    silence: tuple[int, ...]  # phones/silence.int
    optional_silence: tuple[int, ...]
    independent: tuple[int, ...]  # phones/context_indep.int
    sets: list[list[int]]  # phones/sets.int
    extra_questions: list[list[int]]

    @classmethod
    def read(cls, path: str | Path) -> Lang:
        """Raises LexiconError naming the file that is missing."""
        lang = Path(path)
        words = read_symbols(lang / "words.txt")
        rows = {name: read_integers(lang / "phones" / f"{name}.int")
                for name in ("silence", "optional_silence", "context_indep", "sets", "extra_questions")}  # fmt: skip
        flat = {name: tuple(phone for row in rows[name] for phone in row)
                for name in ("silence", "optional_silence", "context_indep")}  # fmt: skip
        oov = read_integers(lang / "oov.int")
        if len(oov) != 1:
            raise LexiconError(lang / "oov.int", "must hold one number", mend="prepare the lang directory again")
        return cls(lang, words, oov[0][0], flat["silence"], flat["optional_silence"], flat["context_indep"],
                   rows["sets"], rows["extra_questions"])  # fmt: skip

    def word_ids(self, transcript: str) -> list[int]:
        """Words of a transcript as numbers; those outside the lexicon become the oov word."""
        return [self.words.get(word, self.oov) for word in transcript.split()]


def compile_graphs(
    data: DataDir, lang: Lang, tree: Tree, tm: TransitionModel, utterances: list[str]
) -> dict[str, FstArrays]:
    """Training graphs of the utterances that have a transcript; the others and those without a path are left out."""
    if data.text is None:
        raise AlignmentError(data.path / "text", "no such file", mend="alignment needs the transcripts")
    compiler = TrainingGraphs.from_lang(lang.path, tree, tm)
    known = [utt for utt in utterances if utt in data.text]
    graphs: dict[str, FstArrays] = {}
    for begin in range(0, len(known), GRAPH_BATCH):
        batch = known[begin : begin + GRAPH_BATCH]
        compiled = compiler.compile_batch([lang.word_ids(data.text[utt]) for utt in batch])
        graphs |= {utt: graph for utt, graph in zip(batch, compiled, strict=True) if graph is not None}
    return graphs


@dataclass
class Trainer:
    """A model in training, its features, graphs and alignments."""

    where: str  # for messages
    tm: TransitionModel
    am: AmDiagGmm
    tree: Tree
    feats: SpeakerFeatures
    graphs: dict[str, FstArrays]
    alignments: dict[str, np.ndarray]
    lang: Lang
    jobs: int = 1
    seed: int = 0
    history: list[str] = field(default_factory=list)  # lines for the log file

    def say(self, line: str) -> None:
        """Keep a line for the directory's log and show it."""
        self.history.append(line)
        log.info("%s: %s", self.where, line)

    def aligned(self) -> list[str]:
        """Utterances that have both features and an alignment of the same length."""
        return [utt for utt in self.feats.utterances if utt in self.alignments]

    def aligned_blocks(self) -> list[list[str]]:
        """The same in blocks."""
        blocks = ([utt for utt in block if utt in self.alignments] for block in self.feats.blocks())
        return [block for block in blocks if block]

    def frames_of(self, utts: list[str], feats_of: Callable[[str], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(features [frames, dim], transition ids [frames]) of a block."""
        return np.concatenate([feats_of(utt) for utt in utts]), np.concatenate([self.alignments[utt] for utt in utts])

    def realign(self, config: AlignConfig) -> Alignments:
        """Align everything anew; an utterance that fails has no alignment until the next time.

        Raises AlignmentError if too many fail.
        """
        result = align_utterances(self.tm, self.am, self.feats, self.graphs, self.lang, config, jobs=self.jobs)
        check_failures(self.where, result, config.max_failed)
        self.alignments = result.of
        failed = f", {len(result.failed)} failed ({', '.join(list(result.failed)[:3])})" if result.failed else ""
        per_frame = result.log_likelihood / max(result.frames, 1)
        self.say(f"aligned {len(result.of)} utterances, {per_frame:.4f} per frame, {result.retried} retried{failed}")
        return result

    def accumulate(self, *, stat_feats: Callable[[str], np.ndarray] | None = None) -> tuple[GmmStats, np.ndarray]:
        """(statistics, counts of transition ids [ids + 1]) over all aligned frames."""

        def one(utts: list[str]) -> tuple[GmmStats, np.ndarray]:
            feats, ids = self.frames_of(utts, self.feats.of)
            other = None if stat_feats is None else np.concatenate([stat_feats(utt) for utt in utts])
            counts = np.bincount(ids, minlength=self.tm.num_transition_ids + 1).astype(np.float64)
            return accumulate(self.am, feats, self.tm.id2pdf[ids], stat_feats=other), counts

        total = GmmStats.zeros(self.am.num_gauss, self.am.dim)
        counts = np.zeros(self.tm.num_transition_ids + 1)
        for stats, seen in map_threads(one, self.aligned_blocks(), self.jobs):
            total += stats
            counts += seen
        if total.frames == 0:
            raise AlignmentError(self.where, "no aligned frames", mend="check that alignments and features share ids")
        return total, counts

    def improve(
        self, iteration: int, target: int, split_config: SplitConfig, update_config: UpdateConfig | None = None
    ) -> None:
        """One pass of expectation and maximisation, then growth to `target` Gaussians."""
        stats, counts = self.accumulate()
        occupancies = pdf_occupancies(self.am, stats)
        self.tm = update_transitions(self.tm, counts)
        self.am = update(self.am, stats, update_config)
        if target > self.am.num_gauss:
            self.am = split(self.am, occupancies, target, rng_for(self.seed, "split", iteration), split_config)
        per_frame = stats.log_likelihood / stats.frames
        self.history.append(f"iteration {iteration}: {per_frame:.4f} per frame, {self.am.num_gauss} Gaussians")

    def speaker_transforms(
        self, config: FmllrConfig, *, model: AmDiagGmm | None = None
    ) -> tuple[dict[str, np.ndarray], float]:
        """(fMLLR transform of every speaker on the current features, gain per frame)."""
        weights = np.where(np.isin(self.tm.id2phone, self.lang.silence), config.silence_weight, 1.0)

        def one(item: tuple[str, list[str]]) -> tuple[np.ndarray, float, float]:
            utts = [utt for utt in item[1] if utt in self.alignments]
            if not utts:
                return estimate_fmllr(FmllrStats.zeros(self.am.dim), config)[0], 0.0, 0.0
            feats, ids = self.frames_of(utts, self.feats.of)
            stats = accumulate_fmllr(model or self.am, feats, self.tm.id2pdf[ids], weights[ids])
            transform, gain = estimate_fmllr(stats, config)
            return transform, gain, stats.beta

        speakers = list(self.feats.speakers().items())
        found = list(map_threads(one, speakers, self.jobs))
        frames = sum(beta for _, _, beta in found)
        gain = sum(gain * beta for _, gain, beta in found) / max(frames, 1.0)
        return {speaker: transform for (speaker, _), (transform, _, _) in zip(speakers, found, strict=True)}, gain


def align_utterances(
    tm: TransitionModel, am: AmDiagGmm, feats: SpeakerFeatures, graphs: dict[str, FstArrays], lang: Lang,
    config: AlignConfig, *, jobs: int = 1,
) -> Alignments:  # fmt: skip
    """Align all utterances with features; one without a graph counts as failed."""
    silence = tm.pdfs_of_phones(lang.optional_silence)
    aligner = Aligner(tm, boost_silence(am, silence, config.boost_silence), config)
    none = FstArrays.empty()
    result = align_set(aligner, feats.utterances, lambda utt: graphs.get(utt, none), feats.of, jobs=jobs)
    for utt in feats.missing:
        result.failed[utt] = "no features"
    return result


def check_lengths(trainer: Trainer) -> None:
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
