"""Audio files with transcripts in text files, JSON or CSV, as Kaldi data directories.

Who: whoever speaks in them.  Transcripts stand beside the audio (x.wav, x.txt or x.lab), or in one table
(--transcripts): .csv or .tsv with a header, .jsonl, or .json: a list of objects, or {file: text}.  Columns, keys: file
(audio, path, wav, audio_filepath, filename), text (transcript, transcription, sentence), and if there are any speaker
(speaker_id, client_id, child), age, gender (sex), start and end in seconds.  Without speakers in the table a file's
folder is its speaker; in one flat folder --speaker REGEX takes the first group found in the file name.
Text: recipes/lib/transcripts.py's plain conventions (upper case, no punctuation, numbers spelled out, "bro-" is a
partial word, um and uh are fillers), --set FIELD=VALUE changes what becomes of each; --raw-text leaves it as it is.
Dropped, with counts: audio without transcript, rows without audio, transcripts without words; past --max-lost an error.
Split: every 5th speaker test, every 7th of the others dev, ages balanced where known; --part puts all into one set.

usage: python recipes/folder/prepare.py --source FOLDER --out DATA [--transcripts FILE] [--lexicon FILE]
writes DATA/{train,dev,test}, DATA/local/prepared.json and, with --lexicon, DATA/local/lexicon.txt
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli import app_for
from harness.config import load_config
from harness.errors import ConfigError, DataDirError
from recipes.lib.corpus import LeftOut, Out, Overrides, write_lexicon, write_sets
from recipes.lib.preparation import run_preparation
from recipes.lib.spoken import (
    DevEvery,
    LexiconOption,
    MaxLost,
    PartOption,
    RawText,
    SeedOption,
    Spoken,
    TestEvery,
    data_dir_of,
    keep_recorded,
    parted,
)
from recipes.lib.transcripts import PLAIN, TranscriptConfig

AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph")
BESIDE = (".txt", ".lab")
NAMES = {  # of a column: what it may be called
    "file": ("file", "audio", "path", "wav", "audio_filepath", "filename", "file_name"),
    "text": ("text", "transcript", "transcription", "sentence", "words"),
    "speaker": ("speaker", "speaker_id", "client_id", "child", "spk"),
    "age": ("age",),
    "gender": ("gender", "sex"),
    "start": ("start", "offset"),
    "end": ("end",),
}
GENDERS = {"m": "m", "male": "m", "boy": "m", "f": "f", "female": "f", "girl": "f"}
MEND = "put x.txt beside x.wav, or give a table with --transcripts"
app = app_for("recipes/folder/prepare.py", "Audio with transcripts as Kaldi data directories.")


@app.command()
def prepare(
    source: Annotated[Path, typer.Option("--source", help="folder of the audio; relative files of a table start here")],
    out: Out,
    transcripts: Annotated[Path | None, typer.Option("--transcripts", help=".csv, .tsv, .json or .jsonl")] = None,
    speaker: Annotated[str, typer.Option("--speaker", help="regular expression: its first group is the speaker")] = "",
    lexicon: LexiconOption = None,
    part: PartOption = "",
    test_every: TestEvery = 5,
    dev_every: DevEvery = 7,
    seed: SeedOption = 0,
    raw_text: RawText = False,
    overrides: Overrides = None,
    max_lost: MaxLost = 0.1,
) -> None:
    """Write the data directories, split by speaker."""
    if not source.is_dir():
        raise DataDirError(source, "no such folder", mend="check the path after --source")
    left_out = LeftOut(max_share=max_lost)
    pattern = _pattern(speaker)
    rows = _beside(source, left_out) if transcripts is None else _table(transcripts)
    spoken = keep_recorded([_spoken(row, where, source, pattern) for where, row in rows], left_out)
    if not raw_text:
        spoken = _clean(spoken, left_out, load_config(TranscriptConfig, None, overrides=overrides or []))
    left_out.refuse_too_many(source, len(spoken), MEND)
    data = data_dir_of(spoken, source)
    sets = parted(data, part, test_every=test_every, dev_every=dev_every, seed=seed)
    write_sets(out, sets, left_out, corpus="folder")
    if lexicon is not None:
        write_lexicon(lexicon, out, sets)


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        pattern = re.compile(text) if text else None
    except re.error as error:
        raise ConfigError(
            "--speaker", f"is no regular expression ({error})", mend="such as '^(child[0-9]+)_'"
        ) from None
    if pattern is not None and not pattern.groups:
        raise ConfigError("--speaker", "has no group", mend="put what names the speaker into ( )")
    return pattern


def _beside(source: Path, left_out: LeftOut) -> Iterator[tuple[str, dict[str, str]]]:
    """A row of every audio file with a text file beside it; audio without one is counted."""
    files = sorted(path for path in _below(source) if path.suffix.lower() in AUDIO and path.is_file())
    if not files:
        raise DataDirError(source, "holds no audio files", mend=MEND)
    for file in files:
        text = next((path for suffix in BESIDE if (path := file.with_suffix(suffix)).is_file()), None)
        if text is None:
            left_out.add(str(file.relative_to(source)), "no transcript beside the audio")
            continue
        yield str(text), {"file": str(file), "text": " ".join(_read(text).split())}


def _below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, also behind links to folders, which rglob passes over; each folder once."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
        else:
            yield from (Path(place, name) for name in names)
        seen.add(real)


def _table(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(file:line, row with our names) of a table of transcripts."""
    match path.suffix.lower():
        case ".csv" | ".tsv":
            numbered: Iterator[tuple[int, Any]] = _rows(path, "\t" if path.suffix.lower() == ".tsv" else ",")
        case ".jsonl":
            lines = enumerate(_read(path).split("\n"), start=1)
            numbered = ((number, _json(line, f"{path}:{number}")) for number, line in lines if line.strip())
        case ".json":
            whole = _json(_read(path), str(path))
            if isinstance(whole, dict):
                whole = [{"file": file, "text": text} for file, text in whole.items()]
            if not isinstance(whole, list):
                raise DataDirError(path, "is no list of objects", mend='such as [{"file": "x.wav", "text": "hello"}]')
            numbered = iter(enumerate(whole, start=1))
        case _:
            raise DataDirError(path, "is no .csv, .tsv, .json or .jsonl", mend="give one of these")
    for number, row in numbered:
        yield f"{path}:{number}", _named(row, f"{path}:{number}")


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a table with a header; a quotation mark that is never closed would swallow the rows after it."""
    rows = csv.DictReader(io.StringIO(_read(path)), delimiter=delimiter, strict=True)
    try:
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        mend = 'write a field with quotation marks as "she said ""yes"" twice"'
        raise DataDirError(f"{path}:{rows.line_num + 1}", f"is no line of a table ({error})", mend=mend) from None


def _named(row: object, where: str) -> dict[str, Any]:
    """A row with our names of its columns.  Raises DataDirError where file or text is lacking."""
    if not isinstance(row, dict):
        raise DataDirError(where, "is no object with keys", mend='such as {"file": "x.wav", "text": "hello"}')
    lower = {str(key).strip().lower(): value for key, value in row.items() if value is not None}
    named = {ours: lower[name] for ours, names in NAMES.items() for name in reversed(names) if name in lower}
    if lacking := [name for name in ("file", "text") if name not in named]:
        problem = f"has no {lacking[0]}, only {', '.join(sorted(lower)) or 'nothing'}"
        raise DataDirError(where, problem, mend=f"name a column one of: {', '.join(NAMES[lacking[0]])}")
    return named


def _spoken(row: Mapping[str, Any], where: str, source: Path, pattern: re.Pattern[str] | None) -> Spoken:
    """A row as an utterance.  Raises DataDirError: no speaker in the file name, odd age, gender or times."""
    file = (source / str(row["file"])).absolute()
    try:
        name = file.relative_to(source.absolute()).with_suffix("")
    except ValueError:
        name = Path(file.stem)
    speaker = str(row.get("speaker", "")).strip() or ("/".join(name.parts[:-1]) if pattern is None else "")
    if not speaker and pattern is not None:
        found = pattern.search(str(name))
        if found is None or not found.group(1):
            raise DataDirError(where, f"--speaker finds nothing in {name}", mend="correct the regular expression")
        speaker = found.group(1)
    if not speaker:
        mend = "put each speaker's files into a folder, add a column speaker, or give --speaker"
        raise DataDirError(where, f"who speaks in {name} is not known", mend=mend)
    start, end = _seconds(row, "start", where), _seconds(row, "end", where)
    start = 0.0 if start is None and end is not None else start
    own = str(name).removeprefix(f"{speaker}/")  # the folder of the speaker need not come twice
    return Spoken(
        speaker=speaker, name=own if start is None else f"{own}-{round(1000 * start):07d}", recording=str(file),
        text=str(row["text"]).strip(), start=start, end=end, age=_age(row, where), gender=_gender(row, where),
    )  # fmt: skip


def _seconds(row: Mapping[str, Any], key: str, where: str) -> float | None:
    if str(row.get(key, "")).strip() == "":
        return None
    try:
        return float(row[key])
    except (TypeError, ValueError):
        raise DataDirError(where, f"{key} {row[key]!r} is no number of seconds", mend="such as 1.25") from None


def _age(row: Mapping[str, Any], where: str) -> str:
    age = str(row.get("age", "")).strip()
    if age and not re.fullmatch(r"[1-9][0-9]?(\.[0-9]+)?", age):
        raise DataDirError(where, f"age {age!r} is no number of years", mend="such as 8, or leave it empty")
    return age


def _gender(row: Mapping[str, Any], where: str) -> str:
    gender = str(row.get("gender", "")).strip().lower()
    if gender and gender not in GENDERS:
        raise DataDirError(where, f"gender {gender!r} is not known", mend=f"one of {', '.join(GENDERS)}, or empty")
    return GENDERS.get(gender, "")


def _clean(spoken: list[Spoken], left_out: LeftOut, config: TranscriptConfig) -> list[Spoken]:
    """The words of the transcripts; utterances without any are counted."""
    cleaned = []
    for one in spoken:
        transcript = left_out.words_of(f"{one.speaker}/{one.name}", one.text, PLAIN, config)
        if transcript is not None:
            cleaned.append(replace(one, text=transcript.text))
    return cleaned


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataDirError(path, "no such file", mend="check the path") from None
    except UnicodeDecodeError:
        raise DataDirError(path, "is not UTF-8", mend="convert it: iconv -t utf-8") from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataDirError(where, f"is no JSON ({error})", mend="write one object a line, or one list") from None


if __name__ == "__main__":
    run_preparation(app)
