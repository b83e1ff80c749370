"""What a decode directory says at every language model weight and insertion penalty: transcripts and their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from am.wer import ErrorCounts, count_errors, refuse_gap, total
from harness.errors import DataDirError, DecodeError
from hmm.lattice import sweep
from kaldi_bridge.lattices import read_decode_dir
from kaldi_bridge.text_tables import fields_of, read_text_table

Setting = tuple[float, float]  # language model weight, word insertion penalty
USUAL_WEIGHT = 12  # of HMM systems: the inverse of the acoustic scale of decoding


@dataclass(frozen=True, kw_only=True)
class Hypotheses:
    """Transcripts of a set, by setting and utterance, and their errors where references were given.

    settings: as asked, penalties outside, weights inside (the order in which Kaldi looks for the best).
    words[setting][utterance]: the transcript; missing: utterances of the references without any lattice, scored as
    empty.
    """

    settings: tuple[Setting, ...]
    words: dict[Setting, dict[str, tuple[str, ...]]]
    errors: dict[Setting, dict[str, ErrorCounts]]
    missing: tuple[str, ...]

    def counts(self, setting: Setting) -> ErrorCounts:
        """Errors of the whole set at one setting."""
        return total(self.errors[setting].values())

    def best(self) -> Setting:
        """The setting of least word error rate; of equals the first, as Kaldi's best_wer.sh."""
        return min(self.settings, key=lambda setting: round(self.counts(setting).percent, 2))

    def mildest(self) -> Setting:
        """The setting of least word error rate; of equals that with the smallest penalty and the most usual weight."""
        return min(self.settings, key=lambda s: (self.counts(s).errors, abs(s[1]), abs(s[0] - USUAL_WEIGHT), s))


def read_words(lang_or_graph: str | Path) -> dict[int, str]:
    """Words by id from words.txt (or the directory that holds it).  Raises DataDirError where a line is wrong."""
    path = Path(lang_or_graph)
    path = path / "words.txt" if path.is_dir() else path
    words = {}
    for word, number in read_text_table(path).items():
        if not number.isdecimal():
            raise DataDirError(path, f"the id of {word!r} is {number!r}, not a number", mend="make the lang dir again")
        words[int(number)] = word
    return words


def read_references(data_dir_or_text: str | Path) -> dict[str, tuple[str, ...]]:
    """Reference transcripts from a data directory or its text file."""
    path = Path(data_dir_or_text)
    path = path / "text" if path.is_dir() else path
    references = {utterance: tuple(fields_of(text)) for utterance, text in read_text_table(path).items()}
    for utterance, words in references.items():
        refuse_gap(path, utterance, words)
    if not references:
        raise DataDirError(path, "holds no transcript", mend="write text, or choose another data directory")
    return references


def sweep_decode_dir(
    decode_dir: str | Path,
    words: Mapping[int, str],
    references: Mapping[str, tuple[str, ...]],
    *,
    lm_weights: Sequence[float],
    penalties: Sequence[float],
) -> Hypotheses:
    """Transcripts of every utterance at every setting, counted against the references.

    An utterance whose lattice is missing or reaches no end has an empty transcript and is listed as missing.
    Raises DecodeError where a lattice holds a word id that words lacks, DataDirError where an utterance lacks a
    reference, TableError where a lattice archive is damaged or missing.
    """
    settings = tuple((weight, penalty) for penalty in penalties for weight in lm_weights)
    texts: dict[Setting, dict[str, tuple[str, ...]]] = {setting: {} for setting in settings}
    errors: dict[Setting, dict[str, ErrorCounts]] = {setting: {} for setting in settings}
    found = set()
    for utterance, lattice in read_decode_dir(decode_dir):
        if utterance not in references:
            problem = f"utterance {utterance} has no transcript"
            raise DataDirError(decode_dir, problem, mend="score against the text of the data that was decoded")
        if lattice.num_states and np.isfinite(lattice.final_graph).any():
            found.add(utterance)
            paths = sweep(lattice, lm_weights, penalties)
            _add(utterance, paths, words, references[utterance], lm_weights, penalties, texts, errors)
    missing = tuple(sorted(references.keys() - found))
    if not found:
        raise DecodeError(decode_dir, "holds no lattice that reaches an end", mend="look at its log, decode again")
    for setting in settings:
        for utterance in missing:
            texts[setting][utterance] = ()
            errors[setting][utterance] = ErrorCounts(
                words=len(references[utterance]), deletions=len(references[utterance])
            )
        texts[setting] = dict(sorted(texts[setting].items()))
        errors[setting] = dict(sorted(errors[setting].items()))
    return Hypotheses(settings=settings, words=texts, errors=errors, missing=missing)


def _add(
    utterance: str,
    paths: list[list[np.ndarray]],
    words: Mapping[int, str],
    reference: tuple[str, ...],
    lm_weights: Sequence[float],
    penalties: Sequence[float],
    texts: dict[Setting, dict[str, tuple[str, ...]]],
    errors: dict[Setting, dict[str, ErrorCounts]],
) -> None:
    """Spell and count each different path of an utterance once."""
    known: dict[bytes, tuple[tuple[str, ...], ErrorCounts]] = {}
    for weight, row in zip(lm_weights, paths, strict=True):
        for penalty, ids in zip(penalties, row, strict=True):
            key = ids.tobytes()
            if key not in known:
                try:
                    text = tuple(words[number] for number in ids.tolist())
                except KeyError as unknown:
                    problem = f"the lattice holds word {unknown.args[0]}, which words.txt lacks"
                    raise DecodeError(utterance, problem, mend="score with the graph that was decoded") from None
                known[key] = text, count_errors(reference, text)
            texts[weight, penalty][utterance], errors[weight, penalty][utterance] = known[key]
