"""am confidence: calibration and normalised cross entropy by hand, and on the golden lattices."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from am.__main__ import app
from am.aligned import read_aligned
from am.confidence import EDGE, ConfidenceConfig, Word, calibration, normalised_cross_entropy, summary
from am.score import score
from harness.errors import DataDirError


def words(*pairs: tuple[float, bool]) -> list[Word]:
    return [Word(utterance="u", word="w", confidence=sure, correct=right) for sure, right in pairs]


def test_cross_entropy_worked_by_hand() -> None:
    """Half are right: H is 4 bits; the four words cost 1, 2, 0 and 1 less its complement ..."""
    found = normalised_cross_entropy(words((0.5, True), (0.25, True), (0.5, False), (0.75, False)))
    assert found == pytest.approx((4 - 1 - 2 - 1 - 2) / 4)


def test_a_constant_that_tells_the_share_scores_zero_certainty_one_and_a_lie_below() -> None:
    assert normalised_cross_entropy(words(*[(0.75, n < 3) for n in range(4)])) == pytest.approx(0.0)
    assert normalised_cross_entropy(words((1.0, True), (0.0, False))) == pytest.approx(1.0, abs=1e-5)
    lie = normalised_cross_entropy(words((0.0, True), (1.0, False)))
    assert lie == pytest.approx(1 + math.log2(EDGE), rel=1e-6)
    assert normalised_cross_entropy(words((0.3, True))) is None
    assert normalised_cross_entropy([]) is None


def test_bins_count_words_and_right_ones() -> None:
    low, high = calibration(words((0.0, False), (0.2, True), (0.49, False), (0.5, True), (1.0, True)), 2)
    assert (low.words, low.correct, low.high) == (3, 1, 0.5)
    assert low.mean == pytest.approx(0.23)
    assert (high.words, high.correct, high.mean) == (2, 2, 0.75)
    assert [one.words for one in calibration(words((0.1, True)), 4)] == [1, 0, 0, 0]


def test_true_confidences_are_calibrated_and_shifted_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0, 1, 4000)
    right = rng.random(4000) < sure
    honest = summary(words(*zip(sure.tolist(), right.tolist(), strict=True)), ConfidenceConfig())
    boastful = summary(words(*zip(np.sqrt(sure).tolist(), right.tolist(), strict=True)), ConfidenceConfig())
    assert honest["calibration_error"] < 0.03 < 0.14 < boastful["calibration_error"]
    assert honest["nce"] > boastful["nce"]
    assert honest["nce"] == pytest.approx(1 - 0.5 / math.log(2), abs=0.03)  # 1 less the mean entropy of p, in bits
    assert len(summary([], ConfidenceConfig(bins=3))["bins"]) == 3


def test_the_golden_directory_is_judged_at_its_own_setting(golden_dir: Path, tmp_path: Path) -> None:
    decode, graph = tmp_path / "decode", golden_dir / "exp/tri3b/graph"
    shutil.copytree(golden_dir / "exp/tri3b/decode_test", decode)
    ask = ["confidence", "--decode", f"{decode}", "--data", f"{golden_dir}/data/test", "--graph", f"{graph}"]
    refused = CliRunner().invoke(app, ask)
    assert isinstance(refused.exception, DataDirError)
    assert "score.json: no such file" in str(refused.exception)
    result = score(decode, golden_dir / "data/test", graph, 7, 0.0)
    done = CliRunner().invoke(app, [*ask, "--set", "bins=4"])
    assert done.exit_code == 0, done.exception
    found = json.loads((decode / "confidence.json").read_text())
    counts = result.counts
    assert found["words"] == counts.words + counts.insertions - counts.deletions
    cells = [pair for pairs in read_aligned(decode).pairs.values() for pair in pairs]
    assert found["correct"] == sum(one == other for one, other in cells), "as aligned.tsv pairs them"
    assert sum(one["words"] for one in found["bins"]) == found["words"]
    assert len(found["bins"]) == 4
    rows = (decode / "confidences.tsv").read_text().splitlines()[1:]
    assert len(rows) == found["words"]
    assert f"{found['correct']} of {found['words']} words right" in done.output
    first = [row.split("\t")[1] for row in rows if row.startswith("dov-000\t")]
    assert first == ["four", "four", "eight"], "the hypothesis of per_utt.tsv"
