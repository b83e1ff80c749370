"""VoiceBank-DEMAND (Valentini-Botinhao 2017, doi 10.7488/ds/2117; CC BY 4.0) as pairs of Kaldi data directories.

Who: adults of the Voice Bank corpus reading English sentences, with noises of DEMAND and two made ones mixed in: 28
speakers of England (11572 utterances) or 56 of Scotland and the United States (23075), half of them women, at 0, 5, 10
and 15 dB; test: p232 and p257 (824 utterances) at 2.5, 7.5, 12.5 and 17.5 dB, with noises unheard in training.  48 kHz.
Where: datashare.ed.ac.uk/handle/10283/2791; --download fetches the sound (transcripts and logs are beside it).

Read: the zips as distributed, or folders of their names, below --source.  Pairs are made by file name; each must be
of one rate and length, and all must be there (--partial lets fewer pass).  They are resampled once (soxr HQ, 16 bit)
into OUT/audio/{clean,noisy}.  Left out: nothing.
Split: p286 and p287 are dev (--dev-speakers), as is customary; of the 56 speakers, which do not include these, two by a
hash of their names.
Text: from *_txt where it is there for all, in capitals, without punctuation, numbers spelled out (--set case=lower and
the like, recipes/lib/transcripts.py); nobody stumbles.  utt2snr and utt2noise: from logfiles, where these are there.

usage: python recipes/valentini/prepare.py --source CORPUS --out DATA [--speakers 56] [--download]
writes DATA/{train,dev,test} (clean) and DATA/{train,dev,test}_noisy
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
import typer

from harness.atomic import whole_dir
from harness.cli import app_for
from harness.config import load_config
from harness.errors import AudioError, DataDirError
from harness.jobs import map_jobs
from harness.log import get_logger
from kaldi_bridge.audio import RESAMPLE_QUALITY, resample
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.held_out import held_out_speakers
from kaldi_bridge.sound_files import Samples, read_sound, write_wav
from recipes.lib.corpus import LeftOut, Out, Overrides, Source, write_sets
from recipes.lib.download import Archive, fetch
from recipes.lib.plain_wav import Jobs
from recipes.lib.preparation import run_preparation
from recipes.lib.transcripts import Conventions, TranscriptConfig

UTTERANCE = re.compile(r"(p\d{3})_\d{3}")
PUBLISHED = {"28": 11572, "56": 23075, "test": 824}  # utterances
DEV_SPEAKERS = ("p286", "p287")  # of the 28
ALL_DEV = 28  # of the 56, every 28th is dev
URL = "https://datashare.ed.ac.uk/bitstream/handle/10283/2791"
MD5 = {
    "clean_trainset_28spk_wav": "d2d5a45ec32f8fcbf201bde0447e20ba",
    "noisy_trainset_28spk_wav": "1fca9e8bafb8cd069f6653c6d92f9e9c",
    "clean_trainset_56spk_wav": "c351cbc9db30e41686c988c19f0e1475",
    "noisy_trainset_56spk_wav": "b26382542716642b8f2845880af69cf0",
    "clean_testset_wav": "34eb1c0ba7ef667e9b966866c542fc16",
    "noisy_testset_wav": "fb1b86caa31e8ba5b506c0c64da9aab5",
}
MEND = "give --source the folder that holds clean_testset_wav.zip and its like (or their folders), or add --download"
LOG = get_logger("valentini")
app = app_for("recipes/valentini/prepare.py", "VoiceBank-DEMAND as pairs of Kaldi data directories.")


@dataclass(frozen=True)
class Files:
    """The files of one part.  place: a folder or a zip; members: {name without suffix: path in it}."""

    place: Path
    members: Mapping[str, str]

    def read(self, name: str) -> bytes:
        """The content of a file."""
        if self.place.is_dir():
            return (self.place / self.members[name]).read_bytes()
        try:
            return _opened(self.place).read(self.members[name])
        except zipfile.BadZipFile as error:
            raise AudioError(f"{self.place}: {name}", f"is damaged ({error})", mend="fetch the zip again") from None

    def sound(self, name: str) -> tuple[Samples, int]:
        """(samples [n], rate); raises AudioError for stereo and for what is no sound."""
        where = f"{self.place}: {name}"
        if self.place.is_dir():
            samples, info = read_sound(str(self.place / self.members[name]), where=where)
            rate = info.rate
        else:
            import soundfile

            try:
                samples, rate = soundfile.read(io.BytesIO(self.read(name)), dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(where, f"is no sound ({error})", mend="fetch the zip again") from None
        if samples.shape[1] != 1:
            raise AudioError(where, f"has {samples.shape[1]} channels", mend="get it from the distribution again")
        return samples[:, 0], rate


@app.command()
def prepare(
    source: Source,
    out: Out,
    speakers: Annotated[Literal["28", "56"], typer.Option("--speakers", help="which training set")] = "28",
    dev_speakers: Annotated[str, typer.Option("--dev-speakers", help="of train, with commas")] = "",
    rate: Annotated[int, typer.Option("--rate", help="Hz of what is written")] = 16000,
    partial: Annotated[bool, typer.Option("--partial", help="fewer utterances than published will do")] = False,
    download: Annotated[bool, typer.Option("--download", help="fetch what is missing into --source")] = False,
    jobs: Jobs = None,
    overrides: Overrides = None,
) -> None:
    """Write train, dev and test, clean and noisy."""
    config = load_config(TranscriptConfig, None, overrides=overrides or [])
    parts = {"train": f"trainset_{speakers}spk", "test": "testset"}
    if download:
        fetch_corpus(source, [f"{kind}_{part}_wav" for part in parts.values() for kind in ("clean", "noisy")])
    pairs = {name: pairs_of(source, part) for name, part in parts.items()}
    for name, (clean, _) in pairs.items():
        _check_count(
            source / parts[name], len(clean.members), PUBLISHED[speakers if name == "train" else name], partial
        )
    out = out.resolve()
    with whole_dir(out / "audio", force=True) as folder:
        for name, (clean, noisy) in pairs.items():
            convert(clean, noisy, folder, rate, jobs, label=name)
    sets = {}
    for kind in ("clean", "noisy"):
        for name, (clean, _) in pairs.items():
            names, audio = sorted(clean.members), out / "audio" / kind
            sets[name, kind] = data_of(names, audio, source, parts[name], config, noisy=kind == "noisy")
    dev = _dev_speakers(sets["train", "clean"], speakers, dev_speakers)
    for kind in ("clean", "noisy"):
        whole = sets["train", kind]
        sets["dev", kind] = whole.subset_speakers(dev)
        sets["train", kind] = whole.subset_speakers(set(whole.speakers) - set(dev))
    for name in ("train", "dev", "test"):
        sets[name, "noisy"].write(out / f"{name}_noisy")
    counts = {"rate": rate, "resampler": f"soxr {RESAMPLE_QUALITY}", "speakers": speakers, "partial": partial}
    clean_sets = {name: sets[name, "clean"] for name in ("train", "dev", "test")}
    write_sets(out, clean_sets, LeftOut(), corpus="valentini", **counts)


def fetch_corpus(source: Path, names: list[str]) -> None:
    """Fetch the zips that are missing below ``source``."""
    for name in names:
        if not (source / name).is_dir():
            fetch(Archive(url=f"{URL}/{name}.zip", digest=f"md5:{MD5[name]}"), source)


def pairs_of(source: Path, part: str) -> tuple[Files, Files]:
    """(clean, noisy) recordings of a part, with the same names.  Raises DataDirError for one without its partner."""
    clean, noisy = (files_of(source, f"{kind}_{part}_wav", ".wav") for kind in ("clean", "noisy"))
    for one, other in ((clean, noisy), (noisy, clean)):
        if alone := sorted(set(one.members) - set(other.members)):
            problem = f"lacks {alone[0]}.wav, which {one.place.name} has ({len(alone)} such)"
            raise DataDirError(other.place, problem, mend="fetch both of the same distribution")
    return clean, noisy


def files_of(source: Path, name: str, suffix: str) -> Files:
    """The files of a part, from a folder or a zip; names are checked."""
    folder, archive = source / name, source / f"{name}.zip"
    if folder.is_dir():
        place, paths = folder, [str(path.relative_to(folder)) for path in sorted(folder.rglob(f"*{suffix}"))]
    elif archive.is_file():
        place = archive
        try:
            with zipfile.ZipFile(archive) as opened:
                paths = sorted(path for path in opened.namelist() if path.endswith(suffix))
        except zipfile.BadZipFile:
            raise DataDirError(archive, "is no whole zip", mend="fetch it again (--download resumes)") from None
    else:
        raise DataDirError(folder, "is missing from the corpus, and so is its zip", mend=MEND)
    paths = [path for path in paths if "__MACOSX" not in path and not PurePosixPath(path).name.startswith(".")]
    members: dict[str, str] = {}
    for path in paths:
        stem = PurePosixPath(path).stem
        if not UTTERANCE.fullmatch(stem):
            raise DataDirError(place, f"{path} is not named SPEAKER_NUMBER{suffix}, as p226_001", mend=MEND)
        if stem in members:
            raise DataDirError(place, f"holds {stem} twice ({members[stem]}, {path})", mend="keep one of them")
        members[stem] = path
    return Files(place, members)


def _check_count(where: Path, there: int, published: int, partial: bool) -> None:
    if there == published or (partial and there > 0):
        return
    problem = f"has {there} recordings, {published} are published"
    raise DataDirError(where, problem, mend="fetch the corpus again, or let a part of it pass with --partial")


@lru_cache(maxsize=4)
def _opened(path: Path) -> zipfile.ZipFile:
    """A zip, kept open by the process that reads it."""
    return zipfile.ZipFile(path)


@dataclass(frozen=True)
class _Conversion:
    """What a worker needs to convert one pair."""

    clean: Files
    noisy: Files
    folder: Path
    rate: int

    def __call__(self, name: str) -> tuple[int, float]:
        """Write both files; (clipped samples, seconds)."""
        sounds = [files.sound(name) for files in (self.clean, self.noisy)]
        (clean, clean_rate), (noisy, noisy_rate) = sounds
        if clean_rate != noisy_rate or len(clean) != len(noisy):
            problem = (
                f"has {len(noisy)} samples at {noisy_rate} Hz, its clean recording {len(clean)} at {clean_rate} Hz"
            )
            raise AudioError(f"{self.noisy.place}: {name}", problem, mend="fetch both of the same distribution")
        clipped = 0
        for kind, (samples, rate) in zip(("clean", "noisy"), sounds, strict=True):
            converted = samples if rate == self.rate else resample(samples, rate, self.rate)
            clipped += write_wav(self.folder / kind / f"{name}.wav", np.ascontiguousarray(converted), self.rate)
        return clipped, len(clean) / clean_rate


def convert(clean: Files, noisy: Files, folder: Path, rate: int, jobs: int | None, *, label: str) -> None:
    """Write folder/clean and folder/noisy at another rate; lengths of partners stay equal."""
    work = _Conversion(clean, noisy, folder, rate)
    done = list(map_jobs(work, sorted(clean.members), jobs=jobs, label=f"convert {label}", unit="pair"))
    clipped, hours = sum(count for count, _ in done), sum(seconds for _, seconds in done) / 3600
    LOG.info("%s: %d pairs, %.2f hours, %d samples clipped by resampling", label, len(done), hours, clipped)


def data_of(
    names: list[str], audio: Path, source: Path, part: str, config: TranscriptConfig, *, noisy: bool
) -> DataDir:
    """The data directory of a part, with transcripts, and SNRs and noises of noisy speech, where these are known."""
    utt2spk = {name: name.partition("_")[0] for name in names}
    snr, noise = log_of(source, part, names) if noisy else (None, None)
    return DataDir.build(
        audio, wav_scp={name: str(audio / f"{name}.wav") for name in names}, utt2spk=utt2spk,
        text=texts_of(source, part, names, config), utt2snr=snr, utt2noise=noise,
    )  # fmt: skip


def texts_of(source: Path, part: str, names: list[str], config: TranscriptConfig) -> dict[str, str] | None:
    """{utterance: words} of PART_txt; None, with a line about it, where they are not there for all."""
    if not any((source / f"{part}_txt{suffix}").exists() for suffix in ("", ".zip")):
        LOG.info("%s: no %s_txt, so no transcripts", source, part)
        return None
    files, found = files_of(source, f"{part}_txt", ".txt"), {}
    for name in set(names) & set(files.members):
        raw = files.read(name).decode("utf-8", errors="replace")
        if transcript := LeftOut().words_of(name, raw, Conventions(), config):
            found[name] = transcript.text
    if missing := sorted(set(names) - set(found)):
        text = "%s: %d of %d transcripts are missing (first: %s), so none are written"
        LOG.warning(text, files.place, len(missing), len(names), missing[0])
        return None
    return found


def log_of(source: Path, part: str, names: list[str]) -> tuple[dict[str, str], dict[str, str]] | tuple[None, None]:
    """({utterance: dB}, {utterance: noise}) of log_PART.txt: lines 'utterance noise dB'."""
    text = _log_text(source, f"log_{part}.txt")
    if text is None:
        LOG.info("%s: no log_%s.txt, so no table of SNRs and noises", source, part)
        return None, None
    snr, noise = {}, {}
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not re.fullmatch(r"-?\d+(\.\d+)?", fields[2]):
            problem = f"expected 'utterance noise dB', got {line.strip()!r}"
            raise DataDirError(f"log_{part}.txt:{number}", problem, mend="get it from the distribution again")
        name = fields[0].removesuffix(".wav")
        noise[name], snr[name] = fields[1], fields[2]
    if missing := sorted(set(names) - set(snr)):
        raise DataDirError(f"log_{part}.txt", f"lacks {missing[0]} ({len(missing)} such)", mend=MEND)
    wanted = set(names)
    return {k: v for k, v in snr.items() if k in wanted}, {k: v for k, v in noise.items() if k in wanted}


def _log_text(source: Path, name: str) -> str | None:
    for path in (source / name, source / "logfiles" / name):
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
    if (source / "logfiles.zip").is_file():
        with zipfile.ZipFile(source / "logfiles.zip") as opened:
            member = next((path for path in opened.namelist() if PurePosixPath(path).name == name), None)
            return opened.read(member).decode("utf-8", errors="replace") if member else None
    return None


def _dev_speakers(train: DataDir, variant: str, asked: str) -> list[str]:
    """The speakers of dev; those asked for must be in train."""
    if asked:
        wanted = sorted(filter(None, asked.split(",")))
    elif variant == "28":
        wanted = list(DEV_SPEAKERS)
    else:
        wanted = held_out_speakers(dict.fromkeys(train.speakers, "adult"), min(ALL_DEV, len(train.speakers)))
    if strange := sorted(set(wanted) - set(train.speakers)):
        mend = "name speakers of train with --dev-speakers p234,p236"
        raise DataDirError(train.path, f"speaker {strange[0]}, wanted for dev, is not in the training set", mend=mend)
    if set(wanted) == set(train.speakers):
        raise DataDirError(train.path, "has no speaker but those of dev", mend="name fewer with --dev-speakers")
    return wanted


if __name__ == "__main__":
    run_preparation(app)
