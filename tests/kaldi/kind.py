"""A row of the table of file kinds in docs/kaldi.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.kaldi.system import System

Trial = Callable[[System], str]  # what was found, in words; raises MismatchError or ProgramError


@dataclass(frozen=True)
class Kind:
    """A file kind and its two trials: we write and programs of Kaldi read; they write and we read."""

    name: str
    readers: str  # programs and scripts of Kaldi that read ours
    ours_read: Trial
    writers: str  # programs and scripts of Kaldi that wrote what we read, or why there is none
    theirs_read: Trial | None
