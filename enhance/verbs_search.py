"""The verb that looks for good settings: search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def search(
    space: Annotated[Path, typer.Option(help="YAML: which settings vary, how, and in how many trials")],
    out: Annotated[Path, typer.Option(help="directory of the search, to write or go on with")],
    noise: Annotated[Path | None, typer.Option(help="directory of noise recordings")] = None,
    data: Annotated[Path | None, typer.Option(help="Kaldi data directory of clean speech")] = None,
    noisy: Annotated[Path | None, typer.Option(help="--data as recorded in noise, instead of --noise")] = None,
    pack: Annotated[Path | None, typer.Option(help="packed clean speech (pack-clean) instead of --data")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML of the settings that do not vary")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, dotted; may be given again")] = None,
    trials: Annotated[int | None, typer.Option(help="trials in all, instead of the number in --space")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; more than one only pays on idle cores")] = 1,
) -> None:
    """Search for the settings with the best validation score (Optuna); a killed search goes on."""
    import torch

    from enhance.search import search as look
    from enhance.settings import load_settings
    from enhance.train import RunOptions, Trainer
    from enhance.training_sounds import Sources
    from enhance.verbs_train import pick_device, read_sounds

    torch.set_num_threads(threads)
    settings = load_settings(config, override or [])
    sources = Sources(data=data, pack=pack, noisy=noisy, noise=noise, sample_rate=settings.generator.sample_rate)
    speech, noises = read_sounds(sources)
    device = pick_device(device)

    def run(settings: Any, directory: Path, report: Any) -> float:
        trainer = Trainer(settings, speech, noises, directory, RunOptions(device=device, on_validation=report))
        trainer.run()
        return trainer.ranking.entries[0][0]

    best = look(space, config, override or [], out, run, trials=trials)
    values = ", ".join(f"{name} {value}" for name, value in best["settings"].items())
    typer.echo(
        f"best: trial {best['trial']} ({best['score']:.4f}): {values}; {out / 'best.yaml'}, {out / 'results.csv'}"
    )
