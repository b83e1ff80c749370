"""Systems compared on the same utterances: mean scores, each difference, and how often chance alone goes so far.

The differences are paired, utterance by utterance, and bootstrapped over speakers.  With many metrics and systems some
difference seems significant by chance: beside each p-value stands that of Holm 1979, which holds for all of them
together.  Of fewer than FEW speakers there is no p-value, of one no interval either: too few to tell, as where word
errors are compared.  An utterance that any system lacks, or that failed in any, is left out of all, and said so with
numbers.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from enhance.metrics import METRICS
from harness.atomic import write_whole
from harness.bootstrap import (
    FEW,
    REPLICAS,
    Interval,
    block_numbers,
    block_sums,
    draw_sums,
    mean_intervals,
    percentiles,
    two_sided_p,
)
from harness.errors import ConfigError, DataDirError
from harness.log import get_logger
from kaldi_bridge.groups import DIMENSIONS

NOT_METRICS = {"utterance", "speaker", "problem", *DIMENSIONS}
COLUMNS = ("metric", "first", "second", "difference", "low", "high", "p_value", "p_holm", "verdict")
TOO_FEW = "too few to tell"


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Mean of the second system less that of the first, in the metric's unit; None where the speakers are too few."""

    metric: str
    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None  # adjusted for all differences of the comparison

    @property
    def verdict(self) -> str:
        """Which system is better at 5 % after Holm, or that no difference is shown; "higher" of a foreign metric."""
        if self.p_holm is None:
            return TOO_FEW
        if self.p_holm >= 0.05 or self.difference == 0:
            return "no difference shown"
        if self.metric not in METRICS:
            return f"{self.second if self.difference > 0 else self.first} is higher"
        second_wins = (self.difference > 0) == (METRICS[self.metric].better == "higher")
        return f"{self.second if second_wins else self.first} is better"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """utterances: compared.  missing: {system: utterances of the others that it lacks}; failed: {system: without a
    score}; means: {metric: {system: mean}}."""

    utterances: int
    speakers: int
    missing: Mapping[str, int]
    failed: Mapping[str, int]
    means: Mapping[str, Mapping[str, Interval]]
    differences: Sequence[PairedDifference]


def compare_systems(
    tables: Mapping[str, str | os.PathLike[str]], metrics: Sequence[str] = (), *, replicas: int = REPLICAS,
    seed: int = 0,
) -> Comparison:  # fmt: skip
    """Compare the scores.csv of two systems or more.

    metrics: which columns; none: all that every system has.  Raises ConfigError where there is nothing to compare,
    DataDirError for a damaged table or one utterance with two speakers.
    """
    if len(tables) < 2:
        raise ConfigError("compare", f"needs two systems, got {len(tables)}", mend="give NAME=scores.csv for each")
    scores = {name: _read(path) for name, path in tables.items()}
    names = _metrics(scores, metrics)
    failed = {name: sum(bool(row["problem"]) for row in rows.values()) for name, rows in scores.items()}
    union = set().union(*scores.values())
    missing = {name: len(union - set(rows)) for name, rows in scores.items()}
    usable = [
        {u for u, row in rows.items() if all(row[m] for m in names) and not row["problem"]} for rows in scores.values()
    ]
    common = sorted(set.intersection(*usable))
    _say(len(common), union, missing, failed)
    speakers = _speakers(scores, common)
    blocks = block_numbers(speakers)
    counts = block_sums(blocks, np.ones(len(common)))
    values = {name: _numbers(tables[name], [rows[u] for u in common], names) for name, rows in scores.items()}
    sums = {name: np.column_stack([block_sums(blocks, column) for column in table.T]) for name, table in values.items()}
    means: dict[str, dict[str, Interval]] = {metric: {} for metric in names}
    for name, table in sums.items():
        for metric, found in zip(names, mean_intervals(table, counts, replicas=replicas, seed=seed), strict=True):
            means[metric][name] = found
    return Comparison(
        utterances=len(common), speakers=len(counts), missing=missing, failed=failed, means=means,
        differences=_differences(sums, counts, names, replicas, seed),
    )  # fmt: skip


def _read(path: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """{utterance: row} of a scores.csv.  Raises DataDirError where it is none."""
    rows: dict[str, dict[str, str]] = {}
    mend = "give the scores.csv that 'enhance score' wrote"
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if reader.fieldnames is None or not {"utterance", "problem"} <= set(reader.fieldnames):
                raise DataDirError(path, "has no columns 'utterance' and 'problem'", mend=mend)
            for row in reader:
                if None in row.values() or None in row:
                    raise DataDirError(
                        f"{path}:{reader.line_num}", "the line has other columns than the first", mend=mend
                    )
                if row["utterance"] in rows:
                    raise DataDirError(f"{path}:{reader.line_num}", f"{row['utterance']} comes twice", mend=mend)
                rows[row["utterance"]] = row
    except FileNotFoundError as error:
        raise DataDirError(path, "no such file", mend=mend) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataDirError(path, f"is no table of scores ({error})", mend=mend) from error
    if not rows:
        raise DataDirError(path, "holds no scores", mend=mend)
    return rows


def _metrics(scores: Mapping[str, Mapping[str, Mapping[str, str]]], wanted: Sequence[str]) -> list[str]:
    """The columns to compare: those wanted, or all that every system has with a value in some row."""
    filled = {name: _filled(rows.values()) for name, rows in scores.items()}
    first = next(iter(filled.values()))
    shared = [metric for metric in first if all(metric in own for own in filled.values())]
    for metric in wanted:
        if metric not in shared:
            lacking = next(name for name, own in filled.items() if metric not in own)
            raise ConfigError(metric, f"is not among the scores of {lacking}", mend=f"choose from {', '.join(shared)}")
    if not shared:
        raise ConfigError("compare", "the systems share no metric", mend="score them with the same --metrics")
    return list(wanted) or shared


def _filled(rows: Collection[Mapping[str, str]]) -> list[str]:
    """The columns of metrics that hold a value in some row."""
    columns = [key for key in next(iter(rows)) if key not in NOT_METRICS]
    return [key for key in columns if any(row[key] for row in rows)]


def _numbers(path: str | os.PathLike[str], rows: Sequence[Mapping[str, str]], metrics: Sequence[str]) -> np.ndarray:
    """[rows, metrics].  Raises DataDirError where a column holds something else."""
    try:
        return np.array([[float(row[metric]) for metric in metrics] for row in rows])
    except ValueError as error:
        mend = "name the columns that hold scores with --metrics, or score again"
        raise DataDirError(path, f"a column holds no scores ({error})", mend=mend) from error


def _say(common: int, union: set[str], missing: Mapping[str, int], failed: Mapping[str, int]) -> None:
    if common == 0:
        raise ConfigError("compare", "no utterance has scores in every system", mend="score the same recordings")
    if common < len(union):
        lacks = [f"{name} lacks {count}" for name, count in missing.items() if count]
        lacks += [f"{name} failed on {count}" for name, count in failed.items() if count]
        text = "compared on %d of %d utterances: %s"
        get_logger("enhance").warning(text, common, len(union), ", ".join(lacks) or "some metrics are empty")


def _speakers(scores: Mapping[str, Mapping[str, Mapping[str, str]]], common: Sequence[str]) -> list[str]:
    """Speaker of each utterance; where no table knows it, the utterance itself."""
    found = []
    for utterance in common:
        known = {rows[utterance].get("speaker", "") for rows in scores.values()} - {""}
        if len(known) > 1:
            problem = f"utterance {utterance} is of {' and of '.join(sorted(known))}"
            raise DataDirError("compare", problem, mend="score the systems against the same reference")
        found.append(known.pop() if known else utterance)
    return found


def _differences(
    sums: Mapping[str, np.ndarray], counts: np.ndarray, metrics: Sequence[str], replicas: int, seed: int
) -> list[PairedDifference]:
    """Of every pair of systems and every metric; p-values from FEW speakers on, intervals from two on."""
    found: list[dict[str, Any]] = []
    for first, second in combinations(sums, 2):
        change = sums[second] - sums[first]
        drawn = draw_sums(np.column_stack([change, counts]), replicas, seed)
        replicated = drawn[:, :-1] / drawn[:, -1:]
        for column, metric in enumerate(metrics):
            low, high = percentiles(replicated[:, column], 0.95) if len(counts) > 1 else (None, None)
            found.append(
                {"metric": metric, "first": first, "second": second, "low": low, "high": high,
                 "difference": float(change[:, column].sum() / counts.sum()),
                 "p_value": two_sided_p(replicated[:, column]) if len(counts) >= FEW else None}
            )  # fmt: skip
    adjusted = holm([row["p_value"] for row in found]) if len(counts) >= FEW else [None] * len(found)
    rows = [PairedDifference(**row, p_holm=p) for row, p in zip(found, adjusted, strict=True)]
    return sorted(rows, key=lambda row: metrics.index(row.metric))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down procedure (1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, (len(p_values) - place) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def comparison_text(found: Comparison) -> str:
    """The comparison as text for a terminal."""
    intervals = ", 95 % intervals over speakers" if found.speakers > 1 else ""
    lines = [f"{found.utterances} utterances of {_counted(found.speakers)}{intervals}"]
    for metric, by_system in found.means.items():
        unit = METRICS[metric].unit if metric in METRICS else ""
        better = f", {METRICS[metric].better} is better" if metric in METRICS else ""
        lines.append(f"\n{metric} ({unit}{better})" if unit else f"\n{metric}")
        width = max(map(len, by_system))
        for name, mean in by_system.items():
            interval = f" [{mean.low:.3f}, {mean.high:.3f}]" if found.speakers > 1 else ""
            lines.append(f"  {name:{width}}  {mean.value:8.3f}{interval}")
        lines += [f"  {_change(row, found.speakers)}" for row in found.differences if row.metric == metric]
    return "\n".join(lines)


def _change(row: PairedDifference, speakers: int) -> str:
    text = f"{row.second} - {row.first}: {row.difference:+.3f}"
    if row.low is not None and row.high is not None:
        text += f" [{row.low:+.3f}, {row.high:+.3f}]"
    if row.p_value is None or row.p_holm is None:
        return f"{text} over {_counted(speakers)}, {row.verdict}"
    return f"{text}, p {row.p_value:.4f}, Holm {row.p_holm:.4f}: {row.verdict}"


def _counted(speakers: int) -> str:
    return "1 speaker" if speakers == 1 else f"{speakers} speakers"


def write_comparison(found: Comparison, out: str | os.PathLike[str]) -> None:
    """compare.csv (a difference a line) and compare.json (everything) into the directory."""
    rows = [asdict(row) | {"verdict": row.verdict} for row in found.differences]
    with write_whole(Path(out) / "compare.csv") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _shown(value) for key, value in row.items()} for row in rows)
    with write_whole(Path(out) / "compare.json") as stream:
        json.dump(asdict(found) | {"differences": rows}, stream, indent=1)


def _shown(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else value
