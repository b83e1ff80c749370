"""An output directory that many files fill: worked on aside under a fixed name, so that a rerun after a kill goes on.

The directory beside (`.NAME.partial`) holds request.json, what was asked for; another request starts anew, unless it
differs only in what the caller compares file by file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.atomic import disk_error, write_whole
from harness.errors import DataDirError, DiskError
from harness.log import get_logger
from kaldi_bridge.extended_names import place_of

REQUEST = "request.json"


class ResumableDir:
    """A directory in the making.

    out: where it will stand.  request: plain values that decide its content.  force: replace what stands there.
    file_by_file: keys of the request that do not make the work aside anew, since the caller compares them itself.
    Raises DiskError where something else stands at `out`.
    """

    def __init__(
        self, out: str | os.PathLike[str], request: dict[str, Any], *, force: bool = False,
        file_by_file: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.out = Path(os.path.abspath(out))
        self.partial = self.out.with_name(f".{self.out.name}.partial")
        self.request = json.loads(json.dumps(request))
        self.done = not force and _request_of(self.out) == self.request
        if self.done:
            get_logger("enhance").info("%s is there already, made by the same request", out)
            return
        if self.out.exists() and not force and (not self.out.is_dir() or any(self.out.iterdir())):
            raise DiskError(out, "already exists", mend="remove it, choose another --out, or pass --force")
        before = _request_of(self.partial)
        if before == self.request:
            get_logger("enhance").info("going on where an earlier run of the same request stopped")
            return
        if before is not None and _without(before, file_by_file) == _without(self.request, file_by_file):
            get_logger("enhance").info("going on with what an earlier run left in %s", self.partial)
        else:
            try:
                shutil.rmtree(self.partial, ignore_errors=True)
                self.partial.mkdir(parents=True)
            except OSError as error:
                raise disk_error(out, error) from error
        with write_whole(self.partial / REQUEST) as stream:
            json.dump(self.request, stream)

    def finish(self) -> None:
        """Put the whole directory in its place."""
        old = self.out.with_name(f".{self.out.name}.{os.getpid()}.old")
        try:
            if self.out.exists():
                os.replace(self.out, old)
            os.replace(self.partial, self.out)
        except OSError as error:
            raise disk_error(self.out, error) from error
        shutil.rmtree(old, ignore_errors=True)


def _without(request: Any, keys: Collection[str]) -> Any:
    return {key: value for key, value in request.items() if key not in keys} if isinstance(request, dict) else request


def _request_of(directory: Path) -> Any:
    try:
        return json.loads((directory / REQUEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def stamp_of(sources: Iterable[str]) -> str:
    """SHA-256 over size and time of change of the files among these wav.scp entries: other content, another request.

    Of a place in an archive (wav.ark:1234), the archive's.
    """
    digest = hashlib.sha256()
    for source in sources:
        place = None if os.path.exists(source) else place_of(source)
        try:
            status = os.stat(place[0] if place else source)
            digest.update(f"{source}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{source}\n".encode())  # a command, or missing
    return digest.hexdigest()


def wav_of(name: str, where: str | os.PathLike[str]) -> str:
    """The file of an utterance or recording below an output directory; DataDirError for an id that leads out."""
    if name.startswith("/") or ".." in name.split("/"):
        problem = f"{name!r} as a file name would lead out of the output directory"
        raise DataDirError(where, problem, mend="rename it in every table")
    return f"wav/{name}.wav"


def stamp_of_tables(tables: Mapping[str, Mapping[str, str]]) -> str:
    """SHA-256 over the content of a data directory's tables."""
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()
