"""Does Kaldi's own scoring count the errors that ours counts?  Used by recipes/lib/kaldi.sh after both have run.

``python -m am.kaldi_scoring setting DIR`` prints weight and penalty that ``am score`` used there; ``check DIR``
compares the ``wer_LMWT_WIP`` that steps/score_kaldi.sh wrote at this setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from am.score import read_setting
from harness.errors import DecodeError
from harness.script import run_script

COUNTS = re.compile(r"%WER \S+ \[ (\d+) / (\d+), (\d+) ins, (\d+) del, (\d+) sub \]")


def kaldi_wer_file(decode_dir: Path) -> Path:
    """What score_kaldi.sh writes at the setting of ``am score``."""
    weight, penalty = read_setting(decode_dir)
    return decode_dir / f"wer_{weight:g}_{penalty}"


def check_counts(decode_dir: Path) -> str:
    """Kaldi's line of the word error rate.  Raises DecodeError where ours has other counts."""
    file = kaldi_wer_file(decode_dir)
    found = COUNTS.search(file.read_text(encoding="utf-8")) if file.is_file() else None
    if found is None:
        raise DecodeError(file, "holds no word error rate of Kaldi's", mend="read the log of score_kaldi.sh")
    score = json.loads((decode_dir / "score.json").read_text(encoding="utf-8"))
    ours = (score["ins"] + score["del"] + score["sub"], score["words"])
    if ours != (int(found[1]), int(found[2])):
        problem = f"Kaldi counts {found[1]} errors in {found[2]} words, am score {ours[0]} in {ours[1]}"
        raise DecodeError(file, problem, mend="do both see the same lattices and text?")
    return found[0]


def main(arguments: Sequence[str]) -> None:
    """setting or check."""
    verb, folder = arguments
    if verb == "setting":
        weight, penalty = read_setting(Path(folder))
        print(f"{weight:g} {penalty}")
    else:
        print(f"Kaldi's scoring agrees: {check_counts(Path(folder))}")


if __name__ == "__main__":
    run_script(main)
