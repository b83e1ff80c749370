"""The verbs that judge an enhancer: gate (does it harm?), profile (what does it cost?)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import ConfigError


def gate(
    out: Annotated[Path, typer.Option(help="JSON file for the verdict")],
    reference: Annotated[Path | None, typer.Option(help="clean speech: data directory, folder or list")] = None,
    estimate: Annotated[Path | None, typer.Option(help="the same through the enhancer")] = None,
    scores: Annotated[Path | None, typer.Option(help="what 'score' wrote of the two: its folder")] = None,
    before: Annotated[Path | None, typer.Option(help="scored decoding (per_utt.tsv) of the clean speech")] = None,
    after: Annotated[Path | None, typer.Option(help="scored decoding of the same through the enhancer")] = None,
    limits: Annotated[Path | None, typer.Option(help="YAML of limits, such as cfg/gate.yaml")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="one limit, such as max_wer_rise=0.5")] = None,
    warn: Annotated[bool, typer.Option("--warn", help="exit with 0 even where a limit is broken")] = False,
    jobs: Annotated[int | None, typer.Option(help="processes; all cores if not given")] = None,
) -> None:
    """Judge what an enhancer did to clean speech, in sound, in word errors, or both; exit with 1 where it did harm."""
    from enhance.gate import GateLimits, sound_checks, wer_check
    from harness.config import load_config

    stated = load_config(GateLimits, limits, set_ or [])
    checks: list[Any] = []
    of: dict[str, str] = {}
    if reference is not None and estimate is not None and scores is not None:
        checks += sound_checks(reference, estimate, scores, stated, jobs=jobs)
        of |= {"reference": str(reference), "estimate": str(estimate)}
    elif (reference, estimate, scores) != (None, None, None):
        raise ConfigError("enhance gate", "needs --reference, --estimate and --scores together", mend="give all three")
    if before is not None and after is not None:
        checks.append(wer_check(before, after, stated))
        of |= {"before": str(before), "after": str(after)}
    elif (before, after) != (None, None):
        raise ConfigError("enhance gate", "needs --before and --after together", mend="give both decodings")
    if not checks:
        mend = "give --reference, --estimate and --scores, or --before and --after, or all"
        raise ConfigError("enhance gate", "there is nothing to judge", mend=mend)
    give_verdict(checks, of, stated, out, warn=warn)


def limits_of(gate: bool, limits: Path | None, reference: Path | None, metrics: str) -> Any:
    """The limits of `score --gate`, None without it.  metrics: those that will be scored, with commas.

    Raises ConfigError: a bad file, one that nobody reads, a limit that could not be judged.
    """
    from enhance.gate import GateLimits
    from enhance.metrics import DEFAULT
    from harness.config import load_config

    if not gate and limits is not None:
        raise ConfigError("--limits", "are those of the gate, which is not asked for", mend="add --gate")
    if gate and reference is None:
        raise ConfigError("--gate", "compares with clean speech, and there is none", mend="give --reference")
    if not gate:
        return None
    stated = load_config(GateLimits, limits)
    names = metrics.split(",") if metrics else DEFAULT
    for metric in [*stated.mean, *stated.harm]:
        if metric not in names and "all" not in names:
            mend = f"add {metric} to --metrics, or take its limit away"
            raise ConfigError("--gate", f"{metric} has a limit and is not scored", mend=mend)
    return stated


def judge_scored(reference: Path, estimate: Path, scored: Path, limits: Any, jobs: int | None) -> None:
    """The gate of what was just scored into the directory `scored`; its verdict goes there too."""
    from enhance.gate import sound_checks

    checks = sound_checks(reference, estimate, scored, limits, jobs=jobs)
    of = {"reference": str(reference), "estimate": str(estimate)}
    give_verdict(checks, of, limits, scored / "gate.json")


def give_verdict(checks: list[Any], of: dict[str, str], limits: Any, out: Path, *, warn: bool = False) -> None:
    """Write the verdict and say it.  Raises GateError where a limit was broken, unless that is to be a warning."""
    from enhance.verdict import GateError, Verdict
    from harness.config import to_plain
    from harness.log import get_logger

    verdict = Verdict(of=of, limits=to_plain(limits), checks=tuple(checks))
    verdict.write(out)
    for check in verdict.checks:
        typer.echo(check.line())
    try:
        verdict.demand(out)
    except GateError as error:
        if not warn:
            raise
        get_logger("enhance").warning("the gate would stop here: %s", error.problem)


def profile(
    model: Annotated[list[str], typer.Option(help="best.pt of a run, exported weights, or builtin; may be repeated")],
    threads: Annotated[str, typer.Option(help="numbers of threads, such as 1,2,4")] = "1",
    seconds: Annotated[float, typer.Option(help="of sound in a pass")] = 60.0,
    repeats: Annotated[int, typer.Option(help="passes; the median counts")] = 5,
    out: Annotated[list[Path] | None, typer.Option(help="table to write, .md or .csv; may be repeated")] = None,
) -> None:
    """Measure what checkpoints cost to run: speed, latency, memory, size, start-up; by number of threads."""
    from enhance.profile import ProfileConfig, check_suffix, markdown, write
    from enhance.profile import profile as measure

    for path in out or []:
        check_suffix(path)
    if not all(number.strip().isdecimal() for number in threads.split(",")):
        raise ConfigError(f"--threads {threads}", "expected whole numbers", mend="write for example 1,2,4")
    try:
        numbers = tuple(int(number) for number in threads.split(","))
        config = ProfileConfig(threads=numbers, seconds=seconds, repeats=repeats)
    except ValueError as error:
        raise ConfigError("enhance profile", str(error), mend="change the option") from error
    rows = measure(model, config)
    typer.echo(markdown(rows, config))
    for path in out or []:
        write(path, rows, config)
