"""The verb that stands in a pipe: stream."""

from __future__ import annotations

import math
import signal
import sys
import time
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

if TYPE_CHECKING:
    from enhance.models import Generator
    from enhance.pcm_pipe import PcmFormat


def stream(
    model: Annotated[str, typer.Option(help="best.pt of a run, exported weights, or builtin")] = "builtin",
    raw: Annotated[str | None, typer.Option(help="s16le or f32le: samples without a header; else wav")] = None,
    rate: Annotated[int | None, typer.Option(help="Hz, with --raw; the model's if not given")] = None,
    block_ms: Annotated[float, typer.Option(help="ms of sound that are read at once")] = 16.0,
    level: Annotated[float | None, typer.Option(help="root mean square (1 = full scale); else that so far")] = None,
    mix: Annotated[float, typer.Option(help="share of the unprocessed signal added back, 0 to 1")] = 0.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
) -> None:
    """Enhance sound live, standard input to standard output: sox -d ... | python -m enhance stream | play ..."""
    import torch

    from enhance.verbs_train import pick_device
    from enhance.weights import load_generator

    check_options(raw, rate, block_ms, level, mix)
    _check_pipes()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may leave at any time
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # fading states would cost time in silence
    generator = load_generator(model, pick_device(device))[1]
    size = max(1, round(block_ms / 1000 * generator.sample_rate))
    warm_up(generator, size)
    form = _raw_format(raw, rate or generator.sample_rate)
    typer.echo(pump(generator, sys.stdin.buffer, sys.stdout.buffer, form, size, level=level, mix=mix), err=True)


def pump(
    generator: Generator, source: BinaryIO, sink: BinaryIO, form: PcmFormat | None, size: int, *,
    level: float | None = None, mix: float = 0.0,
) -> str:  # fmt: skip
    """Enhance what source gives into sink, `size` samples at once, in the same form; returns the report.

    form: of raw samples, None for a wav.  Raises AudioError; what came whole before it is in the sink then.
    """
    from enhance.live import LiveEnhancer
    from enhance.pcm_pipe import PcmReader, PcmWriter
    from harness.errors import AudioError

    reader = PcmReader(source, form)
    if reader.form.rate != generator.sample_rate:
        problem = f"has {reader.form.rate} Hz, the model {generator.sample_rate} Hz"
        raise AudioError("standard input", problem, mend=f"put sox ... -r {generator.sample_rate} ... before the pipe")
    live, writer = LiveEnhancer(generator, level=level, mix=mix), PcmWriter(sink, reader.form)
    broken, seconds = None, []
    try:
        for block in reader.blocks(size):
            start = time.perf_counter()
            ready = live.push(block)
            seconds.append(time.perf_counter() - start)
            writer.write(ready)
    except AudioError as error:  # what came before is still worth its sound
        broken = error
    writer.write(live.finish())
    if broken is not None:
        raise broken
    if not writer.samples:
        raise AudioError("standard input", "holds no samples", mend="check the program before the pipe")
    return report(generator, size, seconds, writer.samples, writer.clipped)


def warm_up(generator: Generator, size: int) -> None:
    """Run a little silence through, so that the first real block is as quick as the others."""
    import torch

    if not math.isfinite(generator.latency) or generator.latency > 1:
        return
    with torch.inference_mode():
        silent = generator.open_stream(1.0)
        device = next(generator.parameters()).device
        for _ in range(0, round(generator.latency * generator.sample_rate) + 4 * size, size):
            silent.push(torch.zeros(size, device=device))


def report(generator: Generator, size: int, seconds: list[float], samples: int, clipped: int) -> str:
    """Latency, and how long the blocks took.  size: samples a block.  seconds: of processing, each block's."""
    import numpy as np

    rate, times = generator.sample_rate, 1000 * np.array(seconds)
    with_blocks = generator.latency + (size - 1) / rate
    return (
        f"{samples / rate:.2f} s of sound, {clipped} samples clipped\n"
        f"algorithmic latency: {1000 * generator.latency:.1f} ms, "
        f"with blocks of {1000 * size / rate:g} ms at most {1000 * with_blocks:.1f} ms\n"
        f"processing a block: {times.mean():.2f} ms (mean), {np.quantile(times, 0.99):.2f} ms (p99)\n"
        f"real-time factor: {times.sum() / 1000 / (samples / rate):.4f}"
    )


def _raw_format(raw: str | None, rate: int) -> PcmFormat | None:
    from enhance.pcm_pipe import PcmFormat

    match raw:
        case "s16le" | "f32le":
            return PcmFormat(rate=rate, encoding=raw, wav=False)
        case _:
            return None


def check_options(raw: str | None, rate: int | None, block_ms: float, level: float | None, mix: float) -> None:
    """Options that contradict.  Raises ConfigError."""
    from harness.errors import ConfigError

    if raw not in (None, "s16le", "f32le"):
        raise ConfigError(f"--raw {raw}", "must be s16le or f32le", mend="choose one of them, or send wav")
    if raw is None and rate is not None:
        raise ConfigError("--rate", "goes with --raw; a wav says its own", mend="leave it out, or give --raw s16le")
    if not 0 < block_ms < math.inf:
        raise ConfigError("--block-ms", f"must be positive and finite, got {block_ms}", mend="give 16, for instance")
    if level is not None and not 0 <= level <= 1:
        raise ConfigError("--level", f"must lie in [0, 1], got {level}", mend="1 is full scale; speech has about 0.05")
    if not 0 <= mix <= 1:
        raise ConfigError("--mix", f"must lie in [0, 1], got {mix}", mend="change the option")


def _check_pipes() -> None:
    from harness.errors import ConfigError

    if sys.stdin.isatty() or sys.stdout.isatty():
        mend = "sox -d -t wav - | python -m enhance stream | play -t wav -"
        raise ConfigError("enhance stream", "reads and writes sound through pipes, not a terminal", mend=mend)
