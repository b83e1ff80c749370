"""Material for the GMM tests: the golden data with absolute paths, and real Kaldi programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kaldi_bridge.data_dir import DataDir


@pytest.fixture(scope="session")
def golden_data(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """golden_data("train"): the golden data directory, its tables pointing to files wherever one stands."""
    made: dict[str, Path] = {}

    def copy(part: str) -> Path:
        if part not in made:
            made[part] = tmp_path_factory.mktemp("data") / part
            shutil.copytree(golden_dir / "data" / part, made[part], ignore=shutil.ignore_patterns("split*", "conf"))
            for table in ("feats.scp", "cmvn.scp", "wav.scp"):
                lines = (made[part] / table).read_text().splitlines()
                pairs = (line.split(None, 1) for line in lines)
                rows = (f"{key} {golden_dir}/{rest}" for key, rest in pairs)
                (made[part] / table).write_text("\n".join(rows) + "\n")
        return made[part]

    return copy


@pytest.fixture(scope="session")
def golden_part(
    golden_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], Path]:
    """golden_part("train", 4): a golden data directory with the first four utterances of each speaker."""

    def part(name: str, each: int) -> Path:
        data, folder = DataDir.read(golden_data(name)), tmp_path_factory.mktemp("part")
        data.subset([utt for utts in data.spk2utt.values() for utt in utts[:each]]).write_tables(folder)
        return folder

    return part


@pytest.fixture(scope="session")
def kaldi(kaldi_root: Path) -> Callable[..., str]:
    """kaldi("gmm-info", path): run a program of the real Kaldi, give back what it writes to stdout and stderr."""
    environment = os.environ | {"KALDI_ROOT": str(kaldi_root), "LC_ALL": "C"}

    def run(*words: object, shell: str | None = None) -> str:
        command = shell or " ".join(f"'{word}'" for word in words)
        script = f'. "{kaldi_root}/path.sh" && {command}'
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout + done.stderr

    return run
