"""aligned.tsv of a scored decode directory: each utterance's speaker, groups and aligned words, for comparisons.

A row an utterance; columns utterance, speaker, the dimensions of kaldi_bridge.groups that the data directory knew,
reference, hypothesis.  The last two hold as many words each, *** for a missing one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from am.bootstrap import Errors
from am.wer import GAP, count_pairs
from harness.atomic import write_whole
from harness.errors import DataDirError
from kaldi_bridge.groups import DIMENSIONS
from kaldi_bridge.text_tables import fields_of

NAME = "aligned.tsv"
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """The alignments of a set, and who spoke what under which conditions; all by utterance."""

    pairs: Mapping[str, Pairs]
    speakers: Mapping[str, str]
    groups: Mapping[str, Mapping[str, str]]  # {dimension: {utterance: group}}

    def errors(self, utterances: Iterable[str] | None = None) -> Errors:
        """Words and errors of all utterances, or of some."""
        counts = {utt: count_pairs(self.pairs[utt]) for utt in (self.pairs if utterances is None else utterances)}
        return Errors.of({utt: (self.speakers[utt], one.words, one.errors) for utt, one in counts.items()})


def write_aligned(path: Path, aligned: Aligned) -> None:
    """Write the table, utterances in order of their names."""
    dimensions = list(aligned.groups)
    with write_whole(path) as stream:
        stream.write("\t".join(["utterance", "speaker", *dimensions, "reference", "hypothesis"]) + "\n")
        for utterance, pairs in sorted(aligned.pairs.items()):
            known = [aligned.groups[dimension][utterance] for dimension in dimensions]
            sides = [" ".join(pair[side] for pair in pairs) for side in range(2)]
            stream.write("\t".join([utterance, aligned.speakers[utterance], *known, *sides]) + "\n")


def read_aligned(path: str | Path) -> Aligned:
    """Read the table (or that in a directory).  Raises DataDirError, with the line, where it is missing or damaged."""
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    mend = "make it with am score"
    if not path.is_file():
        there = "there are no aligned utterances here (am score --kaldi writes none)"
        raise DataDirError(path, there, mend="run am score with --dev-decode DIR --dev-data DIR, or with --lm-weight N")
    try:
        head, *lines = path.read_text(encoding="utf-8").split("\n")[:-1] or [""]
    except UnicodeDecodeError:
        raise DataDirError(path, "is not UTF-8", mend=mend) from None
    columns = head.split("\t")
    dimensions = columns[2:-2]
    if [*columns[:2], *columns[-2:]] != ["utterance", "speaker", "reference", "hypothesis"] or not (
        set(dimensions) <= set(DIMENSIONS)
    ):
        raise DataDirError(f"{path}:1", "is no head of aligned utterances", mend=mend)
    pairs: dict[str, Pairs] = {}
    speakers: dict[str, str] = {}
    groups: dict[str, dict[str, str]] = {dimension: {} for dimension in dimensions}
    for number, line in enumerate(lines, 2):
        fields = line.split("\t")
        sides = [fields_of(field) for field in fields[-2:]]
        broken = len(fields) != len(columns) or len(sides[0]) != len(sides[1])
        if broken or (GAP, GAP) in zip(*sides, strict=True) or fields[0] in pairs:
            raise DataDirError(f"{path}:{number}", "is no row of aligned utterances", mend=mend)
        pairs[fields[0]], speakers[fields[0]] = tuple(zip(*sides, strict=True)), fields[1]
        for dimension, group in zip(dimensions, fields[2:-2], strict=True):
            groups[dimension][fields[0]] = group
    return Aligned(pairs=pairs, speakers=speakers, groups=groups)
