"""CSLU Kids' Speech 1.1, also called OGI Kids (Shobaki, Hosom and Cole 2000; LDC2007S18) as Kaldi data directories.

Who: about 1100 children of the Forest Grove schools in Oregon, some 100 of each grade from kindergarten to 10 (about 5
to 16 years; grades are known, ages are not), 16 kHz, headset.  Scripted: single words, sentences and digits repeated
after an animated face, about 60 of 319 prompts each; spontaneous (--style spontaneous): the alphabet, then a monologue,
about 100 seconds.  Where: the Linguistic Data Consortium, under the CSLU agreement.

Text: scripted from docs/all.map, by the two characters before the last of a file's name; spontaneous from
trans/spontaneous, where <br> and its kin are noises, (( )) is unclear, and cat* or *cat is a partial word.
Left out, of scripted: what the publisher's listeners did not mark as good (1) or good with a puff of air (4): 2 has
other speech in it, 3 lacks the word (--verified takes other marks, --verified any all files).
Split: none is published; every fifth child is test, every tenth of the others dev, in order of grade and of a hash of
the name (--seed, --lists for other splits).  spk2grade: 0 is kindergarten.  Lexicon: --lexicon, such as CMUdict.

usage: python recipes/cslu_kids/prepare.py --source CORPUS --lexicon FILE --out DATA
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli import app_for
from harness.config import load_config, to_plain
from harness.errors import ConfigError, DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.text_tables import text_lines
from recipes.lib.corpus import LeftOut, Lexicon, Lists, Out, Overrides, Seed, Source, sets_of, write_lexicon, write_sets
from recipes.lib.preparation import run_preparation
from recipes.lib.transcripts import PLAIN, Conventions, TranscriptConfig, text_of

TEST_EVERY, DEV_EVERY = 5, 10
MARKS = {"1": "good", "2": "with other speech", "3": "without the word", "4": "good, with a puff of air"}
UTTERANCE = re.compile(r"(ks[0-9a-z]{3})[0-9a-z]{3}")
CONVENTIONS = Conventions(
    marks=(
        ("noise", r"<[^<>]*>|\[[^\]]*\]"),
        ("unclear", r"\(+([^()]*)\)+|\*\*+"),
        ("partial", r"\*([\w']+)(?=\s|$)"),
        ("partial", r"([\w']+)\*(?=[\s.,]|$)"),
        *PLAIN.marks,
    ),
    fillers=PLAIN.fillers,
)
MEND = "give --source the folder that holds docs, speech and trans of the unpacked LDC2007S18"
app = app_for("recipes/cslu_kids/prepare.py", "CSLU Kids as Kaldi data directories.")


@app.command()
def prepare(
    source: Source,
    out: Out,
    lexicon: Lexicon,
    style: Annotated[Literal["scripted", "spontaneous", "both"], typer.Option("--style", help="what to take")] = (
        "scripted"
    ),
    verified: Annotated[str, typer.Option("--verified", help="marks of scripted files to take; or any")] = ("1,4"),
    lists: Lists = None,
    seed: Seed = 0,
    overrides: Overrides = None,
) -> None:
    """Write train, dev and test with grades, and the lexicon."""
    config = load_config(TranscriptConfig, None, overrides or [])
    wanted = set(MARKS) if verified == "any" else set(verified.split(","))
    if strange := sorted(wanted - set(MARKS)):
        raise ConfigError("--verified", f"knows no mark {strange[0]!r}", mend="take some of 1,2,3,4, or any")
    styles = ("scripted", "spontaneous") if style == "both" else (style,)
    for name in ("docs/all.map", *(f"speech/{style}" for style in styles)):
        if not (source / name).exists():
            raise DataDirError(source / name, "is missing from the corpus", mend=MEND)
    left_out = LeftOut()
    names = ("wav_scp", "text", "utt2spk", "utt2style", "spk2grade")
    tables: dict[str, dict[str, str]] = {name: {} for name in names}
    for each in styles:
        if each == "scripted":
            raw = scripted_texts(source, wanted, left_out, unmarked=verified == "any")
        else:
            raw = spontaneous_texts(source, left_out)
        add_utterances(tables, raw, each, config, left_out)
    left_out.refuse_too_many(source, len(tables["utt2spk"]), MEND)
    data = DataDir.build(out, **tables)
    sets = sets_of(
        data, out, tables["spk2grade"], left_out, lists=lists, test_every=TEST_EVERY, dev_every=DEV_EVERY, seed=seed
    )  # fmt: skip
    options = {"style": style, "verified": verified, "transcripts": to_plain(config), "seed": seed}
    write_sets(out, sets, left_out, corpus="cslu_kids", **options)
    write_lexicon(lexicon, out, sets, unknown_word=config.unknown_word)


def add_utterances(
    tables: dict[str, dict[str, str]], raw: dict[Path, str], style: str, config: TranscriptConfig, left_out: LeftOut
) -> None:
    """Put the utterances {recording: raw transcript} of one style into the tables."""
    for path, transcript in raw.items():
        utterance, speaker, grade = path.stem.lower(), path.parent.name.lower(), path.parents[2].name
        if not (named := UTTERANCE.fullmatch(utterance)) or named.group(1) != speaker or not grade.isdecimal():
            raise DataDirError(path, f"is not {style}/GRADE/GROUP/ksNNN/ksNNNXXX.wav", mend=MEND)
        if tables["spk2grade"].setdefault(speaker, str(int(grade))) != str(int(grade)):
            problem = f"stands below grade {grade}, other files of {speaker} below {tables['spk2grade'][speaker]}"
            raise DataDirError(path, problem, mend="get the folder from the distribution again")
        if utterance in tables["utt2spk"]:
            raise DataDirError(path, f"{utterance} comes twice", mend="keep one of the files")
        if path.stat().st_size == 0:
            left_out.add(utterance, "no recording")
        elif found := left_out.words_of(utterance, transcript, CONVENTIONS, config):
            tables["wav_scp"][utterance], tables["text"][utterance] = str(path.resolve()), found.text
            tables["utt2spk"][utterance], tables["utt2style"][utterance] = speaker, style
    speakers = set(tables["utt2spk"].values())
    tables["spk2grade"] = {speaker: grade for speaker, grade in tables["spk2grade"].items() if speaker in speakers}


def scripted_texts(source: Path, wanted: set[str], left_out: LeftOut, *, unmarked: bool) -> dict[Path, str]:
    """{recording: prompt} of the scripted files with a mark that is wanted; unmarked: of all, whatever their mark."""
    prompts, texts = read_prompts(source / "docs" / "all.map"), {}
    marks = {} if unmarked else read_marks(source)
    for path in sorted((source / "speech" / "scripted").rglob("*.wav")):
        mark, key = marks.get(path.stem.lower()), path.stem[-3:-1].upper()
        if mark is None and not unmarked:
            left_out.add(path.stem, "not verified", foreseen=True)
        elif mark is not None and mark not in wanted:
            left_out.add(path.stem, f"marked {mark} ({MARKS[mark]})", foreseen=True)
        elif key not in prompts:
            left_out.add(path.stem, "prompt not in all.map")
        else:
            texts[path] = prompts[key]
    return texts


def spontaneous_texts(source: Path, left_out: LeftOut) -> dict[Path, str]:
    """{recording: transcript} of the spontaneous files."""
    texts = {}
    for path in sorted((source / "speech" / "spontaneous").rglob("*.wav")):
        transcript = (source / "trans" / path.relative_to(source / "speech")).with_suffix(".txt")
        if transcript.is_file():
            texts[path] = text_of(transcript)
        else:
            left_out.add(path.stem, "not transcribed", foreseen=True)
    return texts


def read_prompts(table: Path) -> dict[str, str]:
    """{two characters: prompt} of docs/all.map: lines 'KEY "prompt"'."""
    prompts = {}
    for number, line in text_lines(table):
        if not line.strip():
            continue
        found = re.fullmatch(r'(\w\w)\s+"(.*)"', line.strip())
        if not found:
            raise DataDirError(f"{table}:{number}", f"expected 'KEY \"prompt\"', got {line.strip()!r}", mend=MEND)
        prompts[found.group(1).upper()] = found.group(2)
    return prompts


def read_marks(source: Path) -> dict[str, str]:
    """{utterance: 1 to 4} of every *-verified.txt: lines 'path mark'."""
    marks = {}
    tables = sorted(source.rglob("*-verified.txt"))
    if not tables:
        mend = "copy the folder of the verification marks too, or take --verified any"
        raise DataDirError(source, "has no *-verified.txt with the marks of scripted files", mend=mend)
    for table in tables:
        for number, line in text_lines(table):
            fields = line.split()
            if fields and (len(fields) != 2 or fields[1] not in MARKS):
                raise DataDirError(f"{table}:{number}", f"expected 'path 1..4', got {line.strip()!r}", mend=MEND)
            if fields:
                marks[Path(fields[0].replace("\\", "/")).stem.lower()] = fields[1]
    return marks


if __name__ == "__main__":
    run_preparation(app)
