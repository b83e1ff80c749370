"""Training of any generator with any objective: one loop, resumed after a kill as if nothing had happened.

A run directory holds config.yaml, metrics.jsonl, last.pt (everything a resumed run needs) and best.pt (the generator
alone, with averaged weights, of the lowest validation score).
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enhance.pairs import Pairs
from enhance.settings import Settings, TrainConfig, build_generator, build_objective
from enhance.sounds import Sounds, hold_out
from enhance.validate import Validation
from enhance.weights import save_generator
from harness.atomic import write_whole
from harness.checkpoint import load_checkpoint, load_weights, save_checkpoint
from harness.config import dump_config, to_plain
from harness.errors import CheckpointError, TrainingError
from harness.log import get_logger, progress
from harness.seed import seed_everything

KIND = "enhance-training"
LOG_EVERY = 50  # steps between two lines of metrics


class Trainer:
    """A run: the nets, their optimisers, the pairs, and where it stands."""

    def __init__(
        self, settings: Settings, speech: Sounds, noise: Sounds, out: Path, *, device: str = "cpu",
        max_minutes: float | None = None, tensorboard: bool = False,
    ) -> None:  # fmt: skip
        self.settings, self.out, self.device, self.max_minutes = settings, out, device, max_minutes
        config = settings.train
        seed_everything(config.seed)
        if device.startswith("cuda"):
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        self.model = build_generator(settings).to(device).train()
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        for module in self.average.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # a copy's weights lie scattered, which cuDNN does not like
        self.objective = build_objective(settings, self.model.sample_rate).to(device)
        self.optimizer = _optimizer(self.model, config)
        critic = self.objective.critic
        self.critic_optimizer = _optimizer(critic, config) if critic is not None else None
        self.pairs, self.validation = self._data(speech, noise)
        self.step, self.saved, self.seconds, self.best = 0, 0, 0.0, math.inf
        self.started = time.monotonic()
        self.writer = _tensorboard(out) if tensorboard else None
        self.log = get_logger("enhance")

    def _data(self, speech: Sounds, noise: Sounds) -> tuple[Pairs, Validation]:
        config, rate = self.settings.train, self.model.sample_rate
        speech, held_speech = hold_out(speech, config.held_out_speakers, 0, "held-out speakers")
        noise, held_noise = hold_out(noise, config.held_out_noises, 0, "held-out noises")
        plain = replace(
            self.settings.pairs, seconds=max(self.settings.pairs.seconds, 1.0), snr=config.validation_snr,
            clean_share=0.0, babble=0.0, synthetic=0.0, second_noise=0.0, gain=(0.0, 0.0), equalise=0.0,
            speed=(1.0, 1.0),
        )  # fmt: skip
        held = Pairs(held_speech, held_noise, plain, sample_rate=rate, seed=0, device=self.device)
        validation = Validation([held(i) for i in range(config.validation_batches)], rate, config.clean_weight)
        pairs = Pairs(speech, noise, self.settings.pairs, sample_rate=rate, seed=config.seed, device=self.device)
        return pairs, validation

    def run(self) -> Path:
        """Train to the end (or to the time limit) and return the path of the best generator."""
        self._start_or_resume()
        sums: dict[str, Tensor] = {}
        for _ in progress(self._steps(), total=self.settings.train.steps - self.step, label="train", unit="step"):
            noisy, clean = self.pairs(self.step)
            for name, part in self._train_step(noisy, clean).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + part
            self.step += 1
            if self.step % LOG_EVERY == 0:
                self._log_losses(sums)
                sums = {}
            if self.step % self.settings.train.validate_every == 0:
                self._validate_and_save()
        if self.step != self.saved:
            self._validate_and_save()
        return self.out / "best.pt"

    def _steps(self) -> Iterator[int]:
        while self.step < self.settings.train.steps and self._done() < 1:
            yield self.step

    def _elapsed(self) -> float:
        """Seconds of training, those before a kill included."""
        return self.seconds + time.monotonic() - self.started

    def _done(self) -> float:
        """Share of the run that is over: of the steps, or of the time limit if that comes first."""
        by_steps = float(self.step / self.settings.train.steps)
        return by_steps if self.max_minutes is None else max(by_steps, self._elapsed() / (60 * self.max_minutes))

    def _train_step(self, noisy: Tensor, clean: Tensor) -> dict[str, Tensor]:
        config = self.settings.train
        factor = self._rate_factor()
        self.objective.begin_step(self.step, self._done())
        adversarial = self.critic_optimizer is not None and self._done() >= config.critic_from
        fake = self.model(noisy)
        parts: dict[str, Tensor] = {}
        if adversarial:
            critic_loss = self.objective.critic_loss(fake.detach(), clean, noisy)
            self._descend(self.critic_optimizer, critic_loss, config.critic_rate * factor)
            parts["critic"] = critic_loss.detach()
        loss, details = self.objective.model_loss(fake, clean, noisy, adversarial=adversarial)
        self._descend(self.optimizer, loss, config.rate * factor)
        self._update_average()
        return parts | details | {"loss": loss.detach()}

    def _descend(self, optimizer: Any, loss: Tensor, rate: float) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = rate
            nn.utils.clip_grad_norm_(group["params"], self.settings.train.clip)
        optimizer.step()

    def _rate_factor(self) -> float:
        config = self.settings.train
        cosine = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, self._done())))
        return float(cosine * min(1.0, (self.step + 1) / max(1, config.warmup)))

    @torch.no_grad()
    def _update_average(self) -> None:
        """Moving average of weights; short at the start, so that the first steps do not linger."""
        average = self.settings.train.average
        keep = min(average, (1 + self.step) / (10 + self.step)) if average else 0.0
        for ours, theirs in zip(self.average.parameters(), self.model.parameters(), strict=True):
            ours.lerp_(theirs, 1 - keep)
        for ours_buffer, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
            ours_buffer.copy_(buffer)

    def _log_losses(self, sums: dict[str, Tensor]) -> None:
        means = {name: value.item() / LOG_EVERY for name, value in sums.items()}
        if not all(map(math.isfinite, means.values())):
            bad = ", ".join(name for name, value in means.items() if not math.isfinite(value))
            problem = f"step {self.step}: not finite: {bad}"
            mend = "lower train.rate, then rerun with --force; last.pt is as it was"
            raise TrainingError(self.out, problem, mend=mend)
        self._write_metrics({"step": self.step, "minutes": round(self._elapsed() / 60, 2)} | means)

    def _write_metrics(self, row: dict[str, Any]) -> None:
        with open(self.out / "metrics.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        if self.writer is not None:
            for name, value in row.items():
                self.writer.add_scalar(name, value, self.step)

    def _validate_and_save(self) -> None:
        scores = self.validation.scores(self.average)
        if not math.isfinite(scores["score"]):
            problem = f"step {self.step}: the validation score is not finite"
            raise TrainingError(self.out, problem, mend="lower train.rate")
        better = scores["score"] < self.best
        text = "noisy {log_mel_noisy:.3f} (as is {log_mel_unprocessed:.3f}), clean {log_mel_clean:.3f}"
        self.log.info("step %d: log-mel error %s%s", self.step, text.format(**scores), " *" if better else "")
        self._write_metrics({"step": self.step, "validation": True} | scores)
        if better:
            self.best = scores["score"]
            facts = {"step": self.step, "settings": to_plain(self.settings)} | scores
            save_generator(self.out / "best.pt", self.settings.model, self.average, facts)
        self._save()

    def _save(self) -> None:
        state = {
            "settings": to_plain(self.settings), "step": self.step, "seconds": self._elapsed(), "best": self.best,
            "model": self.model.state_dict(), "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state(),
        }  # fmt: skip
        if self.critic_optimizer is not None:
            assert self.objective.critic is not None
            state["critic"] = self.objective.critic.state_dict()
            state["critic_optimizer"] = self.critic_optimizer.state_dict()
        if self.device.startswith("cuda"):
            state["random_cuda"] = torch.cuda.get_rng_state()
        save_checkpoint(self.out / "last.pt", KIND, state)
        self.saved = self.step

    def _start_or_resume(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        last = self.out / "last.pt"
        self.started = time.monotonic()
        if not last.is_file():
            (self.out / "metrics.jsonl").unlink(missing_ok=True)
            dump_config(self.settings, self.out / "config.yaml")
            parameters = sum(parameter.numel() for parameter in self.model.parameters())
            self.log.info("%s: %d parameters, %s", self.settings.model, parameters, self.device)
            return
        state = load_checkpoint(last, KIND)
        if state["settings"] != to_plain(self.settings):
            mend = "use the same settings, another --out, or --force to start anew"
            raise CheckpointError(last, "was made with other settings", mend=mend)
        load_weights(self.model, state["model"], last)
        load_weights(self.average, state["average"], last)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.critic_optimizer is not None:
            load_weights(self.objective.critic, state["critic"], last)
            self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.saved = self.step
        torch.set_rng_state(state["random"])
        if self.device.startswith("cuda") and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"])
        _cut_metrics(self.out / "metrics.jsonl", self.step)
        self.log.info("resumed at step %d", self.step)


def _optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Its rate is set anew before each step."""
    match config.optimizer:
        case "adam":
            return torch.optim.AdamW(module.parameters(), betas=config.betas, weight_decay=config.weight_decay)
        case "rmsprop":
            return torch.optim.RMSprop(module.parameters(), weight_decay=config.weight_decay)
        case _:
            raise ValueError(f"optimizer must be adam or rmsprop, got {config.optimizer!r}")


def _cut_metrics(path: Path, step: int) -> None:
    """Drop the lines after the checkpoint, and a half-written one: the resumed run writes them again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            break
    with write_whole(path) as stream:
        stream.writelines(kept)


def _tensorboard(out: str | os.PathLike[str]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError("--tensorboard", "needs the package tensorboard", mend="pip install tensorboard") from error
    return SummaryWriter(os.path.join(out, "tensorboard"))
