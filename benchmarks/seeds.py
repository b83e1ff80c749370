"""How much of an acoustic model's WER is chance?  The same training from several seeds, beside the GMM system.

    python benchmarks/seeds.py --work WORK --out DIR [--model ligru] [--seeds 4234 1 2]

WORK: a finished work directory of recipes/speechocean762.  Each seed trains `cfg/am/MODEL_small.yaml` on the clean
training set, as the recipe does, and is decoded on clean dev and test with both language models; in DIR, where a
training or a decoding that stands is not made again.  Weight and penalty come from dev, as in the recipe; beside
it stands the best of weights 7..60 x penalties 0, 0.5, 1 on test, as Kaldi's recipes print it.  Writes
benchmarks/results/seeds_MODEL.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from am.hypotheses import read_references, read_words, sweep_decode_dir  # noqa: E402
from am.score import ScoreConfig, tune  # noqa: E402
from harness.atomic import write_whole  # noqa: E402

LMS = ("open", "closed")
ON_TEST = ScoreConfig(min_lmwt=7, max_lmwt=60, widen=False)


@dataclass(frozen=True)
class Rates:
    """WER in per cent with one language model."""

    dev: float
    test: float  # at the weight and penalty of least errors on dev
    best_test: float  # at those of least errors on test


@dataclass(frozen=True)
class Places:
    """Directories of the recipe's work."""

    data: Path
    clean: Path  # exp/clean

    def graph(self, part: str, lm: str) -> Path:
        """Dev has an open language model that lacks its own text."""
        return self.clean / "tri3b" / ("graph_dev" if (part, lm) == ("dev", "open") else f"graph_{lm}")

    def decoded(self, part: str, lm: str) -> str:
        """The name of a decode directory, as the recipe has it."""
        return f"{'dev' if part == 'dev' else 'decode'}_clean_{lm}"


def main() -> None:
    """Train, decode, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="ligru")
    parser.add_argument("--seeds", type=int, nargs="+", default=[4234, 1, 2])
    args = parser.parse_args()
    work = args.work.resolve()
    places = Places(work / "data", work / "exp" / "clean")
    seeds = {seed: rates_of(trained(places, args.model, seed, args.out.resolve() / str(seed)), places)
             for seed in args.seeds}  # fmt: skip
    table = report(args.model, seeds, rates_of(places.clean / "tri3b", places))
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=False)
    given = f"--model {args.model} --seeds {' '.join(map(str, seeds))}"
    text = f"""# {args.model} from several seeds

`python benchmarks/seeds.py --work WORK --out DIR {given}`,
commit {commit.stdout.strip()}, {datetime.date.today()}, {platform.machine()}, Python {platform.python_version()};
trainings and decodings that stood in DIR already are of an earlier commit.

{table}"""
    with write_whole(ROOT / "benchmarks" / "results" / f"seeds_{args.model}.md") as stream:
        stream.write(text)
    print(text)


def trained(places: Places, model: str, seed: int, out: Path) -> Path:
    """The directory of a trained model with its decodings of dev and test."""
    data, clean = places.data, places.clean
    run("am", "train", "--config", ROOT / "cfg" / "am" / f"{model}_small.yaml", "--set", f"train.seed={seed}",
        "--out", out, "--gmm", clean / "tri3b", "--data", data / "train_for_clean", "--ali", clean / "tri3b_ali",
        "--fmllr", clean / "tri3b_ali", "--dev-data", data / "dev_for_clean", "--dev-ali", clean / "dev_ali",
        "--dev-fmllr", clean / "tri3b_ali_dev")  # fmt: skip
    for part in ("dev", "test"):
        likelihoods = out / f"loglikes_{part}"
        if not likelihoods.is_dir():
            run("am", "forward", "--model", out / "best.pt", "--data", data / part, "--gmm", clean / "tri3b",
                "--fmllr", clean / "tri3b" / places.decoded(part, "open"), "--out", likelihoods)  # fmt: skip
        for lm in LMS:
            run("hmm", "decode", "--graph", places.graph(part, lm), "--model", clean / "tri3b" / "final.mdl",
                "--set", "acoustic_scale=0.1", "--loglikes", likelihoods / "loglikes.scp",
                "--out", out / places.decoded(part, lm))  # fmt: skip
    return out


def run(*words: object) -> None:
    """`python -m WORDS`."""
    subprocess.run([sys.executable, "-m", *map(str, words)], cwd=ROOT, env=os.environ, check=True)


def rates_of(system: Path, places: Places) -> dict[str, Rates]:
    """Language model -> error rates of its decodings."""
    found = {}
    for lm in LMS:
        dev, test = (system / places.decoded(part, lm) for part in ("dev", "test"))
        dev_graph, test_graph = (places.graph(part, lm) for part in ("dev", "test"))
        setting = tune(dev, places.data / "dev", dev_graph)
        best = tune(test, places.data / "test", test_graph, ON_TEST)
        found[lm] = Rates(
            dev=wer(dev, places.data / "dev", dev_graph, setting),
            test=wer(test, places.data / "test", test_graph, setting),
            best_test=wer(test, places.data / "test", test_graph, best),
        )
    return found


def wer(decoded: Path, data: Path, graph: Path, setting: tuple[int, float]) -> float:
    """In per cent, at a language model weight and a word insertion penalty."""
    weight, penalty = setting
    hypotheses = sweep_decode_dir(
        decoded, read_words(graph), read_references(data), lm_weights=[weight], penalties=[penalty]
    )
    return hypotheses.counts(setting).percent


def report(model: str, seeds: dict[int, dict[str, Rates]], gmm: dict[str, Rates]) -> str:
    """The table as Markdown, and what it comes to against the GMM system."""
    columns = [f"{lm} LM: {what}" for lm in LMS for what in ("dev", "test", "best on test")]
    rows = [f"| system | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for name, rates in [("tri3b", gmm), *((f"{model}, seed {seed}", rates) for seed, rates in seeds.items())]:
        cells = [f"{value:.2f}" for lm in LMS for value in (rates[lm].dev, rates[lm].test, rates[lm].best_test)]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    lines = []
    for lm in LMS:
        ours, theirs = [rates[lm] for rates in seeds.values()], gmm[lm]
        chosen = min(seeds, key=lambda seed: seeds[seed][lm].dev)
        lines.append(
            f"- {lm} LM, against tri3b: {against(mean(one.test for one in ours), theirs.test)} on average, "
            f"{against(seeds[chosen][lm].test, theirs.test)} for seed {chosen}, which dev would choose; by the best on "
            f"test {against(mean(one.best_test for one in ours), theirs.best_test)} on average."
        )
    how = "WER in per cent on clean speech, weight and penalty from dev; best on test: those of least errors on test."
    return "\n".join([how, "", *rows, "", *lines, ""])


def against(rate: float, reference: float) -> str:
    """The relative difference in per cent."""
    return f"{100 * (rate / reference - 1):+.1f} %"


if __name__ == "__main__":
    main()
