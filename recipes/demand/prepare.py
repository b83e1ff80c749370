"""DEMAND (Thiemann, Ito & Vincent 2013; Zenodo 1227121) as noise for training and tests.

What: 18 places, 5 minutes each, 16 microphones (ch01 ... ch16) 5 to 22 cm apart; 16 and 48 kHz editions (there is no
SCAFE at 16 kHz).  People in the background are adults.  Licence: CC BY-SA 3.0 (Zenodo's own field says CC BY 4.0).
Kept: the first microphone, for the others hear the same noise; --channels takes more of them.
Dropped: unreadable and silent recordings, counted and named; places not unpacked, named.
Split: by place.  test: the five of VoiceBank-DEMAND's test set (Valentini-Botinhao 2016); train: the eight of its
training set and two that it does not use; dev: three that it does not use.

usage: python recipes/demand/prepare.py --source CORPUS --out DATA [--download] [--channels 4]
writes DATA/noise/{train,dev,test}/PLACE/*.wav and DATA/noise/sources.tsv
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.errors import AudioError, ConfigError
from harness.log import get_logger
from kaldi_bridge.sound_sources import SoundSource, SourcesConfig, write_sources
from recipes.lib.corpus_root import DownloadOption
from recipes.lib.download import Archive, fetch_and_unpack
from recipes.lib.preparation import run_preparation

PLACES = {
    "train": ("DKITCHEN", "OMEETING", "PCAFETER", "PRESTO", "PSTATION", "STRAFFIC", "TCAR", "TMETRO", "NFIELD",
              "NRIVER"),
    "dev": ("DWASHING", "NPARK", "OHALLWAY"),
    "test": ("DLIVING", "OOFFICE", "SCAFE", "SPSQUARE", "TBUS"),
}  # fmt: skip
DIGESTS = {  # of Zenodo, the 16 kHz edition
    "DKITCHEN": "7ffbf52d7f4699f96927846103dc8788", "DLIVING": "46741384d9e434a0bd8b3ec1830b6052",
    "DWASHING": "7e5ee9437ce9409c5f9a779b6212a240", "NFIELD": "a740046c6f4e174e16f5d568aaec5024",
    "NPARK": "80f1385a34d7f1705758926b57f138ce", "NRIVER": "54264db61d3fe073fb81f2e40e0d19b5",
    "OHALLWAY": "fe918bbb0e63e73d09ba7f4843ef33f1", "OMEETING": "62f7cfe7fe6d30b7d8a215fe37c2dfd2",
    "OOFFICE": "7b61cc2d182d5a654cb9c3101ddd4041", "PCAFETER": "99927d148128254141a9417d051510bb",
    "PRESTO": "b98d2e6854eeebb397f29a8ad7457092", "PSTATION": "d7448009f6c2aeb6ba570375df1750a3",
    "SPSQUARE": "205d0e7b8fe74504a2f8d252fc414b9e", "STRAFFIC": "2efa87262f272bbf9ba578088e81939c",
    "TBUS": "706b11b0d8504f9f3b3f3211e91b3863", "TCAR": "4d930012796bd298932245a26189f973",
    "TMETRO": "95daf4df678e13b120e14211e6d89571",
}  # fmt: skip
ARCHIVES = tuple(
    Archive(url=f"https://zenodo.org/records/1227121/files/{place}_16k.zip", digest=f"md5:{digest}")
    for place, digest in DIGESTS.items()
)
MICROPHONES = 16
MEND = "give --source the folder that holds DKITCHEN/ch01.wav ..., one folder a place, as the zip files unpack"
app = app_for("recipes/demand/prepare.py", "DEMAND as noise for training and tests.")


@app.command()
def prepare(
    source: Annotated[Path, typer.Option("--source", help="the folder with one folder a place")],
    out: Annotated[Path, typer.Option("--out", help="folder to write noise/ into")],
    channels: Annotated[int, typer.Option("--channels", help="microphones of each place, 1 to 16")] = 1,
    max_failed: Annotated[float, typer.Option("--max-failed", help="share that may be unusable")] = 0.05,
    sample_rate: Annotated[int, typer.Option("--sample-rate", help="Hz")] = 16000,
    jobs: Annotated[int | None, typer.Option("--jobs", help="processes; all cores if not given")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace what stands at --out")] = False,
    download: DownloadOption = False,
) -> None:
    """Write the noises as mono wav, split by place."""
    if not 1 <= channels <= MICROPHONES:
        raise ConfigError("--channels", f"must lie between 1 and {MICROPHONES}, got {channels}", mend="change it")
    if download:
        fetch_and_unpack(ARCHIVES, source / "downloads", source)
    part_of = {place: part for part, places in PLACES.items() for place in places}
    folders = {place: folder for place in part_of if (folder := _folder(source, place)) is not None}
    microphones = [f"ch{number:02d}" for number in range(1, channels + 1)]
    sources = [_source(folders[place], name, part_of[place]) for place in folders for name in microphones]
    missing = sorted(part_of.keys() - folders.keys())
    if not sources:
        raise AudioError(source, "holds none of the 18 places of DEMAND", mend=MEND)
    if missing:
        get_logger("demand").warning("%d of 18 places are not there: %s", len(missing), ", ".join(missing))
    config = SourcesConfig(sample_rate=sample_rate, max_failed=max_failed)
    write_sources(sources, out / "noise", source, config, jobs=jobs, force=force)


def _folder(source: Path, place: str) -> Path | None:
    """PLACE, or as the zip file of an edition unpacks it into a folder of its own."""
    choices = (source / place, source / f"{place}_16k" / place, source / f"{place}_48k" / place)
    return next((folder for folder in choices if folder.is_dir()), None)


def _source(place: Path, microphone: str, part: str) -> SoundSource:
    file = place / f"{microphone}.wav"
    if not file.is_file():
        raise AudioError(file, "is missing from the corpus", mend=MEND)
    return SoundSource(file=file, name=f"{place.name}-{microphone}", kind=place.name, part=part)


if __name__ == "__main__":
    run_preparation(app)
