"""Bootstrap intervals against exact and normal theory, against Kaldi's, and their guards."""

from __future__ import annotations

import math
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from am.bootstrap import Errors, difference, interval
from harness.errors import DataDirError


def errors_of(rates: np.ndarray, words: int, speakers: int, seed: int = 0) -> Errors:
    """Binomial errors: one rate an utterance, utterances dealt to speakers in blocks."""
    rng = np.random.default_rng(seed)
    wrong = rng.binomial(words, rates)
    each = len(rates) // speakers
    return Errors.of({f"u{n:04d}": (f"s{n // each:03d}", words, int(k)) for n, k in enumerate(wrong)})


def test_interval_of_independent_utterances_is_that_of_normal_theory() -> None:
    errors = errors_of(np.full(400, 0.3), 10, 400)
    found = interval(errors, by="utterance")
    rate = errors.errors / 10
    half = 1.96 * 100 * rate.std() / math.sqrt(400)
    assert found.value == pytest.approx(100 * rate.mean())
    assert found.low == pytest.approx(found.value - half, abs=0.15)
    assert found.high == pytest.approx(found.value + half, abs=0.15)
    assert found.blocks == 400


def test_interval_covers_the_truth_about_19_times_in_20() -> None:
    covered = 0
    for seed in range(200):
        found = interval(errors_of(np.full(60, 0.4), 5, 60, seed), by="speaker", replicas=800, seed=seed)
        covered += found.low <= 40.0 <= found.high
    assert 180 <= covered <= 199


def test_all_draws_of_a_tiny_set_are_met() -> None:
    """Two speakers with 0 and 100 %: a quarter of the draws each for 0 and 100, half for 50."""
    errors = Errors.of({"a": ("s1", 4, 0), "b": ("s2", 4, 4)})
    half = interval(errors, level=0.40)  # 30th to 70th percentile
    assert (half.low, half.value, half.high) == (50.0, 50.0, 50.0)
    wide = interval(errors, level=0.95)
    assert (wide.low, wide.high) == (0.0, 100.0)


def test_speakers_who_differ_widen_the_interval() -> None:
    rates = np.repeat(np.linspace(0.05, 0.75, 20), 20)
    errors = errors_of(rates, 8, 20)
    by_speaker, by_utterance = interval(errors), interval(errors, by="utterance")
    assert by_speaker.blocks == 20
    assert by_speaker.high - by_speaker.low > 2 * (by_utterance.high - by_utterance.low)


def test_a_system_does_not_differ_from_itself() -> None:
    errors = errors_of(np.full(100, 0.3), 10, 20)
    same = difference(errors, errors)
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_pairing_finds_a_small_but_steady_gain() -> None:
    rng = np.random.default_rng(3)
    first = errors_of(np.repeat(rng.uniform(0.1, 0.8, 25), 16), 10, 25)
    gain = np.minimum(first.errors, rng.random(400) < 0.3)  # takes an error away from about every third utterance
    second = replace(first, errors=first.errors - gain)
    found = difference(first, second)
    assert found.value == pytest.approx(second.percent - first.percent)
    assert found.high < 0
    assert found.p_value < 0.001
    assert found.improved == 1.0
    unpaired = interval(first)
    assert found.high - found.low < 0.3 * (unpaired.high - unpaired.low)
    back = difference(second, first)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_chance_differences_are_seldom_significant() -> None:
    significant = 0
    for seed in range(100):
        first, second = (errors_of(np.full(80, 0.4), 6, 20, 2 * seed + side) for side in range(2))
        significant += difference(first, second, replicas=600, seed=seed).p_value < 0.05
    assert significant <= 14


def test_a_seed_fixes_the_numbers() -> None:
    errors = errors_of(np.full(50, 0.3), 10, 10)
    assert interval(errors, seed=5) == interval(errors, seed=5)
    spread = {interval(errors, seed=seed, replicas=37).low for seed in range(6)}
    assert len(spread) > 1


def test_other_utterances_or_references_are_refused() -> None:
    errors = Errors.of({"a": ("s1", 4, 0), "b": ("s2", 4, 4)})
    with pytest.raises(DataDirError, match=r"differ in 1 utterances \(first: b\)"):
        difference(errors, Errors.of({"a": ("s1", 4, 0)}))
    with pytest.raises(DataDirError, match="utterance b has other speakers or reference words"):
        difference(errors, Errors.of({"a": ("s1", 4, 0), "b": ("s2", 5, 4)}))
    with pytest.raises(DataDirError, match="hold no word"):
        Errors.of({"a": ("s1", 0, 0)})


@pytest.mark.kaldi
def test_intervals_by_utterance_are_those_of_compute_wer_bootci(kaldi_root: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, tuple[str, int, int]]] = [{}, {}]
    texts: list[list[str]] = [[], [], []]
    for n in range(300):
        words, name = int(rng.integers(2, 12)), f"u{n:03d}"
        texts[0].append(f"{name} {' '.join(['a'] * words)}")
        for system, rate in enumerate((0.30, 0.25)):
            wrong = int(rng.binomial(words, rate))
            rows[system][name] = ("s", words, wrong)
            texts[system + 1].append(f"{name} {' '.join(['b'] * wrong + ['a'] * (words - wrong))}")
    for name, lines in zip(("ref", "first", "second"), texts, strict=True):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    command = f". {kaldi_root}/path.sh; cd {tmp_path}; compute-wer-bootci --mode=strict ark:ref ark:first ark:second"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C"}
    )
    first, second = (Errors.of(one) for one in rows)
    printed = re.findall(r"%WER ([\d.]+) 95% Conf Interval \[ ([\d.-]+), ([\d.-]+) \]", done.stdout)
    for system, numbers in zip((first, second), printed, strict=True):
        found = interval(system, by="utterance")
        expected = [float(number) for number in numbers]
        assert [found.value, found.low, found.high] == pytest.approx(expected, abs=0.25)
    better = difference(first, second, by="utterance").improved
    assert 0.9 < better <= 1.0
    stated = re.search(r"Probability of Set2 improving Set1: ([\d.]+)", done.stdout)
    assert stated is not None
    assert better == pytest.approx(float(stated.group(1)) / 100, abs=0.02)
