"""run.sh and prepare_data.sh: what they choose, and how they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent.name for path in ROOT.glob("recipes/*/run.sh"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A virtual environment of the user's own: the Python of these tests."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    return os.environ | {"SCHOOLYARD_VENV": str(tmp_path / "venv")}


def call(program: str, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ROOT / program), *words], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_lists_its_stages_without_setting_anything_up(recipe: str, tmp_path: Path) -> None:
    env = os.environ | {"SCHOOLYARD_VENV": str(tmp_path / "none")}
    result = call("run.sh", "--recipe", recipe, "--list", env=env)
    assert result.returncode == 0, result.stderr
    numbers = [int(line.split()[0]) for line in result.stdout.splitlines() if line[:3].strip().isdigit()]
    assert numbers == sorted(numbers)
    of_words = (
        "experiment.sh" in (ROOT / "recipes" / recipe / "run.sh").read_text()
    )  # not of the quality of sound alone
    assert set(numbers) >= ({0, 1, 3, 4, 5, 6, 7, 8, 9} if of_words else {0, 1, 3, 4, 5})
    assert not (tmp_path / "none").exists()


def test_a_recipe_called_by_a_relative_path_finds_itself_whatever_cdpath_is(tmp_path: Path) -> None:
    (tmp_path / "recipes/toy").mkdir(parents=True)
    for path in (f".:{tmp_path}", f"{tmp_path}:."):
        env = os.environ | {"CDPATH": path}
        for words in (["recipes/toy/run.sh", "--list"], [f"{ROOT.name}/run.sh", "--list"]):
            where = ROOT if words[0].startswith("recipes") else ROOT.parent
            result = subprocess.run(["bash", *words], cwd=where, env=env, capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stderr
            assert "  0  make the corpus" in result.stdout


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_names_the_options_of_the_recipe(recipe: str, environment: dict[str, str]) -> None:
    result = call("run.sh", "--recipe", recipe, "--help", env=environment)
    assert result.returncode == 0
    assert f"usage: ./run.sh --recipe {recipe} [--stage N] [--stop-stage N] [--list] [--force]" in result.stdout
    assert "toy" in result.stdout.splitlines()[-1]


def test_both_work_by_a_link_to_them(environment: dict[str, str], tmp_path: Path) -> None:
    for program, words in (("run.sh", ["--list"]), ("prepare_data.sh", ["--corpus", "toy", "--help"])):
        (tmp_path / program).symlink_to(ROOT / program)
        command = [str(tmp_path / program), *words]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_an_unknown_recipe_is_answered_with_the_list(environment: dict[str, str]) -> None:
    result = call("run.sh", "--recipe", "tooy", env=environment)
    assert result.returncode == 2
    assert "there is no recipe 'tooy'" in result.stderr
    assert "speechocean762" in result.stderr


def test_an_unknown_option_is_refused_before_any_work(environment: dict[str, str], tmp_path: Path) -> None:
    result = call("run.sh", "--work", str(tmp_path / "work"), "--stgae", "1", env=environment)
    assert result.returncode == 2
    assert "unknown option --stgae" in result.stderr
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--corpus is missing"),
        (["--corpus"], "--corpus needs a name"),
        (["--corpus", "myst2"], "there is no corpus 'myst2'"),
        (["--source", "/data/at-home", "--out", "data"], "--corpus is missing"),
    ],
)
def test_prepare_data_without_a_known_corpus_exits_2_with_the_list(
    words: list[str], said: str, environment: dict[str, str]
) -> None:
    result = call("prepare_data.sh", *words, env=environment)
    assert result.returncode == 2
    assert said in result.stderr
    assert "speechocean762 toy" in result.stderr


def test_prepare_data_explains_itself(environment: dict[str, str]) -> None:
    result = call("prepare_data.sh", "--help", env=environment)
    assert result.returncode == 0
    assert "--corpus NAME" in result.stdout


def test_a_preparation_is_named_as_its_user_called_it(environment: dict[str, str], tmp_path: Path) -> None:
    called = call("prepare_data.sh", "--corpus", "folder", "--out", str(tmp_path / "out"), env=environment)
    assert called.returncode == 2
    assert "Try './prepare_data.sh --corpus folder --help' for help." in called.stderr
    command = [sys.executable, "recipes/folder/prepare.py"]
    alone = subprocess.run(
        command, cwd=ROOT, env=environment | {"PYTHONPATH": "."}, capture_output=True, text=True, check=False
    )
    assert "Try 'python recipes/folder/prepare.py --help' for help." in alone.stderr


@pytest.mark.parametrize("corpus", sorted(path.parent.name for path in ROOT.glob("recipes/*/prepare.py")))
def test_every_preparation_runs_under_that_name(corpus: str) -> None:
    text = (ROOT / f"recipes/{corpus}/prepare.py").read_text()
    assert f'app_for("recipes/{corpus}/prepare.py"' in text
    assert text.endswith('if __name__ == "__main__":\n    run_preparation(app)\n')


def test_the_developers_help_says_what_ci_runs_beside_the_check() -> None:
    said = subprocess.run([str(ROOT / "dev"), "help"], capture_output=True, text=True, check=True).stdout
    ci = (ROOT / ".ci/run").read_text()
    assert "CI (.ci/run) runs it too, and with" in said
    assert "./dev check\n" in ci
    assert "tests/recipes/test_kaldi_recipe.py -m kaldi" in ci


def test_prepare_data_hands_options_to_the_corpus(environment: dict[str, str], tmp_path: Path) -> None:
    result = call(
        "prepare_data.sh", "--corpus", "speechocean762", "--source", str(tmp_path), "--out", "x", env=environment
    )
    assert result.returncode == 1
    assert f"{tmp_path}/WAVE: is missing from the corpus" in result.stderr
