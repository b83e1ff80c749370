"""The toy recipe with the programs of a real Kaldi beside the embedded run: minutes, so .ci/run asks for it by name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORPUS = "children: 20\nutterances: 20\ntest_every: 5\ndev_every: 8\nnoises: 1\n"  # 14 train, 2 dev, 4 test
OPTIONS = ["--trainings", "clean", "--tests", "clean noisy", "--enhancer", "builtin", "--rungs"]


def run(tmp_path: Path, *words: str) -> None:
    """The toy recipe; must end well."""
    (tmp_path / "toy.yaml").write_text(CORPUS)
    (tmp_path / "venv/bin").mkdir(parents=True, exist_ok=True)
    (tmp_path / "venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    command = [str(ROOT / "run.sh"), "--corpus-config", str(tmp_path / "toy.yaml"), *OPTIONS, *words]
    environment = os.environ | {"SCHOOLYARD_VENV": str(tmp_path / "venv"), "SCHOOLYARD_JOBS": "2", "KALDI_NJ": "2"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


@pytest.mark.kaldi
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_toy_recipe_with_a_real_kaldi_gives_the_word_error_rates_of_the_embedded_run(
    tmp_path: Path, kaldi_root: Path
) -> None:
    embedded, kaldi = tmp_path / "embedded", tmp_path / "kaldi"
    run(tmp_path, "--work", str(embedded), "--stop-stage", "3")
    run(tmp_path, "--work", str(embedded), "--stage", "5")  # how the enhanced speech sounds is not asked here
    made = shutil.ignore_patterns("lang*", "dict", "*_for_*", "feats.scp", "cmvn.scp")  # what Kaldi is to make
    shutil.copytree(embedded / "data", kaldi / "data", ignore=made)
    run(tmp_path, "--kaldi", "--work", str(kaldi), "--stage", "5")
    words = [
        "am",
        "kaldi-compare",
        "--embedded",
        str(embedded),
        "--kaldi",
        str(kaldi),
        "--out",
        str(tmp_path / "both.md"),
    ]
    compared = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    table = (tmp_path / "both.md").read_text()
    assert compared.returncode == 0, table
    clean = re.findall(r"^\| clean \| (\w+) \| clean \| open \|", table, re.MULTILINE)
    assert clean == ["mono", "tri1", "tri2b", "tri3b", "ligru"]
    for stage in (5, 6, 7, 8, 9):
        times = re.search(rf"^\| {stage} \| .* \| ([\d.]+) \| ([\d.]+) \|$", table, re.MULTILINE)
        assert times is not None, f"stage {stage} has no CPU times"
        assert min(map(float, times.groups())) > 1.0
    log = (kaldi / "exp/clean/mono/log/init.log").read_text()
    assert log.startswith("# gmm-init-mono "), "the models are Kaldi's"
    assert "LOG (latgen-faster-mapped[" in (kaldi / "exp/clean/ligru/decode_clean_open/log/decode.1.log").read_text()
