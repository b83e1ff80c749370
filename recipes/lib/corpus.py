"""Kaldi data and dict directories of a corpus that a recipe prepares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from harness.atomic import whole_dir, write_whole
from harness.errors import DataDirError, LexiconError

SILENCE_PHONES = ("SIL", "SPN")


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One utterance, which is a recording of its own."""

    name: str
    speaker: str
    text: str
    wav: str  # absolute path
    age: int  # years
    gender: str  # "f" or "m"


def write_data(folder: Path, utterances: Sequence[Utterance]) -> None:
    """Write the tables of a data dir into ``folder``, sorted as Kaldi wants them.

    Raises DataDirError for no utterance, a name that occurs twice, or a name that does not begin with its speaker.
    """
    if not utterances:
        raise DataDirError(folder, "the corpus gives no utterance for this part", mend="check the corpus and --max-age")
    ordered = sorted(utterances, key=lambda utterance: utterance.name)
    for one, next_one in pairwise(ordered):
        if one.name == next_one.name:
            raise DataDirError(folder, f"utterance {one.name} occurs twice", mend="remove one of the two")
    speakers = {utterance.speaker: utterance for utterance in ordered}
    tables = {
        "wav.scp": ((u.name, u.wav) for u in ordered),
        "text": ((u.name, u.text) for u in ordered),
        "utt2spk": ((u.name, u.speaker) for u in ordered),
        "spk2utt": ((s, " ".join(u.name for u in ordered if u.speaker == s)) for s in sorted(speakers)),
        "spk2gender": ((s, speakers[s].gender) for s in sorted(speakers)),
        "spk2age": ((s, str(speakers[s].age)) for s in sorted(speakers)),
    }
    for name, rows in tables.items():
        write_table(folder / name, rows)


def write_table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """A Kaldi text table: ``key value`` lines."""
    with write_whole(path) as stream:
        stream.writelines(f"{key} {value}\n" for key, value in rows)


def write_dict(folder: Path, lexicon: Iterable[Sequence[str]]) -> None:
    """Write Kaldi's dict dir: lexicon.txt (with ``<unk>`` as SPN), phone lists, one question set of all real phones.

    lexicon: rows of a word and its phones, without stress.  Raises LexiconError for a word without phones.
    """
    entries = sorted({(row[0], " ".join(row[1:])) for row in lexicon})
    for word, phones in entries:
        if not phones:
            raise LexiconError(folder / "lexicon.txt", f"{word} has no phones", mend="give it a pronunciation")
    phones = sorted({phone for _, pronunciation in entries for phone in pronunciation.split()})
    with whole_dir(folder, force=True) as aside:
        write_table(aside / "lexicon.txt", [("<unk>", "SPN"), *entries])
        for name, lines in (
            ("silence_phones.txt", SILENCE_PHONES),
            ("optional_silence.txt", ("SIL",)),
            ("nonsilence_phones.txt", phones),
            ("extra_questions.txt", (" ".join(SILENCE_PHONES), " ".join(phones))),
        ):
            with write_whole(aside / name) as stream:
                stream.writelines(f"{line}\n" for line in lines)
