"""One run at a time in a work directory: a lock that the kernel drops when its last holder dies.

The shell of a recipe opens the lock file and hands the descriptor down to all that it starts.  Should the run be killed
(-9) while a program of it goes on, the lock is still held; the next run finds the owner dead, ends that program, and
takes over.  Of a run on another machine, with which a file system is shared, nothing can be known: it counts as alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from harness.errors import StageError

PATIENCE = 20.0  # seconds for the remains of a killed run to end


def take_lock(descriptor: int, path: Path, owner: int, group: int) -> None:
    """Lock the open file ``descriptor`` of ``path`` for the run of process ``owner`` and process group ``group``.

    Raises StageError while another run is alive, or if what is left of a dead one does not end.
    """
    end = time.monotonic() + PATIENCE
    while not _locked(descriptor):
        holder = _read(path)
        if holder is None or holder["host"] != socket.gethostname() or _alive(holder["owner"]):
            who = "" if holder is None else f" (process {holder['owner']} of {holder['host']})"
            raise StageError(
                path.parent, f"another run is at work here{who}", mend="wait for it, or choose another --work"
            )
        if time.monotonic() > end:
            problem = f"programs of a killed run are still at work here (process group {holder['group']})"
            raise StageError(path.parent, problem, mend=f"end them: kill -9 -{holder['group']}")
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(holder["group"], signal.SIGKILL)
        time.sleep(0.1)
    row = {"owner": owner, "group": group, "host": socket.gethostname()}
    path.write_text(json.dumps(row), encoding="utf-8")


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return {"owner": int(row["owner"]), "group": int(row["group"]), "host": str(row["host"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
