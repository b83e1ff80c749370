"""The verbs that judge an enhancer: profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import ConfigError


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
