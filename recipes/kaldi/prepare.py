"""An existing Kaldi data directory as a corpus: a validated copy in order, split by speaker where it is not yet.

Who: whoever speaks in it; spk2age and spk2gender are kept.
Split: one data directory at --source is split by speaker (every 5th test, every 7th of the others dev, ages balanced
where known; --part puts all into one set); of a folder with train and test (and dev) these stay as they are, and a
missing dev is taken from the speakers of train.  Text: as it is.
Dropped, with counts: what fix_data_dir.sh drops (utterances, speakers and recordings that some table lacks, repeated
keys, Windows line ends), and utterances whose recording is not there; more than --max-lost of them is an error.
The copy names recordings, features and CMVN by absolute paths; commands in wav.scp stay as they are.  The source is not
touched.

usage: python recipes/kaldi/prepare.py --source DATA --out DIR [--lexicon FILE] [--root DIR]
writes DIR/{train,dev,test}, DIR/local/prepared.json and, with --lexicon, DIR/local/lexicon.txt
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.errors import DataDirError
from harness.log import get_logger
from kaldi_bridge.data_dir import SINGLE_VALUES, DataDir, key_kind
from kaldi_bridge.extended_names import place_of
from kaldi_bridge.fix import fix_data_dir
from kaldi_bridge.held_out import held_out_speakers
from kaldi_bridge.text_tables import read_list
from recipes.lib.corpus import LeftOut, Out, refuse_source, write_lexicon, write_sets
from recipes.lib.preparation import run_preparation
from recipes.lib.spoken import DevEvery, LexiconOption, MaxLost, PartOption, SeedOption, TestEvery, parted

MEND = "give --source a data directory (utt2spk, wav.scp, text), or a folder with train and test"
LOST_MEND = "see what is missing; relative paths in wav.scp start at --root; --max-lost allows more"
PLACES = ("wav.scp", "feats.scp", "cmvn.scp", "vad.scp")
app = app_for("recipes/kaldi/prepare.py", "An existing Kaldi data directory, validated, in order, split by speaker.")


@app.command()
def prepare(
    source: Annotated[Path, typer.Option("--source", help="a data directory, or a folder with train and test")],
    out: Out,
    lexicon: LexiconOption = None,
    root: Annotated[Path, typer.Option("--root", help="relative paths in the tables start here")] = Path(),
    part: PartOption = "",
    test_every: TestEvery = 5,
    dev_every: DevEvery = 7,
    seed: SeedOption = 0,
    max_lost: MaxLost = 0.1,
) -> None:
    """Write validated copies with absolute paths."""
    refuse_source(out, source)
    left_out = LeftOut(max_share=max_lost)
    parts = {name: source / name for name in ("train", "dev", "test") if (source / name / "utt2spk").is_file()}
    if (source / "utt2spk").is_file():
        data = _fixed(source, root, left_out)
        sets = parted(data, part, test_every=test_every, dev_every=dev_every, seed=seed)
    elif "train" in parts and "test" in parts:
        sets = {name: _fixed(path, root, left_out) for name, path in parts.items()}
        if "dev" not in sets:
            sets |= _with_dev(sets["train"], dev_every)
    else:
        raise DataDirError(source, "is no data directory and has no train and test", mend=MEND)
    left_out.refuse_too_many(source, sum(len(data.utterances) for data in sets.values()), LOST_MEND)
    write_sets(out, sets, left_out, corpus="kaldi")
    if lexicon is not None:
        write_lexicon(lexicon, out, sets)


def _with_dev(train: DataDir, every: int) -> dict[str, DataDir]:
    """train and dev out of train: every n-th speaker, ages balanced."""
    known = train.spk2age or train.spk2gender or {}
    dev = held_out_speakers({speaker: known.get(speaker, "") for speaker in train.speakers}, every)
    kept = sorted(set(train.speakers) - set(dev))
    if not kept:
        raise DataDirError(train.path, "has a single speaker, so none can be held out", mend="give a dev directory")
    return {"train": train.subset_speakers(kept), "dev": train.subset_speakers(dev)}


def _fixed(source: Path, root: Path, left_out: LeftOut) -> DataDir:
    """The directory as fix_data_dir would leave it, with absolute paths; the source stays as it is."""
    before = set(read_list(source / "utt2spk"))
    if not (source / "wav.scp").is_file():
        raise DataDirError(source / "wav.scp", "no such file", mend="make wav.scp: every stage reads the sound")
    with tempfile.TemporaryDirectory(prefix="schoolyard-") as name:
        copy = Path(name) / source.name
        copy.mkdir()
        for file in sorted(source.iterdir()):
            if file.is_file() and (key_kind(file.name) or file.name in (*SINGLE_VALUES, "spk2utt")):
                shutil.copyfile(file, copy / file.name)
        fix_data_dir(copy)
        data = DataDir.read(copy)
    for utterance in before - set(data.utterances):
        left_out.add(utterance, "not in all tables")
    data.path = source
    for table in PLACES:
        if table in data.tables:
            data.tables[table] = {key: _absolute(value, root) for key, value in data.tables[table].items()}
    return _with_recordings(data, left_out)


def _absolute(name: str, root: Path) -> str:
    """An extended file name with an absolute path; commands stay."""
    name = name.strip()
    return name if name.endswith("|") else str((root / name).absolute())


def _with_recordings(data: DataDir, left_out: LeftOut) -> DataDir:
    """Without the utterances whose recording is no file, no place in an archive and no command."""
    wav_scp = data.wav_scp or {}
    commands = sum(name.endswith("|") for name in wav_scp.values())
    if commands:
        text = "%s: %d of %d recordings are commands, kept as they are"
        get_logger("kaldi").info(text, data.path, commands, len(wav_scp))
    lost = {key for key, name in wav_scp.items() if not _is_there(name)}
    missing = [utterance for utterance in data.utterances if data.recording_of(utterance) in lost]
    for utterance in missing:
        left_out.add(utterance, "recording missing")
    if len(missing) == len(data.utterances):
        problem = f"no recording is there, the first: {min(wav_scp.items())[1]}"
        raise DataDirError(data.path / "wav.scp", problem, mend="relative paths start at --root: give it")
    return data.subset(set(data.utterances) - set(missing))


def _is_there(name: str) -> bool:
    place = place_of(name)
    return name.endswith("|") or Path(name).is_file() or (place is not None and Path(place[0]).is_file())


if __name__ == "__main__":
    run_preparation(app)
