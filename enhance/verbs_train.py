"""The verbs that make models: pack-clean, train, export-builtin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    out: Annotated[Path, typer.Option(help="run directory to write or resume")],
    noise: Annotated[Path | None, typer.Option(help="directory of noise recordings")] = None,
    data: Annotated[Path | None, typer.Option(help="Kaldi data directory of clean speech")] = None,
    noisy: Annotated[Path | None, typer.Option(help="--data as recorded in noise, instead of --noise")] = None,
    pack: Annotated[Path | None, typer.Option(help="packed clean speech (pack-clean) instead of --data")] = None,
    resample: Annotated[bool, typer.Option(help="convert recordings of other rates instead of refusing them")] = False,
    cache: Annotated[Path | None, typer.Option(help="directory where sounds are kept for later runs")] = None,
    workers: Annotated[int, typer.Option(min=0, help="processes that make pairs ahead, where a CPU makes them")] = 0,
    config: Annotated[Path | None, typer.Option(help="YAML with what differs from the defaults")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, dotted; may be given again")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto")] = "auto",
    max_minutes: Annotated[float | None, typer.Option(help="end by then, the rate decayed")] = None,
    processor_time: Annotated[bool, typer.Option(help="count --max-minutes in processor time")] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; more than one only pays on idle cores")] = 1,
    init_generator: Annotated[Path | None, typer.Option(help="start from this generator (best.pt, builtin)")] = None,
    init_critic: Annotated[Path | None, typer.Option(help="start from this critic (last.pt, an import)")] = None,
    log: Annotated[list[str] | None, typer.Option(help="also log to tensorboard, wandb, clearml or mlflow")] = None,
    log_project: Annotated[str, typer.Option(help="project there")] = "schoolyard",
    log_examples: Annotated[int, typer.Option(help="sounds and spectrograms logged at each validation")] = 2,
    log_histograms: Annotated[bool, typer.Option(help="also log histograms of weights and gradients")] = False,
    force: Annotated[bool, typer.Option(help="start anew where a run with other settings stands")] = False,
) -> None:
    """Train a generator (and its critic) on clean speech mixed with noise as it goes (torchrun: in parallel)."""
    import torch

    from enhance.distributed import join_processes, leave_processes
    from enhance.fine_tune import StartFrom
    from enhance.settings import load_settings
    from enhance.train import RunOptions, Trainer
    from enhance.training_sounds import Sources
    from harness.errors import ConfigError

    if max_minutes is not None and not max_minutes > 0:
        mend = "leave it out to train all train.steps"
        raise ConfigError("--max-minutes", f"must be positive, got {max_minutes}", mend=mend)
    torch.set_num_threads(threads)
    settings = load_settings(config, override or [])
    logs = _log_config(log or [], log_project, log_examples, log_histograms)
    sources = Sources(
        data=data, pack=pack, noisy=noisy, noise=noise, sample_rate=settings.generator.sample_rate,
        resample=resample, cache=cache,
    )  # fmt: skip
    speech, noises = read_sounds(sources)
    processes, own_device = join_processes(pick_device(device))
    if force and processes.first:
        _clear(out)
    processes.gather(None)  # nobody looks for a run to resume before it is cleared
    start = StartFrom(generator=init_generator, critic=init_critic)
    options = RunOptions(
        device=own_device, max_minutes=max_minutes, processor_time=processor_time, logs=logs, start=start,
        processes=processes, workers=workers,
    )  # fmt: skip
    best = Trainer(settings, speech, noises, out, options).run()
    leave_processes()
    if processes.first:
        typer.echo(f"best generator: {best}")


def _log_config(kinds: list[str], project: str, examples: int, histograms: bool):  # type: ignore[no-untyped-def]
    from enhance.run_log import LogConfig
    from harness.errors import ConfigError

    try:
        return LogConfig(kinds=tuple(kinds), project=project, examples=examples, histograms=histograms)
    except ValueError as error:
        raise ConfigError("enhance train --log", str(error), mend="change the option") from error


def _clear(out: Path) -> None:
    """Remove what a run of other settings left."""
    import shutil

    for name in ("last.pt", "best.pt", "metrics.jsonl", "config.yaml", "mlflow_run_id"):
        (out / name).unlink(missing_ok=True)
    for name in ("kept", "tensorboard"):
        shutil.rmtree(out / name, ignore_errors=True)


def read_sounds(sources: Any) -> tuple[Any, Any]:
    """Clean speech and noise, and a line on how much there is."""
    from enhance.training_sounds import load_noises, load_speech
    from harness.log import get_logger

    speech, noises = load_speech(sources), load_noises(sources)
    minutes = [len(sounds.samples) / sources.sample_rate / 60 for sounds in (speech, noises)]
    get_logger("enhance").info(
        "%d utterances (%.1f min), %d noises (%.1f min)", len(speech.names), minutes[0], len(noises.names), minutes[1]
    )
    return speech, noises


def pack_clean(
    data: Annotated[Path, typer.Option(help="Kaldi data directory of clean speech")],
    out: Annotated[Path, typer.Option(help="directory to write")],
    shard_minutes: Annotated[float, typer.Option(help="speech a FLAC file; 30 minutes are about 35 MB")] = 30.0,
    sample_rate: Annotated[int, typer.Option(help="Hz")] = 16000,
    force: Annotated[bool, typer.Option(help="replace an existing pack")] = False,
) -> None:
    """Pack clean speech into a few FLAC files, to train on a machine without the corpus."""
    from enhance.pack import pack_speech

    count = pack_speech(
        _utterances(data, sample_rate), out, sample_rate=sample_rate, shard_minutes=shard_minutes, force=force
    )
    typer.echo(f"packed {count} utterances into {out}")


def export_builtin(
    checkpoint: Annotated[Path, typer.Option(help="best.pt of a run")],
    out: Annotated[Path, typer.Option(help="safetensors file to write")] = Path("enhance/builtin/compact.safetensors"),
) -> None:
    """Write a generator as safetensors, the form of the built-in weights."""
    from enhance.weights import export_generator

    export_generator(checkpoint, out)
    typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.2f} MB)")


def pick_device(name: str) -> str:
    """cpu or cuda; auto takes what is there.  Raises ConfigError where cuda is asked for and missing."""
    import torch

    from harness.errors import ConfigError

    match name:
        case "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        case "cpu":
            return "cpu"
        case "cuda":
            if not torch.cuda.is_available():
                raise ConfigError("--device cuda", "this torch sees no GPU", mend="take --device cpu")
            return "cuda"
        case _:
            raise ConfigError(f"--device {name}", "must be cpu, cuda or auto", mend="choose one of them")


def _utterances(data: Path, rate: int):  # type: ignore[no-untyped-def]
    """(utterance, speaker, samples) of a data directory."""
    from kaldi_bridge.audio import read_utterances
    from kaldi_bridge.data_dir import DataDir

    directory = DataDir.read(data)
    for utterance, samples in read_utterances(directory, sample_rate=rate):
        yield utterance, directory.utt2spk[utterance], samples
