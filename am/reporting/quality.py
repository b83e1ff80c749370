"""Quality of the speech beside its recognition: means by condition, and what better quality did to the word errors.

Reads scores.csv and summary.csv of ``exp/score/<condition>``, which ``enhance score`` writes; columns that are not
known here are shown by their names.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from am.reporting.findings import Findings
from am.results import TESTS

NO_METRIC = {"utterance", "speaker", "snr", "noise", "age", "gender", "grade", "problem"}


@dataclass(frozen=True)
class Metric:
    column: str
    label: str
    up: bool = True  # higher is better


METRICS = {
    metric.column: metric
    for metric in (
        Metric("pesq", "PESQ (wide band)"), Metric("pesq_wb", "PESQ (wide band)"),
        Metric("pesq_nb", "PESQ (narrow band)"), Metric("stoi", "STOI"), Metric("estoi", "extended STOI"),
        Metric("si_sdr", "SI-SDR, dB"), Metric("ssnr", "segmental SNR, dB"), Metric("csig", "CSIG"),
        Metric("cbak", "CBAK"), Metric("covl", "COVL"), Metric("llr", "LLR", False), Metric("wss", "WSS", False),
        Metric("lsd", "log-spectral distance, dB", False), Metric("log_mel", "log-mel error, nepers", False),
        Metric("dnsmos_sig", "DNSMOS SIG"), Metric("dnsmos_bak", "DNSMOS BAK"), Metric("dnsmos_ovrl", "DNSMOS OVRL"),
        Metric("dnsmos_p808", "DNSMOS P.808"),
    )
}  # fmt: skip
SCATTERED = (("pesq", "pesq_wb"), ("stoi",), ("si_sdr",), ("log_mel",))  # one picture each, of the first that is there


Rows = Mapping[str, Mapping[str, float]]  # utterance -> metric -> value
Mean = tuple[float, ...]  # the mean, and its interval where there is one


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What ``enhance score`` found.  rows and means: of each test condition that was scored."""

    metrics: tuple[Metric, ...]
    rows: Mapping[str, Rows]
    means: Mapping[str, Mapping[str, Mean]]


def read_scores(work: Path) -> Scores | None:
    """None where nothing was scored."""
    rows: dict[str, Rows] = {}
    means: dict[str, Mapping[str, Mean]] = {}
    better: dict[str, bool] = {}
    for test in TESTS:
        folder = work / "exp" / "score" / test
        if found := _read_rows(folder / "scores.csv"):
            directions, intervals = _read_summary(folder / "summary.json")
            better |= directions
            columns = dict.fromkeys(name for row in found.values() for name in row)
            rows[test] = found
            means[test] = {name: _mean(found, name) for name in columns} | intervals
    names = {name for of_test in rows.values() for row in of_test.values() for name in row}
    if better:  # the summaries say which columns are metrics
        names &= better.keys()
    others = [Metric(name, name, better.get(name, True)) for name in sorted(names - METRICS.keys())]
    metrics = [METRICS[name] for name in METRICS if name in names] + others
    return Scores(metrics=tuple(metrics), rows=rows, means=means) if metrics else None


def _read_rows(path: Path) -> dict[str, dict[str, float]]:
    """Of a scores.csv; values that are missing or no number are left out."""
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8", errors="replace", newline="") as stream:
        table = list(csv.DictReader(stream))
    found = {}
    for row in table:
        values = {name: _float(text) for name, text in row.items() if name and name not in NO_METRIC}
        found[row.get("utterance", "")] = {name: value for name, value in values.items() if value is not None}
    return found


def _float(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _read_summary(path: Path) -> tuple[dict[str, bool], dict[str, Mean]]:
    """(whether higher is better, mean with interval) of the metrics of a summary.json; none where it does not say."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        everything = next(group["metrics"] for group in content["groups"] if group["by"] == "all")
        means: dict[str, Mean] = {  # a single speaker has no interval, a metric without a value no mean
            name: (found["mean"],) if found["low"] is None else (found["mean"], found["low"], found["high"])
            for name, found in everything.items()
            if found["mean"] is not None
        }
        return {name: metric["better"] == "higher" for name, metric in content["metrics"].items()}, means
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return {}, {}


def _mean(rows: Rows, column: str) -> Mean:
    return (float(np.mean([row[column] for row in rows.values() if column in row])),)


@dataclass(frozen=True)
class Change:
    """What enhancement did to an utterance: to a metric (as measured, whichever way is better) and to its errors."""

    utterance: str
    quality: float
    errors: int


def changes(scores: Scores, findings: Findings, column: str) -> list[Change]:
    """Of the main system, noisy -> enhanced, utterances that have the metric on both sides."""
    before, after = findings.errors(findings.main, "noisy"), findings.errors(findings.main, "enhanced")
    noisy, enhanced = scores.rows.get("noisy", {}), scores.rows.get("enhanced", {})
    if before is None or after is None or before.utterances != after.utterances:
        return []
    rows = zip(before.utterances, before.errors, after.errors, strict=True)
    return [
        Change(utt, enhanced[utt][column] - noisy[utt][column], int(new - old))
        for utt, old, new in rows
        if column in noisy.get(utt, {}) and column in enhanced.get(utt, {})
    ]


def rank_correlation(metric: Metric, rows: Sequence[Change]) -> float | None:
    """Spearman's, of gain in quality with gain in recognition: 1 if they go together; None where one does not vary."""
    from scipy.stats import rankdata

    quality = rankdata([row.quality if metric.up else -row.quality for row in rows])
    gain = rankdata([-row.errors for row in rows])
    if len(rows) < 3 or np.ptp(quality) == 0 or np.ptp(gain) == 0:
        return None
    return float(np.corrcoef(quality, gain)[0, 1])


def summary_rows(work: Path) -> tuple[list[str], list[list[str]]]:
    """(head, rows) of every summary.csv, the condition before each row; no rows where there is none."""
    head: list[str] = []
    body = []
    for condition, name in TESTS.items():
        path = work / "exp" / "score" / condition / "summary.csv"
        if path.is_file():
            with open(path, encoding="utf-8", errors="replace", newline="") as stream:
                first, *rows = list(csv.reader(stream)) or [[]]
            if not head or first == head:  # of another version: it would stand under wrong names
                head = first
                body += [[name, *row] for row in rows]
    return ["condition", *head], body
