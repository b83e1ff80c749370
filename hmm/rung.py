"""A step of the ladder as a directory: made aside, stamped with what it was made from, skipped when it stands."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.atomic import whole_dir
from harness.errors import TableError
from harness.log import get_logger
from kaldi_bridge.extended_names import kind_of, place_of
from kaldi_bridge.text_tables import read_text_table

log = get_logger("hmm")
STAMP = "schoolyard.json"  # what a finished directory was made from


def make_rung(out: str | Path, make: Callable[[Path], None], inputs: dict[str, Any], force: bool) -> Path:
    """Make a directory unless it stands already, made from the same inputs.

    force: make it again all the same; without it, a directory that this program did not make is refused (DiskError).
    """
    target = Path(out)
    stamp = json.dumps({name: _fingerprint(value) for name, value in inputs.items()}, sort_keys=True)
    if not force and (target / STAMP).is_file() and (target / STAMP).read_bytes() == stamp.encode():
        log.info("%s: stands already", target)
        return target
    start = time.monotonic()
    with whole_dir(target, force=force or (target / STAMP).is_file()) as aside:
        make(aside)
        (aside / STAMP).write_text(stamp, encoding="utf-8")
    log.info("%s: done in %.0f s", target, time.monotonic() - start)
    return target


def _fingerprint(value: Any) -> Any:
    """A configuration as plain data; words as they are; a directory as the hash of the tables and models in it.

    Features count by what their archives hold: made again from other sound, they lie at the same places as before.
    """
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str | Path):
        return json.loads(json.dumps(asdict(value)))
    digest = hashlib.sha256()
    directory = Path(value)
    for name in ("utt2spk", "text", "feats.scp", "cmvn.scp", "words.txt", "L.fst", "topo", "phones/roots.int",
                 "phones/extra_questions.int", "final.mdl", "final.alimdl", "tree", "final.mat", STAMP):  # fmt: skip
        if (directory / name).is_file():
            digest.update(name.encode() + b"\0" + (directory / name).read_bytes())
    for part in sorted(directory.glob("ali.*.gz")):
        digest.update(part.read_bytes())
    for archive in _archives(directory):
        status = archive.stat()
        digest.update(_digest_of(archive, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def _archives(directory: Path) -> list[Path]:
    """The files that feats.scp and cmvn.scp point into, in their order; what commands would give is not looked at."""
    found: dict[Path, None] = {}
    for name in ("feats.scp", "cmvn.scp"):
        if (directory / name).is_file():
            for place in read_text_table(directory / name, TableError).values():
                path, _ = place_of(re.sub(r"\[[0-9:,]*\]$", "", place)) or (place, 0)
                if kind_of(place) != "pipe" and Path(path).is_file():
                    found[Path(path)] = None
    return list(found)


@lru_cache(maxsize=1000)
def _digest_of(path: Path, _size: int, _changed: int) -> bytes:
    """SHA-256 of a file, read once while it stays as it is."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def write_log(aside: Path, lines: list[str]) -> None:
    """Write log/train.log."""
    (aside / "log").mkdir(exist_ok=True)
    (aside / "log" / "train.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
