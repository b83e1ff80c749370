"""Is our GMM ladder as good as a real Kaldi's, and cheaper?  CPU seconds and WER of every rung on the same data.

    python benchmarks/ladder_vs_kaldi.py --corpus CORPUS --kaldi-work DIR --work DIR [--jobs 2] [--lm open]
        [--side-by-side]

CORPUS: speechocean762 in its official layout (train/, test/, resource/lexicon.txt, lm/*.arpa.gz).  --kaldi-work: where
Kaldi's own scripts ran on it (times.txt, wer.txt: `step seconds` and `rung lm %WER ...`; data/ and path.sh).
--side-by-side: Kaldi trains and aligns each rung once more, right after ours, so that both meet the same machine.
--work: where ours runs; a step that stands there is not run again and its times are kept.  WER is the best of LM weight
7..60 x penalty 0, 0.5, 1 on test, for both.  Writes benchmarks/results/ladder_vs_kaldi.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from am.score import ScoreConfig, score, tune  # noqa: E402
from harness.atomic import write_whole  # noqa: E402
from kaldi_bridge.data_dir import DataDir  # noqa: E402
from kaldi_bridge.text_tables import read_text_table  # noqa: E402

RUNGS = ("mono", "tri1", "tri2b", "tri3b")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


class Timed:
    """Runs our commands once each and remembers their CPU seconds in WORK/times.json."""

    def __init__(self, work: Path) -> None:
        self.file = work / "times.json"
        self.seconds: dict[str, float] = json.loads(self.file.read_text()) if self.file.is_file() else {}

    def run(self, step: str, *words: object) -> None:
        """`python -m WORDS`, unless the step was run before."""
        self._run(step, [sys.executable, "-m", *map(str, words)], ROOT)

    def shell(self, step: str, work: Path, command: str) -> None:
        """A command of a real Kaldi in its work folder, unless the step was run before."""
        self._run(step, ["bash", "-euc", f". ./path.sh; {command} >log.{step} 2>&1"], work)

    def _run(self, step: str, words: list[str], folder: Path) -> None:
        if step in self.seconds:
            return
        print(step, flush=True)
        before = _children_cpu()
        subprocess.run(words, cwd=folder, env=os.environ | ONE_THREAD, check=True)
        self.seconds[step] = round(_children_cpu() - before, 1)
        with write_whole(self.file) as stream:
            json.dump(self.seconds, stream)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def prepare(corpus: Path, work: Path, timed: Timed, lm: str, jobs: int) -> None:
    """Data, features, lang dirs."""
    for part in ("train", "test"):
        data = work / "data" / part
        if not data.is_dir():
            tables = {name.replace(".", "_"): read_text_table(corpus / part / name)
                      for name in ("text", "utt2spk", "wav.scp", "spk2gender")}  # fmt: skip
            tables["wav_scp"] = {key: f"{corpus}/{place}" for key, place in tables["wav_scp"].items()}
            DataDir.build(data, **tables).write()
        timed.run(f"mfcc_{part}", "kaldi_bridge", "features", data, "--jobs", jobs)
        timed.run(f"cmvn_{part}", "kaldi_bridge", "cmvn", data)
    timed.run("dict", "hmm", "prepare-dict", corpus / "resource/lexicon.txt", work / "data/dict")
    timed.run("lang", "hmm", "prepare-lang", work / "data/dict", work / "data/lang")
    timed.run(f"lm_{lm}", "hmm", "format-lm", work / "data/lang", corpus / f"lm/{lm}.arpa.gz", work / f"data/lang_{lm}")


def kaldi_steps(jobs: int) -> dict[str, tuple[str, str]]:
    """(training, alignment) of each rung by Kaldi's scripts, into exp_again."""
    many, sizes, exp = f"--nj {jobs} --cmd run.pl", "1000 6000 data/train data/lang", "exp_again"
    align = f"steps/align_si.sh {many}"
    return {
        "mono": (f"steps/train_mono.sh {many} data/train data/lang {exp}/mono",
                 f"{align} data/train data/lang {exp}/mono {exp}/mono_ali"),
        "tri1": (f"steps/train_deltas.sh --cmd run.pl {sizes} {exp}/mono_ali {exp}/tri1",
                 f"{align} data/train data/lang {exp}/tri1 {exp}/tri1_ali"),
        "tri2b": (f"steps/train_lda_mllt.sh --cmd run.pl {sizes} {exp}/tri1_ali {exp}/tri2b",
                  f"{align} --use-graphs true data/train data/lang {exp}/tri2b {exp}/tri2b_ali"),
        "tri3b": (f"steps/train_sat.sh --cmd run.pl {sizes} {exp}/tri2b_ali {exp}/tri3b",
                  f"steps/align_fmllr.sh {many} data/train data/lang {exp}/tri3b {exp}/tri3b_ali"),
    }  # fmt: skip


def measure(work: Path, timed: Timed, lm: str, jobs: int, kaldi_work: Path | None) -> dict[str, float]:
    """Train, decode and score every rung; returns WER in percent by rung.  kaldi_work: where Kaldi trains beside."""
    data, lang, exp = work / "data", work / "data/lang", work / "exp"
    for rung in RUNGS:
        options = ("--lang", lang, "--out", exp, "--until", rung, "--jobs", jobs)
        timed.run(f"train_{rung}", "hmm", "gmm", "--data", data / "train", *options)
        if kaldi_work is not None:
            train, align = kaldi_steps(jobs)[rung]
            timed.shell(f"kaldi_{rung}", kaldi_work, train)
            timed.shell(f"kaldi_{rung}_ali", kaldi_work, align)
    found = {}
    grid = ScoreConfig(min_lmwt=7, max_lmwt=60, penalties=(0.0, 0.5, 1.0), widen=False)
    for rung in RUNGS:
        graph, out = exp / rung / f"graph_{lm}", exp / rung / f"decode_{lm}"
        timed.run(f"graph_{rung}_{lm}", "hmm", "make-graph", data / f"lang_{lm}", exp / rung, graph)
        timed.run(f"decode_{rung}_{lm}", "hmm", "decode-gmm", "--data", data / "test", "--graph", graph, "--model",
                  exp / rung, "--out", out, "--jobs", jobs)  # fmt: skip
        weight, penalty = tune(out, data / "test", graph, grid)
        counts = score(out, data / "test", graph, weight, penalty).counts
        found[rung] = 100 * (counts.insertions + counts.deletions + counts.substitutions) / counts.words
        print(f"{rung} {lm} WER {found[rung]:.2f} (LMWT {weight}, penalty {penalty})", flush=True)
    return found


def kaldi_figures(work: Path, lm: str) -> tuple[dict[str, float], dict[str, float]]:
    """(CPU seconds by step, WER by rung) of Kaldi's own run; a rung it did not run is left out."""
    times = {name: float(value) for name, value in read_text_table(work / "times.txt").items()}
    wer = {}
    lines = (work / "wer.txt").read_text().splitlines() if (work / "wer.txt").is_file() else []
    for line in lines:
        rung, kind, _, value, *_ = line.split()
        if kind == lm:
            wer[rung] = float(value)
    return times, wer


def report(ours: dict[str, float], wer: dict[str, float], kaldi: Path, lm: str) -> str:
    """The table as Markdown."""
    times, their_wer = kaldi_figures(kaldi, lm)
    head = "| rung | training + alignment, CPU s: ours | Kaldi | decoding test, CPU s: ours | Kaldi "
    rows = [head + "| WER %: ours | Kaldi | ratio |", "|---|---|---|---|---|---|---|---|"]
    total, their_total = 0.0, 0.0
    for rung in RUNGS:
        train = ours[f"train_{rung}"]
        theirs = sum(ours.get(f"kaldi_{step}", times[step]) for step in (rung, f"{rung}_ali"))
        total, their_total = total + train, their_total + theirs
        decode = f"{ours[f'decode_{rung}_{lm}']:.0f} | {times.get(f'decode_{rung}_{lm}', float('nan')):.0f}"
        reference = their_wer.get(rung, float("nan"))
        rows.append(f"| {rung} | {train:.1f} | {theirs:.1f} | {decode} | {wer[rung]:.2f} | {reference:.2f} "
                    f"| {wer[rung] / reference:.3f} |")  # fmt: skip
    rows.append(f"| all | **{total:.1f}** | {their_total:.1f} | | | | | |")
    return "\n".join(rows)


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--kaldi-work", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--lm", default="open")
    parser.add_argument("--side-by-side", action="store_true", help="Kaldi trains again, rung by rung with ours")
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    timed = Timed(work)
    prepare(args.corpus.resolve(), work, timed, args.lm, args.jobs)
    kaldi_work = args.kaldi_work.resolve()
    wer = measure(work, timed, args.lm, args.jobs, kaldi_work if args.side_by_side else None)
    table = report(timed.seconds, wer, kaldi_work, args.lm)
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=False)
    text = f"""# The ladder against Kaldi's

`python benchmarks/ladder_vs_kaldi.py --corpus CORPUS --kaldi-work DIR --work DIR --jobs {args.jobs} --lm {args.lm}
{"--side-by-side" * args.side_by_side}`,
commit {commit.stdout.strip()}, {datetime.date.today()}, {platform.machine()}, Python {platform.python_version()},
{os.cpu_count()} cores shared with other work; CPU seconds are user + system of all processes.

58 children train (1160 utterances, 1.1 h), 16 test (320 utterances, 1780 words); {args.lm} LM; 1000 leaves, 6000
Gaussians.
WER is the best of LM weight 7..60 x insertion penalty 0, 0.5, 1 on test, for both sides.  Kaldi 5.5 ran its own scripts
(train_mono, align_si, train_deltas, train_lda_mllt, train_sat, align_fmllr, decode, decode_fmllr) on the same machine,
{"each rung's training right after ours; decoding in a run of its own" if args.side_by_side else "in a run of its own"}.

{table}
"""
    with write_whole(ROOT / "benchmarks/results/ladder_vs_kaldi.md") as stream:
        stream.write(text)
    print(table)


if __name__ == "__main__":
    main()
