"""The toy corpus: synthetic children with digits and commands, split by speaker, and noises; nothing is downloaded.

usage: python recipes/toy/prepare.py --out DATA [--config FILE] [--set children=8]
writes DATA/{train,dev,test} (with spk2age and spk2gender, recordings in wav/), DATA/noise/{train,test}, and
DATA/local/lexicon.txt
The same configuration gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from harness.atomic import whole_dir, write_whole
from harness.cli import app_for, run
from harness.config import load_config
from harness.jobs import default_jobs
from harness.log import get_logger, progress
from harness.seed import rng_for
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.held_out import held_out_speakers
from kaldi_bridge.split import refuse_shared_speakers
from recipes.toy.noises import make_noises
from recipes.toy.sentences import LEXICON, draw_sentences
from recipes.toy.speech import SAMPLE_RATE, Child, make_child, speak

Spoken = Mapping[str, tuple[list[str], list[np.ndarray]]]  # child -> its texts and its recordings


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """How large the corpus is.  The defaults make about 20 minutes of speech for training."""

    children: int = 28  # speakers in all, aged 6 to 15, girls and boys by turns
    dev_children: int = 3
    test_children: int = 5
    utterances: int = 24  # of each child
    noises: int = 4  # recordings of each of the four kinds for training; half as many for test
    room_noise_db: float = -55.0  # microphone noise under the speech, relative to its peak
    seed: int = 1

    def __post_init__(self) -> None:
        if self.dev_children + self.test_children >= self.children or min(self.dev_children, self.test_children) < 1:
            raise ValueError("children must exceed dev_children + test_children, and both must be at least 1")


app = app_for("recipes/toy/prepare.py", "The toy corpus of synthetic children.")


@app.command()
def prepare(
    out: Annotated[Path, typer.Option(help="folder for train, dev, test, dict and noise")],
    config: Annotated[Path | None, typer.Option(help="YAML with a ToyConfig")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, a setting of ToyConfig")] = None,
    jobs: Annotated[int, typer.Option(help="processes")] = default_jobs(),
) -> None:
    """Make the corpus."""
    settings = load_config(ToyConfig, config, override or [])
    out, log = out.absolute(), get_logger("toy")
    spoken = speak_all(settings, jobs)
    sets = [write_part(out / part, children, spoken, settings) for part, children in split(settings).items()]
    refuse_shared_speakers(sets)
    for data in sets:
        log.info("%s: %d utterances of %d children", data.path, len(data.utterances), len(data.speakers))
    with write_whole(out / "local" / "lexicon.txt") as stream:
        stream.write(LEXICON.lstrip())
    for part, copies in (("train", settings.noises), ("test", max(1, settings.noises // 2))):
        with whole_dir(out / "noise" / part, force=True) as folder:
            for name, samples in make_noises(part, copies, settings.seed, jobs):
                soundfile.write(folder / f"{name}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
        log.info("%s: %d recordings", out / "noise" / part, 4 * copies)


def split(settings: ToyConfig) -> dict[str, list[Child]]:
    """Part -> its children: by speaker, ages balanced."""
    children = {child.name: child for child in all_children(settings)}
    test = _held_out(list(children.values()), settings.test_children)
    dev = _held_out([child for name, child in children.items() if name not in test], settings.dev_children)
    train = sorted(set(children) - set(test) - set(dev))
    parts = {"train": train, "dev": dev, "test": test}
    return {part: [children[name] for name in names] for part, names in parts.items()}


def _held_out(children: Sequence[Child], count: int) -> list[str]:
    every = len(children) // count
    return held_out_speakers({child.name: str(child.age) for child in children}, every, every // 2)[:count]


def all_children(settings: ToyConfig) -> list[Child]:
    """Ages 6 to 15 in turn; each round of ten begins with the other gender."""
    people = [(n, 6 + n % 10, "fm"[(n + n // 10) % 2]) for n in range(settings.children)]
    return [make_child(f"c{n:02d}{gender}{age:02d}", age, gender, settings.seed) for n, age, gender in people]


def speak_all(settings: ToyConfig, jobs: int) -> Spoken:
    """What every child says, and how it sounds."""
    work = [(child, draw_sentences(child.name, settings.utterances, settings.seed)) for child in all_children(settings)]
    results = progress(speak(work, settings.seed, jobs), total=len(work), label="speak", unit="child")
    texts = {child.name: [sentence.text for sentence in sentences] for child, sentences in work}
    return {child.name: (texts[child.name], recordings) for child, recordings in results}


def write_part(final: Path, children: Sequence[Child], spoken: Spoken, settings: ToyConfig) -> DataDir:
    """Write one data dir with its recordings; it appears only when whole."""
    rows: dict[str, tuple[str, str, str]] = {}  # utterance -> speaker, text, recording
    with whole_dir(final, force=True) as folder:
        (folder / "wav").mkdir()
        for child in children:
            for number, (text, samples) in enumerate(zip(*spoken[child.name], strict=True)):
                name = f"{child.name}-{number:03d}"
                heard = in_a_room(samples, name, settings)
                soundfile.write(folder / "wav" / f"{name}.wav", heard, SAMPLE_RATE, subtype="PCM_16")
                rows[name] = child.name, text, str(final / "wav" / f"{name}.wav")
        DataDir.build(
            final,
            utt2spk={name: row[0] for name, row in rows.items()},
            text={name: row[1] for name, row in rows.items()},
            wav_scp={name: row[2] for name, row in rows.items()},
            spk2age={child.name: str(child.age) for child in children},
            spk2gender={child.name: child.gender for child in children},
        ).write_tables(folder)
    return DataDir.read(final)


def in_a_room(samples: np.ndarray, name: str, settings: ToyConfig) -> np.ndarray:
    """A little silence around the speech, and microphone noise under it: digital silence breaks log energies.

    samples: float32 [samples].  Returns float32, 0.3 to 0.8 s longer.
    """
    rng = rng_for(settings.seed, "room", name)
    before, after = (int(SAMPLE_RATE * rng.uniform(0.15, 0.4)) for _ in range(2))
    padded = np.pad(samples * np.float32(rng.uniform(0.4, 1.0)), (before, after))
    level = np.abs(samples).max() * 10 ** (settings.room_noise_db / 20)
    return padded + (level * rng.standard_normal(len(padded))).astype(np.float32)


if __name__ == "__main__":
    run(app)
