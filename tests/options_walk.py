"""Every option of a config by introspection, and the config with some of them changed."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tests.command_words import named_in

FLIP = object()  # as a Change's value: what the switch is not


@dataclass(frozen=True)
class Option:
    """path: dotted, from the root.  owner: the class that the field stands in."""

    path: str
    owner: type
    name: str

    @property
    def place(self) -> str:
        """The path of the config that holds it; empty at the root."""
        return self.path.rpartition(".")[0]


@dataclass(frozen=True)
class Change:
    """Another valid value of an option, and where it shows.

    to: the value, FLIP, or a function of a folder that makes it.  given: options beside it (of the same config) without
    which it would rightly change nothing; on both sides of the comparison.  above: the same, from the root.
    shows: the facet of the observation that must change; "" for the observer's usual one.
    """

    to: Any
    given: Mapping[str, Any] = field(default_factory=dict)
    above: Mapping[str, Any] = field(default_factory=dict)
    shows: str = ""


def options(config: Any, prefix: str = "") -> Iterator[Option]:
    """The leaves of a config: fields that are no configs themselves."""
    for each in dataclasses.fields(config):
        value, path = getattr(config, each.name), f"{prefix}{each.name}"
        if dataclasses.is_dataclass(value):
            yield from options(value, f"{path}.")
        else:
            yield Option(path, type(config), each.name)


def changed(config: Any, values: Mapping[str, Any]) -> Any:
    """The config with {dotted path: value}, all at once."""
    own: dict[str, Any] = {}
    deeper: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        head, _, rest = path.partition(".")
        if rest:
            deeper.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    for head, rest_values in deeper.items():
        own[head] = changed(own.get(head, getattr(config, head)), rest_values)
    return dataclasses.replace(config, **own)


def value_at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


def change_of(option: Option, table: Mapping[type, Mapping[str, Any]]) -> Change | None:
    """The change that the table states for the option's class or the nearest class above it."""
    for owner in option.owner.__mro__:
        if option.name in table.get(owner, {}):
            stated = table[owner][option.name]
            return stated if isinstance(stated, Change) else Change(stated)
    return None


def both_sides(root: Any, option: Option, change: Change, folder: Path) -> tuple[Any, Any]:
    """The config without and with the change, both with what it needs beside it."""
    place = f"{option.place}." if option.place else ""
    given = dict(change.above) | {f"{place}{name}": _made(value, folder) for name, value in change.given.items()}
    usual = changed(root, given)
    wanted = _made(change.to, folder)
    wanted = not value_at(usual, option.path) if wanted is FLIP else wanted
    assert value_at(usual, option.path) != wanted, f"{option.path} is {wanted!r} already"
    return usual, changed(root, given | {option.path: wanted})


def _made(value: Any, folder: Path) -> Any:
    return value(folder) if callable(value) else value


def differs(one: Any, other: Any, tolerance: float = 2e-6) -> bool:
    """Whether two observations differ by more than a share of their size, in any number or in form.

    tolerance: well above the rounding of float32, below what any option should do.
    """
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) > tolerance * abs(one)
    if hasattr(one, "shape"):
        one, other = np.asarray(one), np.asarray(other)
        return one.shape != other.shape or bool(np.abs(one - other).max() > tolerance * np.abs(one).max())
    if isinstance(one, (list, tuple)):
        pairs = zip(one, other, strict=False)
        return len(one) != len(other) or any(differs(mine, yours, tolerance) for mine, yours in pairs)
    return bool(one != other)


def dataclasses_of(package: ModuleType, without: tuple[str, ...] = ()) -> set[type]:
    """Those that its modules define.  without: ends of names of modules that cannot be imported everywhere."""
    found = set()
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(("__main__", *without)):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.name:
                    found.add(value)
    return found


def unproven(config: type, proofs: Mapping[str, str], folder: Path) -> set[str]:
    """Fields of a config that no proof names, and names that are none of its fields.

    proofs: {"FILE::TEST" below folder: names of fields, with spaces between}.
    """
    proven = set()
    for proof, names in proofs.items():
        file, _, test = proof.partition("::")
        proven |= set(names.split()) & named_in(folder / file, test)
    claimed = {name for names in proofs.values() for name in names.split()}
    return {each.name for each in dataclasses.fields(config)} ^ proven | claimed - proven
