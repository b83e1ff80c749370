"""Log lines and progress: one logger a room, and progress with rate and time left, also when no terminal listens."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")
LINE_SECONDS = 10.0  # between two progress lines when the output is a file


def get_logger(room: str) -> logging.Logger:
    """The logger of a room; writes ``room: message`` to stderr, as Kaldi's programs do."""
    logger = logging.getLogger(f"schoolyard.{room}")
    root = logging.getLogger("schoolyard")
    if not root.handlers:
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        root.propagate = True
    return logger


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to whatever sys.stderr is now (tests and redirections replace it)."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def progress(items: Iterable[Item], *, total: int | None = None, label: str, unit: str = "utt") -> Iterator[Item]:
    """Yield the items and say on stderr how many are done, how fast, and how long the rest takes.

    A terminal gets one line that is rewritten; a file gets a line every ten seconds and one at the end.
    """
    if total is None:
        total = len(items) if isinstance(items, Sized) else 0
    live = sys.stderr.isatty()
    start = last = time.monotonic()
    count = 0
    for item in items:
        yield item
        count += 1
        now = time.monotonic()
        if now - last >= (0.2 if live else LINE_SECONDS):
            _write_progress(label, unit, count, total, now - start, live, done=False)
            last = now
    _write_progress(label, unit, count, total, time.monotonic() - start, live, done=True)


def _write_progress(label: str, unit: str, count: int, total: int, seconds: float, live: bool, *, done: bool) -> None:
    rate = count / max(seconds, 1e-9)
    of_total = f"{count}/{total}" if total else str(count)
    if done:
        text = f"{label}: {of_total} {unit} in {clock(seconds)} ({rate:.1f} {unit}/s)"
    elif total:
        text = f"{label}: {of_total} {unit}, {rate:.1f} {unit}/s, {clock((total - count) / max(rate, 1e-9))} left"
    else:
        text = f"{label}: {of_total} {unit}, {rate:.1f} {unit}/s"
    end = "\n" if done or not live else ""
    sys.stderr.write(("\r\x1b[K" if live else "") + text + end)
    sys.stderr.flush()


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
