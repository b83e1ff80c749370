"""Training of any generator with any objective: one loop, resumed after a kill as if nothing had happened.

A run directory holds config.yaml, metrics.jsonl, last.pt (everything a resumed run needs) and best.pt (the generator
alone, with averaged weights, of the best validation); ranking.py says what else is kept on request.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enhance.distributed import Processes
from enhance.fine_tune import TRAINING_KIND, StartFrom, start_critic, start_generator
from enhance.optimizers import Descent, critic_optimizer, generator_optimizer
from enhance.pairs import Pairs
from enhance.precision import compute_in
from enhance.ranking import Ranking
from enhance.run_log import LogConfig, RunLogs, open_logs
from enhance.running_means import RunningMeans
from enhance.schedule import rate_factor
from enhance.settings import Settings, build_generator, build_objective
from enhance.sounds import Sounds, hold_out
from enhance.validate import LOWER_IS_BETTER, Validation
from enhance.weights import save_generator
from harness.checkpoint import load_checkpoint, load_weights, save_checkpoint
from harness.config import dump_config, to_plain
from harness.errors import CheckpointError, TrainingError
from harness.log import get_logger, progress
from harness.seed import rng_for, seed_everything


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is carried out; none of it is part of the settings, so a resumed run may have other ones."""

    device: str = "cpu"
    max_minutes: float | None = None  # the run ends by then, its rate decayed
    logs: LogConfig = field(default_factory=LogConfig)
    start: StartFrom = field(default_factory=StartFrom)
    processes: Processes = field(default_factory=Processes)
    on_validation: Callable[[int, dict[str, float]], None] | None = None  # told step and scores; may raise


class Trainer:
    """A run: the nets, their optimisers, the pairs, and where it stands."""

    def __init__(
        self, settings: Settings, speech: Sounds, noise: Sounds, out: Path, options: RunOptions | None = None
    ) -> None:
        self.settings, self.config, self.out = settings, settings.train, out
        self.options = options or RunOptions()
        self.device, self.processes = self.options.device, self.options.processes
        self.processes.check_batch(settings.pairs.batch, self.config.accumulate)
        seed_everything(self.config.seed)
        if self.device.startswith("cuda"):
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        self.model = build_generator(settings).to(self.device).train()
        self.objective = build_objective(settings, self.model.sample_rate).to(self.device)
        self._start_from_trained()
        self.average = _averaged_copy(self.model)
        self._open_nets()
        self.pairs, self.validation = self._data(speech, noise)
        self.ranking = Ranking(out, lower_is_better=LOWER_IS_BETTER[self.config.best_by], keep=self.config.keep_best)
        self.step, self.saved, self.seconds, self.done = 0, 0, 0.0, 0.0
        self.stale, self.halvings = 0, 0  # validations since the best one; times that the rate was halved
        self.means = RunningMeans(self.processes, self.device)
        self.started = time.monotonic()
        self.log = get_logger("enhance")

    def _start_from_trained(self) -> None:
        start = self.options.start
        if start.generator is not None:
            start_generator(self.model, self.settings.model, start.generator)
        if start.critic is not None:
            start_critic(self.objective.critic, start.critic)

    def _open_nets(self) -> None:
        """Precision and optimisers of both nets."""
        scaled = self.config.precision == "float16"
        compute_in(self.model, self.device, self.config.precision)
        self.generator = Descent(self.model, generator_optimizer(self.config), self.processes, scaled=scaled)
        self.critic: Descent | None = None
        if self.objective.critic is not None:
            compute_in(self.objective.critic, self.device, self.config.precision)
            settings = critic_optimizer(self.config)
            self.critic = Descent(self.objective.critic, settings, self.processes, scaled=scaled)

    def _data(self, speech: Sounds, noise: Sounds) -> tuple[Pairs, Validation]:
        config, rate = self.config, self.model.sample_rate
        speech, held_speech = hold_out(speech, config.held_out_speakers, 0, "held-out speakers")
        noise, held_noise = hold_out(noise, config.held_out_noises, 0, "held-out noises")
        plain = replace(
            self.settings.pairs, seconds=max(self.settings.pairs.seconds, 1.0), snr=config.validation_snr,
            clean_share=0.0, babble=0.0, synthetic=0.0, second_noise=0.0, gain=(0.0, 0.0), equalise=0.0,
            speed=(1.0, 1.0),
        )  # fmt: skip
        held = Pairs(held_speech, held_noise, plain, sample_rate=rate, seed=0, device=self.device)
        measures = {*config.measures, config.best_by}
        validation = Validation(
            [held(i) for i in range(config.validation_batches)], rate, config.clean_weight,
            measures=sorted(measures), objective=self.objective,
        )  # fmt: skip
        pairs = Pairs(speech, noise, self.settings.pairs, sample_rate=rate, seed=config.seed, device=self.device)
        a_step = self.settings.pairs.batch * config.critic_updates
        self.steps_per_epoch = len(speech.names) / a_step
        self.steps = math.ceil(config.epochs * self.steps_per_epoch) if config.epochs > 0 else config.steps
        return pairs, validation

    def run(self) -> Path:
        """Train to the end (or to the time limit) and return the path of the best generator."""
        self.logs = self._start_or_resume()
        for _ in progress(self._until_done(), total=self.steps - self.step, label="train", unit="step"):
            self.means.add(self._train_step(*self._batch(self.config.critic_updates - 1)))
            self.step += 1
            if self.step % self.config.log_every == 0:
                self._log_losses()
            if self.step % self.config.validate_every == 0:
                self._validate_and_save()
        if self.step != self.saved:
            self._validate_and_save()
        self.logs.close()
        return self.out / "best.pt"

    def _until_done(self) -> Iterator[int]:
        while True:
            self.done = self._share_done()
            if self.done >= 1 or 0 < self.config.patience <= self.stale:
                return
            yield self.step

    def _share_done(self) -> float:
        """Share of the run that is over: of the steps, or of the time limit if that comes first."""
        by_steps = float(self.step / self.steps)
        if self.options.max_minutes is None:
            return by_steps
        by_time = self._elapsed() / (60 * self.options.max_minutes)
        return max(by_steps, float(self.processes.from_first(by_time)))

    def _elapsed(self) -> float:
        """Seconds of training, those before a kill included."""
        return self.seconds + time.monotonic() - self.started

    def _batch(self, update: int) -> tuple[Tensor, Tensor]:
        """This process's pairs for one of the step's updates; the generator learns from the last one's."""
        noisy, clean = self.pairs(self.step * self.config.critic_updates + update)
        return self.processes.rows(noisy), self.processes.rows(clean)

    def _pieces(self, noisy: Tensor, clean: Tensor) -> list[tuple[Tensor, Tensor]]:
        count = self.config.accumulate
        return list(zip(noisy.chunk(count), clean.chunk(count), strict=True))

    def _train_step(self, noisy: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """One update of the generator, after the critic's.  Returns the losses, detached."""
        config = self.config
        factor = rate_factor(
            config, step=self.step, done=self.done, steps_per_epoch=self.steps_per_epoch, halvings=self.halvings
        )
        self.objective.begin_step(self.step, self.done)
        adversarial = self.critic is not None and self.done >= config.critic_from
        pieces = self._pieces(noisy, clean)
        fake = self.model(noisy) if len(pieces) == 1 else None  # both turns share it; of pieces it would not fit
        parts: dict[str, Tensor] = {}
        if adversarial and self.step % config.critic_every == 0:
            parts["critic"] = self._critic_turn(pieces, fake, factor)
        parts |= self._generator_turn(pieces, fake, factor, adversarial)
        self._update_average()
        return parts

    def _critic_turn(self, pieces: list[tuple[Tensor, Tensor]], fake: Tensor | None, factor: float) -> Tensor:
        """The critic's updates, all but the last on pairs of their own; returns the mean loss."""
        assert self.critic is not None
        total, count = torch.zeros((), device=self.device), self.config.critic_updates
        for update in range(count):
            last = update == count - 1
            these = pieces if last else self._pieces(*self._batch(update))
            self.critic.begin()
            for noisy, clean in these:
                loss = self.objective.critic_loss(self._without_history(noisy, fake if last else None), clean, noisy)
                self.critic.add(loss, 1 / len(these))
                total += loss.detach() / (len(these) * count)
            self.critic.step(factor)
        return total

    def _without_history(self, noisy: Tensor, fake: Tensor | None) -> Tensor:
        if fake is not None:
            return fake.detach()
        with torch.no_grad():
            made: Tensor = self.model(noisy)
        return made

    def _generator_turn(
        self, pieces: list[tuple[Tensor, Tensor]], fake: Tensor | None, factor: float, adversarial: bool
    ) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        self.generator.begin()
        for noisy, clean in pieces:
            made = self.model(noisy) if fake is None else fake
            loss, details = self.objective.model_loss(made, clean, noisy, adversarial=adversarial)
            self.generator.add(loss, 1 / len(pieces))
            for name, value in (details | {"loss": loss.detach()}).items():
                parts[name] = parts.get(name, 0.0) + value / len(pieces)
        self.generator.step(factor)
        return parts

    @torch.no_grad()
    def _update_average(self) -> None:
        """Moving average of weights; short at the start, so that the first steps do not linger."""
        average = self.config.average
        keep = min(average, (1 + self.step) / (10 + self.step)) if average else 0.0
        for ours, theirs in zip(self.average.parameters(), self.model.parameters(), strict=True):
            ours.lerp_(theirs, 1 - keep)
        for ours_buffer, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
            ours_buffer.copy_(buffer)

    def _log_losses(self) -> None:
        means = self.means.take()
        if not all(map(math.isfinite, means.values())):
            bad = ", ".join(name for name, value in means.items() if not math.isfinite(value))
            problem = f"step {self.step}: not finite: {bad}"
            mend = "lower train.rate, then rerun with --force; last.pt is as it was"
            raise TrainingError(self.out, problem, mend=mend)
        rate = self.generator.optimizer.param_groups[0]["lr"]
        self.logs.losses(self.step, {"minutes": round(self._elapsed() / 60, 2), "rate": rate} | means)

    def _validate_and_save(self) -> None:
        """The first process validates and writes; the others hear what came of it."""
        self.processes.share_buffers(self.model)
        self.processes.share_buffers(self.objective)
        scores = self.validation.scores(self.average) if self.processes.first else {}
        scores = self.processes.from_first(scores)
        score = scores[self.config.best_by]
        if not math.isfinite(score):
            problem = f"step {self.step}: the validation score is not finite"
            raise TrainingError(self.out, problem, mend="lower train.rate")
        better = self.ranking.leads(score)
        self.stale = 0 if better else self.stale + 1
        if self.stale and self.stale % self.config.halve_after == 0:
            self.halvings += 1
        if self.processes.first:
            self._report(scores, better)
        facts = {"step": self.step, "settings": to_plain(self.settings), "start": self.options.start.facts()} | scores
        self.ranking.offer(score, self.step, lambda path: self._write_generator(path, facts))
        self._save()
        if self.options.on_validation is not None:
            self.options.on_validation(self.step, scores)

    def _report(self, scores: dict[str, float], better: bool) -> None:
        text = "noisy {log_mel_noisy:.3f} (as is {log_mel_unprocessed:.3f}), clean {log_mel_clean:.3f}"
        self.log.info("step %d: log-mel error %s%s", self.step, text.format(**scores), " *" if better else "")
        self.logs.scores(self.step, scores)
        examples = self.validation.examples(self.average, self.logs.wanted_examples)
        for number, (noisy, enhanced, clean) in enumerate(examples):
            signals = {"noisy": noisy, "enhanced": enhanced, "clean": clean}
            self.logs.example(self.step, number, signals, self.model.sample_rate)
        critic = {"critic": self.objective.critic} if self.objective.critic is not None else {}
        self.logs.nets(self.step, {"generator": self.model} | critic)

    def _write_generator(self, path: Path, facts: dict[str, Any]) -> None:
        if self.processes.first:
            save_generator(path, self.settings.model, self.average, facts)

    def _save(self) -> None:
        state = self._state()
        if self.processes.first:
            save_checkpoint(self.out / "last.pt", TRAINING_KIND, state)
            self.ranking.tidy()
        self.saved = self.step

    def _state(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        state = {
            "settings": to_plain(self.settings), "step": self.step, "seconds": self._elapsed(),
            "ranking": [list(entry) for entry in self.ranking.entries], "stale": self.stale, "halvings": self.halvings,
            "model": self.model.state_dict(), "average": self.average.state_dict(),
            "descent": self.generator.state(), "objective": _own_buffers(self.objective),
            "means": self.means.state(), "random": self.processes.gather(_random_state(self.device)),
        }  # fmt: skip
        if self.critic is not None:
            assert self.objective.critic is not None
            state |= {"critic": self.objective.critic.state_dict(), "critic_descent": self.critic.state()}
        return state

    def _start_or_resume(self) -> RunLogs:
        last = self.out / "last.pt"
        self.started = time.monotonic()
        state = load_checkpoint(last, TRAINING_KIND) if last.is_file() else None
        if state is not None:
            self._load(state, last)
            self.log.info("resumed at step %d", self.step)
        kinds = self.options.logs if self.processes.first else LogConfig()
        self.processes.gather(None)  # nobody writes before everybody has read
        if self.processes.first:
            self.out.mkdir(parents=True, exist_ok=True)
        logs = open_logs(kinds, self.out, to_plain(self.settings), resumed_at=self.step)
        if self.processes.first:
            logs.lines.cut_after(self.step if state is not None else -1)
        if state is None:
            self._announce()
        return logs

    def _announce(self) -> None:
        if self.processes.first:
            dump_config(self.settings, self.out / "config.yaml")
            parameters = sum(parameter.numel() for parameter in self.model.parameters())
            self.log.info("%s: %d parameters, %s", self.settings.model, parameters, self.device)
        if self.processes.rank:  # drawn latents and dropout differ by rows
            torch.manual_seed(int(rng_for(self.config.seed, "process", self.processes.rank).integers(2**62)))

    def _load(self, state: dict[str, Any], last: Path) -> None:
        if state["settings"] != to_plain(self.settings):
            mend = "use the same settings, another --out, or --force to start anew"
            raise CheckpointError(last, "was made with other settings", mend=mend)
        if len(state["random"]) != self.processes.count:
            problem = f"was made by {len(state['random'])} processes, not {self.processes.count}"
            raise CheckpointError(last, problem, mend="resume with as many, or --force to start anew")
        load_weights(self.model, state["model"], last)
        load_weights(self.average, state["average"], last)
        self.generator.load_state(state["descent"])
        self.objective.load_state_dict(state["objective"], strict=False)  # the rest is the critic, and never changes
        if self.critic is not None:
            load_weights(self.objective.critic, state["critic"], last)
            self.critic.load_state(state["critic_descent"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.stale, self.halvings, self.saved = state["stale"], state["halvings"], state["step"]
        self.ranking.entries = [(score, step) for score, step in state["ranking"]]
        self.means.load_state(state["means"])
        _set_random_state(state["random"][self.processes.rank], self.device)


def _averaged_copy(model: Any) -> Any:
    average = copy.deepcopy(model).requires_grad_(False)
    for module in average.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # a copy's weights lie scattered, which cuDNN does not like
    return average


def _own_buffers(objective: nn.Module) -> dict[str, Tensor]:
    """The objective's buffers outside its critic (running noise, memories); frozen judges are not copied."""
    parameters = {name for name, _ in objective.named_parameters()}
    return {
        name: value
        for name, value in objective.state_dict().items()
        if name not in parameters and not name.startswith("critic.")
    }


def _random_state(device: str) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if device.startswith("cuda") else {})


def _set_random_state(state: dict[str, Tensor], device: str) -> None:
    torch.set_rng_state(state["cpu"])
    if device.startswith("cuda") and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
