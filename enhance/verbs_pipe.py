"""The verbs that stand in a wav.scp: pipe, and serve, which spares every utterance the start of the program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[str, typer.Option(help="best.pt of a run, exported weights, or builtin")]
MixOption = Annotated[float, typer.Option(min=0, max=1, help="share of the unprocessed signal added back, 0 to 1")]
ResampleOption = Annotated[bool, typer.Option(help="convert recordings of another sample rate")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, or auto")]


def pipe(
    model: ModelOption = "builtin",
    mix: MixOption = 0.0,
    resample: ResampleOption = False,
    device: DeviceOption = "cpu",
    socket: Annotated[Path | None, typer.Option(help="of `enhance serve`: it has the model; no other option")] = None,
) -> None:
    """Enhance one wav, standard input to standard output, as denoise does: for commands in wav.scp."""
    import torch

    from enhance.piped import enhance_wav
    from enhance.verbs_train import pick_device
    from enhance.weights import load_generator
    from harness.errors import ConfigError

    if socket is not None:
        mend = "give --socket alone: model, mix, resample and device are the server's"
        raise ConfigError("enhance pipe", "--socket goes with no other option", mend=mend)
    torch.set_num_threads(1)
    generator = load_generator(model, pick_device(device))[1]
    wav = enhance_wav(generator, sys.stdin.buffer.read(), mix=mix, convert=resample)
    sys.stdout.buffer.write(wav)
    sys.stdout.buffer.flush()


def serve(
    socket: Annotated[Path, typer.Option(help="Unix socket to listen at; only you may open it")],
    model: ModelOption = "builtin",
    mix: MixOption = 0.0,
    resample: ResampleOption = False,
    device: DeviceOption = "cpu",
    jobs: Annotated[int, typer.Option(min=1, help="wavs that are worked on at the same time")] = 1,
) -> None:
    """Hold a generator for `python -m enhance pipe --socket S`, which then starts in no time; ends on SIGTERM."""
    from enhance.serve import EnhanceServer
    from enhance.serve import serve as serve_until_told
    from enhance.verbs_train import pick_device
    from enhance.weights import load_generator

    models = [load_generator(model, pick_device(device))[1] for _ in range(jobs)]
    server = EnhanceServer(socket, models, mix=mix, convert=resample)
    serve_until_told(server, lambda: typer.echo(f"serving {model} at {socket}"))
