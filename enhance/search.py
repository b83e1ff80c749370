"""Search over loss weights, or any other setting: Optuna proposes, each trial is a training run, poor ones are cut off.

A space file names the settings that vary and how:

    trials: 40
    space:
      loss.adversarial: {choices: [0.0, 0.03]}
      loss.log_mel: {low: 0.1, high: 3.0, log: true}

The directory holds study.log (Optuna's journal, from which a killed search goes on), search.json (what is searched),
trials/N with the run of each trial, results.csv and best.yaml.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from enhance.settings import Settings, load_settings
from enhance.train_config import TrainConfig
from enhance.validate import LOWER_IS_BETTER
from harness.atomic import write_whole
from harness.config import dump_config, load_config, to_plain
from harness.errors import ConfigError, TrainingError
from harness.log import get_logger


@dataclass(frozen=True, kw_only=True)
class Range:
    """Either choices, or numbers from low to high."""

    choices: tuple[float | int | bool | str, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False  # drawn evenly in the logarithm, as weights and rates want
    whole: bool = False  # whole numbers only

    def __post_init__(self) -> None:
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError("a range has either choices, or low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low must lie below high, got {self.low}, {self.high}")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError(f"a logarithmic range starts above 0, got low {self.low}")

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that a setting must be able to take: every choice, or the lowest and the highest number."""
        if self.low is None or self.high is None:
            return self.choices
        return (round(self.low), round(self.high)) if self.whole else (self.low, self.high)

    def drawn(self, trial: Any, name: str) -> Any:
        """What an Optuna trial proposes."""
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))
        propose = trial.suggest_int if self.whole else trial.suggest_float
        return propose(name, *self.ends, log=self.log)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    trials: int = 20
    seed: int = 0
    sampler: Literal["tpe", "random"] = "tpe"  # tree-structured Parzen estimator, or plain draws
    pruner: Literal["median", "none"] = "median"  # median: stop what is worse than half of the others were by then
    startup: int = 5  # trials that are never cut off, so that there are others
    spared: int = 1  # validations before a trial may be cut off
    space: dict[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.trials < 1 or self.startup < 0 or self.spared < 0:
            raise ValueError(f"trials must be at least 1, startup and spared at least 0, got {self.trials}")
        if not self.space:
            raise ValueError("space must name at least one setting")


Report = Callable[[int, dict[str, float]], None]  # told step and scores of each validation; may raise
Run = Callable[[Settings, Path, Report], float]  # train in a directory, or go on there; returns the best score


def search(
    space: Path, config: Path | None, overrides: Sequence[str], out: Path, run: Run, *, trials: int | None = None
) -> dict[str, Any]:
    """Try settings until there are as many trials as asked for, those of an earlier call counted.

    Returns the best trial's {trial, score, step, settings}.  Raises TrainingError if Optuna is missing or no trial came
    to its end, ConfigError for a space that does not fit the settings, and for a directory of another search.
    """
    optuna = _optuna()
    plan = load_config(SearchConfig, space)
    settings = load_settings(config, overrides)
    train = settings.train
    check_space(space, config, overrides)
    out.mkdir(parents=True, exist_ok=True)
    _check_same(settings, plan, out)
    study = _study(optuna, plan, train, out)
    _take_up_killed(optuna, study)
    wanted = trials or plan.trials
    one = _Trial(optuna, plan, train.best_by, config, overrides, out, run)
    while (ended := _ended(optuna, study)) < wanted:
        study.sampler = _sampler(optuna, plan, ended)  # draws depend on the place in the search, not on kills
        study.optimize(one, n_trials=1)
        _write_table(study, plan, out / "results.csv")
    return _best(optuna, study, config, overrides, out)


@dataclass(frozen=True)
class _Trial:
    """One proposal: its settings, its run, the best score."""

    optuna: Any
    plan: SearchConfig
    measure: str
    config: Path | None
    overrides: Sequence[str]
    out: Path
    run: Run

    def __call__(self, trial: Any) -> float:
        values = {name: span.drawn(trial, name) for name, span in self.plan.space.items()}
        settings = load_settings(self.config, [*self.overrides, *_as_overrides(values)])
        directory = trial.user_attrs.get("directory", f"{trial.number:04d}")
        trial.set_user_attr("directory", directory)

        def report(step: int, scores: dict[str, float]) -> None:
            trial.set_user_attr("score", scores[self.measure])
            trial.set_user_attr("step", step)
            trial.report(scores[self.measure], step)
            if trial.should_prune():
                raise self.optuna.TrialPruned

        try:
            return self.run(settings, self.out / "trials" / directory, report)
        except TrainingError as error:  # such as a rate at which the loss grows without bounds
            trial.set_user_attr("problem", error.problem)
            raise self.optuna.TrialPruned from error


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise TrainingError("enhance search", "needs the package optuna", mend="pip install optuna") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _check_same(settings: Settings, plan: SearchConfig, out: Path) -> None:
    """Trials of other settings cannot be ranked together, nor may choices change; ranges and counts may."""
    file, kinds = out / "search.json", {name: [span.choices, span.log, span.whole] for name, span in plan.space.items()}
    now = json.loads(json.dumps({"settings": to_plain(settings), "kinds": kinds}))
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else now
    other = [name for name, kind in now["kinds"].items() if before["kinds"].get(name, kind) != kind]
    if before["settings"] != now["settings"] or other:
        problem = f"holds a search with {f'other choices of {other[0]}' if other else 'other settings'}"
        raise ConfigError(out, problem, mend="go on with the same, or give another --out")
    with write_whole(file) as stream:
        json.dump(now | {"kinds": before["kinds"] | now["kinds"]}, stream, indent=1)


def _study(optuna: Any, plan: SearchConfig, train: TrainConfig, out: Path) -> Any:
    from optuna.storages.journal import JournalFileBackend

    _cut_broken_end(out / "study.log")
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(out / "study.log")))
    match plan.pruner:
        case "median":
            spared = plan.spared * train.validate_every + 1
            pruner = optuna.pruners.MedianPruner(n_startup_trials=plan.startup, n_warmup_steps=spared)
        case "none":
            pruner = optuna.pruners.NopPruner()
        case _:
            raise ValueError(f"pruner must be median or none, got {plan.pruner!r}")
    direction = "minimize" if LOWER_IS_BETTER[train.best_by] else "maximize"
    return optuna.create_study(
        study_name=f"by {train.best_by}", storage=storage, pruner=pruner, direction=direction, load_if_exists=True
    )


def _cut_broken_end(journal: Path) -> None:
    """A line that a full disk cut short goes: Optuna would put the next one behind it and read neither."""
    if journal.is_file() and not (content := journal.read_bytes()).endswith(b"\n"):
        os.truncate(journal, content.rfind(b"\n") + 1)


def _sampler(optuna: Any, plan: SearchConfig, ended: int) -> Any:
    match plan.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=plan.seed + ended)
        case "random":
            return optuna.samplers.RandomSampler(seed=plan.seed + ended)
        case _:
            raise ValueError(f"sampler must be tpe or random, got {plan.sampler!r}")


def _take_up_killed(optuna: Any, study: Any) -> None:
    """A trial that was running when the search was killed goes on in its directory, under a new number."""
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if "directory" in trial.user_attrs:
            study.enqueue_trial(trial.params, user_attrs={"directory": trial.user_attrs["directory"]})
            get_logger("enhance").info("trial %s goes on", trial.user_attrs["directory"])


def _ended(optuna: Any, study: Any) -> int:
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return len(study.get_trials(deepcopy=False, states=states))


def _as_overrides(values: Mapping[str, Any]) -> list[str]:
    """KEY=VALUE as --set reads them."""
    return [f"{name}={_yaml_text(value)}" for name, value in values.items()]


def _yaml_text(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]


def _write_table(study: Any, plan: SearchConfig, path: Path) -> None:
    """A line a trial, the best first; cut-off and failed ones, with what they reached, last."""
    names = list(plan.space)
    rows = [
        {
            "trial": trial.user_attrs.get("directory", ""), "state": trial.state.name.lower(),
            "score": trial.value if trial.state.name == "COMPLETE" else trial.user_attrs.get("score", ""),
            "step": trial.user_attrs.get("step", ""), "problem": trial.user_attrs.get("problem", ""),
        } | {name: trial.params.get(name, "") for name in names}
        for trial in study.get_trials(deepcopy=False)
    ]  # fmt: skip
    sign = 1 if study.direction.name == "MINIMIZE" else -1
    rows.sort(key=lambda row: (row["state"] != "complete", sign * row["score"] if row["score"] != "" else 0.0))
    with write_whole(path) as stream:
        writer = csv.DictWriter(stream, ["trial", "state", "score", "step", "problem", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _best(optuna: Any, study: Any, config: Path | None, overrides: Sequence[str], out: Path) -> dict[str, Any]:
    if not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
        raise TrainingError(out, "no trial came to its end", mend="raise startup in the space file, or trials")
    best = study.best_trial
    dump_config(load_settings(config, [*overrides, *_as_overrides(best.params)]), out / "best.yaml")
    directory = best.user_attrs["directory"]
    return {"trial": directory, "score": best.value, "settings": best.params, "model": out / "trials" / directory}


def check_space(space: Path, config: Path | None, overrides: Sequence[str]) -> None:
    """Raises ConfigError if a setting of the space is unknown or cannot take the range's values."""
    for name, span in load_config(SearchConfig, space).space.items():
        for value in span.ends:
            try:
                load_settings(config, [*overrides, f"{name}={_yaml_text(value)}"])
            except ConfigError as error:
                raise ConfigError(space, f"{name}: {error.problem}", mend=error.mend) from error
