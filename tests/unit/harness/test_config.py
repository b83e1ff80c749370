from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from harness.config import dump_config, from_plain, load_config, to_plain
from harness.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Train:
    rate: float = 1.0e-3
    warmup: int = 10
    betas: tuple[float, float] = (0.9, 0.999)
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class Whole:
    model: Literal["ligru", "lstm"] = "ligru"
    shuffle: bool = True
    train: Train = field(default_factory=Train)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.yaml"
    path.write_text(text)
    return path


def test_values_of_the_file_replace_the_defaults_and_overrides_replace_both(tmp_path: Path) -> None:
    path = write(tmp_path, "model: lstm\ntrain:\n  warmup: 5\n  betas: [0.5, 0.9]\n")
    config = load_config(Whole, path, ["train.warmup=7", "train.limit=3"])
    assert config == Whole(model="lstm", train=Train(warmup=7, betas=(0.5, 0.9), limit=3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: ligru\ntrain:\n  warmpu: 3\n", r"some.yaml:3: unknown key 'warmpu'; did you mean 'warmup'\?"),
        ("train:\n  rate: 3e-4\n", r"some.yaml:2: rate: YAML reads 3e-4 as text\n  mend: write 0.0003"),
        ("shuffle: 'False'\n", r"some.yaml:1: shuffle must be true or false, got 'False'"),
        ("model: ligur\n", r"some.yaml:1: model is 'ligur'; did you mean 'ligru'"),
        ("train:\n  rate: -1.0\n", r"some.yaml:2: rate must be positive, got -1.0"),
        ("train: 3\n", r"some.yaml:1: train holds keys of its own"),
        ("train:\n  betas: [0.1]\n", r"some.yaml:2: betas takes 2 values, got 1"),
        ("shuffle: true\nshuffle: false\n", r"some.yaml:2: key 'shuffle' is given twice"),
        ("train: [\n", r"some.yaml:2: is not YAML"),
        ("model: !SIL\n", r"some.yaml:1: '' is not plain YAML\n  mend: quote the value"),
        ("model: \x07\n", r"some.yaml: holds the character number 7, which YAML does not allow"),
        ("train:\n  warmup: 1.5\n", r"some.yaml:2: warmup must be a whole number, got 1.5"),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_mend(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Whole, write(tmp_path, text))


@pytest.mark.parametrize("number", ["3e-4", "1e6", "1.0e6", "2E5", "3e-7", "1e30"])
def test_a_number_that_yaml_takes_for_text_is_answered_with_one_that_it_reads(tmp_path: Path, number: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Whole, None, [f"train.rate={number}"])
    mend = str(caught.value).rpartition("write ")[2]
    assert load_config(Whole, None, [f"train.rate={mend}"]).train.rate == float(number)


def test_a_missing_file_and_a_bad_override_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.yaml: no such configuration file"):
        load_config(Whole, tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"--set train.wormup=3: unknown key 'wormup'"):
        load_config(Whole, None, ["train.wormup=3"])


def test_a_dumped_config_loads_as_the_same_config(tmp_path: Path) -> None:
    config = Whole(model="lstm", train=Train(rate=2.5e-5, limit=None))
    dump_config(config, tmp_path / "out.yaml")
    assert load_config(Whole, tmp_path / "out.yaml") == config
    assert from_plain(Whole, to_plain(config), "a checkpoint") == config
