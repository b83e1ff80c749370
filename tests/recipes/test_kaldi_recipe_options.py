"""--kaldi, --trainings, --tests and --rungs: what they change in the list of stages, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ("toy", "speechocean762", "myst", "cmu_kids")


def run(tmp_path: Path, recipe: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A recipe where there is no Kaldi."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    environment = os.environ | {"SCHOOLYARD_VENV": str(tmp_path / "venv"), "KALDI_ROOT": str(tmp_path / "none")}
    command = [str(ROOT / "run.sh"), "--recipe", recipe, *words]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("recipe", RECIPES)
def test_kaldi_has_a_work_directory_of_its_own_beside_the_embedded_one(recipe: str, tmp_path: Path) -> None:
    listed = run(tmp_path, recipe, "--kaldi", "--list")
    assert listed.returncode == 0, listed.stderr
    assert f"/work/{recipe}_kaldi/exp/clean/tri3b/final.mdl" in listed.stdout
    assert f"/work/{recipe}/" not in listed.stdout


def test_without_the_options_every_training_is_on_every_test_condition(tmp_path: Path) -> None:
    listed = run(tmp_path, "speechocean762", "--list").stdout
    for training in ("clean", "multi", "multi_enhanced"):
        assert f"exp/{training}/tri3b/graph_open" in listed
        for test in ("clean", "noisy", "enhanced", "mixed", "clean_enhanced"):
            assert f"exp/{training}/ligru/decode_{test}_open" in listed
    assert "exp/clean/lstm/best.pt" in listed
    assert "decode_clean_open" not in "".join(line for line in listed.splitlines() if "/mono/" in line)


def test_the_options_choose_what_is_trained_and_decoded(tmp_path: Path) -> None:
    options = ["--trainings", "clean", "--tests", "clean", "--rungs", "--baselines", ""]
    listed = run(tmp_path, "speechocean762", *options, "--list").stdout
    assert "exp/multi" not in listed
    written = {line.split("/exp/")[1] for line in listed.splitlines() if "writes" in line and "decode_" in line}
    assert written == {f"clean/{model}/decode_clean_open" for model in ("mono", "tri1", "tri2b", "ligru")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trainings", "multi clean"], "--trainings 'multi clean': clean must come first"),
        (["--trainings", "clean noisy"], "unknown training condition 'noisy'"),
        (["--tests", "noisy"], "--tests 'noisy': clean must be among them"),
        (["--tests", "clean loud"], "unknown test condition 'loud'"),
        (["--kaldi", "yes"], "unknown option yes"),
    ],
)
def test_a_wrong_choice_is_refused_before_any_work(words: list[str], said: str, tmp_path: Path) -> None:
    result = run(tmp_path, "toy", "--work", str(tmp_path / "work"), *words, "--stop-stage", "0")
    assert result.returncode in (1, 2)
    assert said in result.stderr
    assert not (tmp_path / "work/data/train").exists()


def test_kaldi_is_asked_for_before_the_first_stage(tmp_path: Path) -> None:
    result = run(tmp_path, "toy", "--kaldi", "--work", str(tmp_path / "work"))
    assert result.returncode == 1
    assert f"ERROR {tmp_path}/none: no built Kaldi there" in result.stderr
    assert "[stage" not in result.stdout
