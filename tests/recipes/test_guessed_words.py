"""--g2p of the recipes: words that the lexicon lacks are guessed before the lang directory, and listed as guesses."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """\
#!/usr/bin/env bash
. "$ROOT/recipes/lib/stages.sh"
. "$ROOT/recipes/lib/experiment.sh"
stages_begin "$@"
if stage 6 "language models" --in "$data/local/lexicon.txt" --out "$data/lang_open"; then prepare_lms '' ''; fi
stages_end
"""
SOUNDS = {"A": "AH", "E": "EH", "B": "B", "D": "D", "K": "K", "S": "S"}
WORDS = ["".join(letters) for letters in itertools.product("BDKS", "AE", "BDKS", "AE", ("", "B"))]
KNOWN, NEW = WORDS[::2], "BADEK"


def run(tmp_path: Path, *words: str) -> Path:
    """Stage 6 of a recipe on a text with one word that the lexicon lacks; the folder of the data."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini/run.sh").write_text(RECIPE)
    data = tmp_path / "work/data"
    for name in ("local", "train", "dev"):
        (data / name).mkdir(parents=True)
    entries = [f"{word} {' '.join(SOUNDS[letter] for letter in word)}\n" for word in KNOWN]
    (data / "local/lexicon.txt").write_text("".join(entries))
    (data / "train/text").write_text(f"a-1 {KNOWN[0]} {NEW}\na-2 {KNOWN[1]}\n")
    (data / "dev/text").write_text(f"b-1 {KNOWN[2]} {KNOWN[0]}\n")
    command = ["bash", str(tmp_path / "mini/run.sh"), "--work", str(tmp_path / "work"), *words]
    environment = os.environ | {"ROOT": str(ROOT), "SCHOOLYARD_VENV": str(tmp_path / "venv")}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return data


def words_of(data: Path) -> set[str]:
    return {line.split()[0] for line in (data / "lang/words.txt").read_text().splitlines()}


def test_on_request_unknown_words_get_guesses_that_are_listed_as_such(tmp_path: Path) -> None:
    pytest.importorskip("phonetisaurus", reason="phonetisaurus is not installed (pip install phonetisaurus==0.3.0)")
    data = run(tmp_path, "--g2p")
    assert (data / "dict/oov_pronunciations.txt").read_text() == f"{NEW} B AH D EH K\n"
    assert NEW in words_of(data)
    assert {NEW, KNOWN[0]} <= {line.split()[0] for line in (data / "lang_open/words.txt").read_text().splitlines()}


def test_without_it_they_stay_unknown(tmp_path: Path) -> None:
    data = run(tmp_path)
    assert not (data / "dict/oov_pronunciations.txt").exists()
    assert NEW not in words_of(data)
    assert KNOWN[0] in words_of(data)
