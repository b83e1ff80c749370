"""The toy recipe from end to end on a corpus of a few children, undisturbed and killed again and again."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = "children: 10\nutterances: 14\nnoises: 1\n"


def start(tmp_path: Path, work: Path) -> subprocess.Popen[str]:
    config, venv = tmp_path / "toy.yaml", tmp_path / "venv"
    config.write_text(SMALL)
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    (venv / "bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    return subprocess.Popen(
        [str(ROOT / "run.sh"), "--work", str(work), "--corpus-config", str(config)],
        env=os.environ | {"SCHOOLYARD_VENV": str(venv)},
        stdout=(tmp_path / f"{work.name}.log").open("a"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


def table(work: Path) -> list[str]:
    """The rows of every table of word error rates."""
    return re.findall(r"^\|.*%?.*\|$", (work / "RESULTS.md").read_text(), re.MULTILINE)


def finish(run: subprocess.Popen[str], log: Path) -> None:
    """Wait for a run that must end well; take it along where the test itself is stopped."""
    try:
        assert run.wait() == 0, log.read_text()[-2000:]
    finally:
        run.terminate()


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_kill_9_at_drawn_moments_ends_with_the_table_of_an_undisturbed_run(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    finish(start(tmp_path, undisturbed), tmp_path / "undisturbed.log")
    draw = random.Random(int(os.environ.get("KILL_SEED", "5")))
    for _ in range(12):
        run = start(tmp_path, killed)
        try:
            run.wait(timeout=draw.uniform(2, 45))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)  # the supervisor; the next run ends what it left at work
            run.wait()
    finish(start(tmp_path, killed), tmp_path / "killed.log")
    assert len(table(killed)) > 6
    assert table(killed) == table(undisturbed)
