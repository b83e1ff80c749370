"""Cepstral mean and variance normalisation: statistics as compute-cmvn-stats, application as apply-cmvn.

Statistics are one float64 matrix [2, dim + 1] a speaker (or utterance): sums and the number of frames, sums of squares
and 0.  Kaldi's transform/cmvn.cc.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataDirError, StageError, TableError
from harness.log import get_logger
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.tables import MatrixWriter, read_matrix_scp
from kaldi_bridge.text_tables import write_text_table

Stats = NDArray[np.float64]
VARIANCE_FLOOR = 1.0e-20


def cmvn_stats(matrices: Iterable[NDArray[np.float32]]) -> Stats:
    """Statistics [2, dim + 1] of feature matrices [frames, dim]; the same bits as Kaldi's, frame by frame in order."""
    stats: Stats | None = None
    for feats in matrices:
        if stats is None:
            stats = np.zeros((2, feats.shape[1] + 1))
        elif feats.shape[1] + 1 != stats.shape[1]:
            raise ValueError(f"features of {feats.shape[1]} columns after features of {stats.shape[1] - 1}")
        _add(stats[0], feats)
        _add(stats[1], feats * feats)  # squared in single precision, as Kaldi does
        stats[0, -1] += len(feats)
    if stats is None:
        raise ValueError("no features")
    return stats


def _add(total: NDArray[np.float64], rows: NDArray[np.float32]) -> None:
    """total[:-1] += rows, one row after the other (numpy sums the outer axis in order)."""
    total[:-1] = np.add.reduce(np.concatenate([total[None, :-1], rows.astype(np.float64)]), axis=0)


def apply_cmvn(
    feats: NDArray[np.float32], stats: NDArray[np.floating[Any]], norm_vars: bool = False
) -> NDArray[np.float32]:
    """Features [frames, dim] with the mean of the statistics removed and, if norm_vars, the variance made 1.

    Raises ValueError if the dimensions differ or the statistics count no frames.
    """
    if stats.shape != (2, feats.shape[1] + 1):
        raise ValueError(
            f"CMVN statistics must be [2, {feats.shape[1] + 1}] for these features, got {list(stats.shape)}"
        )
    count = float(stats[0, -1])
    if count < 1:
        raise ValueError(f"CMVN statistics count {count:g} frames")
    mean = np.asarray(stats[0, :-1], np.float64) / count
    if not norm_vars:
        return feats + (-mean).astype(np.float32)
    variance = np.asarray(stats[1, :-1], np.float64) / count - mean * mean
    scale = 1.0 / np.sqrt(np.maximum(variance, VARIANCE_FLOOR))
    return feats * scale.astype(np.float32) + (-(mean * scale)).astype(np.float32)


def compute_cmvn(
    data_dir: str | os.PathLike[str], out_dir: str | os.PathLike[str] | None = None, *, per_utterance: bool = False
) -> Path:
    """Write the statistics of every speaker to out_dir/cmvn_NAME.{ark,scp} and data_dir/cmvn.scp; returns the latter.

    out_dir: data_dir/data if not given.  per_utterance: cmvn_utt_NAME and cmvn_utt.scp, keyed by utterance.
    Speakers without any features are listed; no features at all raise StageError.
    """
    directory = Path(data_dir)
    data = DataDir.read(directory, validate=False)
    if data.feats_scp is None:
        raise DataDirError(directory / "feats.scp", "no such file", mend="make the features first")
    feats = read_matrix_scp(directory / "feats.scp")
    groups = {utt: [utt] for utt in data.utterances} if per_utterance else data.spk2utt
    stem = "cmvn_utt" if per_utterance else "cmvn"
    target = Path(os.path.abspath(out_dir if out_dir is not None else directory / "data"))
    base = target / f"{stem}_{directory.resolve().name}"
    (directory / f"{stem}.scp").unlink(missing_ok=True)  # never an index of another archive, also after a kill
    with MatrixWriter(f"{base}.ark", f"{base}.scp") as writer:
        for key, utterances in groups.items():
            present = [utterance for utterance in utterances if utterance in feats]
            if present:
                writer.write(key, _stats_of(feats, present))
    _say_lacking(directory, groups, writer.index)
    write_text_table(directory / f"{stem}.scp", writer.index)
    return directory / f"{stem}.scp"


def _stats_of(feats: Mapping[str, NDArray[np.float32]], utterances: list[str]) -> Stats:
    try:
        return cmvn_stats(feats[utterance] for utterance in utterances)
    except ValueError as error:
        mend = "make the features of all utterances with one configuration"
        raise TableError(f"features of {utterances[0]} ... {utterances[-1]}", str(error), mend=mend) from error


def _say_lacking(directory: Path, wanted: Mapping[str, list[str]], have: Mapping[str, str]) -> None:
    lacking = [key for key in wanted if key not in have]
    if not have:
        raise StageError(directory / "feats.scp", "no utterance has features", mend="make the features again")
    if lacking:
        text = "%s: %d of %d have no features and so no CMVN statistics: %s"
        get_logger("kaldi_bridge").warning(text, directory, len(lacking), len(wanted), " ".join(lacking[:10]))
