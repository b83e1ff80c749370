from pathlib import Path

import pytest
import torch

from enhance.settings import build_generator, build_objective, load_settings, settings_from
from harness.config import to_plain
from harness.errors import ConfigError

YAMLS = sorted((Path(__file__).parents[3] / "cfg" / "enhance").glob("*.yaml"))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_yaml_loads_builds_and_comes_back_from_a_checkpoint(path):
    settings = load_settings(path)
    assert to_plain(settings_from(to_plain(settings), "checkpoint")) == to_plain(settings)
    with torch.device("meta"):
        build_generator(settings)
        build_objective(settings, 16000)


def test_there_are_settings_for_every_model_and_objective():
    from enhance.models import MODELS
    from enhance.objectives import OBJECTIVES

    loaded = [load_settings(path) for path in YAMLS]
    assert {settings.model for settings in loaded} == set(MODELS)
    assert {settings.objective for settings in loaded} == set(OBJECTIVES)


def test_a_typo_in_a_key_of_the_generator_is_named_with_its_line(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model: segan_plus\nobjective: segan\ngenerator:\n  chanels: [4, 8]\n")
    with pytest.raises(ConfigError, match=r"run.yaml:4: unknown key 'chanels'; did you mean 'channels'"):
        load_settings(path)


def test_an_unknown_model_is_answered_with_the_nearest_and_the_list(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model: segan_pluss\n")
    with pytest.raises(ConfigError, match=r"unknown model 'segan_pluss'; did you mean 'segan_plus'"):
        load_settings(path)


def test_the_keys_of_another_model_are_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model: compact\ngenerator:\n  merge: sum\n")
    with pytest.raises(ConfigError, match=r"run.yaml:3: unknown key 'merge'"):
        load_settings(path)


def test_overrides_choose_and_change():
    settings = load_settings(None, ["model=segan_plus", "objective=segan", "generator.merge=sum", "train.steps=7"])
    assert settings.generator.merge == "sum"
    assert settings.train.steps == 7


def test_settings_that_only_the_layers_refuse_are_named():
    with pytest.raises(ConfigError, match=r"generator \(compact\): low_bins \(301\)"):
        build_generator(load_settings(None, ["generator.low_bins=301"]))
    with pytest.raises(ConfigError, match=r"loss \(hifi_gan\): low and high must rise within"):
        build_objective(load_settings(None, ["objective=hifi_gan", "loss.mel_high=20000.0"]), 16000)
