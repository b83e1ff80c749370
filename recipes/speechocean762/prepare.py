"""speechocean762 (Zhang et al., Interspeech 2021; OpenSLR SLR101; CC BY 4.0) as Kaldi data directories.

Who: 250 Mandarin-native speakers reading English sentences, half of them children (5 to 15 years, both genders), 20
utterances each; 16 kHz, mono.  Where: openslr.org/101 (--download; the publisher tells no digest, so the archive is
compared with the length that Kaldi's recipe knows, and with its own check sums).

Text: the prompts as distributed, in capitals; the corpus marks no false starts, so there is nothing to switch.
Left out: speakers older than --max-age (15), counted.  A missing recording or transcript is an error.
Split: the corpus's own test part stays untouched; dev is every seventh speaker of the train part, in order of age and
then of a hash of the name (--seed for another split of the same balance).
Lexicon: the corpus's own; `hmm prepare-dict` takes the stress marks off.
utt2grade: the experts' score of the whole sentence, 0 to 10 (resource/scores.json, where the copy has it).

usage: python recipes/speechocean762/prepare.py --source CORPUS --out DATA [--download] [--max-age 15] [--seed 0]
writes DATA/{train,dev,test}, DATA/local/lexicon.txt and DATA/local/prepared.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.errors import DataDirError
from harness.log import get_logger
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.held_out import held_out_speakers
from kaldi_bridge.text_tables import read_text_table
from recipes.lib.corpus import LeftOut, Out, Seed, Source, refuse_source, write_lexicon, write_sets
from recipes.lib.corpus_root import DownloadOption, corpus_root
from recipes.lib.download import Archive
from recipes.lib.preparation import run_preparation

PARTS = ("train", "test")
DEV_EVERY = 7  # of the train speakers: 9 of 58 children
TABLES = ("wav.scp", "text", "utt2spk", "spk2age", "spk2gender")
ARCHIVES = (
    Archive(
        url="https://www.openslr.org/resources/101/speechocean762.tar.gz",
        digest="size:520810923",
        mirrors=("https://us.openslr.org/resources/101/speechocean762.tar.gz",),
    ),
)
MEND = "give --source the folder that holds WAVE, train, test and resource of the unpacked SLR101, or add --download"
app = app_for("recipes/speechocean762/prepare.py", "speechocean762 as Kaldi data directories.")


@app.command()
def prepare(
    source: Source,
    out: Out,
    max_age: Annotated[int, typer.Option("--max-age", help="oldest speaker in years")] = 15,
    seed: Seed = 0,
    download: DownloadOption = False,
) -> None:
    """Write train, dev and test with ages and genders, and the raw lexicon."""
    source = corpus_root(source, "WAVE", ARCHIVES, download=download)
    refuse_source(out, source)
    _check_layout(source)
    grades, left_out = _read_grades(source / "resource" / "scores.json"), LeftOut()
    parts = {part: _read_part(source, part, max_age, grades, left_out) for part in PARTS}
    dev = held_out_speakers(parts["train"].spk2age or {}, DEV_EVERY, seed=seed)
    kept = sorted(set(parts["train"].speakers) - set(dev))
    sets = {
        "train": parts["train"].subset_speakers(kept, out / "train"),
        "dev": parts["train"].subset_speakers(dev, out / "dev"),
        "test": parts["test"],
    }
    write_sets(out, sets, left_out, corpus="speechocean762", max_age=max_age, seed=seed)
    write_lexicon(source / "resource" / "lexicon.txt", out, sets)


def _check_layout(source: Path) -> None:
    needed = ["WAVE", "resource/lexicon.txt", *(f"{part}/{table}" for part in PARTS for table in TABLES)]
    for name in needed:
        if not (source / name).exists():
            raise DataDirError(source / name, "is missing from the corpus", mend=MEND)


def _read_grades(path: Path) -> dict[str, str]:
    """{utterance: the score of the sentence}; empty where the copy of the corpus has no scores."""
    if not path.is_file():
        get_logger("speechocean762").info("%s: not there; no grades of reading", path)
        return {}
    try:
        scores = {utterance: float(entry["total"]) for utterance, entry in json.loads(path.read_bytes()).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataDirError(path, f"is no table of sentence scores ({error!r})", mend=MEND) from error
    for utterance, score in scores.items():
        if not 0 <= score <= 10:
            raise DataDirError(path, f"{utterance}: a score of {score:g} is not between 0 and 10", mend=MEND)
    return {utterance: f"{score:g}" for utterance, score in scores.items()}


def _read_part(source: Path, part: str, max_age: int, grades: Mapping[str, str], left_out: LeftOut) -> DataDir:
    """The children of one official part; recordings become absolute paths and must exist."""
    tables = {name: read_text_table(source / part / name) for name in TABLES}
    _check_keys(source / part, tables)
    speakers = {speaker for speaker, age in tables["spk2age"].items() if _years(source, part, speaker, age) <= max_age}
    utterances = {utt for utt, speaker in tables["utt2spk"].items() if speaker in speakers}
    if not utterances:
        raise DataDirError(source / part / "spk2age", f"has no speaker up to {max_age} years", mend="raise --max-age")
    wav = {}
    for utterance in sorted(utterances):
        for name in ("text", "wav.scp"):
            if utterance not in tables[name]:
                raise DataDirError(source / part / name, f"lacks utterance {utterance}", mend=MEND)
        path = (source / tables["wav.scp"][utterance]).resolve()
        if not path.is_file():
            raise DataDirError(source / part / "wav.scp", f"{utterance}: no recording at {path}", mend=MEND)
        wav[utterance] = str(path)
    for utterance in set(tables["utt2spk"]) - utterances:
        left_out.add(utterance, f"speaker older than {max_age} years", foreseen=True)
    return DataDir.build(
        source / part,
        wav_scp=wav,
        text=_only(tables["text"], utterances),
        utt2spk=_only(tables["utt2spk"], utterances),
        spk2age=_only(tables["spk2age"], speakers),
        spk2gender=_only(tables["spk2gender"], speakers),
        utt2grade=_only(grades, utterances) or None,
    )


def _check_keys(folder: Path, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a table with an utterance or a speaker that utt2spk lacks, and speakers without an age."""
    utterances, speakers = set(tables["utt2spk"]), set(tables["utt2spk"].values())
    for name, known in (("text", utterances), ("wav.scp", utterances), ("spk2age", speakers)):
        strange = sorted(set(tables[name]) - known)
        if strange:
            raise DataDirError(folder / name, f"has {strange[0]}, which utt2spk lacks ({len(strange)} such)", mend=MEND)
    ageless = sorted(speakers - set(tables["spk2age"]))
    if ageless:
        raise DataDirError(folder / "spk2age", f"lacks speaker {ageless[0]} ({len(ageless)} such)", mend=MEND)


def _years(source: Path, part: str, speaker: str, age: str) -> int:
    if not age.isdecimal():
        raise DataDirError(source / part / "spk2age", f"{speaker}: {age!r} is no age in years", mend=MEND)
    return int(age)


def _only(table: Mapping[str, str], keys: set[str]) -> dict[str, str]:
    return {key: value for key, value in table.items() if key in keys}


if __name__ == "__main__":
    run_preparation(app)
