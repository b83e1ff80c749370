"""Stamps of finished recipe stages: a stage is skipped while its inputs, its configuration and its outputs stand.

Used by recipes/lib/stages.sh through ``python -m harness.stamp check|write``.  A stamp holds a fingerprint of every
input (content of small files; size and time of large ones; all files of a directory) and of the recipe's options.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.atomic import write_whole
from harness.errors import SchoolyardError, StageError

SMALL = 1 << 20  # bytes; larger files count by size and time of change
FRESH, STALE = 0, 3  # exit codes of check; 1 is an error


def fingerprint(paths: Iterable[Path], options: str) -> str:
    """SHA-256 over the inputs and the options; a missing input raises StageError."""
    digest = hashlib.sha256(options.encode())
    for path in paths:
        if not path.exists():
            raise StageError(path, "is an input of this stage and does not exist", mend=_mend_for(path))
        for file in sorted(_files(path)):
            digest.update(f"\0{file.relative_to(path) if path.is_dir() else file.name}\0".encode())
            digest.update(_content(file))
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in ("log", "mfcc", "split")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return found


def _content(file: Path) -> bytes:
    status = file.stat()
    if status.st_size > SMALL:
        return f"{status.st_size} {status.st_mtime_ns}".encode()
    return hashlib.sha256(file.read_bytes()).digest()


def _mend_for(path: Path) -> str:
    """Which stage writes this path, as the stages before have said in their stamps."""
    for stamps in (parent / "exp" / "stamps" for parent in path.absolute().parents):
        for stamp in sorted(stamps.glob("*.json")) if stamps.is_dir() else ():
            row = json.loads(stamp.read_text(encoding="utf-8"))
            for output in row["outputs"]:
                if path.absolute() == Path(output).absolute() or Path(output).absolute() in path.absolute().parents:
                    return f"stage {row['stage']} writes it: rerun with --stage {row['stage']}"
    return "run the earlier stages first (--list shows them)"


def check(stamp: Path, options: str, inputs: Sequence[Path], outputs: Sequence[Path]) -> bool:
    """True if the stage has run on exactly these inputs and options and its outputs exist."""
    now = fingerprint(inputs, options)
    if not stamp.is_file() or not all(output.exists() for output in outputs):
        return False
    try:
        return bool(json.loads(stamp.read_text(encoding="utf-8"))["fingerprint"] == now)
    except (json.JSONDecodeError, KeyError):
        return False


def write(
    stamp: Path, stage: int, title: str, seconds: float, options: str, inputs: Sequence[Path], outputs: Sequence[Path]
) -> None:
    """Stamp a stage that has just ended well; an output that it did not make raises StageError."""
    for output in outputs:
        if not output.exists():
            raise StageError(output, f"was not written by stage {stage} ({title})", mend="read the stage's log")
    row = {
        "stage": stage, "title": title, "seconds": round(seconds, 1), "options": options,
        "fingerprint": fingerprint(inputs, options), "outputs": [os.fspath(output) for output in outputs],
        "ended": time.strftime("%Y-%m-%d %H:%M:%S"),
    }  # fmt: skip
    with write_whole(stamp) as stream:
        json.dump(row, stream, indent=1)


def main(arguments: Sequence[str]) -> int:
    """check STAMP OPTIONS [--in PATH]... [--out PATH]...; write STAMP OPTIONS STAGE TITLE SECONDS [--in ..] [--out ..]."""
    verb, stamp, options, *rest = arguments
    given: dict[str, list[Path]] = {"--in": [], "--out": []}
    plain: list[str] = []
    words = iter(rest)
    for word in words:
        if word in given:
            given[word].append(Path(next(words)))
        else:
            plain.append(word)
    if verb == "check":
        return FRESH if check(Path(stamp), options, given["--in"], given["--out"]) else STALE
    stage, title, seconds = plain
    write(Path(stamp), int(stage), title, float(seconds), options, given["--in"], given["--out"])
    return FRESH


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SchoolyardError as error:
        sys.stderr.write(f"ERROR {error}\n")
        sys.exit(1)
