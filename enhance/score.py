"""How close enhanced speech is to clean speech: SI-SDR, PESQ, STOI and log-mel error, utterance by utterance.

SI-SDR: Le Roux et al. 2019, dB.  PESQ: ITU-T P.862.2, wide band (package pesq).  STOI: Taal et al. 2011 (package
pystoi).  Log-mel error: mean absolute difference of Kaldi's 40 log-mel energies, nepers.  A file that cannot be scored
is counted and named; it enters no mean.  Where the package pesq is missing, PESQ stays empty and a warning says so.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.atomic import write_whole
from harness.errors import AudioError, DataDirError, SchoolyardError
from harness.jobs import map_jobs
from harness.log import get_logger
from kaldi_bridge.audio import AudioTable
from kaldi_bridge.data_dir import DataDir

METRICS = ("si_sdr", "pesq", "stoi", "log_mel")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    sample_rate: int = 16000
    max_failed: float = 0.05  # share of utterances without a score


def score_data_dirs(
    reference: str | os.PathLike[str], estimate: str | os.PathLike[str], out: str | os.PathLike[str],
    config: ScoreConfig, *, jobs: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write scores.csv (an utterance a line) and summary.csv (by SNR, and all) into `out`; returns the means over all.

    Every utterance of `reference` is scored.  Raises AudioError past the stated share of failures, after writing.
    """
    truth, judged = DataDir.read(reference), DataDir.read(estimate)
    if not pesq_installed():
        get_logger("enhance").warning("no PESQ: pip install pesq==0.0.4 (needs a C compiler)")
    missing = [utterance for utterance in truth.utterances if utterance not in judged.utt2spk]
    if len(missing) == len(truth.utterances):
        mend = "give the data directory that was mixed or enhanced from the reference"
        raise DataDirError(estimate, f"holds none of the utterances of {reference}", mend=mend)
    scale = judged.tables.get("utt2scale", {})
    work = partial(_score_one, os.fspath(reference), os.fspath(estimate), config.sample_rate)
    items = [(utterance, float(scale.get(utterance, 1.0))) for utterance in truth.utterances]
    rows = list(map_jobs(work, items, jobs=jobs, label=f"score {judged.path.name}"))
    snrs = judged.tables.get("utt2snr", {})
    for row in rows:
        row["snr"] = snrs.get(row["utterance"], "")
    _write(Path(out) / "scores.csv", ("utterance", "snr", *METRICS, "problem"), rows)
    summary = _summary(rows)
    _write(Path(out) / "summary.csv", ("snr", "utterances", "failed", *METRICS), summary)
    failed = [row for row in rows if row["problem"]]
    for row in failed:
        get_logger("enhance").warning("not scored: %s: %s", row["utterance"], row["problem"])
    with write_whole(Path(out) / "summary.json") as stream:
        json.dump({"reference": str(reference), "estimate": str(estimate), "rows": summary}, stream, indent=1)
    if len(failed) > config.max_failed * len(rows):
        first = failed[0]
        named = f"{first['utterance']}: {first['problem']}"
        problem = f"{len(failed)} of {len(rows)} utterances have no score (first: {named})"
        raise AudioError(estimate, problem, mend=f"see {Path(out) / 'scores.csv'}; repair them, or raise --max-failed")
    return summary[-1]


def scores_of(clean: np.ndarray, estimate: np.ndarray, sample_rate: int = 16000) -> dict[str, float]:
    """All metrics of one utterance, [samples] each.  Raises AudioError where one is not defined."""
    import torch

    from enhance.losses.waveform import si_sdr

    if len(clean) != len(estimate):
        problem = f"has {len(estimate)} samples, its reference {len(clean)}"
        raise AudioError("estimate", problem, mend="score what was made from this reference")
    if not np.any(clean) or not np.any(estimate):
        raise AudioError("estimate" if np.any(clean) else "reference", "is silent", mend="leave it out")
    torch.set_num_threads(1)
    both = torch.from_numpy(np.stack([estimate, clean]).astype(np.float64))
    return {
        "si_sdr": float(si_sdr(both[:1], both[1:])[0]), "pesq": pesq_of(clean, estimate, sample_rate),
        "stoi": stoi_of(clean, estimate, sample_rate), "log_mel": _log_mel_error(both.float(), sample_rate),
    }  # fmt: skip


def pesq_installed() -> bool:
    """PESQ is compiled at installation; without a compiler it is not there."""
    return importlib.util.find_spec("pesq") is not None


def pesq_of(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Wide-band PESQ, NaN where the package is missing.  Raises AudioError where it gives no score."""
    if not pesq_installed():
        return math.nan
    from pesq import PesqError, pesq

    try:
        return float(pesq(sample_rate, clean, estimate, "wb"))
    except (PesqError, ValueError) as error:
        detail = error.args[0] if error.args else error
        detail = detail.decode(errors="replace") if isinstance(detail, bytes) else detail
        raise AudioError("PESQ", f"gives no score ({detail})", mend="leave it out") from error


def stoi_of(clean: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """STOI; raises AudioError where it gives no score."""
    import warnings

    from pystoi import stoi

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # too short for STOI: pystoi warns and returns 1e-5
        try:
            return float(stoi(clean, estimate, sample_rate))
        except RuntimeWarning as warning:
            raise AudioError("STOI", f"gives no score ({str(warning)[:80]})", mend="leave it out") from None


def _log_mel_error(both: Any, sample_rate: int) -> float:
    mel = _log_mel(sample_rate)(both)
    return float((mel[0] - mel[1]).abs().mean())


@lru_cache(maxsize=2)
def _log_mel(sample_rate: int) -> Any:
    from enhance.losses.mel import LogMel

    return LogMel(sample_rate=sample_rate)


def _score_one(reference: str, estimate: str, sample_rate: int, item: tuple[str, float]) -> dict[str, Any]:
    utterance, scale = item
    row: dict[str, Any] = {"utterance": utterance, "problem": ""} | dict.fromkeys(METRICS, "")
    try:
        clean = _audio(reference, sample_rate).read(utterance)
        if utterance not in _audio(estimate, sample_rate).data.utt2spk:
            row["problem"] = "is not in the estimate"
            return row
        row |= scores_of(clean, _audio(estimate, sample_rate).read(utterance) / np.float32(scale), sample_rate)
    except SchoolyardError as error:
        row["problem"] = f"{error.where}: {error.problem}"
    return row


@lru_cache(maxsize=4)
def _audio(path: str, sample_rate: int) -> AudioTable:
    return AudioTable(DataDir.read(path, validate=False), sample_rate=sample_rate)


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means by SNR, rising, and over all ("all", last)."""
    groups = sorted({row["snr"] for row in rows} - {""}, key=float)
    return [_mean(snr, [row for row in rows if row["snr"] == snr]) for snr in groups] + [_mean("all", rows)]


def _mean(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    good = [row for row in rows if not row["problem"]]
    columns = {metric: [row[metric] for row in good if not math.isnan(row[metric])] for metric in METRICS}
    means = {metric: round(float(np.mean(values)), 4) if values else "" for metric, values in columns.items()}
    return {"snr": name, "utterances": len(good), "failed": len(rows) - len(good)} | means


def _write(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with write_whole(path) as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: _shown(value) if isinstance(value, float) else value for key, value in row.items()} for row in rows
        )


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"
