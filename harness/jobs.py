"""Work mapped over items: in this process or in a pool of processes; same results, input order, never a lost item."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from harness.errors import ConfigError, SchoolyardError
from harness.log import progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_jobs() -> int:
    """Processes to use when nobody says: the cores this process may run on, or SCHOOLYARD_JOBS."""
    given = os.environ.get("SCHOOLYARD_JOBS")
    if given and not given.isdecimal():
        raise ConfigError("SCHOOLYARD_JOBS", f"must be a number of processes, got {given!r}", mend="such as 4")
    return max(1, int(given)) if given else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def map_jobs(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int | None = None,
    label: str | None = None,
    unit: str = "utt",
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in input order.

    jobs: processes (1 = this one).  label: shown with progress when given.
    A SchoolyardError of a worker comes through as it is; a killed worker raises SchoolyardError and names the item.
    """
    todo: Sequence[Item] = items if isinstance(items, Sequence) else list(items)
    jobs = min(default_jobs() if jobs is None else jobs, max(1, len(todo)))
    results = map(function, todo) if jobs <= 1 else _in_pool(function, todo, jobs)
    if label is None:
        yield from results
    else:
        yield from progress(results, total=len(todo), label=label, unit=unit)


def _in_pool(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[Result]:
    """Keep a few items a worker in flight, so that results come in order without all of them waiting in memory."""
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_worker) as pool:
        pending: deque[tuple[Item, Future[Any]]] = deque()
        rest = iter(items)
        try:
            for item in rest:
                pending.append((item, pool.submit(function, item)))
                if len(pending) >= 4 * jobs:
                    yield _result(*pending.popleft())
            while pending:
                yield _result(*pending.popleft())
        finally:
            for _, future in pending:
                future.cancel()


def _result(item: Item, future: Future[Result]) -> Result:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise SchoolyardError(
            f"{item!s:.200}", "a worker process died (killed, or out of memory)", mend="run again with fewer --jobs"
        ) from error


def _begin_worker() -> None:
    """A worker computes on one thread, since processes fill the cores; and it ends with the process that started it."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, which would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
