"""The verbs that carry models in and out: import, export, models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_weights(
    kind: Annotated[str, typer.Option("--from", help="what wrote it, such as segan-pytorch or denoiser")],
    checkpoint: Annotated[Path, typer.Option(help="the foreign file; it is read, never executed")],
    out: Annotated[Path, typer.Option(help="checkpoint to write")],
    options: Annotated[Path | None, typer.Option(help="JSON of the training's options; else the one beside it")] = None,
) -> None:
    """Turn weights that another program trained into a checkpoint of ours (they keep their licence)."""
    from enhance.foreign import import_checkpoint
    from harness.log import get_logger

    found = import_checkpoint(kind, checkpoint, out, options)
    for note in found.notes:
        get_logger("enhance").warning("%s: %s", checkpoint, note)
    typer.echo(
        f"wrote {out}: {'critic' if found.critic else 'generator'} {found.name}, {found.parameters:,} parameters"
    )


def export(
    checkpoint: Annotated[str, typer.Option(help='best.pt of a run, exported weights, or "builtin"')],
    out: Annotated[Path, typer.Option(help="file to write")],
    to: Annotated[str, typer.Option(help="onnx, torch-export or safetensors")] = "safetensors",
    samples: Annotated[int | None, typer.Option(min=1, help="for this length only, where no graph takes any")] = None,
) -> None:
    """Write a generator for other programs, and check there that it says the same."""
    from enhance.export import export_model

    typer.echo(export_model(checkpoint, to, out, samples=samples))


def models(
    measure: Annotated[bool, typer.Option(help="also time each generator on one thread (slow for large ones)")] = False,
    markdown: Annotated[Path | None, typer.Option(help="write the table of generators there, as Markdown")] = None,
    settings: Annotated[Path, typer.Option(help="directory of YAML files")] = Path("cfg/enhance"),
) -> None:
    """List objectives and critics, and each generator with its size, work, latency and speed."""
    from enhance.survey import markdown_table, survey
    from harness.atomic import write_whole

    for line in _tables():
        typer.echo(line)
    table = markdown_table(survey(settings, measure=measure))
    typer.echo(table)
    if markdown is not None:
        with write_whole(markdown) as stream:
            stream.write(table + "\n")


def _tables() -> list[str]:
    """What there is of each kind, with the first line of its text."""
    from enhance.critics import CRITICS
    from enhance.models import MODELS
    from enhance.objectives import OBJECTIVES

    lines = []
    for title, table in (("models", MODELS), ("objectives", OBJECTIVES), ("critics", CRITICS)):
        lines.append(f"{title}:")
        for name, (_, made) in table.items():
            first_line = (__import__(made.__module__, fromlist=["x"]).__doc__ or "").strip().splitlines()[0]
            lines.append(f"  {name:15s} {first_line}")
    return lines
