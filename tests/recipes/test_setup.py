"""recipes/lib/setup.sh: what it says when it cannot install, and that it installs once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

FAKE_PYTHON = """#!/bin/bash
# a Python that knows how to make environments and to install, and writes down what it was asked
case "$*" in
  *version_info*) exit ${FAKE_OLD:-0} ;;
  *"import ensurepip"*) exit ${FAKE_NO_VENV:-0} ;;
  *disk_usage*) echo ${FAKE_FREE:-9999} ;;
  *fcntl*) exit 0 ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/bin/activate"; echo venv >>"$FAKE_LOG" ;;
  "-m pip install"*)
    echo "pip ${*: -1}" >>"$FAKE_LOG"
    [ -z "$FAKE_PIP" ] || { echo "$FAKE_PIP"; exit 1; } ;;
esac
"""


def set_up(
    tmp_path: Path, kind: str = "run", root: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON, encoding="utf-8")
    python.chmod(0o755)
    command = f'set -euo pipefail; . "{root}/recipes/lib/setup.sh"; schoolyard_setup {kind}; echo ready'
    env = os.environ | {
        "SCHOOLYARD_VENV": str(tmp_path / "venv"), "SCHOOLYARD_PYTHON": str(python), "FAKE_LOG": str(tmp_path / "log"),
        "FAKE_PIP": "",
    }  # fmt: skip
    return subprocess.run(["bash", "-c", command], env=env | environment, capture_output=True, text=True, check=False)


def asked(tmp_path: Path) -> list[str]:
    log = tmp_path / "log"
    return log.read_text(encoding="utf-8").splitlines() if log.is_file() else []


def test_the_first_run_installs_torch_before_the_lock_and_the_second_nothing(tmp_path: Path) -> None:
    first = set_up(tmp_path)
    assert first.returncode == 0, first.stderr
    wanted = [f"pip {ROOT}/requirements.lock", f"pip {ROOT}", f"pip {ROOT}/requirements-metrics.lock"]
    assert asked(tmp_path) == ["venv", "pip torch==2.13.0", *wanted]
    assert set_up(tmp_path).stdout == "ready\n"
    assert len(asked(tmp_path)) == 5


def test_it_installs_once_below_a_folder_with_blanks_and_quotes_in_its_name_too(tmp_path: Path) -> None:
    root = tmp_path / "my school's yard"
    shutil.copytree(ROOT / "recipes/lib", root / "recipes/lib")
    for lock in ROOT.glob("requirements*.lock"):
        shutil.copy(lock, root)
    first = set_up(tmp_path, root=root)
    assert first.returncode == 0, first.stderr
    assert set_up(tmp_path, root=root).stdout == "ready\n"
    (root / "requirements.lock").write_text("other==1\n", encoding="utf-8")
    assert "installing" in set_up(tmp_path, root=root).stdout


def test_an_environment_for_developers_serves_users_too(tmp_path: Path) -> None:
    assert set_up(tmp_path, "dev").returncode == 0
    installed = asked(tmp_path)
    assert f"pip {ROOT}/requirements-dev.lock" in installed
    assert f"pip {ROOT}/requirements-extras.lock" in installed
    set_up(tmp_path)
    assert asked(tmp_path) == installed


def test_an_installation_that_was_cut_off_is_started_over(tmp_path: Path) -> None:
    set_up(tmp_path)
    (tmp_path / "venv/.schoolyard/run").unlink()
    (tmp_path / "venv/.schoolyard/begun").touch()
    assert "cut off" in set_up(tmp_path).stdout
    assert asked(tmp_path).count("venv") == 2


def test_changed_locks_install_again_into_the_same_environment(tmp_path: Path) -> None:
    set_up(tmp_path)
    (tmp_path / "venv/.schoolyard/run").write_text("another sum\n", encoding="utf-8")
    assert set_up(tmp_path).returncode == 0
    assert asked(tmp_path).count("venv") == 1
    assert asked(tmp_path).count("pip torch==2.13.0") == 2


def test_an_environment_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/activate").touch()
    assert set_up(tmp_path).stdout == "ready\n"
    assert asked(tmp_path) == []


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    assert "ready" not in result.stdout
    return result.stderr


def test_an_old_python_is_named_with_the_mend(tmp_path: Path) -> None:
    error = refusal(set_up(tmp_path, FAKE_OLD="1"))
    assert "no Python from 3.11" in error
    assert "SCHOOLYARD_PYTHON=" in error


def test_a_missing_venv_module_is_named_with_the_mend(tmp_path: Path) -> None:
    assert "apt install python3-venv" in refusal(set_up(tmp_path, FAKE_NO_VENV="1"))


def test_a_folder_with_other_things_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/thesis.tex").touch()
    for environment in ({}, {"FAKE_PIP": "no luck"}):
        assert "venv is there and is no virtual environment" in refusal(set_up(tmp_path, **environment))
    assert [path.name for path in (tmp_path / "venv").iterdir()] == ["thesis.tex"]
    assert asked(tmp_path) == []


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    assert "12 MB are free" in refusal(set_up(tmp_path, FAKE_FREE="12"))
    assert not (tmp_path / "venv").exists()


def test_a_missing_network_is_told_from_other_failures(tmp_path: Path) -> None:
    assert "check the network" in refusal(set_up(tmp_path, FAKE_PIP="Failed to establish a new connection"))
    assert "read the last lines" in refusal(set_up(tmp_path, FAKE_PIP="No matching distribution for this platform"))
    assert not (tmp_path / "venv/.schoolyard/run").exists()
