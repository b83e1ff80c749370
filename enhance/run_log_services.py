"""Logs to services, each behind a package that is imported only when asked for: W&B, ClearML, MLflow."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from enhance.run_log import RunLog, needed
from harness.atomic import write_whole

BARS = 64  # of a histogram


class Wandb(RunLog):
    """Weights & Biases; a resumed run goes on in the same W&B run, told by the run directory's path."""

    def __init__(self, out: Path, project: str, settings: dict[str, Any]) -> None:
        self.wandb = needed("wandb", "wandb")
        name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
        self.run: Any = self.wandb.init(
            project=project, name=out.name, id=name, resume="allow", dir=str(out), config=settings
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def audio(self, step: int, name: str, samples: Tensor, sample_rate: int) -> None:
        self.run.log({name: self.wandb.Audio(samples.numpy(), sample_rate=sample_rate)}, step=step)

    def image(self, step: int, name: str, picture: Tensor) -> None:
        self.run.log({name: self.wandb.Image(_eight_bit(picture))}, step=step)

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        bars = np.histogram(values.numpy(), bins=BARS)
        self.run.log({name: self.wandb.Histogram(np_histogram=bars)}, step=step)

    def close(self) -> None:
        self.run.finish()


class ClearMl(RunLog):
    """ClearML; the run directory's name is the task, which a resumed run continues."""

    def __init__(self, out: Path, project: str, settings: dict[str, Any], *, resumed: bool) -> None:
        task = needed("clearml", "clearml").Task
        self.task: Any = task.init(
            project_name=project, task_name=out.name, continue_last_task=resumed, auto_connect_frameworks=False
        )
        self.task.connect(settings)
        self.logger: Any = self.task.get_logger()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            title, _, series = name.rpartition("/")
            self.logger.report_scalar(title=title or "training", series=series, value=value, iteration=step)

    def audio(self, step: int, name: str, samples: Tensor, sample_rate: int) -> None:
        title, _, series = name.partition("/")
        wav = io.BytesIO(_wav(samples, sample_rate))
        self.logger.report_media(title=title, series=series, iteration=step, stream=wav, file_extension=".wav")

    def image(self, step: int, name: str, picture: Tensor) -> None:
        title, _, series = name.partition("/")
        self.logger.report_image(title=title, series=series, iteration=step, image=_eight_bit(picture))

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        counts, edges = np.histogram(values.numpy(), bins=BARS)
        title, _, series = name.partition("/")
        self.logger.report_histogram(
            title=title, series=series, values=counts, iteration=step, xlabels=[f"{edge:.3g}" for edge in edges[:-1]]
        )

    def close(self) -> None:
        self.task.close()


class Mlflow(RunLog):
    """MLflow; the id of its run lies in the run directory, so that a resumed run goes on in it."""

    def __init__(self, out: Path, project: str, settings: dict[str, Any], *, resumed: bool) -> None:
        self.mlflow = needed("mlflow", "mlflow")
        self.mlflow.set_experiment(project)
        kept = out / "mlflow_run_id"
        if resumed and kept.is_file():
            self.mlflow.start_run(run_id=kept.read_text(encoding="utf-8").strip())
            return
        run = self.mlflow.start_run(run_name=out.name)
        with write_whole(kept) as stream:
            stream.write(f"{run.info.run_id}\n")
        self.mlflow.log_params(dict(_flat(settings)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.mlflow.log_metrics(dict(values), step=step)

    def audio(self, step: int, name: str, samples: Tensor, sample_rate: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name.replace('/', '_')}_{step:08d}.wav"
            path.write_bytes(_wav(samples, sample_rate))
            self.mlflow.log_artifact(str(path), artifact_path="audio")

    def image(self, step: int, name: str, picture: Tensor) -> None:
        self.mlflow.log_image(_eight_bit(picture), artifact_file=f"images/{name.replace('/', '_')}_{step:08d}.png")

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        counts, edges = np.histogram(values.numpy(), bins=BARS)
        self.mlflow.log_dict({"counts": counts.tolist(), "edges": edges.tolist()}, f"histograms/{name}_{step:08d}.json")

    def close(self) -> None:
        self.mlflow.end_run()


def _eight_bit(picture: Tensor) -> np.ndarray:
    """[height, width] in [0, 1] -> uint8 [height, width, 3]."""
    grey = (picture * 255).round().byte().numpy()
    return np.repeat(grey[:, :, None], 3, axis=2)


def _wav(samples: Tensor, sample_rate: int) -> bytes:
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, samples.numpy(), sample_rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and text, which MLflow's parameters are."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
