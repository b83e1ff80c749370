"""The groups of a breakdown, from the tables of a data directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataDirError
from kaldi_bridge.groups import age_group, groups_of, in_order, noise_type


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ("esc10-rain-4-181286-A.ogg 12498", "esc10-rain"),
        ("esc10-baby-cry-1-17.ogg 0", "esc10-baby-cry"),
        ("berlin-wind-crows-passers-by.ogg 5", "berlin-wind-crows-passers-by"),
        ("street/cars.wav", "cars"),
        ("1-100032-A-0.wav 3", "1"),
        ("", "unknown"),
    ],
)
def test_a_noise_is_named_up_to_its_first_number(entry: str, kind: str) -> None:
    assert noise_type(entry) == kind


def test_ages_fall_into_the_three_groups_of_school() -> None:
    assert [age_group(age) for age in ("5", "6", "8", "9", "11", "12", "15", "16", "six")] == [
        "other", "6-8", "6-8", "9-11", "9-11", "12-15", "12-15", "other", "other"
    ]  # fmt: skip


def test_every_utterance_has_a_group_in_every_dimension_that_has_a_table(tmp_path: Path) -> None:
    tables = {
        "utt2spk": "u1 s1\nu2 s1\nu3 s2\n", "utt2snr": "u1 0\nu2 15\nu3 5\n", "utt2grade": "u1 8\n",
        "spk2age": "s1 7\ns2 12\n", "spk2gender": "s1 f\ns2 m\n",
    }  # fmt: skip
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    groups = groups_of(tmp_path)
    assert list(groups) == ["snr", "age", "gender", "grade"], "no utt2noise, no noise"
    assert groups["snr"] == {"u1": "0", "u2": "15", "u3": "5"}
    assert groups["age"] == {"u1": "6-8", "u2": "6-8", "u3": "12-15"}
    assert groups["gender"] == {"u1": "f", "u2": "f", "u3": "m"}
    assert groups["grade"] == {"u1": "8", "u2": "unknown", "u3": "unknown"}


def test_groups_stand_in_their_natural_order() -> None:
    assert in_order(dict(enumerate(["15", "0", "-5", "unknown", "5"]))) == ["-5", "0", "5", "15", "unknown"]  # type: ignore[arg-type]
    assert in_order({"a": "9-11", "b": "other", "c": "12-15", "d": "6-8"}) == ["6-8", "9-11", "12-15", "other"]
    assert in_order({"a": "rain", "b": "dog", "c": "rain"}) == ["dog", "rain"]


def test_a_broken_table_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "utt2spk").write_text("u1 s1\n")
    (tmp_path / "utt2snr").write_text("u1 0\nu1 5\n")
    with pytest.raises(DataDirError, match="utt2snr:2: key 'u1' comes twice"):
        groups_of(tmp_path)
