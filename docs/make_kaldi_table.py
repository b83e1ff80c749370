"""Write the table of docs/kaldi.md: every file kind, written by one side and read by the other, tried now.

    KALDI_ROOT=/path/to/kaldi python docs/make_kaldi_table.py [--check]

Two small systems are made of a synthetic corpus, one by Kaldi's scripts and one by ours; then each row's trials run.
Exit code 1 where a trial fails, or, with --check, where docs/kaldi.md differs.  Takes about a CPU minute.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:
    sys.path.insert(0, str(HERE.parent))

from harness.atomic import write_whole  # noqa: E402
from harness.errors import SchoolyardError  # noqa: E402
from tests.kaldi import kinds_of_data, kinds_of_models, kinds_of_search  # noqa: E402
from tests.kaldi.kind import Kind  # noqa: E402
from tests.kaldi.system import build_both  # noqa: E402

PAGE = HERE / "kaldi.md"
KINDS = (*kinds_of_data.KINDS, *kinds_of_models.KINDS, *kinds_of_search.KINDS)
BEGIN, END = "<!-- table: docs/make_kaldi_table.py -->\n", "<!-- end of table -->\n"
FIGURE = re.compile(r"same values|differs by less than 1e[-+][0-9]+")
HEAD = (
    "| file kind | we write, read by | what was found | written by, we read | what was found |\n|---|---|---|---|---|\n"
)


def rows(kinds: tuple[Kind, ...] = KINDS) -> tuple[str, list[SchoolyardError]]:
    """The table and the failures of its trials."""
    failures: list[SchoolyardError] = []
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        system = build_both(Path(folder).resolve() / "work")
        for kind in kinds:
            found = []
            for trial in (kind.ours_read, kind.theirs_read):
                try:
                    found.append("" if trial is None else trial(system))
                except SchoolyardError as error:
                    failures.append(error)
                    found.append("**FAILED**")
            lines.append(f"| {kind.name} | {kind.readers} | {found[0]} | {kind.writers} | {found[1]} |\n")
    return HEAD + "".join(lines), failures


def page_with(page: str, table: str) -> str:
    """The page with another table between its marks."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SchoolyardError(PAGE, "has no marks of the table", mend=f"put back {BEGIN.strip()} and {END.strip()}")
    return before + mark + table + end + after


def differences(page: str, wanted: str) -> list[str]:
    """Lines that are wanted and not in the page; how small a difference was may change with the machine."""
    there = {FIGURE.sub("", line) for line in page.splitlines()}
    missing = [line for line in wanted.splitlines() if FIGURE.sub("", line) not in there]
    return missing + ["fewer lines"] * (len(page.splitlines()) > len(wanted.splitlines()))


def main() -> int:
    """Write or check the page; the exit code."""
    parser = argparse.ArgumentParser(description="Write the table of docs/kaldi.md.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where the page differs")
    arguments = parser.parse_args()
    logging.getLogger("schoolyard").setLevel(logging.ERROR)
    try:
        table, failures = rows()
        page = PAGE.read_text(encoding="utf-8")
        wanted = page_with(page, table)
    except SchoolyardError as error:
        sys.stderr.write(f"ERROR {error}\n")
        return 1
    for failure in failures:
        sys.stderr.write(f"ERROR {failure}\n")
    if failures:
        return 1
    if not arguments.check:
        with write_whole(PAGE) as stream:
            stream.write(wanted)
    elif differing := differences(page, wanted):
        sys.stderr.write("ERROR docs/kaldi.md: differs from what was found\n" + "\n".join(differing) + "\n")
        sys.stderr.write("  mend: run python docs/make_kaldi_table.py and read the difference\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
