"""The no-harm gate: what an enhancer may do to speech that was clean already, and whether it kept to that.

Clean speech goes through the enhancer; its output is compared with its input.  The output must be in step (rate,
length, delay), the means of stated metrics must keep stated limits, few utterances may be harmed much, and, where
both were recognised, the word error rate may rise by so much and no more.  Each mean has its bootstrap interval over
speakers; `certain` asks that the whole interval keeps the limit, not the mean alone.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from enhance.in_step import Step, steps_of
from enhance.metrics import METRICS
from enhance.metrics.recordings import open_recordings
from enhance.verdict import Check, shown
from harness.bootstrap import REPLICAS, Interval, block_numbers, block_sums, draw_sums, mean_intervals, percentiles
from harness.errors import ConfigError, DataDirError

WORST = 5  # utterances that are named


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """Limits of metrics are of the side that is worse: at least so much PESQ, at most so much log-mel error.

    The figures are a choice that leaves the shipped model room: it keeps 4.56 and 28 dB on children reading
    (speechocean762); the harm of 3 and 5 dB is heard.
    """

    mean: dict[str, float] = field(default_factory=lambda: {"pesq": 4.3, "si_sdr": 20.0})  # of all utterances
    harm: dict[str, float] = field(default_factory=lambda: {"pesq": 3.0, "si_sdr": 5.0})  # beyond it one is harmed
    max_harmed: float = 0.02  # share of utterances that may be harmed, by each metric
    max_unscored: float = 0.05  # share of utterances without a value, by each metric
    max_delay: int = 0  # samples that an output may lag or lead
    max_wer_rise: float = 1.0  # per cent absolute
    certain: bool = False  # the worse end of a 95 % interval, too, must keep the limit

    def __post_init__(self) -> None:
        for name in sorted({*self.mean, *self.harm} - METRICS.keys()):
            raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
        for name in ("max_harmed", "max_unscored"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.max_delay < 0:
            raise ValueError(f"max_delay must not be negative, got {self.max_delay}")


def sound_checks(
    reference: str | os.PathLike[str], estimate: str | os.PathLike[str], scores: str | os.PathLike[str],
    limits: GateLimits, *, jobs: int | None = None,
) -> list[Check]:  # fmt: skip
    """Checks of the sound.  reference: recordings of clean speech; estimate: the same through the enhancer; scores:
    their scores.csv.  Raises DataDirError, and ConfigError for metrics that were not scored.
    """
    wanted, values = open_recordings(reference).utt2spk.keys(), read_scores(scores)
    if others := sorted(wanted ^ values[0].keys()):
        problem = f"does not have the utterances of {reference} (first: {others[0]})"
        raise DataDirError(scores, problem, mend="score the two again: python -m enhance score")
    missing = sorted(wanted - open_recordings(estimate).utt2spk.keys())
    checks = [_none("missing utterances", missing, ["missing"] * len(missing))]
    checks += step_checks(list(steps_of(reference, estimate, jobs=jobs)), limits.max_delay)
    return checks + score_checks(*values, limits)


def step_checks(steps: Sequence[Step], max_delay: int = 0) -> list[Check]:
    """No utterance may have another rate or length; the longest delay must keep its limit; all must be readable."""
    rates = [step for step in steps if step.rates[0] != step.rates[1]]
    longer = {step.utterance: step.longer for step in steps if step.longer}
    delays = {step.utterance: step.delay for step in steps if step.delay is not None}
    lengths, late = _by_size(longer), [name for name in _by_size(delays) if abs(delays[name]) > max_delay]
    problems = {step.utterance: step.problem for step in steps if step.problem}
    longest = max(map(abs, delays.values()), default=None)
    return [
        _none("unreadable, or silent output", list(problems), list(problems.values())),
        _none(
            "another sample rate", [step.utterance for step in rates],
            [f"{step.rates[1]} Hz for {step.rates[0]} Hz" for step in rates],
        ),
        _none("another length", lengths, [f"{longer[name]:+d} samples" for name in lengths]),
        Check(
            name="longest delay", unit="samples", limit=max_delay, at_least=False, value=longest,
            kept=longest is not None and not late,
            worst=tuple((name, f"{delays[name]:+d} samples") for name in late[:WORST]),
        ),
    ]  # fmt: skip


def _by_size(values: Mapping[str, int]) -> list[str]:
    """Names, the largest value of either sign first."""
    return sorted(values, key=lambda name: (-abs(values[name]), name))


def _none(name: str, utterances: Sequence[str], facts: Sequence[str]) -> Check:
    """A limit that no utterance may break."""
    worst = tuple(zip(utterances, facts, strict=True))[:WORST]
    return Check(
        name=name, unit="utterances", limit=0, at_least=False, value=len(utterances), kept=not utterances, worst=worst
    )


def read_scores(path: str | os.PathLike[str]) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """({utterance: {metric: value}}, {utterance: speaker}) of a scores.csv, or of the directory that holds it.

    NaN where there is no value.  Raises DataDirError where it is missing or damaged.
    """
    file = Path(path) / "scores.csv" if Path(path).is_dir() else Path(path)
    mend = "make it with: python -m enhance score"
    try:
        with open(file, encoding="utf-8", newline="") as stream:
            rows = {row["utterance"]: row for row in csv.DictReader(stream)}
        scores = {
            name: {metric: float(row[metric] or math.nan) for metric in METRICS if metric in row}
            for name, row in rows.items()
        }
    except OSError as error:
        raise DataDirError(file, "cannot be read", mend=mend) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataDirError(file, f"is no table of scores ({error})", mend=mend) from error
    if not scores:
        raise DataDirError(file, "holds no scored utterance", mend=mend)
    return scores, {name: row.get("speaker") or name for name, row in rows.items()}


def score_checks(
    scores: Mapping[str, Mapping[str, float]], utt2spk: Mapping[str, str], limits: GateLimits
) -> list[Check]:
    """Of each metric that has a limit: its mean, the share of harmed utterances, and of those without a value."""
    checks = []
    for metric in [name for name in METRICS if name in {*limits.mean, *limits.harm}]:
        if not all(metric in row for row in scores.values()):
            mend = f"score with --metrics {metric}, or take its limit away"
            raise ConfigError("gate", f"{metric} has a limit and was not scored", mend=mend)
        values = {utterance: row[metric] for utterance, row in scores.items()}
        checks += _metric_checks(metric, values, utt2spk, limits)
    return checks


def _metric_checks(
    metric: str, values: Mapping[str, float], utt2spk: Mapping[str, str], limits: GateLimits
) -> list[Check]:
    higher, unit = METRICS[metric].better == "higher", METRICS[metric].unit
    known = {utterance: value for utterance, value in values.items() if not math.isnan(value)}
    ordered = sorted(known, key=lambda utterance: known[utterance] if higher else -known[utterance])
    worst = tuple((utterance, shown(known[utterance], unit)) for utterance in ordered[:WORST])
    checks = []
    if metric in limits.mean:
        mean = _mean(list(known), list(known.values()), utt2spk)
        checks.append(_check(f"mean {metric}", unit, limits.mean[metric], higher, mean, worst, limits.certain))
    if metric in limits.harm:
        bound = limits.harm[metric]
        harmed = [100.0 * (known[name] < bound if higher else known[name] > bound) for name in known]
        text = f"harmed ({metric} {'below' if higher else 'above'} {shown(bound, unit)})"
        share = _mean(list(known), harmed, utt2spk)
        checks.append(_check(text, "%", 100 * limits.max_harmed, False, share, worst, limits.certain))
    lacking = [utterance for utterance in values if utterance not in known]
    share_lacking = 100.0 * len(lacking) / len(values)
    checks.append(Check(
        name=f"without {metric}", unit="%", limit=100 * limits.max_unscored, at_least=False, value=share_lacking,
        kept=share_lacking <= 100 * limits.max_unscored,
        worst=tuple((utterance, "no value") for utterance in lacking[:WORST]),
    ))  # fmt: skip
    return checks


def _mean(utterances: Sequence[str], values: Sequence[float], utt2spk: Mapping[str, str]) -> Interval | None:
    """Mean over utterances, speakers drawn for its interval; None where there is no value."""
    if not utterances:
        return None
    blocks = block_numbers([utt2spk[utterance] for utterance in utterances])
    return mean_intervals(block_sums(blocks, values)[:, None], np.bincount(blocks))[0]


def _check(
    name: str, unit: str, limit: float, at_least: bool, found: Interval | None,
    worst: tuple[tuple[str, str], ...], certain: bool,
) -> Check:  # fmt: skip
    if found is None:
        return Check(name=name, unit=unit, limit=limit, at_least=at_least, value=None, kept=False)
    deciding = found.value if not certain else found.low if at_least else found.high
    kept = deciding >= limit if at_least else deciding <= limit
    return Check(
        name=name, unit=unit, limit=limit, at_least=at_least, value=found.value, low=found.low, high=found.high,
        kept=kept, worst=worst,
    )  # fmt: skip


def wer_check(before: str | os.PathLike[str], after: str | os.PathLike[str], limits: GateLimits) -> Check:
    """Rise of the word error rate.  before, after: scored decodings of clean speech and of the same, enhanced.

    Raises DataDirError where one is missing, damaged, or of other utterances or references.
    """
    first, second = read_word_errors(before), read_word_errors(after)
    mend = "decode and score both with the same references"
    for utterance in sorted({*first, *second}):
        if first.get(utterance, ("", 0))[:2] != second.get(utterance, ("", 0))[:2]:
            problem = f"utterance {utterance} is missing or has other words than in {before}"
            raise DataDirError(after, problem, mend=mend)
    names = sorted(first)
    blocks = block_numbers([first[name][0] for name in names])
    words = [first[name][1] for name in names]
    change = {name: second[name][2] - first[name][2] for name in names}
    sums = np.column_stack([block_sums(blocks, words), block_sums(blocks, list(change.values()))])
    drawn = draw_sums(sums, REPLICAS, 0)
    low, high = percentiles(100 * drawn[:, 1] / np.maximum(drawn[:, 0], 1), 0.95)
    found = Interval(value=100 * sum(change.values()) / sum(words), low=low, high=high, blocks=int(blocks.max()) + 1)
    worst = sorted((name for name in names if change[name] > 0), key=lambda name: -change[name])[:WORST]
    named = tuple((name, f"{change[name]:+d} errors") for name in worst)
    return _check("rise of the WER", "% absolute", limits.max_wer_rise, False, found, named, limits.certain)


def read_word_errors(path: str | os.PathLike[str]) -> dict[str, tuple[str, int, int]]:
    """{utterance: (speaker, words, errors)} of the per_utt.tsv that `am score` writes, or of its directory."""
    file = Path(path) / "per_utt.tsv" if Path(path).is_dir() else Path(path)
    mend = "make it with: python -m am score"
    try:
        with open(file, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
        found = {
            row["utterance"]: (row["speaker"], int(row["words"]), sum(int(row[kind]) for kind in ("ins", "del", "sub")))
            for row in rows
        }
    except OSError as error:
        raise DataDirError(file, "cannot be read", mend=mend) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataDirError(file, f"is no table of scored utterances ({error})", mend=mend) from error
    if not sum(words for _, words, _ in found.values()):
        raise DataDirError(file, "holds no words", mend=mend)
    return found
