"""LibriSpeech (Panayotov, Chen, Povey and Khudanpur, ICASSP 2015; OpenSLR SLR12; CC BY 4.0) as Kaldi data directories.

Who: 2484 adult volunteers reading audio books in English, about 1000 hours of 16 kHz FLAC: out-of-domain speech beside
children's, and a corpus on which a setup can be compared with published figures.  Where: openslr.org/12 (--download).

Left out: nothing but utterances without a recording (more than a tenth stop the preparation).  Text: as distributed, in
capitals, without punctuation.  Split: the published subsets, which share no reader; --train, --dev and --test name
those to take, several with commas.  Lexicon: --lexicon, or librispeech-lexicon.txt of SLR11 (fetched with --download).

usage: python recipes/librispeech/prepare.py --source CORPUS --out DATA [--download] [--train train-clean-100]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.errors import ConfigError, DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.text_tables import key_and_value, text_lines
from recipes.lib.corpus import LeftOut, Out, Source, write_lexicon, write_sets
from recipes.lib.download import Archive, fetch, unpack
from recipes.lib.plain_wav import Jobs, Wav, as_plain_wav
from recipes.lib.preparation import run_preparation

MIRROR = "https://us.openslr.org"
SUBSETS = {  # md5 as published beside the archives
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}
LEXICON, LEXICON_MD5 = "librispeech-lexicon.txt", "28f72663f6bfed7cd346283c064c315b"
MEND = "give --source the folder that holds SPEAKERS.TXT and the subsets, or add --download"
app = app_for("recipes/librispeech/prepare.py", "LibriSpeech as Kaldi data directories.")


@app.command()
def prepare(
    source: Source,
    out: Out,
    train: Annotated[str, typer.Option("--train", help="subsets for train, with commas")] = "train-clean-100",
    dev: Annotated[str, typer.Option("--dev", help="subsets for dev")] = "dev-clean",
    test: Annotated[str, typer.Option("--test", help="subsets for test")] = "test-clean",
    lexicon: Annotated[Path | None, typer.Option("--lexicon", help=f"instead of SOURCE/{LEXICON}")] = None,
    download: Annotated[bool, typer.Option("--download", help="fetch what is missing into --source")] = False,
    server: Annotated[str, typer.Option("--server", help="where to fetch it")] = "https://www.openslr.org",
    wav: Wav = False,
    jobs: Jobs = None,
) -> None:
    """Write train, dev and test with genders, and the lexicon."""
    subsets = {name: _subsets(name, text) for name, text in (("train", train), ("dev", dev), ("test", test))}
    if download:
        fetch_corpus(source, [subset for names in subsets.values() for subset in names], server, lexicon is None)
    root = source / "LibriSpeech" if (source / "LibriSpeech").is_dir() else source
    left_out = LeftOut()
    genders = read_genders(root / "SPEAKERS.TXT")
    sets = {name: read_set(root, names, out / name, genders, left_out) for name, names in subsets.items()}
    left_out.refuse_too_many(root, sum(len(data.utt2spk) for data in sets.values()), MEND)
    if wav:
        sets = as_plain_wav(sets, out, jobs=jobs)
    write_sets(out, sets, left_out, corpus="librispeech", subsets=subsets)
    write_lexicon(lexicon or source / LEXICON, out, sets)


def _subsets(option: str, text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if not names or (strange := [name for name in names if name not in SUBSETS]):
        problem = f"knows no subset {strange[0]!r}" if names else "names no subset"
        raise ConfigError(f"--{option}", problem, mend=f"choose from: {', '.join(SUBSETS)}")
    return names


def fetch_corpus(source: Path, subsets: list[str], server: str, with_lexicon: bool) -> None:
    """Fetch and unpack the archives that are missing below ``source``; each is removed when its subset is there."""
    for subset in subsets:
        if (source / "LibriSpeech" / subset).is_dir():
            continue
        path = f"resources/12/{subset}.tar.gz"
        archive = Archive(url=f"{server}/{path}", digest=f"md5:{SUBSETS[subset]}", mirrors=(f"{MIRROR}/{path}",))
        fetched = fetch(archive, source / "downloads")
        unpacked = unpack(fetched, source / f".{subset}")
        (source / "LibriSpeech").mkdir(exist_ok=True)
        for item in sorted((unpacked / "LibriSpeech").iterdir(), key=lambda item: item.name == subset):
            item.replace(source / "LibriSpeech" / item.name)  # the subset last: it says that all is there
        (unpacked / "LibriSpeech").rmdir()
        unpacked.rmdir()
        fetched.unlink()
    if with_lexicon and not (source / LEXICON).is_file():
        fetch(Archive(url=f"{server}/resources/11/{LEXICON}", digest=f"md5:{LEXICON_MD5}"), source)


def read_genders(table: Path) -> dict[str, str]:
    """{reader: m or f} of SPEAKERS.TXT: 'reader | sex | subset | minutes | name', comments after ';'."""
    if not table.is_file():
        raise DataDirError(table, "is missing from the corpus", mend=MEND)
    genders = {}
    for number, line in text_lines(table):
        if not line.strip() or line.startswith(";"):
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) < 5 or fields[1] not in ("F", "M"):
            problem = f"expected 'reader | F or M | subset | minutes | name', got {line.strip()!r}"
            raise DataDirError(f"{table}:{number}", problem, mend="get the table from the distribution again")
        genders[fields[0]] = fields[1].lower()
    return genders


def read_set(root: Path, subsets: list[str], path: Path, genders: dict[str, str], left_out: LeftOut) -> DataDir:
    """Subsets as one data directory; speakers are readers."""
    wav, texts, utt2spk = {}, {}, {}
    for subset in subsets:
        if not (root / subset).is_dir():
            raise DataDirError(root / subset, "is missing from the corpus", mend=MEND)
        for table in sorted((root / subset).glob("*/*/*.trans.txt")):
            reader = table.parent.parent.name
            if reader not in genders:
                raise DataDirError(table, f"SPEAKERS.TXT lacks reader {reader}", mend=MEND)
            for number, line in text_lines(table):
                utterance, words = key_and_value(line)
                recording = table.parent / f"{utterance}.flac"
                if not utterance.startswith(f"{reader}-{table.parent.name}-") or not words:
                    problem = f"expected '{reader}-{table.parent.name}-NUMBER WORDS', got {line.strip()!r}"
                    raise DataDirError(f"{table}:{number}", problem, mend="get the file from the distribution again")
                if not recording.is_file() or recording.stat().st_size == 0:
                    left_out.add(utterance, "no recording")
                    continue
                wav[utterance], texts[utterance], utt2spk[utterance] = str(recording.resolve()), words, reader
    speakers = {reader: genders[reader] for reader in set(utt2spk.values())}
    return DataDir.build(path, wav_scp=wav, text=texts, utt2spk=utt2spk, spk2gender=speakers)


if __name__ == "__main__":
    run_preparation(app)
