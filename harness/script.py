"""The end of a module that a recipe runs as a program, where a whole command line would start too slowly."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from harness.atomic import disk_error
from harness.errors import SchoolyardError


def run_script(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Exit with what main returns for the arguments; an error of ours, or of the disk, is printed and exits with 1."""
    try:
        sys.exit(main(sys.argv[1:]))
    except SchoolyardError as error:
        sys.stderr.write(f"ERROR {error}\n")
    except OSError as error:
        sys.stderr.write(f"ERROR {disk_error(error.filename or 'a file', error)}\n")
    sys.exit(1)
