"""MyST, My Science Tutor (Pradhan, Cole and Ward 2021; LDC2021S05) as Kaldi data directories.

Who: 1371 children of grades 3 to 5 (about 8 to 11 years; the corpus does not say whose age is what), Colorado and other
US schools, talking with a virtual science tutor; 227,567 utterances, 16 kHz FLAC, 102,433 of them transcribed.
Where: the Linguistic Data Consortium or Boulder Learning, free for research, at a price for companies.

Left out: utterances without transcript (more than half: counted), with a transcript of noises alone, marked <discard>,
shorter than --min-words, longer than --max-seconds (0: any; papers often take 30).
Text: <breath> and its kin are noises, <indiscernible>, (()) and (guess) unclear, +um+ fillers, *word* mispronounced,
mag- a false start; typing errors of these marks are understood.
Split: the corpus's own train, development and test, in which each child is in one.
Lexicon: --lexicon, such as CMUdict or the dictionary among the corpus's documents.

usage: python recipes/myst/prepare.py --source CORPUS --lexicon FILE --out DATA
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.config import load_config, to_plain
from harness.errors import DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.sound_files import open_sound
from recipes.lib.corpus import LeftOut, Lexicon, Out, Overrides, Source, write_lexicon, write_sets
from recipes.lib.plain_wav import Jobs, Wav, as_plain_wav
from recipes.lib.preparation import run_preparation
from recipes.lib.transcripts import PLAIN, Conventions, TranscriptConfig, text_of

PARTS = {"train": "train", "dev": "development", "test": "test"}
NAME = re.compile(r"(myst_(\d{6}))_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_([A-Z]+)_\d+\.\d+_\d+")
CONVENTIONS = Conventions(
    marks=(
        ("discard", r"<\s*discard\s*>"),
        ("unclear", r"[<\[]\s*(?:indiscern|indiscreet|inaudible|unaudible|unclear)[^>\]]*[>\]]"),
        ("noise", r"<[^<>]*>|<\S*|\[[^\]]*\]"),
        ("unclear", r"\(+([^()]*)\)+"),
        ("filler", r"\+\s*([^+]*?)\s*\+"),
        ("mispronounced", r"\*([\w']+)\*"),
        *PLAIN.marks,
    ),
    fillers=PLAIN.fillers,
)
MEND = "give --source the folder that holds data/train, data/development and data/test of the unpacked corpus"
app = app_for("recipes/myst/prepare.py", "MyST as Kaldi data directories.")


@app.command()
def prepare(
    source: Source,
    out: Out,
    lexicon: Lexicon,
    min_words: Annotated[int, typer.Option("--min-words", help="fewer words: left out", min=1)] = 1,
    max_seconds: Annotated[float, typer.Option("--max-seconds", help="longer: left out; 0 for any length")] = 0.0,
    wav: Wav = False,
    jobs: Jobs = None,
    overrides: Overrides = None,
) -> None:
    """Write train, dev and test of the transcribed utterances, and the lexicon."""
    config = load_config(TranscriptConfig, None, overrides or [])
    root = next((place for place in (source, source / "myst_child_conv_speech") if (place / "data").is_dir()), source)
    for folder in PARTS.values():
        if not (root / "data" / folder).is_dir():
            raise DataDirError(root / "data" / folder, "is missing from the corpus", mend=MEND)
    left_out = LeftOut()
    sets = {
        name: read_part(root / "data" / folder, out / name, config, left_out, min_words, max_seconds)
        for name, folder in PARTS.items()
    }
    left_out.refuse_too_many(root / "data", sum(len(data.utt2spk) for data in sets.values()), MEND)
    options = {"min_words": min_words, "max_seconds": max_seconds, "transcripts": to_plain(config)}
    if wav:
        sets = as_plain_wav(sets, out, jobs=jobs)
    write_sets(out, sets, left_out, corpus="myst", **options)
    write_lexicon(lexicon, out, sets, unknown_word=config.unknown_word)


def read_part(
    folder: Path, path: Path, config: TranscriptConfig, left_out: LeftOut, min_words: int, max_seconds: float
) -> DataDir:
    """The transcribed utterances of a partition: folder/STUDENT/SESSION/SESSION_NUMBER.{flac,trn}."""
    wav, texts, utt2spk, modules = {}, {}, {}, {}
    recordings, transcripts = _by_name(folder.glob("*/*/*.flac")), _by_name(folder.glob("*/*/*.trn"))
    for utterance in sorted(recordings.keys() | transcripts.keys()):
        place = recordings.get(utterance) or transcripts[utterance]
        named = NAME.fullmatch(utterance)
        if not named or named.group(2) != place.parent.parent.name:
            problem = f"is not named myst_{place.parent.parent.name}_DATE_TIME_MODULE_PART_NUMBER"
            raise DataDirError(place, problem, mend=MEND)
        if utterance not in transcripts:
            left_out.add(utterance, "not transcribed", foreseen=True)
        elif utterance not in recordings or not place.stat().st_size:
            left_out.add(utterance, "no recording")
        elif transcript := left_out.words_of(utterance, text_of(transcripts[utterance]), CONVENTIONS, config):
            if len(transcript.words or ()) < min_words:
                left_out.add(utterance, f"fewer than {min_words} words", foreseen=True)
            elif max_seconds and _seconds(place) > max_seconds:
                left_out.add(utterance, f"longer than {max_seconds:g} s", foreseen=True)
            else:
                wav[utterance], texts[utterance] = str(place.resolve()), transcript.text
                utt2spk[utterance], modules[utterance] = named.group(1), named.group(3)
    return DataDir.build(path, wav_scp=wav, text=texts, utt2spk=utt2spk, utt2module=modules)


def _by_name(files: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(files):
        if found.setdefault(file.stem, file) != file:
            raise DataDirError(file, f"is also at {found[file.stem]}", mend="keep one of the two")
    return found


def _seconds(path: Path) -> float:
    with open_sound(str(path)) as (_, info):
        return info.frames / info.rate


if __name__ == "__main__":
    run_preparation(app)
