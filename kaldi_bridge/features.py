"""The features of a data directory: extraction in parallel into arks, as steps/make_mfcc.sh leaves them.

This module is also the door to the rest of feature processing: compute_features, CMVN, deltas, splicing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from harness.atomic import write_whole
from harness.errors import ConfigError, SchoolyardError, StageError
from harness.jobs import map_jobs
from harness.log import get_logger, progress
from harness.seed import rng_for
from kaldi_bridge.audio import AudioTable
from kaldi_bridge.cmvn import apply_cmvn, cmvn_stats, compute_cmvn
from kaldi_bridge.data_dir import STALE_AFTER_NEW_AUDIO, DataDir
from kaldi_bridge.feature_config import PRESETS, FeatureConfig, read_config
from kaldi_bridge.frame_context import add_deltas, splice
from kaldi_bridge.spectral import compute_features
from kaldi_bridge.tables import MatrixWriter, packed_matrix
from kaldi_bridge.text_tables import number_text, write_text_table
from kaldi_bridge.validate import ValidateOptions, validate_data_dir

REPLACED = (*STALE_AFTER_NEW_AUDIO, "utt2dur")  # tables that make_features writes anew or moves away
UTTERANCES_A_TASK = 16
UTTERANCES_AN_ARCHIVE = 5000


@dataclass(frozen=True)
class FeatureReport:
    """What make_features did."""

    made: int
    failed: dict[str, str]  # utterance: why
    resampled: int


@dataclass(frozen=True)
class _Made:
    """Features of one utterance as its bytes in an archive, or why there are none."""

    utterance: str
    packed: bytes
    frames: int
    seconds: float
    resampled_from: int | None
    failure: str | None


def make_features(
    data_dir: str | os.PathLike[str],
    config: FeatureConfig | None = None,
    out_dir: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    *,
    compress: bool = True,
    max_failed: float = 0.05,
    resample: bool = False,
    allow_commands: bool = True,
) -> FeatureReport:
    """Make the features of every utterance: out_dir/raw_KIND_NAME.N.{ark,scp}, and in data_dir feats.scp,
    utt2num_frames, utt2dur, frame_shift and conf/KIND.conf.

    out_dir: data_dir/data if not given.  Old features and CMVN statistics go to .backup.  The archives do not depend on
    the number of jobs.  Utterances that fail are logged and listed in out_dir/failed_NAME; more than the share
    max_failed of them raises StageError, and data_dir stays as it was.
    """
    directory, config = Path(data_dir), config or FeatureConfig()
    _refuse_impossible(config)
    validate_data_dir(directory, ValidateOptions.as_present(ignore=REPLACED))
    data = DataDir.read(directory, validate=False)
    target = Path(os.path.abspath(out_dir if out_dir is not None else directory / "data"))
    name = directory.resolve().name
    utterances = data.utterances
    tasks = [utterances[i : i + UTTERANCES_A_TASK] for i in range(0, len(utterances), UTTERANCES_A_TASK)]
    work = partial(_features_of_some, data, config, compress, resample, allow_commands)
    results = (made for some in map_jobs(work, tasks, jobs=jobs) for made in some)
    listed = progress(results, total=len(utterances), label=f"{config.kind} {name}")
    with ExitStack() as archives:  # they take their names only after the old index is gone: no index of other archives
        index, made = _write_archives(archives, listed, target / f"raw_{config.kind}_{name}")
        report = FeatureReport(
            made=len(index),
            failed={one.utterance: one.failure for one in made if one.failure},
            resampled=sum(one.resampled_from is not None for one in made),
        )
        _judge(report, len(utterances), directory, target / f"failed_{name}", max_failed)
        _retire_old(directory)
    if report.resampled:
        text = "%s: %d utterances resampled to %g Hz"
        get_logger("kaldi_bridge").info(text, directory, report.resampled, config.sample_frequency)
    _install(directory, config, index, [one for one in made if not one.failure])
    return report


def _refuse_impossible(config: FeatureConfig) -> None:
    """ConfigError, before the work, for options that each may have but that give no mel bank together."""
    try:
        compute_features(np.zeros(config.window, np.float32), replace(config, dither=0.0))
    except ValueError as error:
        raise ConfigError("feature configuration", str(error), mend="change the options of --config") from error


def _features_of_some(
    data: DataDir, config: FeatureConfig, compress: bool, resample: bool, allow_commands: bool, utterances: list[str]
) -> list[_Made]:
    """Runs in a worker: the features of a few utterances, packed."""
    audio = AudioTable(data, sample_rate=int(config.sample_frequency), resample=resample, allow_commands=allow_commands)
    return [_features_of_one(audio, config, compress, utterance) for utterance in utterances]


def _features_of_one(audio: AudioTable, config: FeatureConfig, compress: bool, utterance: str) -> _Made:
    before = dict(audio.resampled)
    try:
        samples = audio.read(utterance)
        changed = [rate for rate, count in audio.resampled.items() if count > before.get(rate, 0)]
        rng = rng_for(0, "dither", utterance) if config.dither else None
        feats = compute_features(samples, config, warp=warp_of(audio.data, utterance), rng=rng)
        seconds = len(samples) / config.sample_frequency
        if not len(feats):
            problem = f"{seconds:.3f} s are too short for a frame of {config.frame_length:g} ms"
            return _Made(utterance, b"", 0, seconds, None, f"{audio.data.path}: utterance {utterance}: {problem}")
        packed = packed_matrix(feats, compress=compress)
        return _Made(utterance, packed, len(feats), seconds, changed[0] if changed else None, None)
    except SchoolyardError as error:
        return _Made(utterance, b"", 0, 0.0, None, str(error))
    except ValueError as error:  # a warp factor that the band of the mel bank has no room for
        return _Made(utterance, b"", 0, 0.0, None, f"{audio.data.path}: utterance {utterance}: {error}")


def warp_of(data: DataDir, utterance: str) -> float:
    """The VTLN factor of an utterance: utt2warp, or spk2warp of its speaker, or 1."""
    if warps := data.tables.get("spk2warp"):
        return float(warps.get(data.utt2spk[utterance], 1.0))
    return float(data.tables.get("utt2warp", {}).get(utterance, 1.0))


def _write_archives(stack: ExitStack, results: Iterator[_Made], base: Path) -> tuple[dict[str, str], list[_Made]]:
    """Write BASE.1, BASE.2 ... (whole when ``stack`` closes); returns the joint index and the results without bytes."""
    index: dict[str, str] = {}
    kept: list[_Made] = []
    writer = None
    for one in results:
        if one.failure is None:
            if writer is None or len(writer.index) == UTTERANCES_AN_ARCHIVE:
                if writer is not None:
                    writer.flush()
                number = 1 + len(index) // UTTERANCES_AN_ARCHIVE
                writer = stack.enter_context(MatrixWriter(f"{base}.{number}.ark", f"{base}.{number}.scp"))
            writer.write_packed(one.utterance, one.packed)
            index[one.utterance] = writer.index[one.utterance]
        kept.append(_Made(one.utterance, b"", one.frames, one.seconds, one.resampled_from, one.failure))
    if writer is not None:
        writer.flush()  # a full disk is met now, while the old features still stand
    return index, kept


def _judge(report: FeatureReport, total: int, directory: Path, listing: Path, max_failed: float) -> None:
    """Log and list the failures; raise if they are too many."""
    listing.unlink(missing_ok=True)
    if not report.failed:
        return
    with write_whole(listing) as stream:
        stream.writelines(f"{utterance}: {why}\n" for utterance, why in report.failed.items())
    first = next(iter(report.failed.values()))
    if not report.made or len(report.failed) > max_failed * total:
        counts = f"{len(report.failed)} of {total} utterances have no features, more than {max_failed:.0%}"
        problem = f"{counts}; the first: {first}"
        raise StageError(directory, problem, mend=f"mend the recordings listed in {listing} and run the stage again")
    for why in report.failed.values():
        get_logger("kaldi_bridge").warning("no features: %s", why)
    text = "%s: %d of %d utterances have no features (listed in %s); kaldi_bridge fix leaves them out everywhere"
    get_logger("kaldi_bridge").warning(text, directory, len(report.failed), total, listing)


def _retire_old(directory: Path) -> None:
    """Move features of before, and what was computed from them, to .backup."""
    backup = directory / ".backup"
    for name in STALE_AFTER_NEW_AUDIO:
        if (directory / name).exists():
            backup.mkdir(exist_ok=True)
            os.replace(directory / name, backup / name)


def _install(directory: Path, config: FeatureConfig, index: dict[str, str], made: list[_Made]) -> None:
    """Put the tables into the data directory, feats.scp last."""
    write_text_table(directory / "utt2num_frames", {one.utterance: str(one.frames) for one in made})
    write_text_table(directory / "utt2dur", {one.utterance: number_text(one.seconds) for one in made})
    with write_whole(directory / "frame_shift") as stream:
        stream.write(number_text(config.frame_shift / 1000) + "\n")
    with write_whole(directory / "conf" / f"{config.kind}.conf") as stream:
        stream.writelines(line + "\n" for line in config.lines())
    write_text_table(directory / "feats.scp", index)


__all__ = [
    "PRESETS", "FeatureConfig", "FeatureReport", "add_deltas", "apply_cmvn", "cmvn_stats", "compute_cmvn",
    "compute_features", "make_features", "read_config", "splice", "warp_of",
]  # fmt: skip
