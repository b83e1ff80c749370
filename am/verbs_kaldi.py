"""The verb that lays a recipe's embedded run beside its run with a real Kaldi: kaldi-compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the room's app."""
    app.command("kaldi-compare")(kaldi_compare)


def kaldi_compare(
    embedded: Annotated[Path, typer.Option("--embedded", help="work directory of a recipe")],
    kaldi: Annotated[Path, typer.Option("--kaldi", help="work directory of the same recipe with --kaldi")],
    out: Annotated[Path, typer.Option("--out", help="Markdown file to write")],
    title: Annotated[str, typer.Option("--title", help="its first line")] = "Embedded and Kaldi",
    note: Annotated[Path | None, typer.Option("--note", help="Markdown: what was run, and where")] = None,
) -> None:
    """WER of every rung and CPU time of every stage, embedded beside Kaldi; exit code 1 where the WERs do not agree."""
    from am.kaldi_compare import compare_runs, table
    from harness.atomic import write_whole

    found = compare_runs(embedded, kaldi)
    command = f"python -m am kaldi-compare --embedded WORK/{embedded.name} --kaldi WORK/{kaldi.name} --out {out.name}"
    with write_whole(out) as stream:
        about = note.read_text(encoding="utf-8").strip() if note is not None else ""
        stream.write(table(found, title=title, command=command, about=about))
    for pair in found.pairs:
        if not pair.agrees:
            one, low, high = pair.embedded, pair.deciding.low, pair.deciding.high
            typer.echo(
                f"{one.training}/{one.model} on {one.test} ({one.lm}): Kaldi's {pair.kaldi.errors.percent:.2f} % is "
                f"outside {low:.1f} to {high:.1f} %, the interval of the embedded {one.errors.percent:.2f} %"
            )
    typer.echo(f"{out}: {sum(pair.agrees for pair in found.pairs)} of {len(found.pairs)} word error rates agree")
    if not found.agree:
        raise typer.Exit(1)
