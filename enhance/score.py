"""How good enhanced speech is: metrics of every utterance, means and intervals by condition.

The rows are kept as they come, so that a killed run goes on; nothing but sums of speakers is held in memory.  A file
that cannot be scored is counted and named; it enters no mean.  The metrics are those of enhance.metrics; where the
package of a metric that nobody asked for by name is missing, its column stays empty and a warning says so.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from enhance.metrics import DEFAULT, METRICS, Metric, chosen, measure, missing_packages, needs_clean
from enhance.metrics.partial_rows import PartialRows
from enhance.metrics.recordings import conditions_of, open_recordings
from enhance.metrics.summary import Summary, wide_rows
from enhance.resumable import stamp_of
from harness.atomic import write_whole
from harness.bootstrap import REPLICAS
from harness.errors import AudioError, ConfigError, DataDirError, SchoolyardError, TableError
from harness.jobs import map_jobs
from harness.log import get_logger
from kaldi_bridge.audio import AudioTable
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.groups import DIMENSIONS

Place = str | os.PathLike[str]
GROUP_COLUMNS = ("by", "value", "metric", "mean", "low", "high", "utterances", "failed", "speakers")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    metrics: tuple[str, ...] = ()  # names of enhance.metrics, or "all"; empty: DEFAULT
    predictors: Mapping[str, str] = field(default_factory=dict)  # name -> file, or package.module:function
    sample_rate: int = 16000  # Hz at which everything is judged
    resample: bool = False  # convert recordings of another rate instead of refusing them
    max_failed: float = 0.05  # share of utterances without a score
    replicas: int = REPLICAS  # of the bootstrap
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.max_failed <= 1:
            raise ValueError(f"max_failed must lie in [0, 1], got {self.max_failed}")
        if self.sample_rate < 8000:
            raise ValueError(f"sample_rate must be at least 8000 Hz, got {self.sample_rate}")
        if self.replicas < 1:
            raise ValueError(f"replicas must be positive, got {self.replicas}")


def score_data_dirs(
    reference: Place | None, estimate: Place, out: Place, config: ScoreConfig, *, jobs: int | None = None
) -> dict[str, Any]:
    """Score `estimate` against `reference`: data directories, directories of audio, or lists with the same names.

    Every utterance of `reference` is scored; without one, every utterance of `estimate`, by metrics that need none.
    Writes into `out`: scores.csv (an utterance a line), summary.csv (means by SNR, and all), groups.csv and
    summary.json (means and intervals by every condition).  Returns the means over all.
    Raises AudioError past the stated share of failures, after writing; other SchoolyardErrors before.
    """
    metrics = _metrics(config, has_reference=reference is not None)
    sides = [open_recordings(place) for place in (reference, estimate) if place is not None]
    judged, names = sides[-1], sides[0].utterances
    _check_names(sides[0], judged)
    folder = Path(out)
    partial_rows = PartialRows(folder, _request(sides, config, metrics))
    done = partial_rows.done("utterance")
    if done:
        get_logger("enhance").info("going on: %d of %d utterances are scored already", len(done), len(names))
    scale = judged.tables.get("utt2scale", {})
    items = [(name, float(scale.get(name, 1.0))) for name in names if name not in done]
    reference_path = os.fspath(reference) if reference is not None else None
    _open_audio.cache_clear()  # the place may hold other recordings than at the last call
    work = partial(_score_one, reference_path, os.fspath(estimate), config, tuple(metrics))
    with partial_rows:
        for row in map_jobs(work, items, jobs=jobs, label=f"score {judged.path.name}"):
            partial_rows.append(row)
    means = _write_tables(folder, partial_rows, metrics, sides, config)
    partial_rows.remove()
    return means


def scores_of(
    clean: np.ndarray | None, estimate: np.ndarray, sample_rate: int = 16000, metrics: Iterable[str] = DEFAULT
) -> dict[str, float]:
    """Metrics of one utterance, [samples] each.  Raises AudioError where one is not defined."""
    values, problems = measure(chosen(metrics), clean, estimate, sample_rate)
    for name, problem in problems.items():
        raise AudioError("estimate", f"{name}: {problem}", mend="leave it out")
    return values


def _metrics(config: ScoreConfig, *, has_reference: bool) -> dict[str, Metric]:
    """Raises ConfigError and SchoolyardError for a metric asked for by name that cannot be computed."""
    names = config.metrics or (() if config.predictors else DEFAULT)
    metrics = chosen(names, config.predictors)
    for name in config.metrics:
        if name != "all" and (missing := missing_packages(METRICS[name])):
            raise SchoolyardError(name, f"needs {' and '.join(missing)}", mend=f"pip install {' '.join(missing)}")
    if any("pesq" in missing_packages(metric) for metric in metrics.values()):
        get_logger("enhance").warning("no PESQ: pip install pesq==0.0.4 (needs a C compiler)")
    if not has_reference:
        alone = {name: metric for name, metric in metrics.items() if not needs_clean(metric)}
        if not alone or ("all" not in names and len(alone) < len(metrics)):
            needing = next(name for name in metrics if name not in alone)
            mend = "give --reference, or choose metrics that judge the estimate alone (dnsmos_ovrl, a predictor)"
            raise ConfigError("metrics", f"{needing} compares with clean speech, and there is none", mend=mend)
        metrics = alone
    return metrics


def _check_names(truth: DataDir, judged: DataDir) -> None:
    extra = sorted(set(judged.utt2spk) - set(truth.utt2spk))
    if len(extra) == len(judged.utt2spk):
        mend = "give the recordings that were mixed or enhanced from the reference, under the same names"
        raise DataDirError(judged.path, f"holds none of the utterances of {truth.path}", mend=mend)
    if extra:
        text = "%d utterances of %s are not in the reference and are not scored (first: %s)"
        get_logger("enhance").warning(text, len(extra), judged.path, extra[0])


def _request(sides: list[DataDir], config: ScoreConfig, metrics: Iterable[str]) -> dict[str, Any]:
    """What decides the rows: the sounds, how they are read, the metrics."""
    return {
        "sides": [[os.path.abspath(data.path), stamp_of((data.wav_scp or {}).values())] for data in sides],
        "segments": [data.segments for data in sides],
        "scale": sides[-1].tables.get("utt2scale", {}),
        "metrics": list(metrics),
        "predictors": [[name, source, stamp_of([source])] for name, source in config.predictors.items()],
        "rate": [config.sample_rate, config.resample],
    }


def _score_one(
    reference: str | None, estimate: str, config: ScoreConfig, names: tuple[str, ...], item: tuple[str, float]
) -> dict[str, Any]:
    utterance, scale = item
    row: dict[str, Any] = {"utterance": utterance, "problem": ""} | dict.fromkeys(names, math.nan)
    try:
        clean = _audio(reference, config).read(utterance) if reference is not None else None
        if utterance not in _audio(estimate, config).data.utt2spk:
            return row | {"problem": "is not in the estimate"}
        sound = _audio(estimate, config).read(utterance) / np.float32(scale)
        values, problems = measure(_by_name(names, tuple(config.predictors.items())), clean, sound, config.sample_rate)
    except (AudioError, DataDirError, TableError) as error:
        return row | {"problem": f"{error.where}: {error.problem}"}
    return row | values | {"problem": "; ".join(f"{name}: {problem}" for name, problem in problems.items())}


@lru_cache(maxsize=4)
def _by_name(names: tuple[str, ...], predictors: tuple[tuple[str, str], ...]) -> dict[str, Metric]:
    return chosen([name for name in names if name in METRICS], dict(predictors))


def _audio(path: str, config: ScoreConfig) -> AudioTable:
    return _open_audio(path, config.sample_rate, config.resample)


@lru_cache(maxsize=4)
def _open_audio(path: str, sample_rate: int, resample: bool) -> AudioTable:
    return AudioTable(open_recordings(path, validate=False), sample_rate=sample_rate, resample=resample)


def _write_tables(
    folder: Path, rows: PartialRows, metrics: Mapping[str, Metric], sides: list[DataDir], config: ScoreConfig
) -> dict[str, Any]:
    """All tables; returns the means over all.  Raises AudioError where too many utterances failed."""
    summary = Summary(list(metrics))
    columns = ("utterance", "speaker", *DIMENSIONS, *metrics, "problem")
    _write_csv(folder / "scores.csv", columns, _in_full(rows, sides, summary))
    groups = summary.groups(replicas=config.replicas, seed=config.seed)
    wide = wide_rows(groups, list(metrics))
    _write_csv(folder / "summary.csv", ("snr", "utterances", "failed", *metrics), wide)
    _write_csv(folder / "groups.csv", GROUP_COLUMNS, _long_rows(groups))
    with write_whole(folder / "summary.json") as stream:
        described = {name: {"better": metric.better, "unit": metric.unit} for name, metric in metrics.items()}
        places = {"reference": str(sides[0].path) if len(sides) > 1 else None, "estimate": str(sides[-1].path)}
        json.dump(places | {"metrics": described, "rows": wide, "groups": groups}, stream, indent=1)
    means, total = wide[-1], len(sides[0].utt2spk)
    if means["failed"] > config.max_failed * total:
        problem = f"{means['failed']} of {total} utterances have no score (first: {summary.first_failed})"
        mend = f"see {folder / 'scores.csv'}; repair them, or raise --max-failed"
        raise AudioError(sides[-1].path, problem, mend=mend)
    return means


def _in_full(rows: PartialRows, sides: list[DataDir], summary: Summary) -> Iterator[dict[str, Any]]:
    """The rows with speaker and conditions, each also added to the summary, and named where it failed."""
    for row in rows.rows():
        utterance = row["utterance"]
        full = row | {"speaker": sides[0].utt2spk[utterance]} | conditions_of(utterance, *reversed(sides))
        summary.add(full)
        if full["problem"]:
            get_logger("enhance").warning("not scored: %s: %s", utterance, full["problem"])
        yield full


def _long_rows(groups: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for group in groups:
        for metric, found in group["metrics"].items():
            yield {name: group[name] for name in group if name != "metrics"} | {"metric": metric} | found


def _write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> None:
    with write_whole(path) as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _shown(value) for key, value in row.items()} for row in rows)


def _shown(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.4f}"
