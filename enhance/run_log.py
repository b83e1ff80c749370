"""Where a run writes what it sees: JSON lines always, and TensorBoard, W&B, ClearML or MLflow beside them on request.

The services stand behind RunLog and all of them behind RunLogs, so the trainer does not know which listen.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enhance.losses.stft import spectrum
from harness.atomic import write_whole
from harness.errors import TrainingError

LOG_KINDS = ("tensorboard", "wandb", "clearml", "mlflow")
RANGE = 80.0  # dB between black and white in a spectrogram


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What is logged, and where to.  No part of the settings: a resumed run may log otherwise."""

    kinds: tuple[str, ...] = ()  # of LOG_KINDS
    project: str = "schoolyard"  # as W&B, ClearML and MLflow (experiment) name it
    examples: int = 2  # validation pairs whose sound and spectrogram are logged; 0 for none
    histograms: bool = False  # of the weights, and of the gradients of the last step

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in LOG_KINDS:
                raise ValueError(f"a log must be one of {', '.join(LOG_KINDS)}, got {kind!r}")
        if self.examples < 0:
            raise ValueError(f"examples must not be negative, got {self.examples}")


class RunLog(ABC):
    """A place to log to beside the JSON lines.  step: optimiser steps so far."""

    @abstractmethod
    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Losses or scores by name."""

    @abstractmethod
    def audio(self, step: int, name: str, samples: Tensor, sample_rate: int) -> None:
        """[samples] on the CPU in [-1, 1]."""

    @abstractmethod
    def image(self, step: int, name: str, picture: Tensor) -> None:
        """[height, width] in [0, 1], low frequencies in the last row."""

    @abstractmethod
    def histogram(self, step: int, name: str, values: Tensor) -> None:
        """Values of any shape, on the CPU."""

    @abstractmethod
    def close(self) -> None:
        """Write what is still held back."""


class JsonLines:
    """metrics.jsonl: a line of losses, or of validation scores ("validation": true)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step} | dict(values)) + "\n")

    def cut_after(self, step: int) -> None:
        """Drop the lines after a checkpoint, and a half-written one: the resumed run writes them again."""
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError):
                break
        with write_whole(self.path) as stream:
            stream.writelines(kept)


class TensorBoard(RunLog):
    """Event files in `tensorboard/` of the run directory."""

    def __init__(self, out: Path, resumed_at: int) -> None:
        writer = needed("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self.writer: Any = writer(str(out / "tensorboard"), purge_step=resumed_at or None)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def audio(self, step: int, name: str, samples: Tensor, sample_rate: int) -> None:
        self.writer.add_audio(name, samples[None], step, sample_rate)

    def image(self, step: int, name: str, picture: Tensor) -> None:
        self.writer.add_image(name, picture[None], step)

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        self.writer.add_histogram(name, values, step)

    def close(self) -> None:
        self.writer.close()


class RunLogs:
    """The JSON lines and the other logs of a run."""

    def __init__(self, lines: JsonLines, others: Sequence[RunLog], config: LogConfig) -> None:
        self.lines, self.others, self.config = lines, others, config

    def losses(self, step: int, values: Mapping[str, float]) -> None:
        self.lines.scalars(step, values)
        for log in self.others:
            log.scalars(step, values)

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        self.lines.scalars(step, {"validation": True} | dict(values))
        for log in self.others:
            log.scalars(step, {f"validation/{name}": value for name, value in values.items()})

    @property
    def wanted_examples(self) -> int:
        return self.config.examples if self.others else 0

    def example(self, step: int, number: int, signals: Mapping[str, Tensor], sample_rate: int) -> None:
        """The sounds of a pair, [samples] each, and their spectrograms."""
        for name, samples in signals.items():
            heard = samples.detach().float().cpu().clamp(-1, 1)
            for log in self.others:
                log.audio(step, f"{name}/{number}", heard, sample_rate)
                log.image(step, f"{name}_spectrogram/{number}", spectrogram(heard))

    def nets(self, step: int, nets: Mapping[str, nn.Module]) -> None:
        """Histograms of weights and gradients, where they are wanted."""
        if not self.config.histograms or not self.others:
            return
        for net_name, net in nets.items():
            for name, parameter in net.named_parameters():
                for log in self.others:
                    log.histogram(step, f"{net_name}/{name}", parameter.detach().float().cpu())
                    if parameter.grad is not None:
                        log.histogram(step, f"{net_name}/{name}.gradient", parameter.grad.float().cpu())

    def close(self) -> None:
        for log in self.others:
            log.close()


def open_logs(config: LogConfig, out: Path, settings: dict[str, Any], *, resumed_at: int = 0) -> RunLogs:
    """Raises TrainingError, with the mend, for a log whose package is not installed.

    settings: plain, shown by the services beside the run.  resumed_at: step from which lines are written again.
    """
    from enhance.run_log_services import ClearMl, Mlflow, Wandb

    lines = JsonLines(out / "metrics.jsonl")
    others: list[RunLog] = []
    for kind in config.kinds:
        match kind:
            case "tensorboard":
                others.append(TensorBoard(out, resumed_at))
            case "wandb":
                others.append(Wandb(out, config.project, settings))
            case "clearml":
                others.append(ClearMl(out, config.project, settings, resumed=resumed_at > 0))
            case "mlflow":
                others.append(Mlflow(out, config.project, settings, resumed=resumed_at > 0))
            case _:
                raise ValueError(f"a log must be one of {', '.join(LOG_KINDS)}, got {kind!r}")
    return RunLogs(lines, others, config)


def needed(module: str, package: str) -> Any:
    """An optional module, or TrainingError with what to install."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TrainingError(f"--log {package}", "is not installed", mend=f"pip install {package}") from error


def spectrogram(samples: Tensor) -> Tensor:
    """[samples] -> [257, frames] in [0, 1]: decibels below the loudest, high frequencies on top."""
    window = min(512, len(samples))
    power = spectrum(samples[None], window, max(1, window // 4)).abs()[0].square()
    decibels = 10 * torch.log10(power / power.max().clamp(min=1e-10) + 1e-10)
    return (1 + decibels / RANGE).clamp(0, 1).flip(0)
