"""How long does a live stream wait, and how busy does it keep a core?

    python benchmarks/stream_latency.py [--seconds 8] [--rounds 3] [--block-ms 16 64] [--threads 1]

The built-in compact model and Demucs 48, causal (untrained: the time is the same), through the pipe's enhancer with the
level followed.  Waited: how many ms of sound had come, at most, when a sample came out, counted block by block; the
latency that the model states plus a block at most.  A block's time is processor time, so that a busy machine counts
little: mean and 99th percentile of the fastest round.  Writes benchmarks/results/stream_latency.md.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from enhance.live import LiveEnhancer
from enhance.models import Generator
from enhance.models.demucs import Demucs, DemucsConfig
from enhance.verbs_stream import warm_up
from enhance.weights import load_generator

RESULT = Path(__file__).resolve().parent / "results" / "stream_latency.md"
HEAD = (
    "| model | block, ms | stated latency, ms | waited, ms | a block takes, ms: mean | p99 | real-time factor |",
    "|---|---|---|---|---|---|---|",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of sound")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block-ms", type=float, nargs="+", default=[16.0, 64.0])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    models = {"compact, built-in": load_generator("builtin")[1], "Demucs 48, causal": Demucs(DemucsConfig()).eval()}
    lines = list(HEAD)
    for name, model in models.items():
        for block_ms in arguments.block_ms:
            size = round(block_ms / 1000 * model.sample_rate)
            sound = sound_for(model, arguments.seconds)
            times, waited = min((once(model, sound, size) for _ in range(arguments.rounds)), key=lambda it: it[0].sum())
            lines.append(
                f"| {name} | {block_ms:g} | {1000 * model.latency:.1f} | {1000 * waited / model.sample_rate:.1f} | "
                f"{times.mean():.2f} | {np.quantile(times, 0.99):.2f} | {times.sum() / 1000 / arguments.seconds:.3f} |"
            )
    write_result("\n".join(lines), arguments)


def sound_for(model: Generator, seconds: float) -> np.ndarray:
    """Noise at the level of speech."""
    return 0.05 * np.random.default_rng(0).standard_normal(round(seconds * model.sample_rate)).astype(np.float32)


def once(model: Generator, sound: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Processor ms of each block, and the longest wait in samples of sound, counted at the ends of blocks."""
    warm_up(model, size)
    live, times, given, waited = LiveEnhancer(model), [], 0, 0
    for start in range(0, len(sound) - size + 1, size):
        begin = time.process_time()
        ready = len(live.push(sound[start : start + size]))
        times.append(1000 * (time.process_time() - begin))
        if ready:
            waited = max(waited, start + size - given)
        given += ready
    return np.array(times), waited


def write_result(table: str, arguments: argparse.Namespace) -> None:
    """The table with machine, commit and command."""
    print(table)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        f"# Live streams: latency and time, {datetime.date.today().isoformat()}\n\n{table}\n\n"
        f"Latency is algorithmic: frame and look-ahead. Processor time, fastest of {arguments.rounds} rounds, "
        f"{arguments.seconds:g} s of noise, {arguments.threads} thread(s).\n\n"
        f"- machine: {processor()}\n- torch {torch.__version__}, Python {platform.python_version()}\n"
        f"- commit: {commit.stdout.strip() or 'unknown'}\n"
        f"- command: `python {' '.join(['benchmarks/stream_latency.py', *sys.argv[1:]])}`\n",
        encoding="utf-8",
    )
    print(f"wrote {RESULT}")


def processor() -> str:
    """Name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
