"""Scoring of decode directories: the sweep and files of Kaldi's score_kaldi_wer.sh, tuning on dev, errors by utterance.

Weight and penalty are tuned on a development set (tune) and used as they stand on the test set (score); score_kaldi
writes the sweep over the test set itself, as Kaldi's recipes print it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from am.aligned import NAME as ALIGNED
from am.aligned import Aligned, write_aligned
from am.bootci import kaldi_interval
from am.bootstrap import Errors
from am.breakdown import BreakdownConfig, breakdown, write_breakdown
from am.confusion import read_pronunciations
from am.hypotheses import Hypotheses, Setting, read_references, read_words, sweep_decode_dir
from am.wer import ErrorCounts, align_words, total
from am.wer_details import align_set, operations, per_speaker, per_utterance, text_lines, wer_file
from harness.atomic import write_whole
from harness.errors import DataDirError
from harness.log import get_logger
from kaldi_bridge.groups import groups_of
from kaldi_bridge.text_tables import read_text_table


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """The grid of language model weights and word insertion penalties."""

    min_lmwt: int = 7  # Kaldi's defaults
    max_lmwt: int = 17
    penalties: tuple[float, ...] = (0.0, 0.5, 1.0)
    widen: bool = True  # where the best stands at an edge, look further, up to the limits below
    lmwt_limits: tuple[int, int] = (1, 60)
    penalty_limits: tuple[float, float] = (-2.0, 4.0)

    def __post_init__(self) -> None:
        if not 0 < self.min_lmwt <= self.max_lmwt:
            raise ValueError(f"need 0 < min_lmwt <= max_lmwt, got {self.min_lmwt} and {self.max_lmwt}")
        low, high = self.lmwt_limits
        if not 0 < low <= high:  # costs are divided by the weight
            raise ValueError(f"lmwt_limits must be greater than 0 and rise, got {low} and {high}")
        if not self.penalties or list(self.penalties) != sorted(set(self.penalties)):
            raise ValueError(f"penalties must rise, got {self.penalties}")


@dataclass(frozen=True, kw_only=True)
class UtteranceErrors:
    """A row of per_utt.tsv."""

    utterance: str
    speaker: str
    counts: ErrorCounts
    hypothesis: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Score:
    """The errors of a decode directory at one setting."""

    lm_weight: float
    word_ins_penalty: float
    rows: tuple[UtteranceErrors, ...]
    missing: tuple[str, ...]  # utterances without a lattice, scored as empty

    @property
    def counts(self) -> ErrorCounts:
        return total(row.counts for row in self.rows)

    @property
    def wrong_sentences(self) -> int:
        """Utterances with an error."""
        return sum(row.counts.errors > 0 for row in self.rows)


def tune(
    decode_dir: str | Path, text: str | Path, words: str | Path, config: ScoreConfig | None = None
) -> tuple[int, float]:
    """The (language model weight, word insertion penalty) of least word error rate on a development set.

    text: data directory or text file; words: graph or lang directory, or words.txt.  Where the least stands at the edge
    of the grid, the grid grows (config.widen) and a warning says so.  Of equal settings the mildest is taken.
    """
    hypotheses = _widening_sweep(decode_dir, read_words(words), read_references(text), config or ScoreConfig())
    weight, penalty = best = hypotheses.mildest()
    line = hypotheses.counts(best).line()
    get_logger("am").info("%s: best at weight %s, penalty %s: %s", decode_dir, weight, penalty, line)
    return int(weight), penalty


def _widening_sweep(
    decode_dir: str | Path, words: Mapping[int, str], references: Mapping[str, tuple[str, ...]], config: ScoreConfig
) -> Hypotheses:
    low, high, penalties = config.min_lmwt, config.max_lmwt, config.penalties
    while True:
        weights = range(low, high + 1)
        hypotheses = sweep_decode_dir(decode_dir, words, references, lm_weights=weights, penalties=penalties)
        weight, penalty = hypotheses.mildest()
        wider = _wider(low, high, penalties, weight, penalty, config)
        if wider == (low, high, penalties):
            return hypotheses
        logger = get_logger("am")
        if not config.widen:
            logger.warning("%s: the best, %s and %s, stands at the grid's edge", decode_dir, weight, penalty)
            return hypotheses
        logger.warning(
            "%s: the best, weight %s and penalty %s, stands at the edge of %s..%s, %s: the grid grows",
            decode_dir, weight, penalty, low, high, penalties,
        )  # fmt: skip
        low, high, penalties = wider


def _wider(
    low: int, high: int, penalties: tuple[float, ...], weight: float, penalty: float, config: ScoreConfig
) -> tuple[int, int, tuple[float, ...]]:
    """The grid, grown on the side where the best stands at its edge and the limits allow."""
    step = 0.5
    if weight == low:
        low = max(config.lmwt_limits[0], low - 3) if low > config.lmwt_limits[0] else low
    if weight == high:
        high = min(config.lmwt_limits[1], high + 8) if high < config.lmwt_limits[1] else high
    if penalty == penalties[-1] and penalty + step <= config.penalty_limits[1]:
        penalties = (*penalties, penalty + step)
    if penalty == penalties[0] and penalty - step >= config.penalty_limits[0]:
        penalties = (penalty - step, *penalties)
    return low, high, penalties


def score(
    decode_dir: str | Path,
    data_dir: str | Path,
    words: str | Path,
    lm_weight: float,
    word_ins_penalty: float,
    lexicon: str | Path | None = None,
) -> Score:
    """Errors of each utterance at one setting; writes per_utt.tsv, aligned.tsv, breakdown.json and score.json.

    data_dir: with text and utt2spk; its other tables are what errors are broken down by.  lexicon: for confusions of
    phones; without one the graph's own (phones/align_lexicon.txt) is taken where it has one.  Utterances without a
    lattice are scored as empty, listed and counted.
    """
    decode_dir, data_dir = Path(decode_dir), Path(data_dir)
    setting = (lm_weight, float(word_ins_penalty))
    references = read_references(data_dir)
    hypotheses = sweep_decode_dir(
        decode_dir, read_words(words), references, lm_weights=[lm_weight], penalties=[setting[1]]
    )
    result = _score_of(hypotheses, setting, _speakers(data_dir, hypotheses, setting))
    _warn_missing(decode_dir, result.missing, len(result.rows))
    _write_breakdown(decode_dir, result, references, data_dir, _lexicon_of(words, lexicon))
    write_score(decode_dir, result)
    return result


def _lexicon_of(words: str | Path, lexicon: str | Path | None) -> Path | None:
    if lexicon is not None:
        return Path(lexicon)
    graph = Path(words) if Path(words).is_dir() else Path(words).parent
    own = graph / "phones" / "align_lexicon.txt"
    return own if own.is_file() else None


def _write_breakdown(
    decode_dir: Path, result: Score, references: Mapping[str, tuple[str, ...]], data_dir: Path, lexicon: Path | None
) -> None:
    aligned = Aligned(
        pairs={row.utterance: tuple(align_words(references[row.utterance], row.hypothesis)) for row in result.rows},
        speakers={row.utterance: row.speaker for row in result.rows},
        groups=groups_of(data_dir),
    )
    rows = {row.utterance: (row.speaker, row.counts) for row in result.rows}
    pronunciations = read_pronunciations(lexicon) if lexicon else None
    write_aligned(decode_dir / ALIGNED, aligned)
    write_breakdown(decode_dir, breakdown(rows, aligned, pronunciations, BreakdownConfig()))


def _score_of(hypotheses: Hypotheses, setting: Setting, utt2spk: Mapping[str, str]) -> Score:
    rows = tuple(
        UtteranceErrors(
            utterance=utterance, speaker=utt2spk[utterance], counts=counts,
            hypothesis=hypotheses.words[setting][utterance],
        )
        for utterance, counts in hypotheses.errors[setting].items()
    )  # fmt: skip
    return Score(lm_weight=setting[0], word_ins_penalty=setting[1], rows=rows, missing=hypotheses.missing)


def _speakers(data_dir: Path, hypotheses: Hypotheses, setting: Setting) -> dict[str, str]:
    utt2spk = read_text_table(data_dir / "utt2spk")
    without = [utterance for utterance in hypotheses.errors[setting] if utterance not in utt2spk]
    if without:
        problem = f"{len(without)} utterances have no speaker (first: {without[0]})"
        raise DataDirError(data_dir / "utt2spk", problem, mend="validate the data directory")
    return utt2spk


def _warn_missing(decode_dir: Path, missing: tuple[str, ...], utterances: int) -> None:
    if missing:
        get_logger("am").warning(
            "%s: %d of %d utterances have no lattice and count as all deleted (first: %s)",
            decode_dir, len(missing), utterances, missing[0],
        )  # fmt: skip


def write_score(decode_dir: Path, result: Score) -> None:
    """per_utt.tsv (a row an utterance) and score.json (setting and sums)."""
    with write_whole(decode_dir / "per_utt.tsv") as stream:
        stream.write("utterance\tspeaker\twords\tins\tdel\tsub\thypothesis\n")
        for row in result.rows:
            c = row.counts
            counts = f"{c.words}\t{c.insertions}\t{c.deletions}\t{c.substitutions}"
            stream.write(f"{row.utterance}\t{row.speaker}\t{counts}\t{' '.join(row.hypothesis)}\n")
    c = result.counts
    summary = {
        "lm_weight": result.lm_weight, "word_ins_penalty": result.word_ins_penalty, "wer": round(c.percent, 4),
        "words": c.words, "ins": c.insertions, "del": c.deletions, "sub": c.substitutions,
        "utterances": len(result.rows), "wrong_sentences": result.wrong_sentences, "missing": list(result.missing),
    }  # fmt: skip
    with write_whole(decode_dir / "score.json") as stream:
        stream.write(json.dumps(summary, indent=2) + "\n")


def read_setting(decode_dir: Path) -> Setting:
    """Language model weight and penalty of a scored decode directory, from its score.json."""
    path = decode_dir / "score.json"
    try:
        tuned = json.loads(path.read_text(encoding="utf-8"))
        return float(tuned["lm_weight"]), float(tuned["word_ins_penalty"])
    except FileNotFoundError as missing:
        raise DataDirError(path, "no such file", mend="run 'am score' first") from missing
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataDirError(path, f"is damaged ({error})", mend="run 'am score' again") from error


def read_errors(path: str | Path) -> Errors:
    """The errors by utterance of a per_utt.tsv (or its directory), for intervals and comparisons."""
    path = Path(path)
    path = path / "per_utt.tsv" if path.is_dir() else path
    mend = "make it with am score"
    if not path.is_file():
        raise DataDirError(path, "there are no scored utterances here", mend=mend)
    rows = {}
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise DataDirError(path, "is not UTF-8", mend=mend) from None
    for line_number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != 7 or not all(field.isdecimal() for field in fields[2:6]):
            raise DataDirError(f"{path}:{line_number}", "is no row of scored utterances", mend=mend)
        rows[fields[0]] = (fields[1], int(fields[2]), sum(map(int, fields[3:6])))
    return Errors.of(rows)


def score_kaldi(
    decode_dir: str | Path, data_dir: str | Path, words: str | Path, config: ScoreConfig | None = None
) -> tuple[Setting, ErrorCounts]:
    """Kaldi's scoring directory, tuned on the set itself: wer_LMWT_WIP, scoring_kaldi/{best_wer,penalty_*,wer_details}.

    The files equal those of steps/scoring/score_kaldi_wer.sh but for utterances without a lattice, which Kaldi leaves
    out and we count as deleted.
    """
    decode_dir, data_dir, config = Path(decode_dir), Path(data_dir), config or ScoreConfig(widen=False)
    references = read_references(data_dir)
    hypotheses = _widening_sweep(decode_dir, read_words(words), references, config)
    _warn_missing(decode_dir, hypotheses.missing, len(references))
    folder = decode_dir / "scoring_kaldi"
    filtered = folder / "test_filt.txt"
    _write(filtered, "".join(f"{utterance} {' '.join(text)}\n" for utterance, text in references.items()))
    command = f"compute-wer --text --mode=present ark:{filtered} ark,p:- "
    for weight, penalty in hypotheses.settings:
        setting = (weight, penalty)
        _write(folder / f"penalty_{penalty}" / f"{weight}.txt", text_lines(hypotheses.words[setting]))
        wrong = sum(counts.errors > 0 for counts in hypotheses.errors[setting].values())
        text = wer_file(command, hypotheses.counts(setting), wrong, len(references))
        _write(decode_dir / f"wer_{weight}_{penalty}", text)
    best = hypotheses.best()
    name = decode_dir / f"wer_{best[0]}_{best[1]}"
    _write(folder / "best_wer", f"{hypotheses.counts(best).line()} {name}\n")
    _write_details(folder / "wer_details", hypotheses, best, references, data_dir)
    return best, hypotheses.counts(best)


def _write_details(
    folder: Path, hypotheses: Hypotheses, best: Setting, references: Mapping[str, tuple[str, ...]], data_dir: Path
) -> None:
    utt2spk = _speakers(data_dir, hypotheses, best)
    alignments = align_set(references, hypotheses.words[best])
    _write(folder / "lmwt", f"{best[0]}\n")
    _write(folder / "wip", f"{best[1]}\n")
    _write(folder / "per_utt", per_utterance(alignments))
    _write(folder / "per_spk", per_speaker(alignments, utt2spk))
    _write(folder / "ops", operations(alignments))
    counts = hypotheses.errors[best]
    errors = Errors.of({name: (utt2spk[name], one.words, one.errors) for name, one in counts.items()})
    _write(folder / "wer_bootci", kaldi_interval(errors).line("Set1") + "\n")


def _write(path: Path, text: str) -> None:
    with write_whole(path) as stream:
        stream.write(text)
