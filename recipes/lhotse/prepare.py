"""lhotse's manifests as Kaldi data directories; `python -m kaldi_bridge to-lhotse` is the way back.

Who: whoever speaks in them; gender and custom["age"] of the supervisions are kept.  lhotse need not be installed: its
JSON lines are read as they are (recordings and supervisions, or cuts of one channel; files or commands).
Text: recipes/lib/transcripts.py's plain conventions, --set FIELD=VALUE changes them; --raw-text leaves it as it is.
Dropped, with counts: supervisions without words, recordings that are missing or unreadable; past --max-lost an error.
Split: folders train, test (and dev) below --source stay as they are; the manifests of one folder are split by speaker,
every 5th test, every 7th of the others dev, ages balanced where known; --part puts all into one set.

usage: python recipes/lhotse/prepare.py --source MANIFESTS --out DATA [--lexicon FILE]
writes DATA/{train,dev,test}, DATA/local/prepared.json and, with --lexicon, DATA/local/lexicon.txt
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.config import load_config
from harness.errors import DataDirError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.lhotse_manifests import Supervision, read_manifests
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

MEND = "check the manifests; relative recordings start at the working directory"
app = app_for("recipes/lhotse/prepare.py", "lhotse's manifests as Kaldi data directories.")


@app.command()
def prepare(
    source: Annotated[Path, typer.Option("--source", help="folder of the manifests, or of folders train and test")],
    out: Out,
    lexicon: LexiconOption = None,
    part: PartOption = "",
    test_every: TestEvery = 5,
    dev_every: DevEvery = 7,
    seed: SeedOption = 0,
    raw_text: RawText = False,
    overrides: Overrides = None,
    max_lost: MaxLost = 0.1,
) -> None:
    """Write the data directories."""
    if not source.is_dir():
        raise DataDirError(source, "no such folder", mend="check the path after --source")
    left_out = LeftOut(max_share=max_lost)
    config = None if raw_text else load_config(TranscriptConfig, None, overrides=overrides or [])
    parts = {name: source / name for name in ("train", "dev", "test") if (source / name).is_dir()}
    if {"train", "test"} <= parts.keys():
        sets = {name: _data_dir(folder, left_out, config) for name, folder in parts.items()}
    else:
        data = _data_dir(source, left_out, config)
        sets = parted(data, part, test_every=test_every, dev_every=dev_every, seed=seed)
    left_out.refuse_too_many(source, sum(len(data.utterances) for data in sets.values()), MEND)
    write_sets(out, sets, left_out, corpus="lhotse")
    if lexicon is not None:
        write_lexicon(lexicon, out, sets)


def _data_dir(folder: Path, left_out: LeftOut, config: TranscriptConfig | None) -> DataDir:
    """The manifests of one folder; with a config, their words cleaned."""
    spoken = []
    for one in read_manifests(folder):
        text = one.text
        if config is not None or not text:
            transcript = left_out.words_of(one.name, text, PLAIN, config or TranscriptConfig())
            if transcript is None:
                continue
            text = transcript.text
        spoken.append(_spoken(one, text))
    kept = keep_recorded(spoken, left_out)
    left_out.refuse_too_many(folder, len(kept), MEND)
    return data_dir_of(kept, folder)


def _spoken(one: Supervision, text: str) -> Spoken:
    name = one.name.removeprefix(f"{one.speaker}-")  # ids begin with the speaker anyway
    return Spoken(
        speaker=one.speaker, name=name, recording=one.recording, text=text, start=one.start, end=one.end, age=one.age,
        gender=one.gender,
    )  # fmt: skip


if __name__ == "__main__":
    run_preparation(app)
