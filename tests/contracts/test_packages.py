"""The house rules that a program can check."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_the_listed_packages_are_the_folders_with_python_packages() -> None:
    folders = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
    assert folders == sorted(ROOMS)


def test_imports_between_rooms_point_down_only() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "harness"])
def test_help_of_a_room_answers_without_loading_torch_or_numba(room: str) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['{room}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('{room}', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'numba', 'scipy', 'kaldifst'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout
