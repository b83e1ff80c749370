"""What a trained enhancer costs to run: speed, latency, memory, size and start-up time, by number of threads.

Each row is measured in a process of its own (enhance/profiled.py), so that memory is that of this model alone and
nothing is warm but the file cache.  Real-time factor: the time of one pass over the sound, both passes of `enhance
denoise` included, over its duration; median of the repeats after one pass that is not counted.  Wall time is what a
user waits and grows with the load of the machine; processor time is that of all threads and hardly grows with one
thread, but several threads also burn it while they wait for one another.  Both stand there, with the load.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from harness.atomic import write_whole
from harness.errors import CheckpointError, ConfigError, SchoolyardError
from harness.jobs import default_jobs
from harness.log import get_logger

MEGABYTE = 1e6
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    threads: tuple[int, ...] = (1,)
    seconds: float = 60.0  # of sound in a pass
    repeats: int = 5  # passes that count

    def __post_init__(self) -> None:
        if not self.threads or min(self.threads) < 1:
            raise ValueError(f"threads must be whole numbers from 1 on, got {list(self.threads)}")
        if not 1 <= self.seconds < math.inf:
            raise ValueError(f"seconds must be 1 or more, got {self.seconds}")
        if self.repeats < 1:
            raise ValueError(f"repeats must be 1 or more, got {self.repeats}")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A model with a number of threads.  Seconds, bytes; latency is infinite where the whole recording is needed."""

    model: str
    kind: str  # its line in the table of models
    threads: int
    wall_factor: float  # real-time factors: median of the repeats
    wall_factor_min: float
    wall_factor_max: float
    processor_factor: float
    latency: float
    start_up: float  # from the start of the process until the first second of sound is enhanced; measured once
    peak_memory: int  # most that was ever resident
    bare_memory: int  # the same before the model was loaded: Python and torch
    parameters: int
    disk: int
    load: float  # of the machine, 1-minute average before the measurement
    sample_rate: int


def profile(models: Sequence[str], config: ProfileConfig) -> list[Profile]:
    """Measure each model with each number of threads.  Raises CheckpointError as `denoise` does."""
    cores = default_jobs()
    if max(config.threads) > cores:
        get_logger("enhance").warning("%d threads on %d cores: more do not help", max(config.threads), cores)
    rows = [measure(model, threads, config) for model in models for threads in config.threads]
    if (busiest := max(row.load for row in rows)) > 0.5 * cores:
        text = "the machine was busy (load %.1f on %d cores): trust only the processor time of one thread"
        get_logger("enhance").warning(text, busiest, cores)
    return rows


def measure(model: str, threads: int, config: ProfileConfig) -> Profile:
    """One row, from a fresh process."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    places = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": places}
    request = json.dumps({"model": model, "threads": threads, "seconds": config.seconds, "repeats": config.repeats})
    load, start = os.getloadavg()[0], time.monotonic()
    command = [sys.executable, "-m", "enhance.profiled", request]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # says that the first second is there
        start_up = time.monotonic() - start
        answer = process.stdout.read()
    if process.returncode or not answer:
        problem = f"the process that measures it ended with {process.returncode}"
        raise SchoolyardError(model, problem, mend="see the lines above; give fewer --seconds where memory ran out")
    found = json.loads(answer)
    if "problem" in found:
        raise CheckpointError(found["where"], found["problem"], mend=found["mend"])
    wall = [seconds / found["seconds"] for seconds in found.pop("wall")]
    processor = [seconds / found["seconds"] for seconds in found.pop("processor")]
    del found["seconds"]
    return Profile(
        model=model, threads=threads, wall_factor=median(wall), wall_factor_min=min(wall), wall_factor_max=max(wall),
        processor_factor=median(processor), start_up=start_up, load=load, **found,
    )  # fmt: skip


HEAD = (
    "model", "threads", "real-time factor (range)", "of processor time", "latency", "start-up, s", "peak memory, MB",
    "of it Python and torch", "parameters", "on disk, MB", "load",
)  # fmt: skip


def markdown(rows: Sequence[Profile], config: ProfileConfig) -> str:
    """The table, and below it how it was measured."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---|" + "---:|" * (len(HEAD) - 1)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    how = (
        f"Median of {config.repeats} passes over {config.seconds:g} s of noise at the level of speech, in blocks as "
        "`enhance denoise`, after one pass that is not counted; a fresh process a row. Processor time is that of all "
        "threads, their waiting for one another included. Latency is algorithmic. Start-up is measured once, with a "
        "warm file cache: until the first second of sound is enhanced."
    )
    return "\n".join(
        [*lines, "", how, "", f"{processor()}, {default_jobs()} cores; Python {platform.python_version()}."]
    )


def _cells(row: Profile) -> list[str]:
    latency = "whole recording" if math.isinf(row.latency) else f"{1000 * row.latency:.0f} ms"
    return [
        f"{row.model} ({row.kind})", str(row.threads),
        f"{row.wall_factor:.3f} ({row.wall_factor_min:.3f} to {row.wall_factor_max:.3f})",
        f"{row.processor_factor:.3f}", latency, f"{row.start_up:.1f}", f"{row.peak_memory / MEGABYTE:.0f}",
        f"{row.bare_memory / MEGABYTE:.0f}", f"{row.parameters:,}", f"{row.disk / MEGABYTE:.2f}", f"{row.load:.1f}",
    ]  # fmt: skip


def as_csv(rows: Sequence[Profile]) -> str:
    """Every field of every row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Profile.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def write(path: Path, rows: Sequence[Profile], config: ProfileConfig) -> None:
    """A table as the suffix says: .md or .csv.  Raises ConfigError for another one."""
    check_suffix(path)
    with write_whole(path) as stream:
        stream.write(as_csv(rows) if path.suffix == ".csv" else markdown(rows, config) + "\n")


def check_suffix(path: Path) -> None:
    """ConfigError where no table of this kind can be written."""
    if path.suffix not in (".md", ".csv"):
        raise ConfigError(f"--out {path}", "is no kind of table", mend="let it end in .md or .csv")


def processor() -> str:
    """Name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
