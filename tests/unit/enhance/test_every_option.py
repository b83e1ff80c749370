"""Every option changes something that can be seen; a new option without its line in a table fails here."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import enhance
from enhance.critics import CRITICS
from enhance.denoise import denoise_data_dir
from enhance.models import MODELS
from enhance.objectives import OBJECTIVES
from enhance.recording import DenoiseConfig
from enhance.settings import _Settings, build_generator, build_objective, load_settings
from enhance.train import RunOptions, Trainer
from tests.options_walk import Change, Option, both_sides, change_of, dataclasses_of, differs, options, unproven
from tests.unit.enhance import options_of_models as of_models
from tests.unit.enhance import options_of_objectives as of_objectives
from tests.unit.enhance import options_of_pairs as of_pairs
from tests.unit.enhance.options_proven_elsewhere import NO_OPTIONS, PROVEN

HERE = Path(__file__).parent


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
    "data": Kind(of_pairs.BASES, of_pairs.CHANGES, of_pairs.observed, "batches"),
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
    first, second = observed(name, base), observed(name, base)
    assert not any(differs(first[facet], second[facet], tolerance=0.0) for facet in first)


@pytest.mark.parametrize(("kind", "name", "option"), EVERY)
def test_every_option_changes_what_is_seen(kind, name, option, tmp_path):
    looked = KINDS[kind]
    change = stated(kind, name, option)
    usual, other = both_sides(looked.bases[name], option, change, tmp_path)
    facet = change.shows or looked.usual
    assert differs(seen(kind, name, usual)[facet], looked.observed(name, other)[facet])


@cache
def seen(kind: str, name: str, usual: Any) -> dict[str, Any]:
    """What most options are compared with is looked at once."""
    return KINDS[kind].observed(name, usual)


def test_every_dataclass_is_looked_at_proven_elsewhere_or_has_no_options():
    looked_at = {each.owner for kind, name in ROOTS for each in options(KINDS[kind].bases[name])}
    holders = {type(config) for kind, name in ROOTS for config in configs_in(KINDS[kind].bases[name])}
    above = {owner for each in looked_at | holders for owner in each.__mro__}
    without = {one for one in dataclasses_of(enhance) if one not in above | PROVEN.keys()} - {_Settings}
    assert {f"{one.__module__}.{one.__qualname__}" for one in without} == NO_OPTIONS


@pytest.mark.parametrize("config", PROVEN, ids=lambda config: config.__name__)
def test_every_option_that_is_proven_elsewhere_is_named_in_its_proof(config):
    assert unproven(config, PROVEN[config], HERE) == set()


def test_the_chosen_model_and_objective_are_built():
    settings = load_settings(None, ["model=gatewave", "objective=aewsegan"])
    assert type(build_generator(settings)) is MODELS["gatewave"][1]
    assert type(build_objective(settings, 16000)) is OBJECTIVES["aewsegan"][1]
    assert {field.name for field in dataclasses.fields(_Settings)} == {"model", "objective", "pairs", "train"}


def test_the_nets_lie_on_the_asked_device(tmp_path, train_sounds, tiny_run):
    trainer = Trainer(load_settings(None, tiny_run), *train_sounds, tmp_path, RunOptions(device="meta"))
    places = [next(net.parameters()).device.type for net in (trainer.model, trainer.objective.critic)]
    assert places == ["meta", "meta"]


def test_denoising_runs_on_the_asked_device_and_into_one_ark_on_request(clean_dir, small_model, tmp_path, monkeypatch):
    places = []
    monkeypatch.setattr("enhance.weights.load_generator", lambda path, device="cpu": places.append(device) or missing())
    config = DenoiseConfig(model=str(small_model), device="meta", max_failed=0.0)
    with pytest.raises(LookupError):
        denoise_data_dir(clean_dir, tmp_path / "out", config, jobs=1)
    assert places == ["meta"]
    monkeypatch.undo()
    for ark in (False, True):
        denoise_data_dir(clean_dir, tmp_path / str(ark), DenoiseConfig(model=str(small_model), ark=ark), jobs=1)
        assert (tmp_path / str(ark) / "wav.ark").is_file() is ark


def missing():
    raise LookupError("no net was loaded")


def configs_in(config: Any) -> Iterator[Any]:
    """The config and those in it."""
    yield config
    for value in vars(config).values():
        if dataclasses.is_dataclass(value):
            yield from configs_in(value)


def stated(kind: str, name: str, option: Option) -> Change:
    change = change_of(option, KINDS[kind].changes)
    assert change is not None, f"state in a table of changes how {option.owner.__name__}.{option.name} is changed"
    above = of_objectives.USED.get((name, option.place), {}) if kind == "objective" else {}
    return Change(change.to, change.given, dict(above) | dict(change.above), change.shows)
