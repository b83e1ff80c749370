"""A step of the ladder as a directory: made aside, stamped with what it was made from, skipped when it stands."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.atomic import whole_dir
from harness.log import get_logger

log = get_logger("hmm")
STAMP = "schoolyard.json"  # what a finished directory was made from


def make_rung(out: str | Path, make: Callable[[Path], None], inputs: dict[str, Any], force: bool) -> Path:
    """Make a directory unless it stands already, made from the same inputs.

    force: make it again all the same; without it, a directory that this program did not make is refused (DiskError).
    """
    target = Path(out)
    stamp = json.dumps({name: _fingerprint(value) for name, value in inputs.items()}, sort_keys=True)
    if not force and (target / STAMP).is_file() and (target / STAMP).read_text(encoding="utf-8") == stamp:
        log.info("%s: stands already", target)
        return target
    start = time.monotonic()
    with whole_dir(target, force=force or (target / STAMP).is_file()) as aside:
        make(aside)
        (aside / STAMP).write_text(stamp, encoding="utf-8")
    log.info("%s: done in %.0f s", target, time.monotonic() - start)
    return target


def _fingerprint(value: Any) -> Any:
    """A configuration as plain data; words as they are; a directory as the hash of the tables and models in it."""
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
    return digest.hexdigest()


def write_log(aside: Path, lines: list[str]) -> None:
    """Write log/train.log."""
    (aside / "log").mkdir(exist_ok=True)
    (aside / "log" / "train.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
