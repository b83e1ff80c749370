"""Every option changes something that can be seen; a new option without its line in a table fails here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from enhance.critics import CRITICS
from enhance.models import MODELS
from enhance.objectives import OBJECTIVES
from tests.unit.enhance import options_of_models as of_models
from tests.unit.enhance import options_of_objectives as of_objectives
from tests.unit.enhance.options_walk import Change, Option, both_sides, change_of, options


@dataclass(frozen=True)
class Kind:
    """Configs that are looked at in one way.  observed: (name, config) -> what can be seen, by facet."""

    bases: dict[str, Any]
    changes: dict[type, dict[str, Any]]
    observed: Callable[[str, Any], dict[str, Any]]
    usual: str  # the facet that must change where no other is stated


KINDS = {
    "model": Kind(of_models.BASES, of_models.CHANGES, of_models.observed, "output"),
    "critic": Kind(
        {name: of_objectives.critic_base(name) for name in CRITICS}, of_objectives.CHANGES,
        of_objectives.observed_critic, "scores",
    ),
    "objective": Kind(
        {name: of_objectives.objective_base(name) for name in OBJECTIVES}, of_objectives.CHANGES,
        of_objectives.observed_objective, "losses",
    ),
}  # fmt: skip
ROOTS = [(kind, name) for kind, those in KINDS.items() for name in those.bases]
EVERY = [
    pytest.param(kind, name, option, id=f"{kind} {name}.{option.path}")
    for kind, name in ROOTS
    for option in options(KINDS[kind].bases[name])
]


def test_every_table_entry_is_looked_at():
    for kind, table in (("model", MODELS), ("critic", CRITICS), ("objective", OBJECTIVES)):
        assert KINDS[kind].bases.keys() == table.keys()


@pytest.mark.parametrize(("kind", "name"), ROOTS)
def test_without_a_change_the_same_is_seen_twice(kind, name):
    base, observed = KINDS[kind].bases[name], KINDS[kind].observed
    assert observed(name, base) == observed(name, base)


@pytest.mark.parametrize(("kind", "name", "option"), EVERY)
def test_every_option_changes_what_is_seen(kind, name, option, tmp_path):
    looked = KINDS[kind]
    change = stated(kind, name, option)
    usual, other = both_sides(looked.bases[name], option, change, tmp_path)
    facet = change.shows or looked.usual
    assert seen(kind, name, usual)[facet] != looked.observed(name, other)[facet]


@cache
def seen(kind: str, name: str, usual: Any) -> dict[str, Any]:
    """What most options are compared with is looked at once."""
    return KINDS[kind].observed(name, usual)


def stated(kind: str, name: str, option: Option) -> Change:
    change = change_of(option, KINDS[kind].changes)
    assert change is not None, f"state in a table of changes how {option.owner.__name__}.{option.name} is changed"
    above = of_objectives.USED.get((name, option.place), {}) if kind == "objective" else {}
    return Change(change.to, change.given, dict(above) | dict(change.above), change.shows)
