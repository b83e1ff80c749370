"""How fast do the generators denoise?  Real-time factor of each model's stream on one CPU thread.

    python benchmarks/enhance_rtf.py [--model NAME=PATH ...] [--seconds 30] [--rounds 5] [--threads 1]

Without --model: every model of the table at its default size (untrained), and the built-in weights where installed.
A round runs each model once; the figure is the fastest round's processor time over the duration of the audio, blocks
of 8 s as in `enhance denoise`, both of its passes included.  Prints a table and writes it to benchmarks/results/.
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

from enhance.models import MODELS, Generator
from enhance.streaming import enhance_samples
from enhance.weights import BUILTIN, load_generator

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="NAME=PATH of a checkpoint; may be given again")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    models = chosen_models(arguments.model)
    audio = 0.1 * np.random.default_rng(0).standard_normal(int(16000 * arguments.seconds)).astype(np.float32)
    best = dict.fromkeys(models, float("inf"))
    for _ in range(arguments.rounds):
        for name, model in models.items():
            best[name] = min(best[name], processor_seconds(model, audio))
    lines = ["| model | parameters | real-time factor |", "|---|---|---|"]
    for name, model in models.items():
        parameters = sum(parameter.numel() for parameter in model.parameters())
        lines.append(f"| {name} | {parameters / 1e6:.3f} M | {best[name] / arguments.seconds:.4f} |")
    table = "\n".join(lines)
    print(table)
    write_results(table, arguments)


def chosen_models(named: list[str]) -> dict[str, Generator]:
    """The models to time, by name."""
    if named:
        return {name: load_generator(path)[1] for name, _, path in (text.partition("=") for text in named)}
    models = {f"{name} (default size)": model(config()).eval() for name, (config, model) in MODELS.items()}
    if BUILTIN.is_file():
        models["built-in weights"] = load_generator("builtin")[1]
    return models


def processor_seconds(model: Generator, audio: np.ndarray) -> float:
    """Processor time of one run, so that a busy machine counts little."""
    start = time.process_time()
    enhance_samples(model, audio)
    return time.process_time() - start


def write_results(table: str, arguments: argparse.Namespace) -> None:
    """The table with machine, commit and command."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    today = datetime.date.today().isoformat()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"enhance_rtf_cpu_{today}.md"
    path.write_text(
        f"# Real-time factor of the enhancers, {today}\n\n{table}\n\n"
        f"Fastest of {arguments.rounds} rounds, {arguments.seconds:g} s of audio, {arguments.threads} thread(s), "
        f"processor time; {processor()}, torch {torch.__version__}, commit {commit.stdout.strip() or 'unknown'}.\n"
        f"Command: `python {' '.join(['benchmarks/enhance_rtf.py', *sys.argv[1:]])}`\n",
        encoding="utf-8",
    )
    print(f"wrote {path}")


def processor() -> str:
    """Name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
