"""Stamps of finished recipe stages: a stage is skipped while its inputs, its commands and its outputs stand.

Used by recipes/lib/stages.sh: ``python -m harness.stamp check|finish|lock``.  A stamp holds a fingerprint of every
input, taken when the stage began, and of the stage's text: its commands in the recipe, the shell functions that they
call, and the options the recipe names; and the stage's time, by the clock and of its processes.  A Kaldi data directory
counts by its tables and its audio, not by features made from it: a stage that reads features names feats.scp.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.atomic import write_whole
from harness.errors import StageError
from harness.script import run_script

SMALL = 1 << 20  # bytes; larger files, and audio, count by size and time of change
FRESH, STALE = 0, 3  # exit codes of check; 1 is an error
DERIVED = {"feats.scp", "cmvn.scp", "vad.scp", "utt2num_frames", "utt2dur", "frame_shift"}  # made from the audio
SKIPPED = {"log", "__pycache__"}


def fingerprint(path: Path) -> str:
    """SHA-256 of what a file or a directory holds; names inside it count, its own name does not."""
    digest = hashlib.sha256()
    for name, content in _data_dir(path) if (path / "utt2spk").is_file() else _files(path):
        digest.update(f"\0{name}\0".encode() + content)
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_file():
        yield "", _content(path)
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED)
        for name in sorted(name for name in names if not name.startswith(".")):
            file = Path(folder, name)
            yield file.relative_to(path).as_posix(), _content(file)


def _data_dir(path: Path) -> Iterator[tuple[str, bytes]]:
    for table in sorted(path.iterdir()):
        if table.is_file() and table.name not in DERIVED and not table.name.startswith("."):
            yield table.name, _content(table)


def _content(file: Path) -> bytes:
    try:
        if file.suffix == ".scp":
            return hashlib.sha256(file.read_bytes() + b"".join(_when(ark) for ark in _archives(file))).digest()
        return hashlib.sha256(file.read_bytes()).digest() if file.stat().st_size <= SMALL else _when(file)
    except FileNotFoundError:  # a dangling link
        return b"missing"


def _archives(scp: Path) -> list[Path]:
    """The files that a table points into: other matrices may stand at the same offsets."""
    text = scp.read_text(encoding="utf-8", errors="surrogateescape")  # of a corpus, in whatever encoding
    places = {line.partition(" ")[2].strip() for line in text.splitlines()}
    files = {Path(re.sub(r":\d+(\[.*\])?$", "", place)) for place in places if not place.endswith("|")}
    return sorted(path for path in files if path.is_file())


def _when(file: Path) -> bytes:
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns}".encode()


def stage_text(script: Path, line: int, libraries: Iterable[Path]) -> str:
    """The commands of the stage that begins at ``line`` (1 is the first) of a recipe, and the functions they call.

    The block ends with the ``fi`` that stands as far in as its ``if``.  Functions are those of the libraries, written
    as ``name() {`` ... ``}`` with both at the line's start, or on one line.  Comments and indentation do not count.
    """
    lines = script.read_text(encoding="utf-8").splitlines()
    start = next((n for n in range(line - 1, -1, -1) if re.match(r"\s*if stage\b", lines[n])), line - 1)
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    end = next((n for n in range(start, len(lines)) if lines[n] == f"{indent}fi"), start)
    known: dict[str, str] = {}
    for library in libraries:
        known |= _functions(library.read_text(encoding="utf-8"))
    texts = [_bare(lines[start : end + 1])]
    waiting, seen = [texts[0]], set()
    while waiting:
        for word in re.findall(r"[A-Za-z_]\w*", waiting.pop()):
            if word in known and word not in seen:
                seen.add(word)
                waiting.append(known[word])
    return "\n".join(texts + [known[name] for name in sorted(seen)])


def _functions(text: str) -> dict[str, str]:
    found = re.finditer(r"^(\w+)\(\) \{(?:.*\}\s*(?:#.*)?$|[\s\S]*?^\})", text, re.MULTILINE)
    return {match[1]: _bare(match[0].splitlines()) for match in found}


def _bare(lines: Iterable[str]) -> str:
    stripped = (line.strip() for line in lines)
    return "\n".join(line for line in stripped if line and not line.startswith("#"))


def check(
    stamp: Path, text: str, inputs: Sequence[Path], outputs: Sequence[Path], writers: Mapping[str, str],
    redo: Sequence[Path] = (),
) -> str | None:  # fmt: skip
    """None if the stage has run on exactly these inputs and this text and its outputs exist; otherwise why not.

    Writes what it saw beside the stamp, for ``finish``.  writers: output -> stage, of the stages before.  redo: removed
    if the stage ran, or began, on something else (a training that would go on where it stopped).  Raises StageError for
    an input that does not exist.
    """
    for path in inputs:
        if not path.exists():
            raise StageError(path, "is an input of this stage and does not exist", mend=_mend_for(path, writers))
    now = {"text": hashlib.sha256(text.encode()).hexdigest(), **{str(path): fingerprint(path) for path in inputs}}
    finished, begun = _read(stamp), _read(_begun(stamp))
    before = finished or begun
    changed = sorted(key for key in now if before is not None and before.get(key) != now[key])
    if changed:
        for path in redo:
            shutil.rmtree(path, ignore_errors=True)
    with write_whole(_begun(stamp)) as stream:
        json.dump({"seen": now, "resumed": before is not None and not changed}, stream, indent=1)
    gone = [str(path) for path in outputs if not path.exists()]
    if changed:
        return "changed: " + ", ".join("its commands or options" if key == "text" else key for key in changed)
    if finished is None:
        return "not finished before" if begun is None else "was cut off"
    return f"gone: {', '.join(gone)}" if gone else None


def _read(stamp: Path) -> dict[str, str] | None:
    """What a stage saw; None for no stamp, or a damaged one."""
    try:
        seen = json.loads(stamp.read_text(encoding="utf-8"))["seen"]
        return {str(key): str(value) for key, value in seen.items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def cpu_seconds(times: Path) -> float:
    """User and system seconds of a shell and of the children that it has waited for, as its ``times`` writes them."""
    found = re.findall(r"(\d+)m([\d.]+)s", times.read_text(encoding="utf-8"))
    return sum(60.0 * int(minutes) + float(seconds) for minutes, seconds in found)


def finish(stamp: Path, title: str, seconds: float, outputs: Sequence[Path], cpu: float | None = None) -> None:
    """Stamp a stage that has just ended well; an output that it did not make raises StageError.

    cpu: seconds of its processes, without those that a cluster ran.  A stage that went on where it had stopped is
    marked "resumed": its times are of the last run alone.
    """
    for path in outputs:
        if not path.exists():
            raise StageError(path, f"was not written by the stage '{title}'", mend="read the log of the stage")
    row = {
        "seen": _read(_begun(stamp)),
        "title": title,
        "seconds": seconds,
        "cpu_seconds": None if cpu is None else round(cpu, 1),
        "resumed": bool(json.loads(_begun(stamp).read_text(encoding="utf-8")).get("resumed")),
        "ended": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    with write_whole(stamp) as stream:
        json.dump(row, stream, indent=1)
    _begun(stamp).unlink()


def _begun(stamp: Path) -> Path:
    return stamp.with_name(f"{stamp.name}.begun")


def _mend_for(path: Path, writers: Mapping[str, str]) -> str:
    if not writers:
        return "no stage writes it: check the folder that its option names (such as --source), and its layout"
    for output, number in writers.items():
        if path == Path(output) or Path(output) in path.parents or path in Path(output).parents:
            return f"stage {number} writes it: run with --stage {number}"
    return "check the path, or run the earlier stages first (--list shows them)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.stamp", description="Stamps of recipe stages.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("check", "finish"):
        sub = verbs.add_parser(verb)
        sub.add_argument("--stamp", type=Path, required=True)
        sub.add_argument("--in", dest="inputs", type=Path, action="append", default=[])
        sub.add_argument("--out", dest="outputs", type=Path, action="append", default=[])
        sub.add_argument("--redo", type=Path, action="append", default=[], help="removed if the stage ran on else")
        sub.add_argument("--title", default="")
        sub.add_argument("--seconds", type=float, default=0.0)
        sub.add_argument("--times", type=Path, action="append", default=[], help="bash's times, before and after")
        sub.add_argument("--options", default="", help="text that shapes the stage")
        sub.add_argument("--script", type=Path, help="the recipe")
        sub.add_argument("--line", type=int, default=1, help="of the stage in the recipe")
        sub.add_argument("--library", type=Path, action="append", default=[], help="shell functions of the recipe")
        sub.add_argument("--writer", action="append", default=[], metavar="N=PATH", help="stage N writes PATH")
    lock = verbs.add_parser("lock")
    lock.add_argument("--fd", type=int, required=True)
    lock.add_argument("--file", type=Path, required=True)
    lock.add_argument("--owner", type=int, required=True, help="process that answers for the run")
    lock.add_argument("--group", type=int, required=True, help="process group of the run")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """check: 0 if the stage may be skipped, 3 (and the reason) if it is to run; finish; lock."""
    given: Any = _parser().parse_args(arguments)
    if given.verb == "lock":
        from harness.work_lock import take_lock

        take_lock(given.fd, given.file, given.owner, given.group)
        return FRESH
    if given.verb == "finish":
        cpu = cpu_seconds(given.times[1]) - cpu_seconds(given.times[0]) if len(given.times) == 2 else None
        finish(given.stamp, given.title, given.seconds, given.outputs, cpu)
        return FRESH
    text = stage_text(given.script, given.line, given.library) if given.script else ""
    writers = dict(reversed(writer.split("=", 1)) for writer in given.writer)
    reason = check(given.stamp, f"{text}\n{given.options}", given.inputs, given.outputs, writers, given.redo)
    if reason is not None:
        print(reason)
    return FRESH if reason is None else STALE


if __name__ == "__main__":
    run_script(main)
