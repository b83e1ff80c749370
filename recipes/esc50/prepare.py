"""ESC-50 (Piczak 2015, doi 10.1145/2733373.2806390; github.com/karolpiczak/ESC-50) as noise for training and tests.

What: 2000 clips of 5 s at 44.1 kHz from freesound.org, 40 of each of 50 classes: animals, nature, people (laughing,
crying babies, footsteps: no speech), indoors, city.  Licence: CC BY-NC 3.0, a clip's author in LICENSE.
Kept: all classes, or those of --classes.
Dropped: unreadable and silent clips, counted and named; more than --max-failed of them is an error.
Split: the corpus's own folds, which never part clips of one recording: 1 to 3 train, 4 dev, 5 test.

usage: python recipes/esc50/prepare.py --source CORPUS --out DATA [--download] [--classes rain,wind]
writes DATA/noise/{train,dev,test}/CLASS/*.wav and DATA/noise/sources.tsv
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.errors import AudioError, ConfigError
from kaldi_bridge.sound_sources import SoundSource, SourcesConfig, require, write_sources
from recipes.lib.corpus_root import DownloadOption, corpus_root
from recipes.lib.download import Archive
from recipes.lib.preparation import run_preparation

ARCHIVES = (  # GitHub packs its zip anew at will: the digest is that of the copy which PaddleAudio keeps
    Archive(
        url="https://paddleaudio.bj.bcebos.com/datasets/ESC-50-master.zip",
        digest="md5:7771e4b9d86d0945acce719c7a59305a",
        mirrors=("https://github.com/karolpiczak/ESC-50/archive/master.zip",),
    ),
)
PART_OF_FOLD = {"1": "train", "2": "train", "3": "train", "4": "dev", "5": "test"}
META = "meta/esc50.csv"
COLUMNS = ("filename", "fold", "category", "src_file")
MEND = "give --source the unpacked ESC-50, which holds audio and meta/esc50.csv"
app = app_for("recipes/esc50/prepare.py", "ESC-50 as noise for training and tests.")


@app.command()
def prepare(
    source: Annotated[Path, typer.Option("--source", help="the unpacked ESC-50")],
    out: Annotated[Path, typer.Option("--out", help="folder to write noise/ into")],
    classes: Annotated[str, typer.Option("--classes", help="comma-separated; all if not given")] = "",
    max_failed: Annotated[float, typer.Option("--max-failed", help="share that may be unusable")] = 0.05,
    sample_rate: Annotated[int, typer.Option("--sample-rate", help="Hz")] = 16000,
    jobs: Annotated[int | None, typer.Option("--jobs", help="processes; all cores if not given")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace what stands at --out")] = False,
    download: DownloadOption = False,
) -> None:
    """Write the clips as mono wav, split by the corpus's folds."""
    source = corpus_root(source, META, ARCHIVES, download=download)
    require(source, ("audio", META), MEND)
    found = list(_clips(source))
    known = {clip.kind for clip, _ in found}
    wanted = {name.strip() for name in classes.split(",")} if classes else known
    if strange := sorted(wanted - known):
        raise ConfigError(
            "--classes", f"there is no class {strange[0]!r}", mend=f"choose from: {', '.join(sorted(known))}"
        )
    _refuse_split_recordings(source, found)
    config = SourcesConfig(sample_rate=sample_rate, max_failed=max_failed)
    chosen = [clip for clip, _ in found if clip.kind in wanted]
    write_sources(chosen, out / "noise", source, config, jobs=jobs, force=force)


def _clips(source: Path) -> Iterator[tuple[SoundSource, str]]:
    """(clip, the recording it was cut from) of every row of the table."""
    with open(source / META, encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        if lacking := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
            raise AudioError(source / META, f"has no column {lacking[0]!r}", mend=MEND)
        for number, row in enumerate(rows, start=2):
            if row["fold"] not in PART_OF_FOLD:
                raise AudioError(f"{source / META}:{number}", f"fold {row['fold']!r} is none of 1 to 5", mend=MEND)
            file = source / "audio" / row["filename"]
            if not file.is_file():
                raise AudioError(f"{source / META}:{number}", f"no recording at {file}", mend=MEND)
            part = PART_OF_FOLD[row["fold"]]
            yield SoundSource(file=file, name=file.stem, kind=row["category"], part=part), row["src_file"]


def _refuse_split_recordings(source: Path, found: list[tuple[SoundSource, str]]) -> None:
    """Clips of one recording must lie in one part."""
    home: dict[str, str] = {}
    for clip, recording in found:
        if home.setdefault(recording, clip.part) != clip.part:
            problem = f"clips of recording {recording} are in {home[recording]} and in {clip.part}"
            raise AudioError(source / META, problem, mend="use the table of the distribution unchanged")


if __name__ == "__main__":
    run_preparation(app)
