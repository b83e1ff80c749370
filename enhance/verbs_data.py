"""The verbs that make and judge data: mix, denoise, score, compare, statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import ConfigError


def mix(
    data: Annotated[Path, typer.Option(help="Kaldi data directory of clean speech")],
    noise: Annotated[Path, typer.Option(help="directory of noise recordings")],
    out: Annotated[Path, typer.Option(help="data directory to write")],
    snr: Annotated[str, typer.Option(help="dB, one is drawn for each utterance")] = "0,5,10,15",
    seed: Annotated[int, typer.Option(help="another seed, other draws")] = 0,
    sample_rate: Annotated[int, typer.Option(help="Hz that speech and noise must have")] = 16000,
    jobs: Annotated[int | None, typer.Option(help="processes; all cores if not given")] = None,
    force: Annotated[bool, typer.Option(help="replace what stands at --out")] = False,
) -> None:
    """Mix a data directory with noise at drawn SNRs; same utterance ids, the draws recorded."""
    from enhance.mixing import MixConfig, mix_data_dir, parse_snrs

    try:
        config = MixConfig(snr=parse_snrs(snr), seed=seed, sample_rate=sample_rate)
    except ValueError as error:
        raise ConfigError("enhance mix", str(error), mend="change the option") from error
    typer.echo(f"wrote {mix_data_dir(data, noise, out, config, jobs=jobs, force=force)}")


def denoise(
    out: Annotated[Path, typer.Option(help="directory to write; of one file also a .wav")],
    data: Annotated[Path | None, typer.Option(help="Kaldi data directory of noisy speech")] = None,
    source: Annotated[Path | None, typer.Option("--in", help="audio file, or directory of audio files")] = None,
    model: Annotated[str, typer.Option(help="best.pt of a run, exported weights, or builtin")] = "builtin",
    mix: Annotated[float, typer.Option(help="share of the unprocessed signal added back, 0 to 1")] = 0.0,
    resample: Annotated[bool, typer.Option(help="convert recordings of another sample rate")] = False,
    channel: Annotated[
        int | None, typer.Option(help="from 0, of recordings that have several where none is named")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto")] = "cpu",
    max_failed: Annotated[float, typer.Option(help="share of recordings that may fail")] = 0.05,
    ark: Annotated[bool, typer.Option("--ark", help="one wav.ark instead of a wav for each recording")] = False,
    jobs: Annotated[int | None, typer.Option(help="processes; all cores if not given")] = None,
    force: Annotated[bool, typer.Option(help="replace what stands at --out")] = False,
) -> None:
    """Enhance a data directory, or plain audio, with a trained generator."""
    from enhance.denoise import check_choice, denoise_data_dir, denoise_files
    from enhance.recording import DenoiseConfig
    from enhance.verbs_train import pick_device

    check_choice(data, source, ark)
    try:
        config = DenoiseConfig(
            model=model, mix=mix, resample=resample, channel=channel, device=pick_device(device),
            max_failed=max_failed, ark=ark,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError("enhance denoise", str(error), mend="change the option") from error
    if data is not None:
        report = denoise_data_dir(data, out, config, jobs=jobs, force=force)
    else:
        assert source is not None
        report = denoise_files(source, out, config, jobs=jobs, force=force)
    count = report["recordings"]
    typer.echo(f"{out}: {count} recording{'s' * (count != 1)}, {len(report['failed'])} left out")


def score(
    estimate: Annotated[Path, typer.Option(help="noisy or enhanced speech: data directory, audio directory, or list")],
    out: Annotated[Path, typer.Option(help="directory for scores.csv, summary.csv, groups.csv, summary.json")],
    reference: Annotated[
        Path | None, typer.Option(help="clean speech under the same names, in any of these forms")
    ] = None,
    metrics: Annotated[str, typer.Option(help="comma-separated, or all; without: si_sdr,pesq,stoi,log_mel")] = "",
    predictor: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE (.pt, .onnx) or NAME=module:function; may be given again")
    ] = None,
    sample_rate: Annotated[int, typer.Option(help="Hz at which everything is judged")] = 16000,
    resample: Annotated[bool, typer.Option(help="convert recordings of another sample rate")] = False,
    max_failed: Annotated[
        float, typer.Option(help="share of utterances that may have no score (with --gate, its limits say)")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="of the bootstrap")] = 0,
    gate: Annotated[bool, typer.Option("--gate", help="exit with 1 where clean speech was harmed")] = False,
    limits: Annotated[Path | None, typer.Option(help="YAML of the gate's limits, such as cfg/gate.yaml")] = None,
    jobs: Annotated[int | None, typer.Option(help="processes; all cores if not given")] = None,
) -> None:
    """Score enhanced speech: means and 95 % intervals over speakers; by SNR, noise, age, gender, and for all."""
    from enhance.score import ScoreConfig, score_data_dirs
    from enhance.verbs_judge import judge_scored, limits_of

    stated = limits_of(gate, limits, reference, metrics)
    try:
        config = ScoreConfig(
            metrics=tuple(name for name in metrics.split(",") if name), predictors=_named(predictor or []),
            sample_rate=sample_rate, resample=resample, max_failed=1.0 if gate else max_failed, seed=seed,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError("enhance score", str(error), mend="change the option") from error
    means = score_data_dirs(reference, estimate, out, config, jobs=jobs)
    rest = {name: value for name, value in means.items() if name not in ("snr", "utterances", "failed")}
    text = ", ".join(f"{metric} {value}" for metric, value in rest.items() if value != "")
    failed = f", {means['failed']} without a score" if means["failed"] else ""
    typer.echo(f"{means['utterances']} utterances{failed}: {text}; tables in {out}")
    if stated is not None and reference is not None:
        judge_scored(reference, estimate, out, stated, jobs)


def compare(
    systems: Annotated[list[str] | None, typer.Option(help="NAME=scores.csv of each system")] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="[NAME=scores.csv]...", help="further systems")] = None,
    metrics: Annotated[str, typer.Option(help="comma-separated; without: all that the systems share")] = "",
    out: Annotated[Path | None, typer.Option(help="directory for compare.csv and compare.json")] = None,
    seed: Annotated[int, typer.Option(help="of the bootstrap")] = 0,
) -> None:
    """Compare systems on the same utterances: each difference with its interval and its significance."""
    from enhance.compare import compare_systems, comparison_text, write_comparison

    tables = {name: Path(path) for name, path in _named([*(systems or []), *(more or [])]).items()}
    found = compare_systems(tables, [name for name in metrics.split(",") if name], seed=seed)
    typer.echo(comparison_text(found))
    if out is not None:
        write_comparison(found, out)
        typer.echo(f"tables in {out}")


def _named(words: list[str]) -> dict[str, str]:
    """{NAME: VALUE} of words NAME=VALUE."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise ConfigError(word, "expected NAME=VALUE", mend="for example: noisy=exp/score/noisy/scores.csv")
        if name in found:
            raise ConfigError(word, f"the name {name!r} comes twice", mend="give each its own name")
        found[name] = value
    return found


def statistics(
    clean: Annotated[Path, typer.Option(help="data directory of clean speech")],
    noisy: Annotated[Path, typer.Option(help="data directory of noisy speech")],
    sample_rate: Annotated[int, typer.Option(help="Hz")] = 16000,
) -> None:
    """Means and deviations of all samples, as the settings of advanced_segan take them."""
    from enhance.statistics import data_dir_statistics

    for name, path in (("clean", clean), ("noisy", noisy)):
        found = data_dir_statistics(path, sample_rate)
        typer.echo(f"{name}_mean: {found.mean:.6e}\n{name}_std: {found.std:.6e}")
