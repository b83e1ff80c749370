"""PF-STAR British English children's speech (Batliner et al. 2005; Russell 2006) as Kaldi data directories.

Who: 158 children of 4 to 14 years from three places around Birmingham, reading sentences, words, phrases, a passage and
digit triples, about 14 hours.  Where: the University of Birmingham and The Speech Ark, by agreement.

Split: the published one: training (86 children, 703 files), evaluation (12, 97), which is dev here, and test (60, 510).
Read: a folder for each (train, eval, test, or names that begin so), in it a folder for each child with recordings and,
beside each, its words as NAME.txt or NAME.lab, or all in an HTK master label file (--mlf).  This layout is our reading
of the corpus's report; no copy was at hand: `prepare_data.sh --corpus folder` takes what is laid out otherwise.
Sound: converted once to 16 kHz (--rate; soxr HQ, 16 bit) into OUT/audio.  Ages: --ages, lines 'child years'.
Text: [noise] and <noise> are noises, (( )) is unclear, br- is a partial word.
Left out: recordings without words (more than a tenth stop the preparation), or with noises alone.
Lexicon: --lexicon, such as CMUdict (American; a British one suits better).

usage: python recipes/pfstar/prepare.py --source CORPUS --lexicon FILE --out DATA [--mlf FILE] [--ages FILE]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.config import load_config, to_plain
from harness.errors import DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.text_tables import read_text_table, text_lines
from recipes.lib.corpus import LeftOut, Lexicon, Out, Overrides, Source, write_lexicon, write_sets
from recipes.lib.plain_wav import Jobs, as_plain_wav
from recipes.lib.preparation import run_preparation
from recipes.lib.transcripts import PLAIN, Conventions, TranscriptConfig, text_of

PARTS = {"train": "train", "dev": "eval", "test": "test"}
CONVENTIONS = Conventions(
    marks=(
        ("noise", r"<[^<>]*>|\[[^\]]*\]"),
        ("unclear", r"\(+([^()]*)\)+"),
        *PLAIN.marks,
    ),
    fillers=PLAIN.fillers,
)
MEND = "give --source the folder that holds train, eval and test, with a folder for each child"
app = app_for("recipes/pfstar/prepare.py", "PF-STAR's British children as Kaldi data directories.")


@app.command()
def prepare(
    source: Source,
    out: Out,
    lexicon: Lexicon,
    mlf: Annotated[Path | None, typer.Option("--mlf", help="HTK master label file of words")] = None,
    ages: Annotated[Path | None, typer.Option("--ages", help="lines 'child years'")] = None,
    rate: Annotated[int, typer.Option("--rate", help="Hz of what is written")] = 16000,
    jobs: Jobs = None,
    overrides: Overrides = None,
) -> None:
    """Write train, dev and test, the sound at one rate, and the lexicon."""
    config, left_out = load_config(TranscriptConfig, None, overrides or []), LeftOut()
    labels = None if mlf is None else read_mlf(mlf)
    years = None if ages is None else read_text_table(ages)
    sets = {name: read_part(_folder(source, part), labels, config, left_out) for name, part in PARTS.items()}
    left_out.refuse_too_many(source, sum(len(data.utt2spk) for data in sets.values()), MEND)
    if years is not None:
        sets = {name: with_ages(data, years, ages or source) for name, data in sets.items()}
    sets = as_plain_wav(sets, out, rate=rate, jobs=jobs)
    write_sets(out, sets, left_out, corpus="pfstar", rate=rate, transcripts=to_plain(config))
    write_lexicon(lexicon, out, sets, unknown_word=config.unknown_word)


def _folder(source: Path, part: str) -> Path:
    """The folder of a part: its name begins with that of the part, in any case."""
    found = [path for path in sorted(source.glob("*")) if path.is_dir() and path.name.lower().startswith(part)]
    if len(found) != 1:
        problem = f"has {len(found)} folders whose name begins with {part!r}, where one is expected"
        raise DataDirError(source, problem, mend=MEND)
    return found[0]


def read_part(folder: Path, labels: Mapping[str, str] | None, config: TranscriptConfig, left_out: LeftOut) -> DataDir:
    """The recordings of a part that have words."""
    wav: dict[str, str] = {}
    texts, utt2spk = {}, {}
    for path in sorted([*folder.rglob("*.wav"), *folder.rglob("*.WAV")]):
        if path.parent == folder:
            raise DataDirError(path, "lies in no folder of a child", mend=MEND)
        speaker = re.sub(r"[^\w]", "", path.parent.name)
        utterance = f"{speaker}-{path.stem.removeprefix(speaker).lstrip('_-') or path.stem}"  # sorts as its speaker
        if utterance in wav:
            raise DataDirError(path, f"{utterance} comes twice (also {wav[utterance]})", mend="keep one of them")
        raw = _beside(path) if labels is None else labels.get(path.stem.lower())
        if raw is None:
            left_out.add(utterance, "no transcript")
        elif found := left_out.words_of(utterance, raw, CONVENTIONS, config):
            wav[utterance] = str(path.resolve())
            texts[utterance], utt2spk[utterance] = found.text, speaker
    return DataDir.build(folder, wav_scp=wav, text=texts, utt2spk=utt2spk)


def _beside(recording: Path) -> str | None:
    """The text of NAME.txt or NAME.lab beside a recording; a line 'start end word' gives its word."""
    for suffix in (".txt", ".lab", ".TXT", ".LAB"):
        if (path := recording.with_suffix(suffix)).is_file():
            return " ".join(_label(line) for line in text_of(path).splitlines())
    return None


def _label(line: str) -> str:
    fields = line.split()
    return " ".join(fields[2:3]) if len(fields) > 2 and fields[0].isdigit() and fields[1].isdigit() else line


def read_mlf(path: Path) -> dict[str, str]:
    """{name of the recording, lower case: its words} of an HTK master label file."""
    labels: dict[str, list[str]] = {}
    name = ""
    for number, line in text_lines(path):
        text = line.strip()
        if number == 1 and text != "#!MLF!#":
            raise DataDirError(f"{path}:1", f"expected #!MLF!#, got {text!r}", mend="give HTK's master label file")
        if text.startswith('"'):
            name = Path(text.strip('"').replace("\\", "/")).stem.lower()
            labels[name] = []
        elif text == ".":
            name = ""
        elif number > 1 and text:
            if not name:
                raise DataDirError(f"{path}:{number}", f"{text!r} stands below no file name", mend="repair the file")
            labels[name].append(_label(text))
    return {name: " ".join(words) for name, words in labels.items()}


def with_ages(data: DataDir, years: Mapping[str, str], table: Path) -> DataDir:
    """The same with spk2age.  Raises DataDirError for a child whose age is not known, or is no number."""
    ages = {speaker: years.get(speaker, "") for speaker in data.speakers}
    if wrong := sorted(speaker for speaker, age in ages.items() if not age.isdecimal()):
        problem = f"{wrong[0]}: {ages[wrong[0]]!r} is no age in years ({len(wrong)} such children)"
        raise DataDirError(table, problem, mend="give a line 'child years' for each")
    data.tables["spk2age"] = ages
    return data


if __name__ == "__main__":
    run_preparation(app)
