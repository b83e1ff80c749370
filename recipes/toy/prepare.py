"""The toy corpus: synthetic children who speak digits and commands, and the noises of their classroom.

Who: 23 voices of espeak-ng made childlike, aged 6 to 15, girls and boys by turns, 28 utterances each, 16 kHz, mono.
Split: by speaker, ages balanced: test is every fourth child in order of age and then of a hash of the name, dev every
sixth of the others.  Left out: nothing.  Lexicon: our own, in the phones of the CMU dictionary without stress.
Licence: the sounds are made here and bear none (espeak-ng itself is GPL 3).

usage: python recipes/toy/prepare.py --out DATA [--set children=4]
writes DATA/{train,dev,test}, DATA/audio, DATA/local/lexicon.txt and DATA/noise/{train,test}; the same settings give the
same bytes, and a child says the same whatever the number of children.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from noises import make_noises
from sentences import LEXICON, draw_sentences
from speech import SAMPLE_RATE, Child, Samples, Sentence, make_child, speak

from harness.atomic import whole_dir, write_whole
from harness.cli import app_for
from harness.config import load_config
from harness.log import get_logger, progress
from harness.seed import rng_for
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.held_out import held_out_speakers
from kaldi_bridge.sound_files import write_wav
from kaldi_bridge.split import refuse_shared_speakers
from recipes.lib.preparation import run_preparation


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """How large the corpus is: by default about 12 minutes to train on, so that the whole ladder trains quickly."""

    children: int = 23  # speakers in all: 14 train, 3 dev, 6 test, the fewest of which a change can be told from chance
    utterances: int = 28  # of each child: four rounds of the seven kinds of sentences
    test_every: int = 4  # of all children
    dev_every: int = 6  # of the children not in test
    noises: int = 4  # recordings of each of the four kinds for training; half as many for test
    room_noise_db: float = -50.0  # microphone noise under the speech, relative to its peak
    seed: int = 1

    def __post_init__(self) -> None:
        if self.children < 4:
            raise ValueError(f"children must be at least 4, for train, dev and test each need one, got {self.children}")
        for name in ("utterances", "noises"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("test_every", "dev_every"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")


app = app_for("recipes/toy/prepare.py", "The toy corpus of synthetic children.")


@app.command()
def prepare(
    out: Annotated[Path, typer.Option("--out", help="folder for the data directories")],
    config: Annotated[Path | None, typer.Option("--config", help="YAML with what differs from ToyConfig")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, a setting of ToyConfig")] = None,
) -> None:
    """Write train, dev and test with ages and genders, the raw lexicon, and noises for train and test."""
    settings = load_config(ToyConfig, config, overrides or [])
    out = out.resolve()
    children = make_children(settings)
    data = record(children, out, settings)
    parts = [data.subset_speakers(names, out / name) for name, names in split_speakers(children, settings).items()]
    refuse_shared_speakers(parts)
    for part in parts:
        part.write()
        _log_size(DataDir.read(part.path))
    with write_whole(out / "local" / "lexicon.txt") as stream:
        stream.write(LEXICON.read_text(encoding="utf-8"))
    for name, copies in (("train", settings.noises), ("test", max(1, settings.noises // 2))):
        write_noises(out / "noise" / name, name, copies, settings.seed)


def make_children(settings: ToyConfig) -> list[Child]:
    """Ages 6 to 15 in turn; each round of ten begins with the other gender."""
    people = [(n, 6 + n % 10, "fm"[(n + n // 10) % 2]) for n in range(settings.children)]
    return [make_child(f"toy{n:02d}", age, gender, settings.seed) for n, age, gender in people]


def split_speakers(children: Sequence[Child], settings: ToyConfig) -> dict[str, list[str]]:
    """{"train", "dev", "test": names of speakers}; no speaker in two, ages balanced."""
    ages = {child.name: str(child.age) for child in children}
    test = held_out_speakers(ages, settings.test_every, offset=_middle(settings.test_every, len(ages)))
    others = {name: age for name, age in ages.items() if name not in test}
    dev = held_out_speakers(others, settings.dev_every, offset=_middle(settings.dev_every, len(others)))
    return {"train": sorted(set(others) - set(dev)), "dev": dev, "test": test}


def _middle(every: int, speakers: int) -> int:
    """Begin in the middle of the first group, so that the held-out children are no younger than the rest."""
    return min(every, speakers) // 2


def record(children: Sequence[Child], out: Path, settings: ToyConfig) -> DataDir:
    """Let all children speak into out/audio; one data directory of everybody, in memory.

    Old audio is replaced only when the new is whole.
    """
    work = [(child, draw_sentences(child.name, settings.utterances, settings.seed)) for child in children]
    tables: dict[str, dict[str, str]] = {"wav_scp": {}, "text": {}, "utt2spk": {}, "utt2dur": {}}
    with whole_dir(out / "audio", force=True) as folder:
        spoken = progress(speak(work, settings.seed), total=len(work), label="speak", unit="child")
        for (child, sentences), (_, recordings) in zip(work, spoken, strict=True):
            for utterance, sentence, samples in _named(child, sentences, recordings):
                samples = in_a_room(samples, utterance, settings)
                write_wav(folder / f"{utterance}.wav", samples, SAMPLE_RATE)
                tables["wav_scp"][utterance] = str(out / "audio" / f"{utterance}.wav")
                tables["text"][utterance] = sentence.text
                tables["utt2spk"][utterance] = child.name
                tables["utt2dur"][utterance] = f"{len(samples) / SAMPLE_RATE:.6g}"
    ages = {child.name: str(child.age) for child in children}
    genders = {child.name: child.gender for child in children}
    return DataDir.build(out, spk2age=ages, spk2gender=genders, **tables)


def _named(
    child: Child, sentences: Sequence[Sentence], recordings: Sequence[Samples]
) -> list[tuple[str, Sentence, Samples]]:
    return [
        (f"{child.name}-{number:02d}", sentence, samples)
        for number, (sentence, samples) in enumerate(zip(sentences, recordings, strict=True))
    ]


def in_a_room(samples: Samples, utterance: str, settings: ToyConfig) -> Samples:
    """Nearer or farther, a little silence around it, and microphone noise under it: digital silence breaks logarithms.

    samples: float32 [samples].  Returns float32, 0.3 to 0.8 s longer.
    """
    rng = rng_for(settings.seed, "room", utterance)
    before, after = (int(SAMPLE_RATE * rng.uniform(0.15, 0.4)) for _ in range(2))
    padded = np.pad(samples * np.float32(10 ** (rng.uniform(-12, 0) / 20)), (before, after))
    level = float(np.abs(samples).max()) * 10 ** (settings.room_noise_db / 20)
    return padded + (level * rng.standard_normal(len(padded))).astype(np.float32)


def write_noises(folder: Path, part: str, copies: int, seed: int) -> None:
    """A folder of noise recordings, which appears when whole."""
    with whole_dir(folder, force=True) as aside:
        for name, samples in make_noises(part, copies, seed):
            write_wav(aside / f"{name}.wav", samples, SAMPLE_RATE)
        count = sum(1 for _ in aside.iterdir())
    get_logger("toy").info("%s: %d recordings", folder, count)


def _log_size(data: DataDir) -> None:
    durations: Mapping[str, str] = data.utt2dur or {}
    minutes = sum(map(float, durations.values())) / 60
    message = "%s: %d utterances of %d speakers, %.1f minutes"
    get_logger("toy").info(message, data.path, len(data.utterances), len(data.speakers), minutes)


if __name__ == "__main__":
    run_preparation(app)
