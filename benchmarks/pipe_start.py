"""What does enhancement inside wav.scp cost an utterance: a process of its own, the client of a server, a batch?

    python benchmarks/pipe_start.py [--utterances 20] [--seconds 3] [--rounds 3]

The built-in model on wavs of noise.  Processor seconds of every process (client and server together) and seconds on the
clock, an utterance, the least of all rounds; the server's and the batch's own start stand by themselves, for they are
paid once.  Writes benchmarks/results/pipe_start.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "pipe_start.md"
ENHANCE = [sys.executable, "-m", "enhance"]
ALONE = 3  # utterances with a process of their own: each costs the same
WAIT = 60.0  # seconds for the server to start


@dataclass(frozen=True)
class Cost:
    """Seconds: of processors, and on the clock."""

    processor: float
    clock: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.processor - other.processor, self.clock - other.clock)

    def __truediv__(self, count: int) -> Cost:
        return Cost(self.processor / count, self.clock / count)


def cost_of(work: Callable[[], None]) -> Cost:
    """Of the processes that the work starts and waits for."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0, help="of sound, each")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="schoolyard-") as name:
        folder = Path(name)
        wavs = write_wavs(folder / "data", arguments.utterances, arguments.seconds)
        rounds = [measure(folder, wavs) for _ in range(arguments.rounds)]
    write_result(table_of(rounds, len(wavs)), arguments)


def write_wavs(data: Path, count: int, seconds: float) -> list[Path]:
    """A data directory of one speaker, and its files."""
    data.mkdir()
    draw = np.random.default_rng(0)
    wavs = [data / f"s-{number:03d}.wav" for number in range(count)]
    for wav in wavs:
        soundfile.write(wav, 0.1 * draw.standard_normal(round(seconds * 16000)), 16000)
    (data / "wav.scp").write_text("".join(f"{wav.stem} {wav}\n" for wav in wavs))
    (data / "utt2spk").write_text("".join(f"{wav.stem} s\n" for wav in wavs))
    (data / "spk2utt").write_text(f"s {' '.join(wav.stem for wav in wavs)}\n")
    (data / "text").write_text("".join(f"{wav.stem} ONE\n" for wav in wavs))
    return wavs


def measure(folder: Path, wavs: list[Path]) -> dict[str, Cost]:
    """{what was run: its cost}"""
    return {
        "alone": cost_of(lambda: pipe(wavs[:ALONE], ["pipe"])),
        "server": cost_of(lambda: serve(folder, [])),
        "clients": cost_of(lambda: serve(folder, wavs)),
        "first": cost_of(lambda: denoise(one_of(folder), folder / "out")),
        "batch": cost_of(lambda: denoise(folder / "data", folder / "out")),
    }


def table_of(rounds: list[dict[str, Cost]], count: int) -> str:
    """What an utterance costs, and what is paid once, from the least of all rounds."""
    least = {
        what: Cost(min(one[what].processor for one in rounds), min(one[what].clock for one in rounds))
        for what in rounds[0]
    }
    rows = {
        "`enhance pipe`, an utterance": least["alone"] / ALONE,
        "`enhance pipe --socket`, an utterance, with the server's work": (least["clients"] - least["server"]) / count,
        "`enhance serve`, start and end, once": least["server"],
        "`enhance denoise --data`, an utterance": (least["batch"] - least["first"]) / (count - 1),
        "`enhance denoise --data`, start and first utterance, once": least["first"],
    }
    lines = ["| | processor, s | clock, s |", "|---|---|---|"]
    return "\n".join(lines + [f"| {row} | {cost.processor:.3f} | {cost.clock:.3f} |" for row, cost in rows.items()])


def one_of(folder: Path) -> Path:
    """The data directory's first utterance as a data directory."""
    data = folder / "one"
    data.mkdir(exist_ok=True)
    for table in ("wav.scp", "utt2spk", "text"):
        (data / table).write_text((folder / "data" / table).read_text().splitlines()[0] + "\n")
    (data / "spk2utt").write_text("s s-000\n")
    return data


def pipe(wavs: list[Path], words: list[str]) -> None:
    """One process an utterance."""
    for wav in wavs:
        with open(wav, "rb") as stream:
            subprocess.run([*ENHANCE, *words], stdin=stream, stdout=subprocess.DEVNULL, cwd=ROOT, check=True)


def serve(folder: Path, wavs: list[Path]) -> None:
    """A server from its start to its end, and a client for every wav."""
    place = folder / "socket"
    server = subprocess.Popen([*ENHANCE, "serve", "--socket", str(place)], cwd=ROOT, stdout=subprocess.DEVNULL)
    ends = time.monotonic() + WAIT
    while not place.exists():
        if server.poll() is not None or time.monotonic() > ends:
            raise SystemExit("the server did not start")
        time.sleep(0.05)
    pipe(wavs, ["pipe", "--socket", str(place)])
    server.send_signal(signal.SIGTERM)
    server.wait()


def denoise(data: Path, out: Path) -> None:
    """All of a data directory in one process."""
    words = ["denoise", "--model", "builtin", "--data", str(data), "--out", str(out), "--jobs", "1", "--force"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*ENHANCE, *words], cwd=ROOT, check=True, **quiet)


def write_result(table: str, arguments: argparse.Namespace) -> None:
    """The table with what it needs to be understood and repeated."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    text = (
        f"# Enhancement inside wav.scp: what an utterance costs, {datetime.date.today()}\n\n{table}\n\n"
        f"The built-in model, one thread, {arguments.utterances} utterances of {arguments.seconds:g} s; the "
        f"least of {arguments.rounds} rounds; a busy machine changes processor time less than the clock.\n\n"
        f"- machine: {processor()}, {os.cpu_count()} cores\n- Python {platform.python_version()}\n"
        f"- commit: {commit.stdout.strip()}\n- command: `python benchmarks/pipe_start.py {' '.join(sys.argv[1:])}`\n"
    )
    RESULT.write_text(text)
    print(text)


def processor() -> str:
    """What /proc calls it."""
    names = (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    return next(names, platform.processor())


if __name__ == "__main__":
    main()
