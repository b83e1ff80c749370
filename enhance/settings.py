"""The settings of one training run: which generator and objective, and the config of each, read from one YAML file.

The YAML's `model` and `objective` choose the config classes of its `generator` and `loss` keys, so every key is checked
against the class that will use it, with its line.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from enhance.models import MODELS, Generator
from enhance.objectives import OBJECTIVES, Objective
from enhance.pairs import PairsConfig
from enhance.train_config import TrainConfig
from harness.config import from_plain, load_config
from harness.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """generator and loss are added per choice of model and objective."""

    model: str = "compact"
    objective: str = "compact"
    pairs: PairsConfig = field(default_factory=PairsConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


Settings = Any  # _Settings with the two chosen config classes as `generator` and `loss`


def load_settings(path: str | os.PathLike[str] | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Settings from defaults, YAML and dotted overrides.  Raises ConfigError with file and line."""
    return load_config(_class_for(_peek(path, overrides)), path, overrides)


def settings_from(plain: dict[str, Any], source: str) -> Settings:
    """Settings back from what a checkpoint holds."""
    return from_plain(_class_for({key: plain[key] for key in ("model", "objective") if key in plain}), plain, source)


def build_generator(settings: Settings) -> Generator:
    """The untrained generator."""
    try:
        generator: Generator = MODELS[settings.model][1](settings.generator)
    except ValueError as error:  # what only shows when layers meet
        raise ConfigError(f"generator ({settings.model})", str(error), mend="change its settings") from error
    return generator


def build_objective(settings: Settings, sample_rate: int) -> Objective:
    """Losses and, where it has one, the critic."""
    try:
        objective: Objective = OBJECTIVES[settings.objective][1](settings.loss, sample_rate)
    except ValueError as error:
        raise ConfigError(f"loss ({settings.objective})", str(error), mend="change its settings") from error
    return objective


def chosen(table: dict[str, Any], name: str, what: str, where: str) -> Any:
    """table[name], or a ConfigError with the nearest name and the list."""
    if name not in table:
        near = difflib.get_close_matches(str(name), table, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(where, f"unknown {what} {name!r}{hint}", mend=f"choose one of: {', '.join(table)}")
    return table[name]


def _class_for(names: dict[str, str]) -> type[Any]:
    where = names.get("", "settings")
    generator, _ = chosen(MODELS, names.get("model", _Settings.model), "model", where)
    loss, _ = chosen(OBJECTIVES, names.get("objective", _Settings.objective), "objective", where)
    fields = [(name, kind, field(default_factory=kind)) for name, kind in (("generator", generator), ("loss", loss))]
    return dataclasses.make_dataclass("Settings", fields, bases=(_Settings,), frozen=True, kw_only=True)


def _peek(path: str | os.PathLike[str] | None, overrides: Sequence[str]) -> dict[str, str]:
    """model and objective as the YAML and the overrides name them; strict reading follows later."""
    names: dict[str, str] = {}
    if path is not None and os.path.isfile(path):
        names[""] = os.fspath(path)
        try:
            with open(path, encoding="utf-8") as stream:
                found = yaml.safe_load(stream)
        except (yaml.YAMLError, UnicodeDecodeError):
            found = None  # the strict reader says what is wrong
        if isinstance(found, dict):
            names |= {key: str(found[key]) for key in ("model", "objective") if key in found}
    for text in overrides:
        key, _, value = text.partition("=")
        if key in ("model", "objective"):
            names[key] = value
    return names
