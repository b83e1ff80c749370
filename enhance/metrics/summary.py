"""Means of scores with 95 % intervals over speakers, for all and by condition, from rows that stream past.

Only the sums of each speaker within each group are held.  A row with a problem is counted and enters no mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.bootstrap import REPLICAS, Interval, mean_intervals
from kaldi_bridge.groups import DIMENSIONS, in_order


@dataclass(kw_only=True)
class _Group:
    failed: int = 0
    speakers: dict[str, np.ndarray] = field(default_factory=dict)  # sums of the metrics, and the number of rows


class Summary:
    """Add every row, then ask for the groups.  metrics: the columns that are averaged."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = tuple(metrics)
        self.first_failed = ""  # "utterance: problem"
        self._groups: dict[tuple[str, str], _Group] = {("all", "all"): _Group()}

    def add(self, row: Mapping[str, Any]) -> None:
        """A row of scores: `speaker`, the conditions ("" where unknown), the metrics, `problem` ("" where none)."""
        keys = [("all", "all"), *((name, row[name]) for name in DIMENSIONS if row[name] != "")]
        if row["problem"] and not self.first_failed:
            self.first_failed = f"{row['utterance']}: {row['problem']}"
        values = np.array([*(math.nan if row["problem"] else row[name] for name in self.metrics), 1.0])
        for key in keys:
            group = self._groups.setdefault(key, _Group())
            if row["problem"]:
                group.failed += 1
            else:
                group.speakers[row["speaker"]] = values + group.speakers.get(row["speaker"], 0.0)

    def groups(self, *, replicas: int = REPLICAS, seed: int = 0) -> list[dict[str, Any]]:
        """{by, value, utterances, failed, speakers, metrics: {name: {mean, low, high}}}; "all" first.

        A metric that could not be computed at all (its package is missing) is left out.  Of a single speaker there is
        no interval: low and high are None.
        """
        order = [("all", "all")]
        for by in DIMENSIONS:
            order += [(by, value) for value in in_order({value: value for name, value in self._groups if name == by})]
        return [self._row(key, self._groups[key], replicas, seed) for key in order]

    def _row(self, key: tuple[str, str], group: _Group, replicas: int, seed: int) -> dict[str, Any]:
        table = np.array([group.speakers[name] for name in sorted(group.speakers)]).reshape(-1, len(self.metrics) + 1)
        row: dict[str, Any] = {
            "by": key[0], "value": key[1], "utterances": int(table[:, -1].sum()), "failed": group.failed,
            "speakers": len(table), "metrics": {},
        }  # fmt: skip
        known = np.isfinite(table[:, :-1]).all(0)
        if len(table) and known.any():
            found = mean_intervals(table[:, :-1][:, known], table[:, -1], replicas=replicas, seed=seed)
            names = [name for name, is_known in zip(self.metrics, known, strict=True) if is_known]
            row["metrics"] = {
                name: {"mean": round(one.value, 4)} | _ends(one) for name, one in zip(names, found, strict=True)
            }
        return row


def _ends(found: Interval) -> dict[str, float | None]:
    known = found.blocks > 1
    return {"low": round(found.low, 4) if known else None, "high": round(found.high, 4) if known else None}


def wide_rows(groups: Iterable[dict[str, Any]], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Means alone, a row for each SNR, rising, and the last for "all": the columns of summary.csv."""
    rows = [
        {"snr": group["value"], "utterances": group["utterances"], "failed": group["failed"]}
        | {name: group["metrics"].get(name, {}).get("mean", "") for name in metrics}
        for group in groups
        if group["by"] in ("snr", "all")
    ]
    return rows[1:] + rows[:1]
