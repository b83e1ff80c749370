"""The command line of a room: typer with our errors (where, problem, mend; exit code 1, no traceback)."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

import typer

from harness.atomic import disk_error
from harness.errors import SchoolyardError


def app_for(room: str, text: str) -> typer.Typer:
    """An empty app of a room; verbs are added with ``@app.command()``."""
    return typer.Typer(
        name=room, help=text, no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )  # fmt: skip


def run(app: typer.Typer, *, prog: str | None = None) -> None:
    """Run the app; a SchoolyardError is printed and exits with 1, Ctrl-C with 130, a closed pipe with 141."""
    keep_compiled_loops()
    try:
        app(prog_name=prog or f"python -m {app.info.name}")
    except SchoolyardError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        described = disk_error(error.filename or "a temporary file", error)
        if isinstance(described, SchoolyardError):
            _fail(str(described))
        if error.filename is None:
            raise
        _fail(str(SchoolyardError(error.filename, f"{error.strerror}", mend="check this path")))


def keep_compiled_loops() -> None:
    """Numba keeps compiled loops beside the program or in the user's cache, and refuses to work where it may write to
    neither (an image that is read-only, a user without a home): there they are kept in a folder of this run alone.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    while not cache.exists():
        cache = cache.parent
    if not any(os.access(folder, os.W_OK) for folder in (Path(__file__).parent, cache)):
        os.environ["NUMBA_CACHE_DIR"] = folder = tempfile.mkdtemp(prefix="schoolyard-loops-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _fail(text: str) -> None:
    sys.stderr.write(f"ERROR {text}\n")
    sys.exit(1)
