"""Training of any generator with any objective: one loop, resumed after a kill as if nothing had happened.

A run directory holds config.yaml, metrics.jsonl, last.pt (everything a resumed run needs) and best.pt (the generator
alone, with averaged weights, of the best validation); ranking.py says what else is kept on request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from enhance.distributed import Processes
from enhance.fine_tune import TRAINING_KIND, StartFrom, start_critic, start_generator
from enhance.pairs import Pairs
from enhance.ranking import Ranking
from enhance.run_log import LogConfig, RunLogs, open_logs
from enhance.running_means import RunningMeans
from enhance.schedule import rate_factor
from enhance.settings import Settings, build_generator, build_objective
from enhance.sounds import Sounds, gist_of, hold_out, same_gist
from enhance.turns import Turns
from enhance.validate import LOWER_IS_BETTER, Validation
from enhance.weights import save_generator
from harness.checkpoint import load_checkpoint, save_checkpoint
from harness.config import dump_config, to_plain
from harness.errors import CheckpointError, TrainingError
from harness.log import get_logger, progress
from harness.seed import rng_for, seed_everything


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is carried out; none of it is part of the settings, so a resumed run may have other ones."""

    device: str = "cpu"
    max_minutes: float | None = None  # the run ends by then, its rate decayed
    processor_time: bool = False  # count them in processor time of this process: a fair budget on a busy machine
    logs: LogConfig = field(default_factory=LogConfig)
    start: StartFrom = field(default_factory=StartFrom)
    processes: Processes = field(default_factory=Processes)
    workers: int = 0  # processes that make pairs ahead
    on_validation: Callable[[int, dict[str, float]], None] | None = None  # told step and scores; may raise


class Trainer:
    """A run: the nets, their optimisers, the pairs, and where it stands."""

    def __init__(
        self, settings: Settings, speech: Sounds, noise: Sounds, out: Path, options: RunOptions | None = None
    ) -> None:
        self.settings, self.config, self.out = settings, settings.train, out
        self.options = options or RunOptions()
        self.device, self.processes = self.options.device, self.options.processes
        self._clock = time.process_time if self.options.processor_time else time.monotonic
        self.processes.check_batch(settings.pairs.batch, self.config.accumulate)
        seed_everything(self.config.seed)
        if self.device.startswith("cuda"):
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        self.model = build_generator(settings).to(self.device).train()
        self.objective = build_objective(settings, self.model.sample_rate).to(self.device)
        self._start_from_trained()
        self.turns = Turns(
            self.model, self.objective, self.config, device=self.device, processes=self.processes,
            more_pairs=self._batch,
        )  # fmt: skip
        self.pairs, self.validation = self._data(speech, noise)
        self.gists = {"speech": gist_of(speech), "noise": gist_of(noise)}
        self.ranking = Ranking(out, lower_is_better=LOWER_IS_BETTER[self.config.best_by], keep=self.config.keep_best)
        self.step, self.saved, self.seconds, self.done = 0, 0, 0.0, 0.0
        self.stale, self.halvings = 0, 0  # validations since the best one; times that the rate was halved
        self.means = RunningMeans(self.processes, self.device)
        self.started = self._clock()
        self.log = get_logger("enhance")

    def _start_from_trained(self) -> None:
        start = self.options.start
        if start.generator is not None:
            start_generator(self.model, self.settings.model, start.generator)
        if start.critic is not None:
            start_critic(self.objective.critic, start.critic)

    def _data(self, speech: Sounds, noise: Sounds) -> tuple[Pairs, Validation]:
        config, rate = self.config, self.model.sample_rate
        speech, held_speech = hold_out(speech, config.held_out_speakers, 0, "held-out speakers")
        noise, held_noise = hold_out(noise, config.held_out_noises, 0, "held-out noises")
        plain = self.settings.pairs.plain(snr=config.validation_snr)
        held = Pairs(held_speech, held_noise, plain, sample_rate=rate, seed=0, device=self.device)
        measures = {*config.measures, config.best_by}
        validation = Validation(
            [held(i) for i in range(config.validation_batches)], rate, config.clean_weight,
            measures=sorted(measures), objective=self.objective,
        )  # fmt: skip
        pairs = Pairs(
            speech, noise, self.settings.pairs, sample_rate=rate, seed=config.seed, device=self.device,
            workers=self.options.workers,
        )  # fmt: skip
        a_step = self.settings.pairs.batch * config.critic_updates
        self.steps_per_epoch = pairs.pairs_per_epoch / a_step
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
            if self.step and (self.done >= 1 or 0 < self.config.patience <= self.stale):
                return  # after a step at least, so that there is a generator
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
        return self.seconds + self._clock() - self.started

    def _batch(self, update: int) -> tuple[Tensor, Tensor]:
        """This process's pairs for one of the step's updates; the generator learns from the last one's."""
        noisy, clean = self.pairs(self.step * self.config.critic_updates + update)
        return self.processes.rows(noisy), self.processes.rows(clean)

    def _train_step(self, noisy: Tensor, clean: Tensor) -> dict[str, Tensor]:
        """The turns of critic and generator; returns the losses, detached."""
        self.objective.begin_step(self.step, self.done)
        factor = rate_factor(
            self.config, step=self.step, done=self.done, steps_per_epoch=self.steps_per_epoch, halvings=self.halvings
        )
        adversarial = self.done >= self.config.critic_from
        return self.turns.play((noisy, clean), self.step, factor, adversarial=adversarial)

    def _log_losses(self) -> None:
        means = self.means.take()
        if not all(map(math.isfinite, means.values())):
            bad = ", ".join(name for name, value in means.items() if not math.isfinite(value))
            problem = f"step {self.step}: not finite: {bad}"
            mend = "lower train.rate, then rerun with --force; last.pt is as it was"
            raise TrainingError(self.out, problem, mend=mend)
        rate = self.turns.generator.optimizer.param_groups[0]["lr"]
        if self.processes.first:
            minutes = round(self._elapsed() / 60, 2)
            self.logs.losses(self.step, {"minutes": minutes, "rate": rate} | means)

    def _validate_and_save(self) -> None:
        """The first process validates and writes; the others hear what came of it."""
        self.processes.share_buffers(self.model)
        self.processes.share_buffers(self.objective)
        scores = self.validation.scores(self.turns.average) if self.processes.first else {}
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
        examples = self.validation.examples(self.turns.average, self.logs.wanted_examples)
        for number, (noisy, enhanced, clean) in enumerate(examples):
            signals = {"noisy": noisy, "enhanced": enhanced, "clean": clean}
            self.logs.example(self.step, number, signals, self.model.sample_rate)
        self.logs.nets(self.step, self.turns.nets)

    def _write_generator(self, path: Path, facts: dict[str, Any]) -> None:
        if self.processes.first:
            save_generator(path, self.settings.model, self.turns.average, facts)

    def _save(self) -> None:
        state = self._state()
        if self.processes.first:
            save_checkpoint(self.out / "last.pt", TRAINING_KIND, state)
            self.ranking.tidy()
        self.saved = self.step

    def _state(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        return self.turns.state() | {
            "settings": to_plain(self.settings), "step": self.step, "seconds": self._elapsed(),
            "ranking": [list(entry) for entry in self.ranking.entries], "stale": self.stale, "halvings": self.halvings,
            "means": self.means.state(), "random": self.processes.gather(_random_state(self.device)),
            "sounds": self.gists,
        }  # fmt: skip

    def _start_or_resume(self) -> RunLogs:
        last = self.out / "last.pt"
        self.started = self._clock()
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
        for what, gist in state.get("sounds", {}).items():
            if not same_gist(gist, self.gists[what]):
                mend = f"give the same {what}, another --out, or --force to start anew"
                raise CheckpointError(last, f"was made with other {what}", mend=mend)
        if len(state["random"]) != self.processes.count:
            problem = f"was made by {len(state['random'])} processes, not {self.processes.count}"
            raise CheckpointError(last, problem, mend="resume with as many, or --force to start anew")
        self.turns.load_state(state, str(last))
        self.step, self.seconds = state["step"], state["seconds"]
        self.stale, self.halvings, self.saved = state["stale"], state["halvings"], state["step"]
        self.ranking.entries = [(score, step) for score, step in state["ranking"]]
        self.means.load_state(state["means"])
        _set_random_state(state["random"][self.processes.rank], self.device)


def _random_state(device: str) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if device.startswith("cuda") else {})


def _set_random_state(state: dict[str, Tensor], device: str) -> None:
    torch.set_rng_state(state["cpu"])
    if device.startswith("cuda") and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
