from __future__ import annotations

import os
import signal

import pytest

from harness.errors import AudioError, SchoolyardError
from harness.jobs import map_jobs
from harness.seed import rng_for


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


def test_draws_depend_on_the_keys_and_not_on_their_order_of_use() -> None:
    first = rng_for(7, "utt1").random(3).tolist()
    rng_for(7, "utt2").random(100)
    assert rng_for(7, "utt1").random(3).tolist() == first
    assert rng_for(7, "utt2").random(3).tolist() != first
    assert rng_for(8, "utt1").random(3).tolist() != first
