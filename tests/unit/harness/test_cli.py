"""The command line of a room, where its surroundings are poor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli

ROOT = Path(__file__).parents[3]


def test_where_nothing_may_be_written_compiled_loops_go_into_a_folder_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[tuple[object, ...]] = []
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(cli.atexit, "register", lambda *call, **_: kept.append(call))
    cli.keep_compiled_loops()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setattr(os, "access", lambda *_: False)
    cli.keep_compiled_loops()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    [(remove, path)] = kept
    assert Path(str(path)) == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    remove(folder)  # type: ignore[operator]
    monkeypatch.setenv("NUMBA_CACHE_DIR", "given")
    cli.keep_compiled_loops()
    assert os.environ["NUMBA_CACHE_DIR"] == "given"


def test_the_folder_of_the_run_is_gone_after_it(tmp_path: Path) -> None:
    script = (
        "import os; os.access = lambda *_: False; import runpy; runpy.run_module('kaldi_bridge', run_name='__main__')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    ended = subprocess.run(
        [sys.executable, "-c", script, "--help"], cwd=ROOT, env=environment | {"TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []
