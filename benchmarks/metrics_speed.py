"""Is the scoring engine as fast as its libraries called one by one?  Files a second, with one process and with two.

    python benchmarks/metrics_speed.py --clean DATA --noisy DATA [--files 16] [--rounds 3]

PESQ of both bands and STOI of both kinds of the same files: by a plain loop over pesq and pystoi (read both sounds,
convert to 8 kHz for the narrow band, four calls), and by `enhance score` as a whole (tables, partial rows, summary and
intervals included).  The ways take turns; the figure is the median round.  Processor time is that of all processes: on
a busy machine it is the fair one, and wall time says what two processes gain.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from enhance.score import ScoreConfig, score_data_dirs
from kaldi_bridge.audio import resample
from kaldi_bridge.data_dir import DataDir

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "metrics_speed.md"
METRICS = ("pesq", "pesq_nb", "stoi", "estoi")
RATE = 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", required=True)
    parser.add_argument("--noisy", required=True)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sides = [take(data, arguments.files, folder) for data in (arguments.clean, arguments.noisy)]
        ways: dict[str, Callable[[], object]] = {
            "pesq and pystoi in a loop": lambda: loop(*sides),
            "engine, 1 process": lambda: engine(*sides, folder, 1),
            "engine, 2 processes": lambda: engine(*sides, folder, 2),
        }
        for way in ways.values():  # imports, compilation, the disk's cache
            way()
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                times[name].append(timed(way))
    write(times, arguments)


def take(data: str, files: int, folder: Path) -> Path:
    """The first files of a data directory, as a data directory of its own."""
    whole = DataDir.read(data, validate=False).without("feats.scp", "cmvn.scp")
    return whole.subset(whole.utterances[:files], folder / Path(data).name).write().path


def loop(clean: Path, noisy: Path) -> list[tuple[float, ...]]:
    """What one writes without an engine."""
    from pesq import pesq
    from pystoi import stoi

    truth, judged = (DataDir.read(place).wav_scp or {} for place in (clean, noisy))
    rows = []
    for utterance in truth:
        x, y = (soundfile.read(table[utterance], dtype="float32")[0] for table in (truth, judged))
        narrow = [resample(sound, RATE, 8000) for sound in (x, y)]
        rows.append(
            (pesq(RATE, x, y, "wb"), pesq(8000, *narrow, "nb"), stoi(x, y, RATE), stoi(x, y, RATE, extended=True))
        )
    return rows


def engine(clean: Path, noisy: Path, folder: Path, jobs: int) -> None:
    score_data_dirs(clean, noisy, folder / "scores", ScoreConfig(metrics=METRICS), jobs=jobs)


def timed(way: Callable[[], object]) -> tuple[float, float]:
    """(wall seconds, processor seconds of this process and its children)."""
    wall, processor = time.perf_counter(), processor_seconds()
    way()
    return time.perf_counter() - wall, processor_seconds() - processor


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def write(times: dict[str, list[tuple[float, float]]], arguments: argparse.Namespace) -> None:
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False)
    lines = [
        "# Speed of scoring", "", f"`{' '.join(['python', 'benchmarks/metrics_speed.py', *sys.argv[1:]])}`", "",
        f"{datetime.date.today()}, commit {commit.stdout.strip()}, {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}; "
        f"{arguments.files} files, {', '.join(METRICS)}, median of {arguments.rounds} rounds.", "",
        "| way | files per processor second | files per second |", "|---|---|---|",
    ]  # fmt: skip
    for name, rounds in times.items():
        wall, processor = (statistics.median(column) for column in zip(*rounds, strict=True))
        lines.append(f"| {name} | {arguments.files / processor:.1f} | {arguments.files / wall:.1f} |")
    text = "\n".join(lines) + "\n"
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
