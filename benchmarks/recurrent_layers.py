"""How fast is one bidirectional recurrent layer, forward and backward?  Ours against plain loops and torch's own.

    python benchmarks/recurrent_layers.py [--device cuda] [--threads 1] [--rounds 4] [--frames 350] [--units 550]

Prints a table and writes it to benchmarks/results/recurrent_layers_<device>_<date>.md with machine, commit, command.
A round times every layer once, so that a busy machine slows all of them alike; the figure is the fastest round.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from am.models.ligru import LiGRUConfig, LiGRULayer
from am.models.ligru_fused import allow_fused
from am.models.packing import Packing

RESULTS = Path(__file__).resolve().parent / "results"


class PlainLoop(nn.Module):
    """The Li-GRU as its equations read: a Python step per frame and direction, autograd records all of them."""

    def __init__(self, layer: LiGRULayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames * batch, input_dim] of equal lengths.  Returns [frames * batch, 2 * units]."""
        layer, batch = self.layer, packing.batch
        projected = layer.norm(functional.linear(rows, layer.feedforward)).view(
            -1, batch, layer.groups, 2 * layer.units
        )
        kept = 1 - layer.dropout
        outputs = []
        for direction in range(2):
            group = direction % layer.groups
            mask = (torch.rand(batch, layer.units, device=rows.device) < kept) / kept
            states = self._run(projected[:, :, group], layer.recurrent[group], mask, backwards=direction == 1)
            outputs.append(states)
        return torch.cat(outputs, 2).view(len(rows), -1)

    def _run(self, projected: Tensor, recurrent: Tensor, mask: Tensor, *, backwards: bool) -> Tensor:
        units = recurrent.shape[0]
        state = projected.new_zeros(projected.shape[1], units)
        states = []
        for step in reversed(range(len(projected))) if backwards else range(len(projected)):
            gates = projected[step] + state @ recurrent
            candidate = torch.relu(gates[:, :units]) * mask
            keep = torch.sigmoid(gates[:, units:])
            state = keep * state + (1 - keep) * candidate
            states.append(state)
        return torch.stack(states[::-1] if backwards else states)


class TorchLayer(nn.Module):
    """nn.GRU or nn.LSTM, one bidirectional layer (no batch norm)."""

    def __init__(self, layer: nn.GRU | nn.LSTM) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames * batch, input_dim] of equal lengths."""
        states: Tensor = self.layer(rows.view(-1, packing.batch, rows.shape[1]))[0]
        return states


class Unfused(nn.Module):
    """Our layer with the loop over time in Python, on a GPU where it would run as one kernel."""

    def __init__(self, layer: LiGRULayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """As the layer's; fused loops stay forbidden for the backward, until the next run allows them."""
        allow_fused(False)
        states: Tensor = self.layer(rows, packing)
        return states


def layers(input_dim: int, units: int, device: str) -> dict[str, nn.Module]:
    """Name -> layer."""
    untied = LiGRULayer(input_dim, LiGRUConfig(units=units, tied_directions=False))
    tied = LiGRULayer(input_dim, LiGRUConfig(units=units))
    found = {
        "Li-GRU, plain loop with autograd": PlainLoop(untied),
        "nn.GRU": TorchLayer(nn.GRU(input_dim, units, bidirectional=True)),
        "nn.LSTM": TorchLayer(nn.LSTM(input_dim, units, bidirectional=True)),
        "Li-GRU, ours, untied directions": untied,
        "Li-GRU, ours, tied directions": tied,
    }
    if device != "cpu":
        found["Li-GRU, ours, tied directions, not fused"] = Unfused(tied)
    return {name: layer.to(device).train() for name, layer in found.items()}


def measure(run: Callable[[], None], device: str) -> float:
    """Milliseconds of one call: CPU time of this process on a CPU, wall time on a GPU."""
    if device != "cpu":
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start)
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start)


def compare(batch: int, arguments: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Name -> fastest and slowest milliseconds of a forward and a backward pass."""
    device = arguments.device
    torch.manual_seed(0)
    packing = Packing.of([arguments.frames] * batch, device=device)
    rows = torch.randn(packing.frames, arguments.input_dim, device=device, requires_grad=True)

    def once(layer: nn.Module) -> Callable[[], None]:
        def run() -> None:
            allow_fused(True)
            layer(rows, packing).sum().backward()

        return run

    candidates = {name: once(layer) for name, layer in layers(arguments.input_dim, arguments.units, device).items()}
    for run in candidates.values():  # warm up
        run()
    rounds = [{name: measure(run, device) for name, run in candidates.items()} for _ in range(arguments.rounds)]
    return {name: (min(one[name] for one in rounds), max(one[name] for one in rounds)) for name in candidates}


def table(results: dict[int, dict[str, tuple[float, float]]]) -> str:
    """A Markdown table: milliseconds and how many times faster than the plain loop."""
    head = "| layer |" + "".join(f" batch {batch}, ms | times |" for batch in results)
    lines = [head, "|---|" + "---|---|" * len(results)]
    for name in next(iter(results.values())):
        cells = []
        for one in results.values():
            plain = next(iter(one.values()))[0]
            cells.append(f" {one[name][0]:.1f} (to {one[name][1]:.1f}) | {plain / one[name][0]:.1f} |")
        lines.append(f"| {name} |" + "".join(cells))
    return "\n".join(lines)


def machine(device: str) -> str:
    """What the figures were measured on."""
    if device != "cpu":
        return str(torch.cuda.get_device_name())
    models = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {len(models)} cores"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--frames", type=int, default=350)
    parser.add_argument("--units", type=int, default=550)
    parser.add_argument("--input-dim", type=int, default=40)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--out", type=Path, default=None, help="result file; default: benchmarks/results/...")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = {batch: compare(batch, arguments) for batch in arguments.batch}
    clock = "wall" if arguments.device != "cpu" else "CPU"
    size = f"{arguments.units} units, {arguments.frames} frames, input {arguments.input_dim}"
    text = f"""# One bidirectional layer of {size}

Forward and backward, {clock} ms, fastest (to slowest) of {arguments.rounds} rounds;
times: as fast as the plain loop.

{table(results)}

- machine: {machine(arguments.device)}; {arguments.threads} thread(s)
- torch {torch.__version__}, Python {platform.python_version()}
- commit: {_commit()}
- command: `python benchmarks/recurrent_layers.py {" ".join(sys.argv[1:])}`
"""
    name = f"recurrent_layers_{arguments.device.replace(':', '')}_{datetime.date.today():%Y-%m-%d}.md"
    out = arguments.out or RESULTS / name
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
