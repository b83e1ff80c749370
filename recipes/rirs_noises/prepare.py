"""RIRS_NOISES (Ko et al. 2017, doi 10.1109/ICASSP.2017.7953152; OpenSLR SLR28) as rooms and noise.

What: 16 kHz.  60000 simulated room responses (small, medium and large rooms, 200 each, 100 places a room); 325 real
ones (RWCP, REVERB 2014, Aachen AIR), several channels; isotropic noises of the same real rooms; 843 point source noises
(the free-sound part of MUSAN).  Licence: Apache 2.0 for the collection, the point source noises each by its own.
Kept: the first channel of a response, its peak at 0.9; of the simulated rooms --per-room places each (the first ones in
the list), in the sizes of --sizes; all the real ones and all noises.
Dropped: the other places, unreadable and silent recordings, counted and named.
Split: by room (its noises go with it) and by point source, by the hash of the name: 70 % train, 10 % dev, 20 % test; a
point source noise falls into the part where MUSAN's preparation puts the same recording.

usage: python recipes/rirs_noises/prepare.py --source CORPUS --out DATA [--download] [--sizes smallroom] [--per-room 5]
writes DATA/rooms/{train,dev,test}/KIND/*.wav and DATA/noise/{train,dev,test}/KIND/*.wav, each with sources.tsv
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import app_for
from harness.errors import AudioError, ConfigError
from harness.log import get_logger
from kaldi_bridge.sound_sources import SoundSource, SourcesConfig, part_of, require, write_sources
from kaldi_bridge.text_tables import fields_of, text_lines
from recipes.lib.corpus_root import DownloadOption, corpus_root
from recipes.lib.download import Archive
from recipes.lib.preparation import run_preparation

ARCHIVES = (
    Archive(
        url="https://www.openslr.org/resources/28/rirs_noises.zip",
        digest="md5:e6f48e257286e05de56413b4779d8ffb",  # of openslr.org
        mirrors=("https://openslr.trmal.net/resources/28/rirs_noises.zip",),
    ),
)
SIZES = ("smallroom", "mediumroom", "largeroom")
REAL, POINT = "real_rirs_isotropic_noises", "pointsource_noises"
MEND = "give --source the folder RIRS_NOISES of the unpacked SLR28"
app = app_for("recipes/rirs_noises/prepare.py", "RIRS_NOISES as rooms and noise.")


@app.command()
def prepare(
    source: Annotated[Path, typer.Option("--source", help="the folder RIRS_NOISES, as SLR28 unpacks it")],
    out: Annotated[Path, typer.Option("--out", help="folder to write rooms/ and noise/ into")],
    sizes: Annotated[str, typer.Option("--sizes", help="simulated rooms to take")] = ",".join(SIZES),
    per_room: Annotated[int, typer.Option("--per-room", help="places of each simulated room; 0: all 100")] = 5,
    max_failed: Annotated[float, typer.Option("--max-failed", help="share that may be unusable")] = 0.05,
    sample_rate: Annotated[int, typer.Option("--sample-rate", help="Hz")] = 16000,
    jobs: Annotated[int | None, typer.Option("--jobs", help="processes; all cores if not given")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace what stands at --out")] = False,
    download: DownloadOption = False,
) -> None:
    """Write the rooms and the noises as mono wav, split by room and by recording."""
    chosen = [size.strip() for size in sizes.split(",") if size.strip()]
    if strange := [size for size in chosen if size not in SIZES]:
        raise ConfigError("--sizes", f"there is no size {strange[0]!r}", mend=f"choose from: {', '.join(SIZES)}")
    if per_room < 0:
        raise ConfigError("--per-room", f"must not be negative, got {per_room}", mend="0 takes all places")
    source = corpus_root(source, REAL, ARCHIVES, download=download)
    real = source / REAL
    lists = [source / "simulated_rirs" / size / "rir_list" for size in chosen]
    needed = [real / "rir_list", real / "noise_list", source / POINT / "noise_list", *lists]
    require(source, [str(path.relative_to(source)) for path in needed], MEND)
    rooms = _listed(source, real / "rir_list", "room-id", "real")
    for size, path in zip(chosen, lists, strict=True):
        rooms += _first_places(_listed(source, path, "room-id", size), per_room)
    noises = _listed(source, real / "noise_list", "room-linkage", "isotropic")
    noises += _listed(source, source / POINT / "noise_list", None, "point")
    responses = SourcesConfig(sample_rate=sample_rate, max_failed=max_failed, normalise=True)
    write_sources([one for _, one in rooms], out / "rooms", source, responses, jobs=jobs, force=force)
    plain = SourcesConfig(sample_rate=sample_rate, max_failed=max_failed)
    write_sources([one for _, one in noises], out / "noise", source, plain, jobs=jobs, force=force)


def _listed(source: Path, path: Path, group: str | None, kind: str) -> list[tuple[str, SoundSource]]:
    """(group, recording) of every line '--option value ... RIRS_NOISES/file' of a list of Kaldi's reverberation.

    group: the option that names what stays together; None: the recording by itself.
    """
    found = []
    for number, line in text_lines(path, AudioError):
        fields = fields_of(line)
        if not fields:
            continue
        options = dict(zip((name.removeprefix("--") for name in fields[:-1:2]), fields[1:-1:2], strict=False))
        file = source.joinpath(*Path(fields[-1]).parts[1:])
        where = f"{path}:{number}"
        if group is not None and group not in options:
            raise AudioError(where, f"has no --{group}", mend="use the list of the distribution unchanged")
        if not file.is_file():
            raise AudioError(where, f"no recording at {file}", mend=MEND)
        name = options[group] if group is not None else file.stem
        found.append((name, SoundSource(file=file, name=file.stem, kind=kind, part=part_of(_room(name, kind)))))
    return found


def _room(name: str, kind: str) -> str:
    """The simulated rooms of the three sizes bear the same names; the noises of a real room bear the room's."""
    return f"{kind}/{name}" if kind in SIZES else name


def _first_places(rooms: list[tuple[str, SoundSource]], per_room: int) -> list[tuple[str, SoundSource]]:
    """The first `per_room` responses of each room; 0 keeps all."""
    seen: Counter[str] = Counter()
    kept = []
    for room, one in rooms:
        seen[room] += 1
        if not per_room or seen[room] <= per_room:
            kept.append((room, one))
    if len(kept) < len(rooms):
        log = get_logger("rirs_noises")
        log.info("%s: %d of %d responses kept (%d a room)", rooms[0][1].kind, len(kept), len(rooms), per_room)
    return kept


if __name__ == "__main__":
    run_preparation(app)
