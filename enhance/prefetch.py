"""Batches made ahead of the step that needs them, by a few worker processes.

A batch depends on its step alone, so that neither the number of workers nor who makes what changes a byte.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import torch
from torch import Tensor

from harness.errors import TrainingError

Make = Callable[[int], tuple[Tensor, Tensor]]
AHEAD = 2  # batches a worker has in hand: one it makes, one that waits to be fetched

_make: Make | None = None  # in a worker: what it makes batches with, inherited when it was forked


class Ahead:
    """ahead(step) -> make(step), which workers have made already if steps come one after the other."""

    def __init__(self, make: Make, workers: int) -> None:
        context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(make,))
        self._reach = AHEAD * workers
        self._pending: dict[int, Future[tuple[np.ndarray, np.ndarray]]] = {}
        self.close = weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        for other in [other for other in self._pending if not step <= other < step + self._reach]:
            self._pending.pop(other).cancel()
        try:
            for coming in range(step, step + self._reach):
                if coming not in self._pending:
                    self._pending[coming] = self._pool.submit(_batch, coming)
            noisy, clean = self._pending.pop(step).result()
        except BrokenProcessPool as error:
            problem = f"step {step}: a process that makes pairs died (killed, or out of memory)"
            raise TrainingError("--workers", problem, mend="run again with fewer --workers") from error
        return torch.from_numpy(noisy), torch.from_numpy(clean)


def _start(make: Make) -> None:
    """In a new worker: one thread; interrupts are for the run to handle; if the run is killed, the worker ends too."""
    global _make
    _make = make
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    run = multiprocessing.parent_process()
    assert run is not None  # as this is a worker
    run.join()
    os._exit(1)


def _batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    assert _make is not None
    noisy, clean = _make(step)
    return noisy.numpy(), clean.numpy()
