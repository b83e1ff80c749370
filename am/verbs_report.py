"""The verb that writes the results table: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verbs to the room's app."""
    app.command()(report)


def report(
    work: Annotated[Path, typer.Option("--work", help="work directory of a recipe, with data/ and exp/")],
    out: Annotated[Path, typer.Option("--out", help="Markdown file to write")] = Path("RESULTS.md"),
    title: Annotated[str, typer.Option("--title", help="first line")] = "Results",
    note: Annotated[list[Path] | None, typer.Option("--note", help="Markdown put in below the title")] = None,
    main_lm: Annotated[str, typer.Option("--main-lm", help="language model of the breakdowns")] = "open",
) -> None:
    """Write WER by condition, SNR and age, with intervals and what enhancement changed; print the main table."""
    from am.report import ReportConfig, write_report

    typer.echo(write_report(work, out, title=title, notes=tuple(note or ()), config=ReportConfig(main_lm=main_lm)))
    typer.echo(f"\nreport: {out}")
