"""A miniature recipe on six half-second sounds, whose one stage makes features with a real Kaldi."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """\
#!/usr/bin/env bash
. "$ROOT/recipes/lib/stages.sh"
. "$ROOT/recipes/lib/experiment.sh"
stages_begin "$@"
begin_kaldi
if stage 5 "features" --in "$data/train" --out "$data/train/feats.scp"; then
  features_of "$data/train"
fi
stages_end
"""


@dataclass(frozen=True)
class MiniKaldi:
    """The recipe in a folder of its own; kaldi: what KALDI_ROOT names."""

    folder: Path
    kaldi: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def train(self) -> Path:
        return self.work / "data/train"

    def command(self) -> list[str]:
        return ["bash", str(self.folder / "mini/run.sh"), "--kaldi", "--work", str(self.work)]

    def environment(self) -> dict[str, str]:
        own = {"ROOT": str(ROOT), "SCHOOLYARD_VENV": str(self.folder / "venv"), "KALDI_ROOT": str(self.kaldi)}
        return os.environ | own | {"KALDI_NJ": "1"} | self.more

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(), env=self.environment(), capture_output=True, text=True, check=False, timeout=120
        )


def make_mini(folder: Path, kaldi: Path, **more: str) -> MiniKaldi:
    """Write the recipe and its data."""
    (folder / "venv/bin").mkdir(parents=True)
    (folder / "venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    (folder / "mini").mkdir()
    (folder / "mini/run.sh").write_text(RECIPE)
    mini = MiniKaldi(folder, kaldi, more)
    write_data(mini.train, folder / "sound")
    return mini


def write_data(data: Path, sound: Path) -> None:
    """Two speakers with three utterances of noise each."""
    data.mkdir(parents=True)
    sound.mkdir()
    draw = np.random.default_rng(0)
    names = [f"{speaker}-{number}" for speaker in "ab" for number in range(3)]
    for name in names:
        soundfile.write(sound / f"{name}.wav", 0.1 * draw.standard_normal(8000), 16000)
    tables = {
        "wav.scp": {name: f"{sound}/{name}.wav" for name in names},
        "utt2spk": {name: name[0] for name in names},
        "spk2utt": {speaker: " ".join(name for name in names if name[0] == speaker) for speaker in "ab"},
        "text": dict.fromkeys(names, "ONE"),
    }
    for table, rows in tables.items():
        (data / table).write_text("".join(f"{key} {value}\n" for key, value in rows.items()))


def kaldi_without(root: Path, folder: Path, program: str) -> Path:
    """A Kaldi of links to another, less one program."""
    for path in root.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            (folder / path.relative_to(root)).mkdir(parents=True, exist_ok=True)
        elif path.name != program:
            place = folder / path.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
    return folder
