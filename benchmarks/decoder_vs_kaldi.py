"""How fast is our decoder beside Kaldi's, and does it find the same? CPU time of both in one run, on the same input.

    KALDI_ROOT=... OMP_NUM_THREADS=1 python benchmarks/decoder_vs_kaldi.py \
        --graph exp/tri3b/graph_open --model exp/tri3b/final.mdl --loglikes like.scp [--limit 40]

The judge is latgen-faster-mapped (search and determinization) of a real Kaldi.  The likelihoods come, for instance,
from gmm-compute-likes.  Compiled code is loaded before the clock starts; Kaldi's time is that of the child process.
Prints the figures and writes them to benchmarks/results/decoder_vs_kaldi_<date>.md with machine, commit, command.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hmm.decoder import DecodeConfig, DecodingGraph, decode  # noqa: E402
from hmm.determinize import determinize  # noqa: E402
from hmm.lattice import best_path, sweep  # noqa: E402
from kaldi_bridge.lattices import CompactLattice, read_lattices  # noqa: E402
from kaldi_bridge.models import read_transition_model  # noqa: E402
from kaldi_bridge.tables import MatrixWriter, read_matrix_scp  # noqa: E402

WEIGHTS = (7, 9, 12, 15, 20, 30, 60)
PENALTIES = (0.0, 0.5, 1.0)


def child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def kaldi_lattices(arguments: argparse.Namespace, scp: Path, config: DecodeConfig, out: Path) -> tuple[float, dict]:
    """(CPU seconds, lattices) of latgen-faster-mapped."""
    command = (
        f". {os.environ['KALDI_ROOT']}/path.sh; exec latgen-faster-mapped --beam={config.beam} "
        f"--max-active={config.max_active} --lattice-beam={config.lattice_beam} --allow-partial=true "
        f"--acoustic-scale={config.acoustic_scale} {arguments.model} {arguments.graph}/HCLG.fst scp:{scp} ark:{out}"
    )
    start = child_seconds()
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"latgen-faster-mapped failed:\n{done.stderr[-2000:]}")
    return child_seconds() - start, dict(read_lattices(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graph", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--loglikes", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=40, help="utterances")
    parser.add_argument("--beam", type=float, default=13.0)
    arguments = parser.parse_args()
    if "KALDI_ROOT" not in os.environ:
        sys.exit("set KALDI_ROOT to a Kaldi")
    config = DecodeConfig(beam=arguments.beam, acoustic_scale=0.083333)
    graph = DecodingGraph.read(arguments.graph, read_transition_model(arguments.model))
    table = read_matrix_scp(arguments.loglikes)
    matrices = {utterance: table[utterance] for utterance in list(table)[: arguments.limit]}
    frames = sum(map(len, matrices.values()))
    shortest = min(matrices, key=lambda name: len(matrices[name]))
    determinize(decode(graph, matrices[shortest], config))  # compiles, or loads what is compiled

    ours: dict[str, CompactLattice] = {}
    search = words = 0.0
    for utterance, matrix in matrices.items():
        start = time.process_time()
        raw = decode(graph, matrix, config, utterance=utterance)
        middle = time.process_time()
        ours[utterance] = determinize(raw, beam=config.lattice_beam, acoustic_scale=config.acoustic_scale)
        search, words = search + middle - start, words + time.process_time() - middle
    with tempfile.TemporaryDirectory() as folder:
        with MatrixWriter(Path(folder, "like.ark"), Path(folder, "like.scp")) as writer:
            for utterance, matrix in matrices.items():
                writer.write(utterance, matrix)
        seconds, theirs = kaldi_lattices(arguments, Path(folder, "like.scp"), config, Path(folder, "lat"))

    same = sum(
        one.words.tolist() == other.words.tolist() and one.transition_ids.tolist() == other.transition_ids.tolist()
        for one, other in ((best_path(ours[name]), best_path(theirs[name])) for name in theirs)
    )
    settings = [(name, w, p) for name in theirs for w in range(len(WEIGHTS)) for p in range(len(PENALTIES))]
    swept = {name: (sweep(ours[name], WEIGHTS, PENALTIES), sweep(theirs[name], WEIGHTS, PENALTIES)) for name in theirs}
    equal = sum(swept[n][0][w][p].tolist() == swept[n][1][w][p].tolist() for n, w, p in settings)
    arcs = [sum(lattice.num_arcs for lattice in side.values()) for side in (ours, theirs)]
    figures = [
        f"{len(ours)} utterances, {frames} frames; graph of {graph.num_states} states and {graph.num_arcs} arcs; "
        f"beam {config.beam}",
        f"ours: {search + words:.2f} CPU s (search {search:.2f}, determinization {words:.2f}), {arcs[0]} arcs",
        f"Kaldi: {seconds:.2f} CPU s (latgen-faster-mapped), {arcs[1]} arcs",
        f"ours takes {(search + words) / seconds:.2f} of Kaldi's time",
        f"best paths with the same words and transition ids: {same} of {len(theirs)}",
        f"same transcript at {len(WEIGHTS)} weights x {len(PENALTIES)} penalties: {equal} of {len(settings)}",
    ]
    report("\n".join(figures))


def report(figures: str) -> None:
    """Print the figures; keep them with what made them."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    today = datetime.date.today().isoformat()
    path = ROOT / "benchmarks/results" / f"decoder_vs_kaldi_{today}.md"
    path.parent.mkdir(exist_ok=True)
    lines = "".join(f"- {line}\n" for line in figures.splitlines())
    load = os.getloadavg()[0]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"
    path.write_text(f"# decoder_vs_kaldi\n\n{machine}; commit {commit.stdout.strip()}; {today}\n\n{lines}")
    print(figures)


if __name__ == "__main__":
    main()
