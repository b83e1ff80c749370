"""The options of every recipe: --help explains each, a wrong one is refused before anything is made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent.name for path in ROOT.glob("recipes/*/run.sh"))
OF_WORDS = [name for name in RECIPES if "experiment_stages.sh" in (ROOT / f"recipes/{name}/run.sh").read_text()]
LIBRARIES = [ROOT / "recipes/lib/experiment.sh", ROOT / "recipes/lib/experiment_stages.sh"]


def run(tmp_path: Path, recipe: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A recipe, with the Python of these tests, below tmp_path."""
    (tmp_path / "venv/bin").mkdir(parents=True, exist_ok=True)
    (tmp_path / "venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    environment = os.environ | {"SCHOOLYARD_VENV": str(tmp_path / "venv")}
    command = [str(ROOT / "run.sh"), "--recipe", recipe, "--work", str(tmp_path / "work"), *words]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


def options_of(recipe: str) -> set[str]:
    """What the case statements of a recipe, and of the libraries it takes, accept."""
    files = [ROOT / f"recipes/{recipe}/run.sh", *(LIBRARIES if recipe in OF_WORDS else [])]
    patterns = re.findall(r"^ +((?:--[a-z0-9-]+ ?\|? ?)+)\)", "".join(map(Path.read_text, files)), re.MULTILINE)
    return {option for pattern in patterns for option in pattern.replace("|", " ").split()}


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_explains_every_option_that_the_recipe_takes(recipe: str, tmp_path: Path) -> None:
    said = run(tmp_path, recipe, "--help").stdout
    explained = set(re.findall(r"^  (--[a-z0-9-]+)(?: \S+)? {2,}\S", said, re.MULTILINE))
    assert len(options_of(recipe)) > 5
    assert options_of(recipe) <= explained


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_recipe_cannot_do_without_stands_in_its_usage_without_brackets(recipe: str, tmp_path: Path) -> None:
    usage = run(tmp_path, recipe, "--help").stdout.splitlines()[0]
    required = re.findall(r"(?<!\[)(--\S+) [A-Z]+(?!\S)", usage.partition("[--work DIR]")[2])
    for left_out in required:
        words = [word for name in required if name != left_out for word in (name, str(tmp_path))]
        result = run(tmp_path, recipe, *words)
        assert result.returncode == 2
        assert f"{left_out} is needed" in result.stderr
    assert required or recipe == "toy"


def test_defaults_in_the_help_are_those_of_the_recipe(tmp_path: Path) -> None:
    toy, speechocean = (run(tmp_path, recipe, "--help").stdout for recipe in ("toy", "speechocean762"))
    assert "the Li-GRU has: paper small tiny (default: tiny)" in toy
    assert "the Li-GRU has: paper small tiny (default: small)" in speechocean
    assert "(default: 'clean multi')" in toy
    assert "lstm minimal_gru mlp" in toy


@pytest.mark.parametrize(
    ("recipe", "words", "said"),
    [
        ("toy", ["--am-size", "huge"], "--am-size 'huge': the sizes of ligru are: paper small tiny"),
        ("toy", ["--baselines", "lstm"], "--am-size 'tiny': the sizes of lstm are: paper small"),
        ("toy", ["--baselines", "lstn"], "--baselines: there is no model 'lstn'; choose from: cnn gru lstm"),
        ("toy", ["--enhancer", "nosuch"], "--enhancer 'nosuch' is no file; choose builtin, train or a checkpoint"),
        ("toy", ["--open-lm", "nosuch"], "--open-lm nosuch: no such file or directory"),
        ("toy", ["--noise-test", "nosuch"], "--noise-test nosuch: no such file or directory"),
        ("toy", ["--corpus-config", "nosuch"], "--corpus-config nosuch: no such file or directory"),
        ("toy", ["--trainings", "multi clean"], "--trainings 'multi clean': clean must come first"),
        ("toy", ["--stage", "42"], "there is no stage 42; there are: 0 1 2 3 4 5 6 7 8 9"),
        ("toy", ["--stage", "5", "--stop-stage", "3"], "--stage 5 comes after --stop-stage 3"),
        ("cmu_kids", ["--source", "nosuch"], "--source nosuch: no such file or directory"),
        ("valentini", ["--source", ".", "--models", "builtin segam"], "--models: there is no 'segam'; choose"),
        ("valentini", ["--source", ".", "--speakers", "29"], "--speakers '29': choose from: 28 56"),
    ],
)  # fmt: skip
def test_a_wrong_choice_is_refused_before_anything_is_made(
    recipe: str, words: list[str], said: str, tmp_path: Path
) -> None:
    result = run(tmp_path, recipe, *words)
    assert result.returncode in (1, 2)
    assert said in result.stderr
    assert "finished" not in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_list_shows_the_name_of_a_path_that_was_not_given(recipe: str, tmp_path: Path) -> None:
    listed = run(tmp_path, recipe, "--list").stdout
    read = [line.split()[1:] for line in listed.splitlines() if line.startswith("     reads")]
    assert all(len(path) == 1 for path in read), "no path is empty"
    assert not [path for (path,) in read if path.startswith("/") and not path.startswith((f"{ROOT}/", f"{tmp_path}/"))]
    assert recipe == "toy" or "     reads  SOURCE" in listed


def test_stage_0_alone_goes_without_noise_and_a_wrong_source_is_answered_by_the_preparation(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    result = run(tmp_path, "speechocean762", "--source", str(tmp_path / "other"), "--stop-stage", "0")
    assert result.returncode == 1
    assert f"{tmp_path}/other/WAVE: is missing from the corpus" in result.stdout + result.stderr
    assert "give --source the folder that holds WAVE, train, test and resource" in result.stdout + result.stderr
    assert "earlier stages" not in result.stdout + result.stderr
