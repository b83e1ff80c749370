"""Outputs that exist only when whole: write aside, then rename (a rerun after a kill never meets half a file)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from harness.errors import DiskError


@contextmanager
def write_whole(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file beside ``path`` for writing; it becomes ``path`` when the block ends well and is removed when not.

    mode: "w" (UTF-8, newlines as written) or "wb".  A pipe or a device, as /dev/stdout, is written to as it is.
    Raises DiskError, naming ``path``, where the system refuses.
    """
    final = Path(path)
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    if final.is_dir():
        raise DiskError(path, "is a directory, where a file is to be written", mend="name a file")
    if final.exists() and not final.is_file():  # another file must not take its place
        with open(final, mode, **text) as stream:
            yield stream
        return
    aside = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, mode, **text) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, final)
    except OSError as error:
        raise disk_error(final, error) from error
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def whole_dir(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a new directory beside ``path``; it becomes ``path`` when the block ends well and is removed when not.

    force: replace an existing ``path``; otherwise an existing, non-empty one raises DiskError.  A link to a directory
    stands for that directory.
    """
    final = Path(os.path.realpath(path))
    if final.exists() and not force and any(final.iterdir()):
        raise DiskError(path, "already exists", mend="remove it, choose another output, or pass --force")
    if Path.cwd().is_relative_to(final):
        problem = "is the working directory, or above it, and cannot be replaced"
        raise DiskError(path, problem, mend="name a folder within it, or work from elsewhere")
    aside = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        _replace_dir(aside, final)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _replace_dir(new: Path, final: Path) -> None:
    old = final.with_name(f".{final.name}.{os.getpid()}.old")
    if final.exists():
        os.replace(final, old)
    os.replace(new, final)
    if old.is_file():
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)


def disk_error(path: str | os.PathLike[str], error: OSError) -> OSError | DiskError:
    """A full disk or a refused write as DiskError naming ``path``; any other OSError as it is."""
    import errno

    if isinstance(error, shutil.Error):  # of copytree: (from, to, why) of each file that failed
        problem = f"could not be copied whole ({error.args[0][0][2]})"
        return DiskError(path, problem, mend="free some space, or make the source readable, and run the command again")
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return DiskError(path, "no space left on the disk", mend="free some space and run the same command again")
        case errno.EFBIG:
            mend = "raise the limit (ulimit -f), or write to another disk, and run the same command again"
            return DiskError(path, "became larger than the limit on file sizes", mend=mend)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return DiskError(path, "cannot be written (permission denied)", mend="choose an output you may write to")
        case _:
            return error
