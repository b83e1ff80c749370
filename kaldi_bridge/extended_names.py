"""Kaldi's extended file names: a plain path, ``-``, a pipe ``command |`` or ``| command``, a place ``file.ark:1234``.

As Kaldi does (util/kaldi-io.h), with two differences: the exit code of a command is always checked, pipefail included,
and the caller may refuse commands altogether (a data directory from elsewhere should not run programs).
"""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Literal

from harness.errors import ProgramError, SchoolyardError, TableError

_PLACE = re.compile(r"^(?P<file>.+):(?P<offset>[0-9]+)$")
_WINDOWS_DRIVE = re.compile(r"^[A-Za-z]:[0-9]*$")
TAIL_BYTES = 1500  # of a failing command's stderr, shown in the error

Kind = Literal["file", "pipe", "place", "stdin"]


def kind_of(name: str) -> Kind:
    """Which of the forms an extended file name for reading has."""
    name = name.strip()
    if name == "-":
        return "stdin"
    if name.endswith("|"):
        return "pipe"
    return "place" if place_of(name) else "file"


def place_of(name: str) -> tuple[str, int] | None:
    """(file, byte offset) of ``file.ark:1234``; None for other forms."""
    match = _PLACE.match(name.strip())
    if match is None or _WINDOWS_DRIVE.match(name):
        return None
    return match["file"], int(match["offset"])


def run_pipe(
    command: str, *, error: type[SchoolyardError] = ProgramError, where: str = "", allow: bool = True,
    may_be_empty: bool = False,
) -> bytes:  # fmt: skip
    """The output of ``command`` (with or without its final ``|``), run by bash with pipefail.

    Raises ``error`` at ``where`` where commands are refused, the exit code is not 0, or nothing came out.
    """
    command = command.strip().removesuffix("|").strip()
    where = where or f"pipe '{command}'"
    if not allow:
        mend = "allow commands if you trust this file, or use plain files"
        raise error(where, f"refused to run '{command}'", mend=mend)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        problem = f"'{command}' failed with exit code {done.returncode}{stderr_tail(done.stderr)}"
        raise error(where, problem, mend="run the command by hand and mend what it says")
    if not done.stdout and not may_be_empty:
        problem = f"'{command}' wrote nothing{stderr_tail(done.stderr)}"
        raise error(where, problem, mend="run the command by hand: it must write to standard output")
    return done.stdout


def stderr_tail(stderr: bytes) -> str:
    """The end of what a program said, as the end of an error text."""
    text = stderr[-TAIL_BYTES:].decode("utf-8", "replace").strip()
    return ("; it said:\n    " + text.replace("\n", "\n    ")) if text else ""


def read_bytes(name: str, *, error: type[SchoolyardError], where: str = "", allow_commands: bool = True) -> bytes:
    """All bytes behind an extended file name (from the offset on, for a place).  Raises ``error`` at ``where``."""
    name = name.strip()
    match kind_of(name):
        case "pipe":
            return run_pipe(name, error=error, where=where, allow=allow_commands)
        case "stdin":
            return sys.stdin.buffer.read()
        case _:
            with open_place(name, error=error, where=where) as stream:
                return stream.read()


@contextmanager
def open_place(name: str, *, error: type[SchoolyardError], where: str = "") -> Iterator[IO[bytes]]:
    """Open a file, or a file at an offset, for reading bytes.  Raises ``error`` where it is missing or unreadable."""
    path, offset = name.strip(), 0
    if not os.path.exists(path) and (place := place_of(path)):
        path, offset = place
    try:
        stream = _opened(path, offset)
    except FileNotFoundError as missing:
        problem = f"no such file: {path}"
        mend = "check the path (relative ones start at the working directory) or make the file first"
        raise error(where or path, problem, mend=mend) from missing
    except (OSError, ValueError) as refused:  # ValueError: a name or an offset that no file can have
        problem = f"cannot read {path}: {getattr(refused, 'strerror', None) or refused}"
        raise error(where or path, problem, mend="give a readable file") from refused
    with stream:
        yield stream


def _opened(path: str, offset: int) -> IO[bytes]:
    stream = open(path, "rb")  # noqa: SIM115
    try:
        stream.seek(offset)
    except BaseException:
        stream.close()
        raise
    return stream


def split_specifier(name: str | os.PathLike[str]) -> tuple[str, str]:
    """("ark" or "scp", extended file name) of a specifier or a bare path (``*.scp`` is an index, the rest archives)."""
    text = os.fspath(name).strip()
    head, colon, rest = text.partition(":")
    options = head.split(",")
    if colon and options[0] in ("ark", "scp") and all(len(option) <= 2 for option in options[1:]):
        return options[0], rest.strip()
    return ("scp" if text.endswith(".scp") else "ark"), text


def open_archive(name: str | os.PathLike[str]) -> IO[bytes]:
    """A stream over an archive: path, ``*.gz``, or pipe."""
    _, rest = split_specifier(name)
    if kind_of(rest) == "pipe":
        return io.BytesIO(run_pipe(rest, error=TableError, may_be_empty=True))
    with open_place(rest, error=TableError) as probe:  # says what is missing
        packed = probe.read(2) == b"\x1f\x8b"
    if packed:
        return io.BufferedReader(gzip.open(rest, "rb"), 1 << 20)
    return open(rest, "rb")
