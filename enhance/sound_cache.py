"""Sounds read once and kept on disk as plain arrays, which later runs map into memory.

An entry lies under the hash of its request: everything that shapes it, such as the sources (with size and time of
change of each file), the sample rate and the resampler.  Another request is another entry; nothing goes stale.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from enhance.sounds import Sounds
from harness.atomic import disk_error
from harness.errors import AudioError, DiskError
from harness.log import get_logger

LAYOUT = 1  # of the files below; part of every request


def cached(cache: str | os.PathLike[str] | None, request: dict[str, Any], make: Callable[[], Sounds]) -> Sounds:
    """make() or what it gave before for the same request.  Two processes may ask at once: both get whole sounds.

    cache: directory of entries; None keeps nothing.  Raises AudioError for a damaged entry, DiskError for a full disk.
    """
    if cache is None:
        return make()
    text = json.dumps({"layout": LAYOUT} | request, sort_keys=True)
    entry = Path(cache) / hashlib.sha256(text.encode()).hexdigest()[:20]
    if not entry.is_dir():
        _keep(make(), text, entry)
    else:
        get_logger("enhance").info("sounds of %s taken from %s", request.get("what", "a corpus"), entry)
    return _read(entry)


def _keep(sounds: Sounds, request: str, entry: Path) -> None:
    """Write aside and rename; where another process was faster, its equal entry stays."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    except OSError as error:
        raise disk_error(entry, error) from error
    try:
        np.save(aside / "samples.npy", sounds.samples)
        if sounds.noisy is not None:
            np.save(aside / "noisy.npy", sounds.noisy)
        np.savez(aside / "table.npz", starts=sounds.starts, lengths=sounds.lengths, powers=sounds.powers)
        (aside / "names.json").write_text(json.dumps([sounds.names, sounds.groups]), encoding="utf-8")
        (aside / "request.json").write_text(request, encoding="utf-8")
        os.rename(aside, entry)
    except OSError as error:
        if error.errno is None:  # numpy says how much of an array went to the disk, and not why no more
            mend = "free some space and run the same command again"
            raise DiskError(entry, f"could not be written whole ({error})", mend=mend) from error
        if not entry.is_dir():
            raise disk_error(entry, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _read(entry: Path) -> Sounds:
    try:
        samples = np.load(entry / "samples.npy", mmap_mode="c")  # private: torch wants arrays that it may write to
        noisy = np.load(entry / "noisy.npy", mmap_mode="c") if (entry / "noisy.npy").is_file() else None
        with np.load(entry / "table.npz") as table:
            starts, lengths, powers = table["starts"], table["lengths"], table["powers"]
        names, groups = json.loads((entry / "names.json").read_text(encoding="utf-8"))
        if int(lengths.sum()) != len(samples) or len(names) != len(lengths):
            raise ValueError("the table does not fit the samples")
    except (OSError, ValueError, KeyError) as error:
        raise AudioError(entry, f"is damaged ({error})", mend="remove this directory and run again") from error
    return Sounds(
        names=tuple(names), groups=tuple(groups), samples=samples, starts=starts, lengths=lengths, powers=powers,
        noisy=noisy,
    )  # fmt: skip
