"""Errors a user can act on: each says where it happened, what is wrong, and the mend."""

from __future__ import annotations

import os


class SchoolyardError(Exception):
    """A failure for the user: ``where: problem`` and a line with the mend.

    where: a path, ``path:line``, an utterance, an option.  The command line prints the text and exits with 1.
    """

    def __init__(self, where: str | os.PathLike[str], problem: str, *, mend: str) -> None:
        self.where, self.problem, self.mend = os.fspath(where), problem, mend
        super().__init__(f"{self.where}: {problem}\n  mend: {mend}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.where, self.problem, self.mend)  # keyword-only mend survives a process pool


def _rebuild(cls: type[SchoolyardError], where: str, problem: str, mend: str) -> SchoolyardError:
    return cls(where, problem, mend=mend)


class ConfigError(SchoolyardError):
    """A configuration file, an override or an option is wrong."""


class DataDirError(SchoolyardError):
    """A Kaldi data directory breaks a rule."""


class TableError(SchoolyardError):
    """An ark, scp or text table cannot be read or written."""


class AudioError(SchoolyardError):
    """A recording is missing, damaged or not what it is declared to be."""


class LexiconError(SchoolyardError):
    """A lexicon, dict dir, lang dir or language model is wrong."""


class ModelError(SchoolyardError):
    """A tree, transition model, GMM or graph is damaged or belongs elsewhere."""


class AlignmentError(SchoolyardError):
    """Utterances could not be aligned, or alignments do not fit the features."""


class DecodeError(SchoolyardError):
    """Decoding or lattice processing failed."""


class CheckpointError(SchoolyardError):
    """A checkpoint is damaged or of another model."""


class TrainingError(SchoolyardError):
    """Training cannot go on (a loss that is not finite, no data)."""


class ProgramError(SchoolyardError):
    """An external program failed or is missing."""


class StageError(SchoolyardError):
    """A recipe stage lacks an input or failed."""


class DiskError(SchoolyardError):
    """A file could not be written (disk full, no permission)."""
