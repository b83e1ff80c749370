"""Fixtures shared by all tests: one seed; the golden files, a real Kaldi and the corpora, or a skip with the reason."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def one_seed() -> None:
    """Draws from the global generators are the same in every run, whatever the order and number of workers."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder beside the checkout with corpora and golden files (SCHOOLYARD_SHARED overrides)."""
    path = Path(os.environ.get("SCHOOLYARD_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no shared folder with corpora and golden files at {path} (set SCHOOLYARD_SHARED)")
    return path


@pytest.fixture(scope="session")
def golden_dir(shared_dir: Path) -> Path:
    """Files that a real Kaldi made."""
    path = shared_dir / "golden"
    if not path.is_dir():
        pytest.skip(f"no golden files at {path}")
    return path


@pytest.fixture(scope="session")
def kaldi_root() -> Path:
    """A real Kaldi (KALDI_ROOT); its programs judge ours."""
    root = os.environ.get("KALDI_ROOT")
    if not root or not (Path(root) / "path.sh").is_file():
        pytest.skip("KALDI_ROOT is not set to a Kaldi: its programs cannot judge ours")
    if shutil.which("perl") is None:
        pytest.skip("Kaldi's scripts need perl")
    return Path(root)
