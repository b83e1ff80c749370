"""CMU Kids (Eskenazi, Mostow and Graff 1997; LDC97S63) as Kaldi data directories.

Who: 76 children of Pittsburgh, 6 to 11 years, 52 girls and 24 boys, grades 1 to 3 (one child of grade 6), reading 5180
sentences aloud, about 9 hours at 16 kHz.  44 of them are good readers (SUM95); 32 are at risk of growing up poor
readers (FP) and read with errors, dialect and false starts.  Where: the Linguistic Data Consortium (user agreement).

Text: what was said (tables/transcrp.tbl); --text prompt takes what stood on the screen, as Kaldi's recipe does.  In
what was said, [noise] and its kin are noises, /phones/ are sounds that are no word (unclear), br- is a partial word.
Left out: utterances without a recording (more than a tenth stop the preparation) and without a word.
Split: the corpus has none; every fifth child is test, every eighth of the others dev, in order of age and of a hash of
the name (--seed, --lists for other splits); children whose age is not known are in train, which then has no spk2age.
Lexicon: the corpus's own, tables/alignmnt.dic.

usage: python recipes/cmu_kids/prepare.py --source CORPUS --out DATA
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli import app_for
from harness.config import load_config, to_plain
from harness.errors import DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.text_tables import text_lines
from recipes.lib.corpus import LeftOut, Lists, Out, Overrides, Seed, Source, sets_of, write_lexicon, write_sets
from recipes.lib.plain_wav import Jobs, Wav, as_plain_wav
from recipes.lib.preparation import run_preparation
from recipes.lib.transcripts import PLAIN, Conventions, TranscriptConfig

TEST_EVERY, DEV_EVERY = 5, 8
CONVENTIONS = Conventions(
    marks=(
        ("nothing", r"\[sil\]"),
        ("noise", r"\[[^\]]*\]"),
        ("unclear", r"/[^/]*/"),
        *PLAIN.marks,
    ),
    fillers=PLAIN.fillers,
)
TABLES = ("speaker.tbl", "sentence.tbl", "transcrp.tbl", "alignmnt.dic")
MEND = "give --source the folder that holds kids and tables of the unpacked LDC97S63"
app = app_for("recipes/cmu_kids/prepare.py", "CMU Kids as Kaldi data directories.")


@app.command()
def prepare(
    source: Source,
    out: Out,
    text: Annotated[Literal["spoken", "prompt"], typer.Option("--text", help="what was said, or what was shown")] = (
        "spoken"
    ),
    lexicon: Annotated[Path | None, typer.Option("--lexicon", help="instead of tables/alignmnt.dic")] = None,
    lists: Lists = None,
    seed: Seed = 0,
    wav: Wav = False,
    jobs: Jobs = None,
    overrides: Overrides = None,
) -> None:
    """Write train, dev and test with ages and genders, and the lexicon."""
    config = load_config(TranscriptConfig, None, overrides or [])
    root = source if (source / "tables").is_dir() else source / "cmu_kids"
    for name in ("kids", *(f"tables/{table}" for table in TABLES)):
        if not (root / name).exists():
            raise DataDirError(root / name, "is missing from the corpus", mend=MEND)
    left_out = LeftOut()
    ages, population = read_speakers(root / "tables" / "speaker.tbl")
    data = read_utterances(root, out, text, config, left_out, ages)
    left_out.refuse_too_many(root, len(data.utt2spk), MEND)
    data.tables["spk2population"] = {speaker: population[speaker] for speaker in data.speakers}
    groups = {speaker: ages[speaker] for speaker in data.speakers if ages[speaker]}
    sets = sets_of(
        data, out, groups, left_out, lists=lists, test_every=TEST_EVERY, dev_every=DEV_EVERY, seed=seed
    )  # fmt: skip
    for name, part in sets.items():
        if set(part.speakers) - set(groups):
            sets[name] = part.without("spk2age")  # Kaldi wants the ages of all, or of nobody
    if wav:
        sets = as_plain_wav(sets, out, jobs=jobs)
    write_sets(out, sets, left_out, corpus="cmu_kids", text=text, transcripts=to_plain(config), seed=seed)
    write_lexicon(
        lexicon or root / "tables" / "alignmnt.dic", out, sets, unknown_word=config.unknown_word, skip=("[", "/", "+")
    )


def read_utterances(
    root: Path, out: Path, text: str, config: TranscriptConfig, left_out: LeftOut, ages: dict[str, str]
) -> DataDir:
    """Every utterance with a recording and a word, in one data directory."""
    prompts = read_prompts(root / "tables" / "sentence.tbl")
    wav, texts, utt2spk, bins = {}, {}, {}, {}
    table = root / "tables" / "transcrp.tbl"
    for number, line in text_lines(table):
        if not line.strip():
            continue
        utterance, _, spoken = line.strip().partition(" ")
        utterance, _, rest = utterance.partition("\t")
        speaker, sentence = utterance[:4], utterance[4:7]
        if len(utterance) != 8 or speaker not in ages or utterance[0] not in "fm":
            problem = f"{utterance!r} is no utterance of a speaker in speaker.tbl"
            raise DataDirError(f"{table}:{number}", problem, mend="get the table from the distribution again")
        if utterance in utt2spk:
            raise DataDirError(f"{table}:{number}", f"{utterance} comes twice", mend="keep one of the lines")
        if sentence not in prompts:
            raise DataDirError(f"{table}:{number}", f"{utterance}: sentence.tbl lacks sentence {sentence}", mend=MEND)
        path = root / "kids" / speaker / "signal" / f"{utterance}.sph"
        if not path.is_file() or path.stat().st_size == 0:
            left_out.add(utterance, "no recording")
            continue
        raw = f"{rest} {spoken}" if text == "spoken" else prompts[sentence]
        if transcript := left_out.words_of(utterance, raw, CONVENTIONS, config):
            wav[utterance], texts[utterance] = str(path.resolve()), transcript.text
            utt2spk[utterance], bins[utterance] = speaker, utterance[7]
    speakers = set(utt2spk.values())
    return DataDir.build(
        out, wav_scp=wav, text=texts, utt2spk=utt2spk, utt2bin=bins,
        spk2gender={speaker: speaker[0] for speaker in speakers},
        spk2age={speaker: ages[speaker] for speaker in speakers if ages[speaker]},
    )  # fmt: skip


def read_speakers(table: Path) -> tuple[dict[str, str], dict[str, str]]:
    """{speaker: age in years, or '' where it is not known}, {speaker: SUM95 or FP}; two lines of heading."""
    ages, population = {}, {}
    for number, line in list(text_lines(table))[2:]:
        if not line.strip():
            continue
        fields = line.split()
        grade_and_age = fields[2].split("/") if len(fields) == 5 else []
        if len(grade_and_age) != 2 or not (grade_and_age[1].isdecimal() or grade_and_age[1] == "NA"):
            problem = f"expected 'speaker population grade/age utterances bin2', got {line.strip()!r}"
            raise DataDirError(f"{table}:{number}", problem, mend="get the table from the distribution again")
        ages[fields[0]] = "" if grade_and_age[1] == "NA" else grade_and_age[1]
        population[fields[0]] = fields[1]
    return ages, population


def read_prompts(table: Path) -> dict[str, str]:
    """{sentence: text on the screen} of sentence.tbl: sentence, how often it was read, text."""
    prompts = {}
    for number, line in text_lines(table):
        fields = line.strip().split(None, 2)
        if line.strip() and len(fields) != 3:
            raise DataDirError(f"{table}:{number}", f"expected 'sentence count text', got {line.strip()!r}", mend=MEND)
        if fields:
            prompts[fields[0]] = fields[2]
    return prompts


if __name__ == "__main__":
    run_preparation(app)
