"""Where a corpus stands below the folder that the user gives, and its download on request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from recipes.lib.download import Archive, fetch_and_unpack

DownloadOption = Annotated[bool, typer.Option("--download", help="first fetch the corpus into --source")]


def corpus_root(source: Path, marker: str, archives: Sequence[Archive], *, download: bool) -> Path:
    """The folder that holds `marker`: `source`, or one or two folders below it, as archives unpack; else `source`.

    download: fetch the archives into source/downloads, where they resume, and unpack them below `source`.
    """
    if download:
        fetch_and_unpack(archives, source / "downloads", source)
    places = (source, *sorted(source.glob("*/")), *sorted(source.glob("*/*/")))
    return next((place for place in places if (place / marker).exists()), source)
