"""MUSAN (Snyder, Chen & Povey 2015, arXiv:1510.08484; OpenSLR SLR17) as noise for training and tests.

What: 109 hours at 16 kHz: 930 noises (technical and ambient, free-sound and sound-bible), 660 pieces of music, 426
recordings of speech (LibriVox in twelve languages; US government hearings).  Adults speak, no children.  Licence:
public domain or Creative Commons, named recording by recording in the LICENSE files beside them.
Kept: noise, unless --kinds asks for music and speech too (speech: for babble; it must not be what is recognised).
Dropped: unreadable and silent recordings, counted and named; more than --max-failed of them is an error.
Split: 70 % train, 10 % dev, 20 % test by the hash of the name.  The 843 free-sound noises are also the point
source noises of rirs_noises: they fall into the same parts there.

usage: python recipes/musan/prepare.py --source CORPUS --out DATA [--download] [--kinds noise,music]
writes DATA/noise/{train,dev,test}/KIND/*.wav and DATA/noise/sources.tsv
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.errors import ConfigError
from kaldi_bridge.sound_sources import SoundSource, SourcesConfig, part_of, require, write_sources
from recipes.lib.corpus_root import DownloadOption, corpus_root
from recipes.lib.download import Archive
from recipes.lib.preparation import run_preparation

ARCHIVES = (
    Archive(
        url="https://www.openslr.org/resources/17/musan.tar.gz",
        digest="md5:0c472d4fc0c5141eca47ad1ffeb2a7df",  # of openslr.org
        mirrors=("https://openslr.trmal.net/resources/17/musan.tar.gz",),
    ),
)
KINDS = ("noise", "music", "speech")
MEND = "give --source the folder musan of the unpacked SLR17, which holds music, noise and speech"
app = app_for("recipes/musan/prepare.py", "MUSAN as noise for training and tests.")


@app.command()
def prepare(
    source: Annotated[Path, typer.Option("--source", help="the folder musan, as SLR17 unpacks it")],
    out: Annotated[Path, typer.Option("--out", help="folder to write noise/ into")],
    kinds: Annotated[str, typer.Option("--kinds", help="of noise, music, speech")] = "noise",
    longest: Annotated[float, typer.Option("--longest", help="seconds kept of each recording; 0: all")] = 0.0,
    max_failed: Annotated[float, typer.Option("--max-failed", help="share that may be unusable")] = 0.05,
    sample_rate: Annotated[int, typer.Option("--sample-rate", help="Hz")] = 16000,
    jobs: Annotated[int | None, typer.Option("--jobs", help="processes; all cores if not given")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace what stands at --out")] = False,
    download: DownloadOption = False,
) -> None:
    """Write the noises as mono wav, split by recording."""
    chosen = [kind.strip() for kind in kinds.split(",")]
    if strange := [kind for kind in chosen if kind not in KINDS]:
        raise ConfigError("--kinds", f"there is no kind {strange[0]!r}", mend=f"choose from: {', '.join(KINDS)}")
    source = corpus_root(source, "noise", ARCHIVES, download=download)
    require(source, chosen, MEND)
    sources = [
        SoundSource(file=file, name=file.stem, kind=f"{kind}-{file.parent.name}", part=part_of(file.stem))
        for kind in chosen
        for file in (source / kind).glob("*/*.wav")
    ]
    config = SourcesConfig(sample_rate=sample_rate, longest=longest, max_failed=max_failed)
    write_sources(sources, out / "noise", source, config, jobs=jobs, force=force)


if __name__ == "__main__":
    run_preparation(app)
