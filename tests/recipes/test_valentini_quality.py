"""The noisy row and the table of the VoiceBank-DEMAND recipe: published figures pass, others stop the recipe."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SchoolyardError
from tests.recipes.preparing import ROOT

NOISY = {"pesq": 1.971, "csig": 3.348, "cbak": 2.443, "covl": 2.632, "ssnr": 1.684, "stoi": 0.921, "si_sdr": 8.45}


@pytest.fixture(scope="module")
def quality() -> Any:
    spec = importlib.util.spec_from_file_location("valentini_quality", ROOT / "recipes/valentini/quality.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scored(folder: Path, **means: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"snr": "2.5", "utterances": 2, "failed": 0} | NOISY,
        {"snr": "all", "utterances": 824, "failed": 0} | NOISY,
    ]
    rows[1] |= means
    (folder / "summary.json").write_text(json.dumps({"rows": rows}))
    return folder


def facts(path: Path, **changes: object) -> Path:
    sets = {"test": {"utterances": 824, "speakers": 2}, "dev": {"utterances": 770, "speakers": 2}}
    content = {"sets": sets, "rate": 16000, "resampler": "soxr HQ", "speakers": "28", "partial": False} | changes
    path.write_text(json.dumps(content))
    return path


def test_the_published_row_passes_and_is_printed(
    quality: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quality.check(score=scored(tmp_path / "noisy"), prepared=facts(tmp_path / "p.json"), tolerance=0.02)
    assert "as published: PESQ 1.97, CSIG 3.35, CBAK 2.44, COVL 2.63, SSNR, dB 1.68" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "value"), [("pesq", 2.41), ("ssnr", 1.60), ("covl", 2.70)])
def test_another_noisy_row_stops_the_recipe_before_training(
    quality: Any, tmp_path: Path, name: str, value: float
) -> None:
    with pytest.raises(SchoolyardError, match=rf"{value:.3f} instead of .*\n  mend: .*before anything is trained"):
        quality.check(
            score=scored(tmp_path / "noisy", **{name: value}), prepared=facts(tmp_path / "p.json"), tolerance=0.02
        )
    quality.check(score=tmp_path / "noisy", prepared=tmp_path / "p.json", tolerance=0.5)


@pytest.mark.parametrize("changes", [{"partial": True}, {"rate": 8000}])
def test_of_a_part_or_another_rate_no_published_row_is_asked_for(
    quality: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object]
) -> None:
    quality.check(
        score=scored(tmp_path / "n", pesq=3.0), prepared=facts(tmp_path / "p.json", **changes), tolerance=0.02
    )
    assert "no published figures to check; PESQ 3.00" in capsys.readouterr().out


def test_scores_without_pesq_or_with_failures_are_refused(quality: Any, tmp_path: Path) -> None:
    with pytest.raises(SchoolyardError, match=r"lacks pesq\n  mend: .*pip install pesq"):
        quality.means_of(scored(tmp_path / "one", pesq=""))
    with pytest.raises(SchoolyardError, match="3 utterances have no score"):
        quality.means_of(scored(tmp_path / "two", failed=3))
    with pytest.raises(SchoolyardError, match="has no means"):
        quality.means_of(tmp_path / "none")


def test_the_table_has_the_columns_of_the_papers_and_their_rows(quality: Any, tmp_path: Path) -> None:
    rows = [f"noisy={scored(tmp_path / 'noisy')}", f"segan_plus={scored(tmp_path / 'plus', pesq=2.4)}"]
    out = tmp_path / "RESULTS.md"
    quality.table(score=rows, prepared=facts(tmp_path / "p.json"), out=out, dev=[f"noisy={tmp_path / 'noisy'}"])
    text = out.read_text()
    assert "| system | PESQ | CSIG | CBAK | COVL | SSNR, dB | STOI | SI-SDR, dB |" in text
    assert "| noisy (published) | 1.97 | 3.35 | 2.44 | 2.63 | 1.68 |  |  |" in text
    assert "| SEGAN (published) | 2.16 | 3.48 | 2.94 | 2.80 | 7.73 |  |  |" in text
    assert "| segan_plus | 2.40 | 3.35 | 2.44 | 2.63 | 1.68 | 0.92 | 8.45 |" in text
    assert "824 test utterances of 2 speakers, 16000 Hz (soxr HQ); training set of 28 speakers." in text
    assert "## 2 validation speakers" in text
    assert "A part of the corpus" not in text
    quality.table(score=rows, prepared=facts(tmp_path / "p.json", partial=True), out=out, dev=None)
    assert "**A part of the corpus: these figures are not comparable" in out.read_text()
    with pytest.raises(SchoolyardError, match="expected NAME=DIR, got 'noisy'"):
        quality.table(score=["noisy"], prepared=tmp_path / "p.json", out=out, dev=None)
