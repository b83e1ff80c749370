"""docs/map.md walks through every module."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NO_ROOM_OF_THEIR_OWN = re.compile(r"__\w+__|verbs_\w+|\..*")  # command lines stand beside what they call


@pytest.mark.parametrize("room", ["harness", "kaldi_bridge", "hmm", "enhance", "am", "recipes/lib"])
def test_every_module_of_a_room_is_on_the_map(room):
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\w+", text))
    here = {path.stem for path in (ROOT / room).iterdir() if not NO_ROOM_OF_THEIR_OWN.fullmatch(path.stem)}
    assert len(here) > 5
    assert here - named == set()
