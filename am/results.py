"""The scored decodings of a recipe's work directory, gathered for the report.

A decoding is ``exp/<training>/<model>/decode_<test>_<lm>/`` with the files that ``am score`` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from am.bootstrap import Errors
from am.score import read_errors, read_setting
from harness.errors import DataDirError
from harness.log import get_logger
from kaldi_bridge.groups import age_group
from kaldi_bridge.text_tables import read_text_table

TESTS = {  # columns of the table, in this order
    "clean": "clean",
    "noisy": "noisy",
    "enhanced": "enhanced",
    "mixed": "enhanced, observation added",
    "clean_enhanced": "clean through the enhancer",
}
TUNED_AS = {"mixed": "enhanced", "clean_enhanced": "clean"}  # whose development set the recipes tune those with
TRAININGS = {"clean": "clean", "multi": "clean + noisy", "multi_enhanced": "clean + noisy + enhanced"}


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """One acoustic model on one test set."""

    training: str
    model: str
    test: str
    lm: str
    folder: Path
    errors: Errors
    lm_weight: float
    word_ins_penalty: float


def read_decodings(exp: Path) -> list[Decoding]:
    """Every scored decoding of a known test set below ``exp``; others are named.  Raises DataDirError where none is."""
    folders = [path.parent for path in sorted(exp.glob("*/*/decode_*/per_utt.tsv"))]
    folders = [folder for folder in folders if not hidden(folder.relative_to(exp))]
    known = [folder for folder in folders if _test_and_lm(folder)[0] in TESTS]
    if not known:
        raise DataDirError(exp, "holds no scored decoding", mend="run the decoding and scoring stages first")
    if others := [str(folder) for folder in folders if folder not in known]:
        text = "%s: %d decodings are left out, since decode_TEST_LM is none of the tests %s (first: %s)"
        get_logger("am").warning(text, exp, len(others), ", ".join(TESTS), others[0])
    return [_read(folder) for folder in known]


def hidden(path: Path) -> bool:
    """Whether it lies in what a killed command left aside (harness/atomic.py)."""
    return any(part.startswith(".") for part in path.parts)


def _test_and_lm(folder: Path) -> tuple[str, str]:
    test, _, lm = folder.name.removeprefix("decode_").rpartition("_")
    return test, lm


def _read(folder: Path) -> Decoding:
    test, lm = _test_and_lm(folder)
    setting = read_setting(folder)
    return Decoding(
        training=folder.parent.parent.name, model=folder.parent.name, test=test, lm=lm, folder=folder,
        errors=read_errors(folder), lm_weight=setting[0], word_ins_penalty=setting[1],
    )  # fmt: skip


def part_of(errors: Errors, chosen: Callable[[str, str], bool]) -> Errors | None:
    """The errors of the utterances for which ``chosen(utterance, speaker)`` holds; None where no word is left."""
    rows = zip(errors.utterances, errors.speakers, errors.words, errors.errors, strict=True)
    kept = {utt: (speaker, int(words), int(wrong)) for utt, speaker, words, wrong in rows if chosen(utt, speaker)}
    return Errors.of(kept) if sum(words for _, words, _ in kept.values()) else None


def snr_of(data: Path) -> Mapping[str, str]:
    """Utterance -> SNR in dB as text, from the noisy test set's ``utt2snr``; empty where there is none.

    Raises DataDirError where one is no number.
    """
    path = data / "utt2snr"
    table = read_text_table(path) if path.is_file() else {}
    try:
        return {utterance: f"{float(snr):g}" for utterance, snr in table.items()}
    except ValueError as error:
        raise DataDirError(
            path, f"has an SNR that is no number ({error})", mend="mix the set with noise again"
        ) from None


def age_group_of(data: Path) -> Mapping[str, str]:
    """Speaker -> '6-8', '9-11' or '12-15' (or 'other'), from ``spk2age``; empty where there is none."""
    path = data / "spk2age"
    return {speaker: age_group(age) for speaker, age in read_text_table(path).items()} if path.is_file() else {}
