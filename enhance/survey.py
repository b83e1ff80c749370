"""What each generator costs: parameters, multiplications a second of audio, latency, and on request its speed.

Every settings file that is no toy gives a row.  Multiply-accumulates (MACs) are those of convolutions, linear layers,
matrix products, LSTMs and GRUs in one forward pass over a second; Fourier transforms, activations, norms and sums are
not counted.  They are counted on the meta device, so the largest net costs nothing.  A WavLM that a generator listens
with has its share in multiplications and time, by random weights of the same size, and none in the parameters.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from enhance.layers.wavlm import UntrainedWavlm
from enhance.models import Generator
from enhance.models.finally_ import Finally
from enhance.settings import build_generator, load_settings
from enhance.streaming import enhance_samples
from harness.errors import ConfigError, SchoolyardError
from harness.log import get_logger

LARGE = 100_000_000  # parameters from which speed is measured on less audio


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A row.  macs: a second of audio.  latency: seconds.  rtf: processor time over duration, None if not measured."""

    settings: str
    model: str
    objective: str
    parameters: int
    macs: float | None
    sample_rate: int
    latency: float
    causal: bool
    rtf: float | None = None


def survey(settings: str | os.PathLike[str], *, measure: bool = False) -> Iterator[Cost]:
    """A row for each YAML file of the folder whose name does not end in _toy.  Raises ConfigError: none there."""
    paths = [path for path in sorted(Path(settings).glob("*.yaml")) if not path.stem.endswith("_toy")]
    if not paths:
        raise ConfigError(settings, "holds no YAML files", mend="give the folder with --settings")
    for path in paths:
        yield cost_of(path, measure=measure)


def cost_of(path: Path, *, measure: bool = False) -> Cost:
    """The row of one settings file."""
    settings = load_settings(path)
    with torch.device("meta"):
        model = build_generator(settings).eval()
    model = model.to("meta")  # buffers that are made on the CPU
    return Cost(
        settings=path.stem, model=settings.model, objective=settings.objective,
        parameters=sum(parameter.numel() for parameter in model.parameters()), macs=macs_a_second(model),
        sample_rate=model.sample_rate, latency=model.latency, causal=model.causal,
        rtf=_measured_or_none(settings, path) if measure else None,
    )  # fmt: skip


def macs_a_second(model: Generator) -> float | None:
    """Multiply-accumulates for a second of audio; None where the pass needs data or a package."""
    _listen_untrained(model)
    device = next(model.parameters()).device
    recurrent = 0

    def count_recurrence(module: nn.Module, inputs: tuple[Any, ...], _: Any) -> None:
        nonlocal recurrent
        recurrent += _recurrent_macs(module, inputs[0])  # type: ignore[arg-type]

    hooks = [part.register_forward_hook(count_recurrence) for part in model.modules() if isinstance(part, nn.RNNBase)]
    try:
        with FlopCounterMode(display=False) as counter, _without_data(), torch.no_grad():
            model(torch.zeros(1, model.sample_rate, device=device))
    except (RuntimeError, NotImplementedError, SchoolyardError) as error:
        mend = f"; {error.mend}" if isinstance(error, SchoolyardError) else ""
        reason = str(error).splitlines()[0] + mend
        get_logger("enhance").warning("%s: MACs not counted (%s)", type(model).__name__, reason)
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return float(counter.get_total_flops() / 2 + recurrent)


def _listen_untrained(model: Generator) -> None:
    """In place of weights of a WavLM that need not be on this machine."""
    if isinstance(model, Finally) and model.config.wavlm.source != "random":
        model.wavlm = UntrainedWavlm(model.config.wavlm)


def _recurrent_macs(module: nn.RNNBase, samples: Tensor) -> int:
    """Every weight of a recurrence multiplies once a step."""
    steps = samples.numel() // samples.shape[-1]
    return steps * sum(weight.numel() for name, weight in module.named_parameters() if name.startswith("weight"))


@contextmanager
def _without_data() -> Iterator[None]:
    """What the meta device cannot do gives zeros of the right shape: recurrences (counted apart) and torch.istft."""
    real = nn.LSTM.forward, nn.GRU.forward, torch.istft
    nn.LSTM.forward = _lstm_zeros  # type: ignore[method-assign,assignment]
    nn.GRU.forward = _gru_zeros  # type: ignore[method-assign,assignment]
    torch.istft = lambda values, *_, length, **__: values.real.new_zeros(values.shape[0], length)
    try:
        yield
    finally:
        nn.LSTM.forward, nn.GRU.forward, torch.istft = real  # type: ignore[method-assign]


def _gru_zeros(self: nn.GRU, samples: Tensor, state: Any = None) -> tuple[Tensor, Tensor]:
    ways = 2 if self.bidirectional else 1
    batch = samples.shape[0 if self.batch_first else 1]
    out = samples.new_zeros(*samples.shape[:-1], ways * self.hidden_size)
    return out, samples.new_zeros(ways * self.num_layers, batch, self.hidden_size)


def _lstm_zeros(self: nn.LSTM, samples: Tensor, state: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    out, hidden = _gru_zeros(self, samples)  # type: ignore[arg-type]
    return out, (hidden, hidden)


def _measured_or_none(settings: Any, path: Path) -> float | None:
    """None where the net needs a package that is not here (WavLM's); the log says so."""
    try:
        return measured(settings)
    except SchoolyardError as error:
        get_logger("enhance").warning("%s: speed not measured (%s; %s)", path.stem, error.problem, error.mend)
        return None


def measured(settings: Any) -> float:
    """Real-time factor of the stream with untrained weights on one thread: the better of two runs, processor time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        model = build_generator(settings).eval()
        _listen_untrained(model)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        seconds = 2.0 if parameters > LARGE else 4.0
        rng = np.random.default_rng(0)
        audio = (0.1 * rng.standard_normal(int(seconds * model.sample_rate))).astype(np.float32)
        best = math.inf
        for _ in range(2):
            start = time.process_time()
            enhance_samples(model, audio)
            best = min(best, time.process_time() - start)
        return best / seconds
    finally:
        torch.set_num_threads(threads)


def markdown_table(rows: Iterable[Cost]) -> str:
    """The rows as a Markdown table; the speed has a column where any was measured."""
    rows = list(rows)
    timed = any(row.rtf is not None for row in rows)
    heads = ["settings", "model", "objective", "parameters", "GMAC/s", "rate", "latency", "causal"]
    lines = [heads + ["real-time factor"] * timed, ["---"] * 3 + ["---:"] * 4 + ["---"] + ["---:"] * timed]
    for row in rows:
        macs = "not counted" if row.macs is None else f"{row.macs / 1e9:.2f}"
        latency = "whole recording" if math.isinf(row.latency) else f"{1000 * row.latency:.0f} ms"
        cells = [
            row.settings, row.model, row.objective, f"{row.parameters:,}", macs, f"{row.sample_rate / 1000:g} kHz",
            latency, "yes" if row.causal else "no",
        ]  # fmt: skip
        lines.append(cells + ["" if row.rtf is None else f"{row.rtf:.3f}"] * timed)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
