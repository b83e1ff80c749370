"""The verb that imports systems of other toolkits: import-pytorch-kaldi."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Dims = list[int]


def register(app: typer.Typer) -> None:
    """Add the verb to the room's app."""
    app.command("import-pytorch-kaldi")(import_pytorch_kaldi)


def import_pytorch_kaldi(
    cfg: Annotated[Path, typer.Option("--cfg", help="the .cfg of the system")],
    out: Annotated[Path, typer.Option("--out", help="directory for config.yaml and best.pt")],
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="its out_folder, with final_architecture*.pkl")
    ] = None,
    dims: Annotated[
        Dims | None, typer.Option("--dims", min=1, help="features a frame of each stream, where the nets do not tell")
    ] = None,
    counts: Annotated[
        Path | None, typer.Option("--counts", help="frames of each pdf (analyze-counts); default: uniform priors")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="file of 'am pack' whose mean and deviation normalise the inputs")
    ] = None,
    lang: Annotated[Path | None, typer.Option("--lang", help="lang dir with phones.txt, names for the phones")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace what the output holds")] = False,
) -> None:
    """A pytorch-kaldi system as a configuration and, with --checkpoints, a model of ours with the same outputs."""
    from am.pytorch_kaldi.importing import ImportSources, import_system
    from harness.log import get_logger

    log = get_logger("am")
    sources = ImportSources(
        cfg=cfg, checkpoints=checkpoints, dims=tuple(dims or ()), counts=counts, dataset=dataset, lang=lang
    )
    plan = import_system(sources, out, force=force)
    for note in plan.notes:
        log.warning("%s: %s", cfg, note)
    written = "config.yaml" if checkpoints is None else "config.yaml and best.pt"
    log.info("%s: %s of %d streams -> %s in %s", cfg, plan.config.model, len(plan.streams), written, out)
