from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import AudioError, ConfigError, SchoolyardError
from harness.jobs import default_jobs, map_jobs
from harness.seed import rng_for

ROOT = Path(__file__).parents[3]


def square(number: int) -> int:
    return number * number


def refuse_three(number: int) -> int:
    if number == 3:
        raise AudioError(f"utt{number}", "is silent", mend="record it again")
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_input_order_whatever_the_number_of_jobs(jobs: int) -> None:
    assert list(map_jobs(square, range(50), jobs=jobs)) == [number**2 for number in range(50)]


def test_an_error_of_a_worker_keeps_its_place_and_mend() -> None:
    with pytest.raises(AudioError, match=r"utt3: is silent\n  mend: record it again"):
        list(map_jobs(refuse_three, range(8), jobs=2))


def test_a_killed_worker_is_an_error_and_not_a_lost_item() -> None:
    with pytest.raises(SchoolyardError, match="a worker process died"):
        list(map_jobs(die_at_three, range(8), jobs=2))


def test_workers_end_with_a_killed_parent() -> None:
    script = """
import os, time
from harness.jobs import map_jobs
def tell(number):
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece: two workers share the pipe
    time.sleep(0.05 if number < 2 else 60)
list(map_jobs(tell, range(4), jobs=2))
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        workers = {int(parent.stdout.readline()) for _ in range(4)}
        parent.kill()
        said, _ = parent.communicate(timeout=30)  # comes to an end when no worker holds the pipe any more
    assert len(workers) == 2
    assert said == ""


def test_a_number_of_processes_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHOOLYARD_JOBS", "auto")
    with pytest.raises(ConfigError, match="SCHOOLYARD_JOBS: must be a number of processes, got 'auto'"):
        default_jobs()


def test_draws_depend_on_the_keys_and_not_on_their_order_of_use() -> None:
    first = rng_for(7, "utt1").random(3).tolist()
    rng_for(7, "utt2").random(100)
    assert rng_for(7, "utt1").random(3).tolist() == first
    assert rng_for(7, "utt2").random(3).tolist() != first
    assert rng_for(8, "utt1").random(3).tolist() != first
