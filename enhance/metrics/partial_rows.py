"""Rows that are kept as they come, so that a killed run goes on where it was: a line of JSON each, appended.

The file's name holds a hash of the request; the rows of another request are another file.  A last line that was cut by
the kill is dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.atomic import disk_error


class PartialRows:
    """folder: where the file lies.  request: plain values that decide the rows."""

    def __init__(self, folder: Path, request: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]
        self.path = folder / f".rows.{digest}.jsonl"
        self._length = 0  # of the whole lines, in bytes

    def done(self, key: str) -> set[str]:
        """The values of `key` in the rows that are there; a damaged end is cut off before the next row."""
        return {row[key] for row in self.rows()}

    def rows(self) -> Iterator[dict[str, Any]]:
        """The whole rows, one at a time."""
        self._length = 0
        if not self.path.is_file():
            return
        with open(self.path, "rb") as stream:
            for line in stream:
                try:
                    row = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    row = None
                if not isinstance(row, dict):
                    return
                self._length += len(line)
                yield row

    def __enter__(self) -> PartialRows:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.path, "ab")  # closed by __exit__
            self._stream.truncate(self._length)
        except OSError as error:
            raise disk_error(self.path, error) from error
        return self

    def append(self, row: dict[str, Any]) -> None:
        """Raises DiskError where the disk is full."""
        try:
            self._stream.write(json.dumps(row).encode() + b"\n")
            self._stream.flush()
        except OSError as error:
            raise disk_error(self.path, error) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._stream.close()
        except OSError:  # it tries once more to write the row that `append` could not
            if kind is None:
                raise

    def remove(self) -> None:
        """The rows have become a table: no partial file is needed any more, of this request or another."""
        for path in self.path.parent.glob(".rows.*.jsonl"):
            os.unlink(path)
