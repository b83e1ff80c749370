"""The table of docs/kaldi.md is what its program finds now, and the judges of its trials see what they should."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.errors import SchoolyardError
from tests.kaldi.system import MismatchError, close, close_tables, same, same_bytes

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "docs/make_kaldi_table.py"


@pytest.mark.kaldi
def test_every_file_kind_goes_both_ways_as_the_page_says(kaldi_root: Path) -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def program():
    spec = importlib.util.spec_from_file_location("make_kaldi_table", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_changed_or_missing_row_is_a_difference_and_another_small_figure_is_none():
    differences, page = program().differences, (ROOT / "docs/kaldi.md").read_text()
    assert differences(page, page) == []
    assert differences(page, page.replace("differs by less than 1e-6", "same values")) == []
    assert len(differences(page, page.replace("copy-tree, tree-info | same bytes", "copy-tree | same bytes"))) == 1
    row = next(line for line in page.splitlines() if line.startswith("| `tree`"))
    assert differences(page.replace(row + "\n", ""), page) == [row]
    assert differences(page, page.replace(row + "\n", "")) == ["fewer lines"]


def test_the_table_stands_between_its_marks():
    page = program().page_with
    text = f"a\n{program().BEGIN}old\n{program().END}b\n"
    assert page(text, "new\n") == text.replace("old", "new")
    with pytest.raises(SchoolyardError, match="has no marks of the table"):
        page("a\n", "new\n")


def test_judges_see_one_byte_one_value_one_key_and_one_limit():
    with pytest.raises(MismatchError, match="3 and 3 bytes differ from byte 1 on"):
        same_bytes("x", b"abc", b"aXc")
    with pytest.raises(MismatchError, match="3 and 4 bytes differ from byte 3 on"):
        same_bytes("x", b"abc", b"abcd")
    with pytest.raises(MismatchError, match=r"\[1\] became \[2\]"):
        same("x", [1], [2])
    assert close("x", [1.0, 2.0], [1.0, 2.0], 0) == "same values"
    assert close("x", [1.0, 2.0], [1.0, 2.003], 0.01) == "differs by less than 1e-2"
    for wanted, found in (([1.0], [1.1]), ([1.0], [np.nan]), ([1.0], [1.0, 1.0])):
        with pytest.raises(MismatchError):
            close("x", wanted, found, 0.01)
    with pytest.raises(MismatchError, match=r"\['a'\] became \['b'\]"):
        close_tables("x", {"a": np.zeros(1)}, {"b": np.zeros(1)}, 1)
