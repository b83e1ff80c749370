"""am compare: two scored directories, all together and by group, in words and in files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from am.__main__ import app
from am.aligned import Aligned, write_aligned
from am.bootci import kaldi_comparison
from am.bootstrap import difference
from am.compare import compare_dirs, compare_systems, lines
from am.matched_pairs import matched_pairs
from harness.errors import ConfigError, DataDirError


def system(seed: int, rates: tuple[float, float], speakers: int = 8) -> Aligned:
    """Ten utterances of six words a speaker; substitutions at one rate at 0 dB, at the other at 15 dB."""
    rng = np.random.default_rng(seed)
    pairs, who, snr = {}, {}, {}
    for n in range(10 * speakers):
        utterance = f"u{n:03d}"
        who[utterance], snr[utterance] = f"s{n // 10}", ("0", "15")[n % 2]
        wrong = rng.random(6) < rates[n % 2]
        pairs[utterance] = tuple((f"w{k}", "x" if bad else f"w{k}") for k, bad in enumerate(wrong))
    return Aligned(pairs=pairs, speakers=who, groups={"snr": snr})


@pytest.fixture(scope="module")
def systems() -> tuple[Aligned, Aligned]:
    return system(1, (0.6, 0.2)), system(2, (0.3, 0.2))


def test_the_three_judges_agree_with_themselves_alone(systems: tuple[Aligned, Aligned]) -> None:
    first, second = systems
    (found,) = compare_systems(first, second, replicas=500, seed=4)
    assert found.change == difference(first.errors(), second.errors(), replicas=500, seed=4)
    assert found.pairs == matched_pairs(first.pairs, second.pairs)
    assert found.improvement == kaldi_comparison(first.errors(), second.errors(), 500)[2]
    by_utterance = compare_systems(first, second, draw="utterance", replicas=500, seed=4)[0].change
    assert by_utterance == difference(first.errors(), second.errors(), by="utterance", replicas=500, seed=4)
    assert by_utterance is not None and by_utterance.blocks == 80


def test_groups_show_where_the_gain_is(systems: tuple[Aligned, Aligned]) -> None:
    whole, loud, quiet, *children = compare_systems(*systems, by=["snr", "speaker"], replicas=500)
    assert [part.group for part in (whole, loud, quiet)] == ["all", "0", "15"]
    assert loud.change is not None and loud.change.high < 0
    assert quiet.change is not None and quiet.change.low < 0 < quiet.change.high
    assert loud.pairs.p_value < 0.001 < quiet.pairs.p_value
    assert loud.improvement > 0.99
    assert len(children) == 8
    assert all(child.change is None and child.row()["low"] is None for child in children), "one speaker: no interval"
    assert sum(child.row()["errors_a"] for child in children) == whole.row()["errors_a"]


def test_few_speakers_are_called_too_few() -> None:
    few = compare_systems(system(1, (0.9, 0.9), 3), system(2, (0.1, 0.1), 3), replicas=200)
    assert "over 3 speakers, too few to tell" in lines(few)[0]
    assert few[0].row()["p_bootstrap"] is None
    enough = lines(compare_systems(system(1, (0.9, 0.9), 6), system(2, (0.1, 0.1), 6), replicas=200))
    assert "over 6 speakers, p = 0.0" in enough[0]


def test_the_verb_prints_and_writes_the_same_figures(systems: tuple[Aligned, Aligned], tmp_path: Path) -> None:
    for name, one in zip("ab", systems, strict=True):
        write_aligned(tmp_path / name / "aligned.tsv", one)
    words = ["compare", "--a", f"{tmp_path}/a", "--b", f"{tmp_path}/b", "--by", "snr", "--replicas", "500"]
    done = CliRunner().invoke(app, [*words, "--out", f"{tmp_path}/out"])
    assert done.exit_code == 0, done.output
    expected = compare_dirs(tmp_path / "a", tmp_path / "b", by=["snr"], replicas=500)
    assert done.output.splitlines() == lines(expected)
    found = json.loads((tmp_path / "out/compare.json").read_text())
    assert found["rows"] == [one.row() for one in expected]
    assert (found["replicas"], found["draw"]) == (500, "speaker")
    with open(tmp_path / "out/compare.csv", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [float(row["difference"]) for row in table] == [row["difference"] for row in found["rows"]]
    other = CliRunner().invoke(app, [*words, "--draw", "utterance", "--seed", "9"])
    assert "over 80 utterances" in other.output


def test_other_sets_and_unknown_dimensions_are_refused(systems: tuple[Aligned, Aligned]) -> None:
    with pytest.raises(DataDirError, match=r"differ in 20 utterances \(first: u060\)"):
        compare_systems(systems[0], system(2, (0.3, 0.2), 6))
    with pytest.raises(ConfigError, match="neither directory knows 'age'"):
        compare_systems(*systems, by=["age"])
    with pytest.raises(DataDirError, match="there are no aligned utterances here"):
        compare_dirs("nowhere", "nowhere")


def test_a_group_is_known_where_one_of_the_two_knows_it(systems: tuple[Aligned, Aligned]) -> None:
    bare = Aligned(pairs=systems[0].pairs, speakers=systems[0].speakers, groups={})
    assert [part.group for part in compare_systems(bare, systems[1], by=["snr"], replicas=100)] == ["all", "0", "15"]
