"""Run a real Kaldi's programs and scripts, where KALDI_ROOT names one.  Schoolyard works without it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import ProgramError
from kaldi_bridge.extended_names import stderr_tail

SCRIPT_DIRS = ("egs/wsj/s5/utils", "tools/openfst/bin")
LOG_LINES = 20  # of a failing program's log, in the error


def kaldi_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a built Kaldi: ``root`` or KALDI_ROOT.  Raises ProgramError where there is none."""
    given = root if root is not None else os.environ.get("KALDI_ROOT")
    if not given:
        raise ProgramError("KALDI_ROOT", "is not set", mend="export KALDI_ROOT=/path/to/kaldi, or work without --kaldi")
    path = Path(given).absolute()
    if not (path / "src" / "featbin").is_dir():
        raise ProgramError(
            path, "holds no built Kaldi (src/featbin is missing)", mend="set KALDI_ROOT to a built Kaldi"
        )
    return path


def kaldi_environment(root: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """The environment in which Kaldi's programs and scripts find each other; sorting in the C locale."""
    base = kaldi_root(root)
    folders = [base / name for name in SCRIPT_DIRS] + sorted(
        path for path in (base / "src").glob("*bin") if path.is_dir()
    )
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")])
    return {**os.environ, "KALDI_ROOT": str(base), "LC_ALL": "C", "PATH": path}


def run_kaldi(
    command: str | Sequence[str],
    *,
    root: str | os.PathLike[str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    log: str | os.PathLike[str] | None = None,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Run a command (a bash line with pipes, or words) among a real Kaldi's programs; returns its standard output.

    Every part of a pipeline must exit with 0 (pipefail).  log: where standard error goes as well.  Raises ProgramError
    with the end of the log.
    """
    line = command if isinstance(command, str) else shlex.join(command)
    env = {**kaldi_environment(root), **(environment or {})}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=cwd, env=env, input=stdin, capture_output=True, check=False
    )
    if log is not None:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        Path(log).write_bytes(f"# {line}\n".encode() + done.stderr)
    if done.returncode:
        said = done.stderr if done.stderr.strip() else done.stdout  # Kaldi's scripts complain on standard output
        tail = stderr_tail(b"\n".join(informative(said)[-LOG_LINES:]))
        problem = f"failed with exit code {done.returncode}{tail}"
        mend = f"see {log}" if log is not None else "run it by hand and mend what it says"
        raise ProgramError(line if len(line) < 200 else line[:200] + " ...", problem, mend=mend)
    return done.stdout


def informative(log: bytes) -> list[bytes]:
    """A log without the stack trace that Kaldi ends on."""
    lines = log.splitlines()
    ends = [number for number, line in enumerate(lines) if line.startswith(b"[ Stack-Trace")]
    return lines[: ends[0]] if ends and ends[0] > 0 else lines


def kaldi_workspace(directory: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Path:
    """Make ``directory`` a place to run steps/ and utils/ scripts in: links to them, path.sh and cmd.sh."""
    base, place = kaldi_root(root), Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    for name in ("steps", "utils"):
        if not (place / name).exists():
            (place / name).symlink_to(base / "egs" / "wsj" / "s5" / name)
    environment = kaldi_environment(base)
    lines = [f"export {name}={shlex.quote(environment[name])}\n" for name in ("KALDI_ROOT", "LC_ALL", "PATH")]
    (place / "path.sh").write_text("".join(lines), encoding="utf-8")
    return place
