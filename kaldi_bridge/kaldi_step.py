"""One step of a recipe by a real Kaldi, a script or a program: exit code, logs and archives are looked at.

Used by recipes/lib/kaldi.sh: ``python -m kaldi_bridge.kaldi_step --name N --log FILE [...] -- WORD...`` runs the words
in the folder --workspace (steps/, utils/, path.sh, conf/).  A step fails where its exit code is not 0, and also where
it ends with 0 and a log that it wrote holds an error, or an archive that it wrote is cut off: Kaldi's scripts start
pipes of programs whose end they do not always ask for.  The error names the program, its log and the log's last lines.
"""

from __future__ import annotations

import argparse
import gzip
import re
import resource
import shlex
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.atomic import write_whole
from harness.errors import ProgramError
from harness.script import run_script
from kaldi_bridge.programs import LOG_LINES, informative

BROKEN_PIPE = {13, 13 << 8, 141 << 8}  # wait statuses of a writer whose reader had enough: no error
MEGABYTES = 50  # free on the disk below which it counts as full: Kaldi's programs do not say why they could not write
FULL = re.compile(r"No space left on device|Disk quota exceeded")
TROUBLE = [  # what a log says when something went wrong; group "program" where the line names it
    re.compile(r"^(?:ERROR|ASSERTION_FAILED) \((?P<program>[\w.-]+)\["),  # Kaldi's programs
    re.compile(r"^(?:ERROR|FATAL): (?P<program>\w+(?:::\w+)*)"),  # OpenFst's
    re.compile(
        r": line \d+: +(?:\d+ )?(?:Killed|Terminated|Aborted|Segmentation fault|Bus error|Illegal instruction|"
        r"File size limit exceeded)\s+(?:\(core dumped\)\s*)?\(?\s*(?P<program>[\w./-]+)"
    ),  # bash, of a program that a signal ended
    re.compile(r"^(?:.*[:\s])?(?P<program>[\w./-]+): (?:command )?not found\s*$"),
    re.compile(r"^(?P<program>\w+): .*(?:No space left on device|Disk quota exceeded)"),  # gzip, cat
    FULL,
    re.compile(r"Can't locate \S+ in @INC|^Traceback \(most recent call"),
    re.compile(r"^(?P<program>\S+\.(?:sh|pl|py)): *(?:error|ERROR|Error)\b"),
    re.compile(r"^--> ERROR"),  # utils/validate_*.pl
]
PIPE = re.compile(r"Pipe (?P<program>.*?) ?had nonzero return status (?P<status>\d+)")
ENDED = re.compile(  # run.pl, then queue.pl and slurm.pl
    r"^# (?:Ended \(code (?P<code>\d+)(?:; signal (?P<signal>\d+))?\)|Finished at .* with status (?P<status>\d+))"
)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """The first sign in a log that something went wrong."""

    log: Path
    line: int  # 1 is the first
    program: str  # '' where the log does not tell
    text: str


def find_trouble(log: Path) -> Trouble | None:
    """The first line of a log that tells of an error; what a program states goes before the code it ended with."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    ended = None
    for number, line in enumerate(lines, 1):
        found = next(filter(None, (pattern.search(line) for pattern in TROUBLE)), None)
        if found is not None:
            return Trouble(log=log, line=number, program=_named(found, lines), text=line)
        how, pipe = _how_it_ended(line), PIPE.search(line)
        if ended is None and how:
            ended = Trouble(log=log, line=number, program=_command(lines), text=how)
        if ended is None and pipe is not None and int(pipe["status"]) not in BROKEN_PIPE:
            ended = Trouble(log=log, line=number, program=pipe["program"].strip(), text=line)
    return ended


def _how_it_ended(line: str) -> str:
    """'' for a line that is not the last of a job's log, and for a good end."""
    end = ENDED.match(line)
    if end is None:
        return ""
    code = int(end["code"] or end["status"] or 0)
    signal = int(end["signal"] or 0) or max(0, code - 128)
    return f"ended by signal {signal}" if signal else f"ended with exit code {code}" if code else ""


def _named(found: re.Match[str], lines: Sequence[str]) -> str:
    groups = found.groupdict()
    return groups.get("program") or _command(lines)


def _command(lines: Sequence[str]) -> str:
    """The programs of the command that run.pl and its like write at the head of a log, ``a | b``."""
    heads = (line[2:] for line in lines[:4] if re.match(r"# (?!Running on |Started at )", line))
    words = re.sub(r"\"[^\"]*\"|'[^']*'", "", next(heads, ""))
    return " | ".join(part.split()[0] for part in words.split("|") if part.split())


def run_step(
    words: Sequence[str], *, name: str, workspace: Path, log: Path, folders: Sequence[Path] = (),
    made: Sequence[Path] = (),
) -> float:  # fmt: skip
    """Run a step; returns the CPU seconds of its processes (not of those that a cluster ran).

    log: what the step itself says.  folders: below them lie the logs that it writes and the archives.  made: files that
    must be there at the end, not empty.  Raises ProgramError.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    begun, before = time.time() - 1.0, _children_cpu()
    with log.open("w", encoding="utf-8") as stream:
        stream.write(f"# {shlex.join(words)}\n")
        stream.flush()
        code = _run(words, workspace, stream)
    troubles = [find_trouble(path) for path in [*_new_files(folders, begun, "*.log"), log]]
    first = next((trouble for trouble in troubles if trouble is not None), None)
    if code or first is not None:
        raise _failure(words, name, code, first, log)
    for archive in _new_files(folders, begun, "*.gz"):
        _check_archive(archive, words, log)
    for path in made:
        if not path.is_file() or path.stat().st_size == 0:
            problem = f"{words[0]} ended well, but {path} {'is empty' if path.is_file() else 'is not there'}"
            raise ProgramError(f"{name} (Kaldi)", problem + _tail(log), mend=f"read {log}")
    return _children_cpu() - before


def _run(words: Sequence[str], workspace: Path, stream: IO[str]) -> int:
    try:
        return subprocess.run(
            words, cwd=workspace, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False
        ).returncode
    except (FileNotFoundError, PermissionError) as error:
        mend = "set KALDI_ROOT to a Kaldi that has it (built, with egs/wsj/s5)"
        raise ProgramError(words[0], "is missing from this Kaldi", mend=mend) from error


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _new_files(folders: Sequence[Path], begun: float, pattern: str) -> list[Path]:
    """Files below the folders that the step has written, the oldest first: there a failure began."""
    found: dict[Path, float] = {}
    for folder in folders:
        for path in folder.rglob(pattern) if folder.is_dir() else ():
            changed = path.stat().st_mtime
            if changed >= begun:
                found[path] = changed
    return sorted(found, key=lambda path: (found[path], path))


def _check_archive(archive: Path, words: Sequence[str], log: Path) -> None:
    try:
        with gzip.open(archive) as stream:
            while stream.read(1 << 20):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = f"{words[0]} ended well, but this archive is cut off ({error})"
        raise ProgramError(
            archive, problem, mend=f"look for a full disk and read {log}, then run the stage again"
        ) from error


def _failure(words: Sequence[str], name: str, code: int, trouble: Trouble | None, log: Path) -> ProgramError:
    """Who failed, how, the end of its log."""
    ended = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}" if code else ""
    if trouble is None:
        problem, guilty = f"{words[0]} {ended}", log
    else:
        guilty = trouble.log
        what = f"{trouble.program}: " if trouble.program else ""
        said = f"{what}'{trouble.text.strip()[:300]}' ({guilty}:{trouble.line})"
        problem = (
            f"{words[0]} {ended}: {said}" if ended else f"{words[0]} exited with 0, but its log holds an error: {said}"
        )
    free = shutil.disk_usage(guilty.parent).free >> 20
    full = free < MEGABYTES or (trouble is not None and FULL.search(trouble.text))
    first = f"free some space ({free} MB are left)" if full else f"read {guilty} and mend what it says"
    mend = f"{first}, then run the stage again (steps that are finished stay)"
    return ProgramError(f"{name} (Kaldi)", problem + _tail(guilty), mend=mend)


def _tail(log: Path) -> str:
    lines = informative(log.read_bytes())[-LOG_LINES:]
    return "\n" + "\n".join("    " + line.decode("utf-8", "replace")[:300] for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kaldi_bridge.kaldi_step", description="Run a step of a real Kaldi."
    )
    parser.add_argument("--name", required=True)
    parser.add_argument("--workspace", type=Path, required=True, help="folder with steps/, utils/, path.sh")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--in", dest="folders", type=Path, action="append", default=[], help="its logs and archives")
    parser.add_argument("--made", type=Path, action="append", default=[], help="must be there at the end, not empty")
    parser.add_argument("--done", type=Path, help="written at the end; a step whose file stands is not run again")
    parser.add_argument("--times", type=Path, help="table to which name and CPU seconds are added")
    parser.add_argument("words", nargs="+")
    return parser


def _argument_parts(arguments: Sequence[str]) -> Iterator[list[str]]:
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    yield list(arguments[:split])
    yield list(arguments[split + 1 :])


def main(arguments: Sequence[str]) -> None:
    """Run the step, unless it is done."""
    own, words = _argument_parts(arguments)
    given: Any = _parser().parse_args([*own, *words[:1]])
    if given.done is not None and given.done.exists():
        print(f"{given.name}: stands")
        return
    print(f"{given.name}: {words[0]}", flush=True)
    seconds = run_step(
        words, name=given.name, workspace=given.workspace, log=given.log, folders=given.folders, made=given.made
    )  # fmt: skip
    if given.times is not None:
        with given.times.open("a", encoding="utf-8") as stream:
            stream.write(f"{given.name} {seconds:.1f}\n")
    if given.done is not None:
        with write_whole(given.done) as stream:
            stream.write(shlex.join(words) + "\n")


if __name__ == "__main__":
    run_script(main)
