"""Make the toy corpus: synthetic children with digits and commands, split by speaker, and noises.

Run as ``python -m recipes.toy.prepare --out DIR [--config FILE] [--set children=8]``.  Writes, under DIR:
``train dev test`` (Kaldi data dirs with spk2age and spk2gender, 16 kHz WAVE files in ``wav/``), ``dict`` (the
lexicon), ``noise/train`` and ``noise/test``.  The same configuration gives the same bytes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from harness.atomic import whole_dir
from harness.cli import app_for, run
from harness.config import load_config
from harness.jobs import default_jobs
from harness.log import get_logger, progress
from harness.seed import rng_for
from recipes.lib.children import pick_balanced
from recipes.lib.corpus import Utterance, write_data, write_dict
from recipes.toy.noises import make_noises
from recipes.toy.sentences import LEXICON, draw_sentences
from recipes.toy.speech import SAMPLE_RATE, Child, make_child, speak

log: logging.Logger = get_logger(__name__)


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


app = app_for("recipes.toy.prepare", "Make the toy corpus of synthetic children.")


@app.command()
def prepare(
    out: Annotated[Path, typer.Option(help="folder for train, dev, test, dict and noise")],
    config: Annotated[Path | None, typer.Option(help="YAML with a ToyConfig")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, a setting of ToyConfig")] = None,
    jobs: Annotated[int, typer.Option(help="processes")] = default_jobs(),
) -> None:
    """Make the corpus."""
    settings = load_config(ToyConfig, config, override or [])
    out = out.absolute()
    write_dict(out / "dict", [line.split() for line in LEXICON.strip().splitlines()])
    spoken = speak_all(settings, jobs)
    for part, children in split(settings).items():
        write_part(out / part, [(child, *spoken[child.name]) for child in children], settings)
    for part, copies in (("train", settings.noises), ("test", max(1, settings.noises // 2))):
        with whole_dir(out / "noise" / part, force=True) as folder:
            for name, samples in make_noises(part, copies, settings.seed, jobs):
                soundfile.write(folder / f"{name}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
        log.info("noise/%s: %d recordings", part, 4 * copies)


def split(settings: ToyConfig) -> dict[str, list[Child]]:
    """Part -> its children: by speaker, ages balanced."""
    children = {child.name: child for child in all_children(settings)}
    ages = {name: child.age for name, child in children.items()}
    test = pick_balanced(ages, settings.test_children)
    dev = pick_balanced({name: age for name, age in ages.items() if name not in test}, settings.dev_children)
    train = sorted(set(children) - set(test) - set(dev))
    parts = {"train": train, "dev": dev, "test": test}
    return {part: [children[name] for name in names] for part, names in parts.items()}


def all_children(settings: ToyConfig) -> list[Child]:
    """Ages 6 to 15 in turn; each round of ten begins with the other gender."""
    people = [(n, 6 + n % 10, "fm"[(n + n // 10) % 2]) for n in range(settings.children)]
    return [make_child(f"c{n:02d}{gender}{age:02d}", age, gender, settings.seed) for n, age, gender in people]


def speak_all(settings: ToyConfig, jobs: int) -> dict[str, tuple[list[str], list[np.ndarray]]]:
    """Child -> its texts and its recordings."""
    work = [(child, draw_sentences(child.name, settings.utterances, settings.seed)) for child in all_children(settings)]
    results = progress(speak(work, settings.seed, jobs), total=len(work), label="speak", unit="child")
    texts = {child.name: [sentence.text for sentence in sentences] for child, sentences in work}
    return {child.name: (texts[child.name], recordings) for child, recordings in results}


def write_part(final: Path, spoken: list[tuple[Child, list[str], list[np.ndarray]]], settings: ToyConfig) -> None:
    """Write one data dir with its recordings; it appears only when whole."""
    utterances = []
    with whole_dir(final, force=True) as folder:
        (folder / "wav").mkdir()
        for child, texts, recordings in spoken:
            for number, (text, samples) in enumerate(zip(texts, recordings, strict=True)):
                name = f"{child.name}-{number:03d}"
                samples = in_a_room(samples, name, settings)
                soundfile.write(folder / "wav" / f"{name}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
                utterances.append(
                    Utterance(
                        name=name, speaker=child.name, text=text, wav=str(final / "wav" / f"{name}.wav"),
                        age=child.age, gender=child.gender,
                    )
                )  # fmt: skip
        write_data(folder, utterances)
    seconds = sum(len(samples) for _, _, recordings in spoken for samples in recordings) / SAMPLE_RATE
    log.info("%s: %d children, %d utterances, %.1f min", final.name, len(spoken), len(utterances), seconds / 60)


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
