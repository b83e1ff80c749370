"""Paired comparison of systems, against scipy's bootstrap and hand-made tables."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy import stats

from enhance.compare import compare_systems, comparison_text, holm, write_comparison
from harness.errors import ConfigError, DataDirError


def write_scores(path, values, speakers=None, problems=None, metric="si_sdr"):
    """scores.csv with one metric; values: {utterance: value or ""}."""
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["utterance", "speaker", "snr", metric, "problem"])
        for utterance, value in values.items():
            speaker = utterance.split("-")[0] if speakers is None else speakers[utterance]
            writer.writerow([utterance, speaker, "5", value, (problems or {}).get(utterance, "")])
    return path


@pytest.fixture
def pair(tmp_path):
    """Twenty speakers of four utterances; the second system is better by 0.5 on the average."""
    rng = np.random.default_rng(0)
    names = [f"s{s:02d}-{k}" for s in range(20) for k in range(4)]
    first = rng.normal(5, 4, 80)
    second = first + np.repeat(rng.normal(0.5, 0.6, 20), 4) + rng.normal(0, 0.3, 80)
    tables = {
        name: write_scores(tmp_path / f"{name}.csv", {n: f"{v:.4f}" for n, v in zip(names, values, strict=True)})
        for name, values in (("first", first), ("second", second))
    }
    return tables, first.round(4), second.round(4)


def test_difference_and_interval_are_those_of_scipys_bootstrap_over_speakers(pair):
    tables, first, second = pair
    found = compare_systems(tables)
    by_speaker = (second - first).reshape(20, 4).mean(1)
    theirs = stats.bootstrap((by_speaker,), np.mean, n_resamples=10_000, method="percentile", rng=1)
    (row,) = found.differences
    assert row.difference == pytest.approx(by_speaker.mean(), abs=1e-9)
    assert (row.low, row.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)
    assert (found.utterances, found.speakers) == (80, 20)
    assert row.verdict == "second is better"
    assert found.means["si_sdr"]["first"].value == pytest.approx(first.mean())
    unpaired = found.means["si_sdr"]["first"]
    assert row.high - row.low < 0.5 * (unpaired.high - unpaired.low)


def test_the_way_of_comparing_changes_the_sign_and_nothing_else(pair):
    tables, _, _ = pair
    forth, back = (compare_systems(order).differences[0] for order in (tables, dict(reversed(tables.items()))))
    assert (back.low, back.high, back.difference) == pytest.approx((-forth.high, -forth.low, -forth.difference))
    assert back.p_value == forth.p_value
    assert back.verdict == forth.verdict


def test_a_system_does_not_differ_from_itself(pair):
    tables, _, _ = pair
    (row,) = compare_systems({"a": tables["first"], "b": tables["first"]}).differences
    assert (row.difference, row.p_value, row.verdict) == (0.0, 1.0, "no difference shown")


def of_speakers(tmp_path, count):
    """Two systems on two utterances of each speaker, the second better by 3 to 4 dB everywhere."""
    names = [f"s{s}-{k}" for s in range(count) for k in range(2)]
    return {
        name: write_scores(tmp_path / f"{name}.csv", {n: i % 5 + more * (1 + i / 40) for i, n in enumerate(names)})
        for name, more in (("noisy", 0.0), ("gan", 3.0))
    }


def test_fewer_than_six_speakers_are_too_few_for_a_p_value_as_where_words_are_compared(tmp_path):
    found = compare_systems(of_speakers(tmp_path, 5))
    (row,) = found.differences
    assert 3 < row.low < row.difference < row.high < 4
    assert (row.p_value, row.p_holm, row.verdict) == (None, None, "too few to tell")
    assert "] over 5 speakers, too few to tell" in comparison_text(found)
    assert "gan is better" not in comparison_text(found)
    write_comparison(found, tmp_path)
    with open(tmp_path / "compare.csv", newline="") as stream:
        (written,) = csv.DictReader(stream)
    assert (written["p_value"], written["p_holm"], written["verdict"]) == ("", "", "too few to tell")
    (row,) = compare_systems(of_speakers(tmp_path, 6)).differences
    assert row.p_value <= row.p_holm < 0.001
    assert row.verdict == "gan is better"


def test_one_speaker_gives_no_interval(tmp_path):
    found = compare_systems(of_speakers(tmp_path, 1))
    (row,) = found.differences
    assert (row.low, row.high, row.verdict) == (None, None, "too few to tell")
    assert comparison_text(found).endswith(f"gan - noisy: {row.difference:+.3f} over 1 speaker, too few to tell")
    assert "[" not in comparison_text(found)


def test_of_a_metric_where_lower_is_better_the_lower_system_wins(tmp_path, pair):
    _, first, second = pair
    names = [f"s{s:02d}-{k}" for s in range(20) for k in range(4)]
    tables = {
        name: write_scores(tmp_path / f"{name}.csv", dict(zip(names, values, strict=True)), metric=metric)
        for metric in ("log_mel",)
        for name, values in (("a", first), ("b", second))
    }
    assert compare_systems(tables).differences[0].verdict == "a is better"
    strange = {
        name: write_scores(tmp_path / f"{name}2.csv", dict(zip(names, values, strict=True)), metric="my_mos")
        for name, values in (("a", first), ("b", second))
    }
    assert compare_systems(strange).differences[0].verdict == "b is higher"


def test_utterances_missing_or_failed_anywhere_are_left_out_of_all_and_said(tmp_path, caplog):
    whole = {f"s{n}-1": str(float(n)) for n in range(10)}
    tables = {
        "whole": write_scores(tmp_path / "whole.csv", whole),
        "short": write_scores(tmp_path / "short.csv", {n: v for n, v in whole.items() if n not in ("s3-1", "s4-1")}),
        "broken": write_scores(tmp_path / "broken.csv", whole | {"s9-1": ""}, problems={"s9-1": "is silent"}),
    }
    found = compare_systems(tables)
    assert found.utterances == 7
    assert (found.missing, found.failed) == (
        {"whole": 0, "short": 2, "broken": 0}, {"whole": 0, "short": 0, "broken": 1}
    )  # fmt: skip
    assert "compared on 7 of 10 utterances: short lacks 2, broken failed on 1" in caplog.text
    kept = [n for n in range(10) if n not in (3, 4, 9)]
    assert found.means["si_sdr"]["whole"].value == pytest.approx(np.mean(kept))
    assert [(row.first, row.second) for row in found.differences] == [
        ("whole", "short"), ("whole", "broken"), ("short", "broken")
    ]  # fmt: skip


def test_holms_procedure_on_the_example_of_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_files_without_speakers_are_compared_file_by_file(tmp_path):
    values = {f"u{n}": str(float(n)) for n in range(6)}
    nobody = dict.fromkeys(values, "")
    tables = {name: write_scores(tmp_path / f"{name}.csv", values, nobody) for name in "ab"}
    assert compare_systems(tables).speakers == 6


def test_written_tables_hold_what_was_found(pair, tmp_path):
    tables, _, _ = pair
    found = compare_systems(tables)
    write_comparison(found, tmp_path / "out")
    with open(tmp_path / "out" / "compare.csv", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["difference"]) == pytest.approx(found.differences[0].difference, rel=1e-5)
    described = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert described["means"]["si_sdr"]["second"]["blocks"] == 20
    assert described["differences"][0]["verdict"] == "second is better"
    assert "second - first: +" in comparison_text(found)
    assert "(dB, higher is better)" in comparison_text(found)


def test_what_cannot_be_compared_is_refused(tmp_path, pair):
    tables, _, _ = pair
    with pytest.raises(ConfigError, match="needs two systems, got 1"):
        compare_systems({"first": tables["first"]})
    with pytest.raises(ConfigError, match="pesq: is not among the scores of first"):
        compare_systems(tables, ["pesq"])
    with pytest.raises(DataDirError, match="no such file"):
        compare_systems(tables | {"third": tmp_path / "none.csv"})
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataDirError, match="has no columns 'utterance' and 'problem'"):
        compare_systems(tables | {"third": tmp_path / "other.csv"})
    other = write_scores(tmp_path / "others.csv", {"x-1": "1.0"})
    with pytest.raises(ConfigError, match="no utterance has scores in every system"):
        compare_systems(tables | {"third": other})
    moved = write_scores(tmp_path / "moved.csv", {"s00-0": "1.0"}, {"s00-0": "s77"})
    with pytest.raises(DataDirError, match="utterance s00-0 is of s00 and of s77"):
        compare_systems(tables | {"third": moved})
    with_note = write_scores(tmp_path / "note.csv", {"s00-0": "good"})
    with pytest.raises(DataDirError, match=r"note.csv: a column holds no scores \(.*'good'\)"):
        compare_systems(tables | {"third": with_note})


def called(*words):
    from typer.testing import CliRunner

    from enhance.__main__ import app

    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_verb_takes_any_number_of_systems_after_one_option_or_none(pair, tmp_path):
    tables, _, _ = pair
    words = [f"{name}={path}" for name, path in {**tables, "third": tables["first"]}.items()]
    after_option = called("compare", "--systems", *words, "--out", tmp_path / "out", "--seed", 3)
    assert after_option.exit_code == 0, after_option.output
    assert "third - second" in after_option.output
    with open(tmp_path / "out" / "compare.csv", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 3
    assert called("compare", *words, "--seed", 3).output.splitlines() == after_option.output.splitlines()[:-1]
    assert called("compare", *words).output != called("compare", *words, "--seed", 3).output


def test_the_verb_refuses_words_that_name_no_system(pair):
    tables, _, _ = pair
    for words, said in (((tables["first"],), "expected NAME=VALUE"), (("a=x", "a=y"), "the name 'a' comes twice")):
        with pytest.raises(ConfigError, match=said):
            raise called("compare", *words).exception
