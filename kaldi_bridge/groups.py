"""The groups by which a result is broken down: SNR, noise type, age, gender and grade of reading of each utterance.

They come from tables of the data directory: utt2snr and utt2noise of a noisy set, spk2age, spk2gender, and utt2grade
(the score that a listener gave the reading).  A dimension whose table is not there is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

from kaldi_bridge.text_tables import read_text_table

AGE_GROUPS = ((6, 8), (9, 11), (12, 15))  # years
DIMENSIONS = ("snr", "noise", "age", "gender", "grade")
UNKNOWN = "unknown"  # of an utterance that the table lacks


def age_group(age: str) -> str:
    """'6-8', '9-11' or '12-15' of an age in years as text; 'other' outside."""
    for low, high in AGE_GROUPS:
        if age.isdecimal() and low <= int(age) <= high:
            return f"{low}-{high}"
    return "other"


def noise_type(noise: str) -> str:
    """The kind of a noise recording, from an entry of utt2noise: its name up to the first piece that is a number.

    'esc10-rain-4-181286-A.ogg 12498' is 'esc10-rain'; a name without such a piece stays whole.
    """
    pieces = PurePath(noise.split()[0]).stem.split("-") if noise.split() else [""]
    kept = next((n for n, piece in enumerate(pieces) if n and piece.isdecimal()), len(pieces))
    return "-".join(pieces[:kept]) or UNKNOWN


def groups_of(data_dir: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """{dimension: {utterance: group}} of the dimensions that the data directory knows, in order of DIMENSIONS.

    Every utterance of utt2spk has a group; 'unknown' where the table lacks it.  Raises DataDirError for a broken table.
    """
    folder = Path(data_dir)
    utt2spk = read_text_table(folder / "utt2spk")
    sources: dict[str, tuple[str, Callable[[str], str]]] = {
        "snr": ("utt2snr", str), "noise": ("utt2noise", noise_type), "age": ("spk2age", age_group),
        "gender": ("spk2gender", str), "grade": ("utt2grade", str),
    }  # fmt: skip
    found: dict[str, dict[str, str]] = {}
    for dimension, (name, group) in sources.items():
        if not (folder / name).is_file():
            continue
        table = read_text_table(folder / name)
        keys = utt2spk if name.startswith("spk2") else {utterance: utterance for utterance in utt2spk}
        found[dimension] = {
            utterance: group(table[key]) if table.get(key) else UNKNOWN for utterance, key in keys.items()
        }
    return found


def in_order(groups: Mapping[str, str]) -> list[str]:
    """The different groups of a dimension: numbers by size, ages by years, words by name, unknown ones last."""

    def place(group: str) -> tuple[bool, bool, float, str]:
        number = _leading_number(group)
        return group in (UNKNOWN, "other"), number is None, number or 0.0, group

    return sorted(set(groups.values()), key=place)


def _leading_number(group: str) -> float | None:
    head = group.split("-")[0] if not group.startswith("-") else group
    try:
        return float(head)
    except ValueError:
        return None
