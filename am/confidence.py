"""Are a decoding's word confidences true?  Calibration table and normalised cross entropy of a decode directory.

A word's confidence is its posterior in the lattice at the weight and penalty of the transcript (hmm/confidence.py).
NCE is NIST's measure (Rich Transcription evaluations): how much of the uncertainty about which words are right the
confidences take away; 1 at best, 0 for a constant that says the share of right words, negative where they mislead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from am.hypotheses import read_references, read_words
from am.score import read_setting
from am.wer import GAP, align_words
from harness.atomic import write_whole
from harness.errors import DataDirError, DecodeError
from hmm.confidence import word_confidences
from hmm.lattice import best_path
from kaldi_bridge.lattices import read_decode_dir

EDGE = 1e-7  # no confidence counts as surer than this from 0 or 1: a single wrong certainty would cost all


@dataclass(frozen=True, kw_only=True)
class ConfidenceConfig:
    bins: int = 10  # of equal width, of the calibration table

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"bins must be at least 1, got {self.bins}")


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word that was recognised."""

    utterance: str
    word: str
    confidence: float
    correct: bool


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Words with confidences from low to high (the last bin holds 1): how many were right, and how sure they were."""

    low: float
    high: float
    words: int
    correct: int
    mean: float  # of the confidences; 0 where there is no word


def judge_confidences(decode_dir: str | Path, data_dir: str | Path, words: str | Path) -> list[Word]:
    """Every recognised word of a scored decode directory, at the setting of its score.json, against the transcripts.

    Utterances without a lattice have no words.  Raises DataDirError where score.json or a transcript is missing.
    """
    decode_dir = Path(decode_dir)
    weight, penalty = read_setting(decode_dir)
    symbols, references = read_words(words), read_references(data_dir)
    judged: list[Word] = []
    for utterance, lattice in read_decode_dir(decode_dir):
        if utterance not in references:
            problem = f"utterance {utterance} has no transcript"
            raise DataDirError(decode_dir, problem, mend="give the data directory that was decoded")
        if not (lattice.num_states and np.isfinite(lattice.final_graph).any()):
            continue  # reaches no end: scored as empty
        ids = best_path(lattice, weight, penalty, utterance=utterance).words.tolist()
        sure = word_confidences(lattice, ids, lm_weight=weight, word_ins_penalty=penalty, utterance=utterance)
        if strange := sorted(set(ids) - symbols.keys()):
            problem = f"the lattice holds word {strange[0]}, which words.txt lacks"
            raise DecodeError(utterance, problem, mend="give the graph that was decoded")
        spoken = [symbols[number] for number in ids]
        right = [one == other for one, other in align_words(references[utterance], spoken) if other != GAP]
        judged += [
            Word(utterance=utterance, word=word, confidence=float(confidence), correct=correct)
            for word, confidence, correct in zip(spoken, sure, right, strict=True)
        ]
    return judged


def normalised_cross_entropy(words: Sequence[Word]) -> float | None:
    """NCE = (H + sum log2 (p of a right word, 1 - p of a wrong one)) / H; None where H = 0: all or no words right."""
    right = sum(word.correct for word in words)
    wrong = len(words) - right
    if not right or not wrong:
        return None
    share = right / len(words)
    entropy = -right * math.log2(share) - wrong * math.log2(1 - share)
    gained = 0.0
    for word in words:
        p = min(max(word.confidence, EDGE), 1 - EDGE)
        gained += math.log2(p if word.correct else 1 - p)
    return (entropy + gained) / entropy


def calibration(words: Sequence[Word], bins: int) -> list[Bin]:
    """Words by confidence, in bins of equal width from 0 to 1."""
    chosen: list[list[Word]] = [[] for _ in range(bins)]
    for word in words:
        chosen[min(int(word.confidence * bins), bins - 1)].append(word)
    return [
        Bin(
            low=n / bins, high=(n + 1) / bins, words=len(part), correct=sum(word.correct for word in part),
            mean=sum(word.confidence for word in part) / len(part) if part else 0.0,
        )
        for n, part in enumerate(chosen)
    ]  # fmt: skip


def summary(words: Sequence[Word], config: ConfidenceConfig) -> dict[str, Any]:
    """The content of confidence.json; calibration_error is the mean gap between confidence and truth over the words."""
    table = calibration(words, config.bins)
    nce = normalised_cross_entropy(words)
    gap = sum(abs(one.mean * one.words - one.correct) for one in table) / len(words) if words else None
    return {
        "version": 1, "words": len(words), "correct": sum(word.correct for word in words),
        "nce": None if nce is None else round(nce, 6), "calibration_error": None if gap is None else round(gap, 6),
        "bins": [asdict(one) | {"mean": round(one.mean, 6)} for one in table],
    }  # fmt: skip


def write_confidences(decode_dir: Path, words: Sequence[Word], content: dict[str, Any]) -> None:
    """confidence.json and confidences.tsv (a row a word) in the decode directory."""
    with write_whole(decode_dir / "confidences.tsv") as stream:
        stream.write("utterance\tword\tconfidence\tcorrect\n")
        for word in words:
            stream.write(f"{word.utterance}\t{word.word}\t{word.confidence:.4f}\t{int(word.correct)}\n")
    with write_whole(decode_dir / "confidence.json") as stream:
        stream.write(json.dumps(content, indent=1) + "\n")
