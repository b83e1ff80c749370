"""The small budget: every enhancer's toy settings, trained for the same minutes, on one test set.

    python benchmarks/enhancers.py --data data/train --noise noise --test data/test --noisy data/test_noisy \
        --minutes 10 --out exp/enhancers [--only NAME ...] [--utterances 100] [--config cfg/enhance] [--seed 0]

Each cfg/enhance/*_toy.yaml that denoises (pairs.task) is trained on --data mixed with --noise, on one thread, for
--minutes of processor time (its own number of steps is no limit); its best.pt denoises --utterances of --noisy, which
are scored against --test.  The table has PESQ (wide band), STOI, SI-SDR and the log-mel error, those of the noisy input
first, then parameters, MACs and the real-time factor.  What is finished is not done again: a killed run goes on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from enhance.settings import load_settings
from harness.atomic import write_whole
from harness.errors import ConfigError
from kaldi_bridge.data_dir import DataDir

ENDLESS = 10_000_000  # steps; the minutes end the run
COLUMNS = ("pesq", "stoi", "si_sdr", "log_mel")


def main() -> None:
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    test, noisy = subset(arguments, arguments.test, "test"), subset(arguments, arguments.noisy, "noisy")
    rows = [{"system": "noisy input", **scores(test, noisy, arguments.out / "noisy_input")}]
    for config in chosen(arguments):
        result = arguments.out / config.stem / "result.json"
        if not result.is_file():
            row = one_system(arguments, config, test, noisy)
            with write_whole(result) as stream:
                json.dump(row, stream)
        rows.append(json.loads(result.read_text(encoding="utf-8")))
        write_table(arguments, rows)
    print((arguments.out / "enhancers.md").read_text(encoding="utf-8"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "noise", "test", "noisy", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--utterances", type=int, default=100, help="of the test set, evenly spread; 0 for all")
    parser.add_argument("--config", type=Path, default=Path(__file__).resolve().parent.parent / "cfg" / "enhance")
    parser.add_argument("--only", nargs="*", default=[], help="names of settings files without _toy.yaml")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> list[Path]:
    """The toy settings that denoise."""
    paths = sorted(arguments.config.glob("*_toy.yaml"))
    names = [path.stem.removesuffix("_toy") for path in paths]
    if unknown := sorted(set(arguments.only) - set(names)):
        raise ConfigError("--only", f"knows no {', '.join(unknown)}", mend=f"choose from: {', '.join(names)}")
    return [
        path for path, name in zip(paths, names, strict=True)
        if (not arguments.only or name in arguments.only) and load_settings(path).pairs.task == "denoise"
    ]  # fmt: skip


def subset(arguments: argparse.Namespace, source: Path, name: str) -> Path:
    """A data directory with every so-manieth utterance of the test set, the same of clean and of noisy speech."""
    out = arguments.out / "data" / name
    everything = DataDir.read(arguments.test).utterances
    count = min(arguments.utterances or len(everything), len(everything))
    keep = [everything[i * len(everything) // count] for i in range(count)]
    if not out.is_dir() or DataDir.read(out).utterances != sorted(keep):
        out.mkdir(parents=True, exist_ok=True)
        DataDir.read(source).subset(keep).write_tables(out)
    return out


def one_system(arguments: argparse.Namespace, config: Path, test: Path, noisy: Path) -> dict[str, Any]:
    """Train, denoise and score one settings file."""
    out = arguments.out / config.stem
    enhance(
        "train", "--data", arguments.data, "--noise", arguments.noise, "--out", out / "run", "--config", config,
        "--device", "cpu", "--max-minutes", arguments.minutes, "--processor-time", "--set", f"train.steps={ENDLESS}",
        "--set", f"train.seed={arguments.seed}",
    )  # fmt: skip
    best = out / "run" / "best.pt"
    enhance("denoise", "--data", noisy, "--out", out / "enhanced", "--model", best, "--jobs", 1)
    return (
        {"system": config.stem.removesuffix("_toy")}
        | scores(test, out / "enhanced", out / "score")
        | costs(best, config)
    )


def scores(test: Path, estimate: Path, out: Path) -> dict[str, Any]:
    """Means over the test utterances."""
    if not (out / "summary.json").is_file():
        enhance("score", "--reference", test, "--estimate", estimate, "--out", out, "--jobs", 1)
    rows = json.loads((out / "summary.json").read_text(encoding="utf-8"))["rows"]
    [mean] = [row for row in rows if row["snr"] == "all"]
    return {column: mean[column] for column in COLUMNS} | {"utterances": mean["utterances"]}


def costs(best: Path, config: Path) -> dict[str, Any]:
    """Size, work, steps trained, and the processor time of ten seconds on one thread."""
    import torch

    from enhance.streaming import enhance_samples
    from enhance.survey import cost_of
    from enhance.weights import load_generator

    torch.set_num_threads(1)
    cost, (_, model) = cost_of(config), load_generator(best)
    audio = (0.1 * np.random.default_rng(0).standard_normal(10 * model.sample_rate)).astype(np.float32)
    start = time.process_time()
    enhance_samples(model, audio)
    facts = torch.load(best, weights_only=True)["state"]["facts"]
    rtf = (time.process_time() - start) / 10
    return {"parameters": cost.parameters, "macs": cost.macs, "rtf": rtf, "step": facts["step"]}


def enhance(*words: object) -> None:
    """A verb of `python -m enhance`; its failure ends the benchmark."""
    subprocess.run([sys.executable, "-m", "enhance", *map(str, words)], check=True)


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| system | PESQ | STOI | SI-SDR (dB) | log-mel error | parameters | GMAC/s | real-time factor | best step |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        measures = [f"{row[name]:.3f}" if row[name] != "" else "" for name in COLUMNS]
        macs = f"{row['macs'] / 1e9:.3f}" if row.get("macs") else ""
        size = [f"{row['parameters']:,}", macs, f"{row['rtf']:.3f}", str(row["step"])] if "rtf" in row else [""] * 4
        yield f"| {' | '.join([row['system'], *measures, *size])} |"


def write_table(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    with write_whole(arguments.out / "enhancers.md") as stream:
        stream.write(
            f"# Enhancers on a small budget, {datetime.date.today().isoformat()}\n\n" + "\n".join(table(rows)) + "\n\n"
            f"{arguments.minutes:g} minutes of processor time to train each on one thread, seed {arguments.seed}, "
            f"{rows[0]['utterances']} test utterances; commit {commit.stdout.strip() or 'unknown'}.\n"
            f"Command: `python {' '.join(['benchmarks/enhancers.py', *sys.argv[1:]])}`\n"
        )


if __name__ == "__main__":
    main()
