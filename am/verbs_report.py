"""The verb that writes the report: report."""

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
    html: Annotated[Path | None, typer.Option("--html", help="page to write; default: beside --out, .html")] = None,
    title: Annotated[str, typer.Option("--title", help="first line")] = "Results",
    note: Annotated[list[Path] | None, typer.Option("--note", help="Markdown: what was run")] = None,
    command: Annotated[str, typer.Option("--command", help="shown on the page: what made the work directory")] = "",
    config: Annotated[Path | None, typer.Option("--config", help="YAML with a ReportConfig")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the config, as audio=mp3")] = None,
) -> None:
    """Write WER by condition, SNR and age, what enhancement changed, quality and sounds: HTML and Markdown."""
    from am.report import ReportConfig, write_report
    from harness.config import load_config

    page = html or out.with_suffix(".html")
    chosen = load_config(ReportConfig, config, set_ or ())
    typer.echo(write_report(work, out, html=page, title=title, notes=tuple(note or ()), command=command, config=chosen))
    typer.echo(f"\nreport: {out} and {page}")
