"""Training of a hybrid acoustic model: batches, optimiser, rate schedule, best epoch, resume.

An epoch ends with last.pt (everything needed to go on) and metrics.jsonl; best.pt is the model of the epoch with the
lowest error on the development set.  All that is drawn is drawn from the seed and the epoch's number, so a training
that was killed at any moment and started again gives the weights of one that was not (to the bit on a CPU).
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from am.chunks import Sequences, curriculum_frames, cut, plan_batches
from am.config import AcousticConfig, TrainConfig
from am.dataset import FrameSet
from am.models.denormals import flushed_denormals
from am.models.hybrid import CHECKPOINT_KIND, HybridModel, hybrid_loss, model_state
from am.models.packing import Packing, to_device
from am.priors import log_priors
from harness.atomic import write_whole
from harness.checkpoint import load_checkpoint, load_weights, save_checkpoint
from harness.config import dump_config, to_plain
from harness.errors import TrainingError
from harness.log import get_logger, progress
from harness.seed import rng_for
from hmm.graph_note import NAME as GRAPH_NOTE

log = get_logger("am")
RUN_KIND = "am-training"
MAY_CHANGE = {"threads", "tensorboard", "patience"}  # settings of train that a resumed run may change


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One line of metrics.jsonl; losses in nats a frame, errors in percent of frames."""

    epoch: int  # from 1
    rate: float  # learning rate at the epoch's end
    max_frames: int  # longest sequence, 0 for no limit
    train_loss: float  # pdf + weight * phone
    train_pdf_error: float
    dev_pdf_loss: float
    dev_pdf_error: float
    dev_phone_error: float
    clipped_steps: int  # steps whose gradient was longer than train.clip
    seconds: float  # wall time of the epoch, evaluation included

    def summary(self) -> str:
        """The epoch in one line."""
        train = f"train loss {self.train_loss:.3f}, pdf error {self.train_pdf_error:.2f} %"
        dev = f"dev loss {self.dev_pdf_loss:.3f}, pdf error {self.dev_pdf_error:.2f} %"
        return f"{train}; {dev}, phone error {self.dev_phone_error:.2f} %; rate {self.rate:.2e}; {self.seconds:.0f} s"


class FrameBank:
    """A FrameSet on the device, served as packed batches."""

    def __init__(self, frames: FrameSet, device: torch.device) -> None:
        self.features = torch.from_numpy(frames.features).to(device)
        self.low = None if frames.low is None else torch.from_numpy(frames.low).to(device)
        self.step = None if frames.step is None else torch.from_numpy(frames.step).to(device)
        self.pdfs, self.phones = (
            None if targets is None else torch.from_numpy(targets).to(device)
            for targets in (frames.pdfs, frames.phones)
        )
        self.device = device

    def batch(self, starts: np.ndarray, lengths: np.ndarray, directions: int) -> tuple[Tensor, Tensor, Packing]:
        """(features [frames, dim] float32, row in the set of each packed row, packing); lengths longest first."""
        packing = Packing.of(lengths.tolist(), directions=directions, device=self.device)
        index = packing.gather_rows(to_device(torch.from_numpy(starts), self.device))
        rows = self.features[index].float()
        return (rows if self.low is None or self.step is None else rows * self.step + self.low), index, packing

    def targets(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """[frames] pdf and phone of these rows of the set."""
        assert self.pdfs is not None
        assert self.phones is not None
        return self.pdfs[index].long(), self.phones[index].long()


def train_model(
    config: AcousticConfig,
    train_set: FrameSet,
    dev_set: FrameSet,
    out: Path,
    *,
    device: str = "cpu",
    force: bool = False,
) -> list[EpochMetrics]:
    """Train into out/{best.pt, last.pt, metrics.jsonl, config.yaml}; goes on where a killed run stopped.

    force: start anew, whatever lies in out.  Raises TrainingError: sets that do not fit each other, a resumed run with
    other settings or data, a loss that is not a number.
    """
    torch.set_num_threads(config.train.threads)
    _check_sets(train_set, dev_set)
    run = _Run(config, train_set, dev_set, out, torch.device(device))
    if force:
        for name in ("last.pt", "best.pt", "metrics.jsonl", GRAPH_NOTE):  # of the old run, which a kill must not leave
            (out / name).unlink(missing_ok=True)
    run.resume()
    if not run.history:
        out.mkdir(parents=True, exist_ok=True)
        dump_config(config, out / "config.yaml")
        log.info("%s: %d parameters, %s", config.model, sum(p.numel() for p in run.model.parameters()), run.describe())
    with flushed_denormals():
        while not run.finished():
            run.epoch()
    best = run.best()
    if best is not None:
        log.info("best epoch %d: dev pdf error %.2f %%, %s", best.epoch, best.dev_pdf_error, out / "best.pt")
    return run.history


def _check_sets(train_set: FrameSet, dev_set: FrameSet) -> None:
    for name, frames in (("training set", train_set), ("development set", dev_set)):
        if frames.pdfs is None or frames.phones is None or frames.frames == 0:
            raise TrainingError(name, "has no targets", mend="pack it with --ali")
    if train_set.meta != dev_set.meta:
        changed = [name for name, value in asdict(train_set.meta).items() if value != getattr(dev_set.meta, name)]
        problem = f"differs from the training set in {', '.join(changed)}"
        raise TrainingError("development set", problem, mend="pack both with the same model, streams and options")


class _Run:
    """The state of one training."""

    def __init__(
        self, config: AcousticConfig, train_set: FrameSet, dev_set: FrameSet, out: Path, device: torch.device
    ) -> None:
        self.config, self.out, self.device = config, out, device
        self.train_set, self.dev_set = train_set, dev_set
        self.history: list[EpochMetrics] = []
        torch.manual_seed(config.train.seed)
        meta = train_set.meta
        self.model = HybridModel(config.hybrid, train_set.dim, meta.num_pdfs, len(meta.phones))
        self._set_statistics()
        self.model.to(device)
        self.optimizer = _optimizer(config.train, self.model)
        self.rate = config.train.rate  # newbob's current rate
        self.train_bank, self.dev_bank = FrameBank(train_set, device), FrameBank(dev_set, device)

    def _set_statistics(self) -> None:
        mean, deviation = self.train_set.moments()
        self.model.input_mean.copy_(torch.from_numpy(mean))
        self.model.input_scale.copy_(torch.from_numpy(1 / np.maximum(deviation, 1e-5)))
        assert self.train_set.pdfs is not None
        priors = log_priors(self.train_set.pdfs, self.train_set.meta.num_pdfs, self.config.priors)
        self.model.log_priors.copy_(torch.from_numpy(priors))

    @cached_property
    def fingerprints(self) -> list[str]:
        """Of both sets; read once, not every epoch."""
        return [self.train_set.fingerprint(), self.dev_set.fingerprint()]

    def describe(self) -> str:
        """The sizes of the two sets."""
        sets = (("train", self.train_set), ("dev", self.dev_set))
        return "; ".join(
            f"{name}: {len(one.utterances)} utterances, {len(set(one.speakers))} speakers, {one.frames} frames"
            for name, one in sets
        )

    # -- epochs ------------------------------------------------------------------------------------------------------

    def finished(self) -> bool:
        """All epochs done, or no new best for train.patience epochs."""
        done, patience, best = len(self.history), self.config.train.patience, self.best()
        if done >= self.config.train.epochs:
            return True
        if patience and best is not None and done - best.epoch >= patience and done > self._curriculum_epochs():
            log.info("no better epoch than %d in %d epochs: training stops", best.epoch, patience)
            return True
        return False

    def _curriculum_epochs(self) -> int:
        """Epochs before the sequences reach their full length."""
        settings = self.config.train
        return sum(self._frames_of(epoch) != settings.max_frames for epoch in range(settings.epochs))

    def _frames_of(self, epoch: int) -> int:
        settings = self.config.train
        frames = curriculum_frames(epoch, settings.start_frames, settings.growth, settings.max_frames)
        return settings.max_frames if settings.max_frames == 0 and frames > self.train_set.lengths.max() else frames

    def best(self) -> EpochMetrics | None:
        """The epoch that best.pt holds."""
        key = "dev_pdf_error" if self.config.train.best_by == "error" else "dev_pdf_loss"
        return min(self.history, key=lambda metrics: (getattr(metrics, key), metrics.epoch), default=None)

    def epoch(self) -> None:
        """Train one epoch, evaluate, save."""
        number, began = len(self.history), time.monotonic()
        settings = self.config.train
        torch.manual_seed(int(rng_for(settings.seed, "dropout", number).integers(2**62)))
        max_frames = self._frames_of(number)
        sequences = cut(self.train_set.starts, self.train_set.lengths, max_frames)
        batches = plan_batches(
            sequences.lengths, settings.batch_size, settings.batch_jitter, rng_for(settings.seed, "order", number)
        )
        loss, error, clipped = self._train_batches(number, sequences, batches)
        dev_loss, dev_error, dev_phone_error = self.evaluate()
        self.history.append(
            EpochMetrics(
                epoch=number + 1,
                rate=self.optimizer.param_groups[0]["lr"],
                max_frames=max_frames,
                train_loss=loss,
                train_pdf_error=error,
                dev_pdf_loss=dev_loss,
                dev_pdf_error=dev_error,
                dev_phone_error=dev_phone_error,
                clipped_steps=clipped,
                seconds=round(time.monotonic() - began, 2),
            )
        )
        self._newbob()
        self.save()
        log.info("epoch %d/%d: %s", number + 1, settings.epochs, self.history[-1].summary())

    def _train_batches(self, number: int, sequences: Sequences, batches: list[np.ndarray]) -> tuple[float, float, int]:
        settings, parameters = self.config.train, list(self.model.parameters())
        totals = torch.zeros(3, dtype=torch.float64, device=self.device)  # loss * frames, wrong frames, clipped steps
        frames = 0
        self.model.train()
        label = f"epoch {number + 1}/{settings.epochs}"
        for step, batch in enumerate(progress(batches, label=label, unit="batch")):
            self._set_rate(number + step / len(batches), 1 / len(batches))
            rows, index, packing = self.train_bank.batch(
                sequences.starts[batch], sequences.lengths[batch], self.model.directions
            )
            pdfs, phones = self.train_bank.targets(index)
            logits = self.model(rows, packing)
            loss, _, _ = hybrid_loss(logits, pdfs, phones, settings.phone_weight)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
            if self.device.type == "cpu" or step % 10 == 9 or step + 1 == len(batches):  # a check waits for a GPU
                self._refuse_nan(loss, norm, number, step)
            self.optimizer.step()
            with torch.no_grad():
                wrong = (logits[0].argmax(1) != pdfs).sum()
                totals += torch.stack(
                    [loss.detach().double() * len(rows), wrong.double(), (norm > settings.clip).double()]
                )
            frames += len(rows)
        loss_sum, wrong_frames, clipped = totals.tolist()
        return loss_sum / frames, 100 * wrong_frames / frames, int(clipped)

    def _refuse_nan(self, loss: Tensor, norm: Tensor, number: int, step: int) -> None:
        if torch.isfinite(loss).item() and torch.isfinite(norm).item():
            return
        where = f"epoch {number + 1}, batch {step + 1}"
        problem = f"loss is {loss.item():g} and the gradient's norm {norm.item():g}"
        settings = self.config.train
        mend = (
            f"lower train.rate (now {settings.rate:g}) or train.clip (now {settings.clip:g}), or begin gently with "
            f"train.warmup (now {settings.warmup:g} epochs) and short sequences (train.start_frames, now "
            f"{settings.start_frames}); then run again with --force"
        )
        raise TrainingError(where, problem, mend=mend)

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float, float]:
        """Development set: pdf loss in nats a frame, pdf error and phone error in percent of frames."""
        self.model.eval()
        lengths, starts = self.dev_set.lengths, self.dev_set.starts
        totals = torch.zeros(3, dtype=torch.float64, device=self.device)
        for batch in plan_batches(lengths, 2 * self.config.train.batch_size, 0.0, None):
            rows, index, packing = self.dev_bank.batch(starts[batch], lengths[batch], self.model.directions)
            pdfs, phones = self.dev_bank.targets(index)
            logits = self.model(rows, packing)
            _, pdf_loss, _ = hybrid_loss(logits, pdfs, phones, 0.0)
            wrong = [(one.argmax(1) != wanted).sum() for one, wanted in zip(logits, (pdfs, phones), strict=True)]
            totals += torch.stack([pdf_loss.double() * len(rows), wrong[0].double(), wrong[1].double()])
        loss, pdf_wrong, phone_wrong = (totals / self.dev_set.frames).tolist()
        return loss, 100 * pdf_wrong, 100 * phone_wrong

    # -- learning rate -----------------------------------------------------------------------------------------------

    def _set_rate(self, epochs_done: float, share: float) -> None:
        """share: of an epoch, that a step is."""
        settings = self.config.train
        rate = self.rate
        if settings.schedule == "linear":
            rate = settings.rate * linear_share(
                epochs_done / settings.epochs, settings.linear_hold, settings.linear_final
            )
        if settings.warmup > 0:
            rate *= min(1.0, (epochs_done + share) / settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _newbob(self) -> None:
        """Lower the rate when the dev error stopped falling: (before - now) / now < threshold."""
        settings = self.config.train
        if settings.schedule != "newbob" or len(self.history) < 2:
            return
        before, now = self.history[-2].dev_pdf_error, self.history[-1].dev_pdf_error
        if (before - now) / max(now, 1e-9) < settings.newbob_threshold:
            self.rate *= settings.newbob_factor

    # -- files -------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """best.pt first, last.pt after it: a kill between the two repeats the epoch and writes the same best.pt."""
        now, inputs = self.history[-1], asdict(self.train_set.meta)
        phones = inputs.pop("phones")
        if self.best() is now:
            metrics = {key: value for key, value in asdict(now).items() if key != "seconds"}
            state = model_state(self.model, phones, inputs, metrics)
            save_checkpoint(self.out / "best.pt", CHECKPOINT_KIND, state)
        save_checkpoint(
            self.out / "last.pt",
            RUN_KIND,
            {
                "config": to_plain(self.config),
                "data": self.fingerprints,
                "history": [asdict(metrics) for metrics in self.history],
                "rate": self.rate,
                "weights": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
        )
        self._write_metrics()
        if self.config.train.tensorboard:
            _write_scalars(self.out, now)

    def _write_metrics(self) -> None:
        """metrics.jsonl and config.yaml as they stand now: a kill may have come before, other epochs been asked for."""
        lines = "".join(json.dumps(asdict(metrics)) + "\n" for metrics in self.history)
        path = self.out / "metrics.jsonl"
        if not path.is_file() or path.read_bytes() != lines.encode():
            with write_whole(path) as stream:
                stream.write(lines)
            dump_config(self.config, self.out / "config.yaml")

    def resume(self) -> None:
        """Take up the state of last.pt, if there is one."""
        path = self.out / "last.pt"
        if not path.is_file():
            return
        state = load_checkpoint(path, RUN_KIND, device=str(self.device))
        self._refuse_other_run(path, state)
        if not (self.out / "best.pt").is_file():
            raise TrainingError(self.out / "best.pt", "is missing beside last.pt", mend="give --force to start anew")
        load_weights(self.model, state["weights"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        self.rate = state["rate"]
        self.history = [EpochMetrics(**metrics) for metrics in state["history"]]
        self._write_metrics()
        log.info("%s: going on after epoch %d", path, len(self.history))

    def _refuse_other_run(self, path: Path, state: dict[str, Any]) -> None:
        mend = "give another --out, or --force to start anew"
        if state["data"] != self.fingerprints:
            raise TrainingError(path, "was trained on other data", mend=mend)
        free = set(MAY_CHANGE)
        if self.config.train.schedule == "newbob":
            free.add("epochs")  # the linear schedule would have been another
        now, then = to_plain(self.config), state["config"]
        changed = [
            f"{section}.{key}" for section, key in _differences(now, then) if section != "train" or key not in free
        ]
        if changed:
            raise TrainingError(path, f"was trained with another {', '.join(changed)}", mend=mend)


def _differences(now: dict[str, Any], then: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for section in sorted(now.keys() | then.keys()):
        here, there = now.get(section), then.get(section)
        if isinstance(here, dict) and isinstance(there, dict):
            found += [(section, key) for key in sorted(here.keys() | there.keys()) if here.get(key) != there.get(key)]
        elif here != there:
            found.append((section, ""))
    return found


def linear_share(done: float, hold: float, final: float) -> float:
    """Share of the full rate when `done` (0 to 1) of the training is over: 1 until `hold`, then straight to `final`."""
    if done <= hold:
        return 1.0
    return 1 - (1 - final) * min(1.0, (done - hold) / (1 - hold))


def _optimizer(settings: TrainConfig, model: HybridModel) -> torch.optim.Optimizer:
    match settings.optimizer:
        case "rmsprop":  # alpha and eps as pytorch-kaldi's
            return torch.optim.RMSprop(model.parameters(), lr=settings.rate, alpha=0.95, eps=1e-8)
        case "adam":
            return torch.optim.Adam(model.parameters(), lr=settings.rate)
        case _:
            raise ValueError(f"optimizer must be 'rmsprop' or 'adam', got {settings.optimizer!r}")


def _write_scalars(out: Path, metrics: EpochMetrics) -> None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            "train.tensorboard", "TensorBoard is not installed", mend="install it, or set it false"
        ) from error
    with SummaryWriter(str(out / "tensorboard"), purge_step=metrics.epoch) as writer:
        for name, value in asdict(metrics).items():
            writer.add_scalar(name, value, metrics.epoch)
