"""Does scoring hold more memory the more utterances there are?  A small corpus repeated, scored, and watched.

    python benchmarks/score_memory.py [--runs METRICS:UTTERANCES ...] [--jobs 2] [--seconds 0.5]

Eight harmonic sounds of --seconds, and the same in noise, stand in data directories under as many names as asked for,
100 to a speaker.  `enhance score` runs as a process of its own; the memory of it and its workers is the proportional
set size (pages that processes share are counted once), looked at ten times a second.  What each process must hold is
told beside it: the names and paths of the utterances.  Writes benchmarks/results/score_memory.md.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from enhance.profile import processor
from harness.atomic import write_whole
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.sound_files import write_wav

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "score_memory.md"
RATE, SOUNDS, OF_SPEAKER = 16000, 8, 100
RUNS = ("si_sdr,log_mel:1000", "si_sdr,log_mel:10000", "pesq,stoi:500", "pesq,stoi:2000")
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the utterances: where memory is told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=RUNS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each sound")
    arguments = parser.parse_args()
    marks = " | ".join(f"at {100 * share:.0f} %" for share in SHARES)
    lines = [f"| metrics | utterances | {marks} | most, tables included | names, a process | utterances/s |"]
    lines.append("|---|" + "---:|" * (len(SHARES) + 4))
    for run in arguments.runs:
        metrics, _, number = run.rpartition(":")
        with tempfile.TemporaryDirectory() as folder:
            lines.append(row(Path(folder), metrics, int(number), arguments))
        print(lines[-1], flush=True)
    write_result(lines, arguments)


def row(folder: Path, metrics: str, number: int, arguments: argparse.Namespace) -> str:
    """Score so many utterances; a line of the table, memory in MB."""
    clean, noisy = corpus(folder, number, arguments.seconds)
    command = [
        sys.executable, "-m", "enhance", "score", "--reference", str(clean), "--estimate", str(noisy),
        "--out", str(folder / "scores"), "--metrics", metrics, "--jobs", str(arguments.jobs),
    ]  # fmt: skip
    start = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        seen = watch(process, folder / "scores")
    if process.returncode:
        sys.exit(f"scoring ended with {process.returncode}")
    rows = len((folder / "scores" / "scores.csv").read_text(encoding="utf-8").splitlines()) - 1
    if rows != number:
        sys.exit(f"{rows} of {number} utterances were scored")
    during = [max(memory for done, memory in seen if done <= share * number) for share in SHARES]
    rate = number / (time.monotonic() - start)
    most = max(memory for _, memory in seen)
    cells = [f"{memory / 1e6:.0f}" for memory in [*during, most, memory_of_names(clean, noisy)]]
    return f"| {metrics} | {number} | {' | '.join(cells)} | {rate:.0f} |"


def memory_of_names(*folders: Path) -> int:
    """Bytes that the tables of the data directories take."""
    tracemalloc.start()
    held = [DataDir.read(folder) for folder in folders]
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del held
    return taken


def corpus(folder: Path, number: int, seconds: float) -> tuple[Path, Path]:
    """Data directories of clean and noisy speech, `number` names for a few sounds."""
    rng = np.random.default_rng(0)
    places: dict[str, list[str]] = {"clean": [], "noisy": []}
    for sound in range(SOUNDS):
        phase = 2 * np.pi * (180 + 20 * sound) * np.arange(round(seconds * RATE)) / RATE
        clean = np.sum([0.1 * np.sin(k * phase) / k for k in range(1, 9)], axis=0).astype(np.float32)
        noise = 0.01 * rng.standard_normal(len(clean)).astype(np.float32)
        for kind, samples in (("clean", clean), ("noisy", clean + noise)):
            (folder / "wav").mkdir(exist_ok=True)
            places[kind].append(str(folder / "wav" / f"{kind}{sound}.wav"))
            write_wav(places[kind][-1], samples, RATE)
    names = [f"s{n // OF_SPEAKER:04d}-{n:06d}" for n in range(number)]
    for kind, files in places.items():
        wav_scp = {name: files[n % SOUNDS] for n, name in enumerate(names)}
        utt2spk = {name: name.split("-")[0] for name in names}
        (folder / kind).mkdir()
        DataDir.build(folder / kind, wav_scp=wav_scp, utt2spk=utt2spk).write_tables(folder / kind)
    return folder / "clean", folder / "noisy"


def watch(process: subprocess.Popen[bytes], scores: Path) -> list[tuple[int, int]]:
    """(rows written so far, bytes that the processes hold) until it ends."""
    seen, done, read = [], 0, 0
    while process.poll() is None:
        for rows in scores.glob(".rows.*.jsonl"):
            with open(rows, "rb") as stream:
                stream.seek(read)
                new = stream.read()
            done, read = done + new.count(b"\n"), read + len(new)
        seen.append((done, memory_of(process.pid)))
        time.sleep(0.1)
    return seen


def memory_of(pid: int) -> int:
    """Proportional set size of a process and its children, in bytes; 0 of one that has just ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return 0
    own = 1024 * int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
    return own + sum(memory_of(int(child)) for child in children)


def write_result(lines: list[str], arguments: argparse.Namespace) -> None:
    """The table with machine, commit and command."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    with write_whole(RESULT) as stream:
        stream.write(
            f"# Memory of scoring, {datetime.date.today().isoformat()}\n\nMB, the most that was seen until so many of "
            "the utterances were scored; the main process and its workers.\n\n" + "\n".join(lines) + "\n\n"
            f"{arguments.jobs} workers, sounds of {arguments.seconds:g} s; the time includes start-up. Whatever the "
            "number of utterances, only their names and the sums of their speakers are held.\n\n"
            f"- machine: {processor()}\n- commit: {commit.stdout.strip() or 'unknown'}\n"
            f"- command: `python {' '.join(['benchmarks/score_memory.py', *sys.argv[1:]])}`\n"
        )
    print(f"wrote {RESULT}")


if __name__ == "__main__":
    main()
