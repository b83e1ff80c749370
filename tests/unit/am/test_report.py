from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from am.report import write_report
from harness.errors import DataDirError


def put(work: Path, test: str, wrong: dict[str, int], *, training: str = "clean", lm: str = "open") -> None:
    """Ten words an utterance, eight speakers of two utterances; ``wrong`` gives errors by utterance's last letter."""
    folder = work / "exp" / training / "tri3b" / f"decode_{test}_{lm}"
    folder.mkdir(parents=True)
    rows = [(f"s{speaker}-{place}", f"s{speaker}", wrong[place]) for speaker in range(8) for place in "ab"]
    lines = [f"{utt}\t{spk}\t10\t0\t0\t{errors}\tword\n" for utt, spk, errors in rows]
    (folder / "per_utt.tsv").write_text("utterance\tspeaker\twords\tins\tdel\tsub\thypothesis\n" + "".join(lines))
    (folder / "score.json").write_text(json.dumps({"lm_weight": 12, "word_ins_penalty": 0.0}))


def write_data(work: Path) -> None:
    for name in ("test", "test_noisy"):
        (work / "data" / name).mkdir(parents=True)
    ages = "".join(f"s{speaker} {7 if speaker < 4 else 10}\n" for speaker in range(8))
    (work / "data" / "test" / "spk2age").write_text(ages)
    snr = "".join(f"s{speaker}-{place} {'0' if place == 'a' else '15'}\n" for speaker in range(8) for place in "ab")
    (work / "data" / "test_noisy" / "utt2snr").write_text(snr)


def test_the_report_gives_rates_differences_and_breakdowns(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "clean", {"a": 1, "b": 1})
    put(tmp_path, "noisy", {"a": 6, "b": 2})
    put(tmp_path, "enhanced", {"a": 4, "b": 2})
    put(tmp_path, "clean_enhanced", {"a": 1, "b": 2})
    (tmp_path / "exp" / "stamps").mkdir(parents=True)
    (tmp_path / "exp" / "stamps" / "stage3.json").write_text('{"title": "denoise every set", "seconds": 149.0}')
    (tmp_path / "exp" / "score" / "noisy").mkdir(parents=True)
    (tmp_path / "exp" / "score" / "noisy" / "summary.csv").write_text("snr,utterances,si_sdr\nall,16,5.7600\n")
    table = write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy")
    assert "| clean      | tri3b | 10.00 [10.0, 10.0] | 40.00 [40.0, 40.0] | 30.00 [30.0, 30.0]" in table
    text = re.sub(" +", " ", (tmp_path / "RESULTS.md").read_text())
    assert "noisy -> enhanced" in text and "-10.00 [-10.00, -10.00] | -25.0 %" in text and "lowered WER" in text
    assert "clean -> clean through the enhancer" in text and "+5.00 [+5.00, +5.00]" in text and "raised WER" in text
    assert "60.00 [60.0, 60.0] | 20.00 [20.0, 20.0]" in text, "noisy by SNR: 0 dB, then 15 dB"
    assert "| noisy | all | 16 | 5.7600 |" in text
    assert "6-8" in text and "9-11" in text
    assert "- stage3 (denoise every set): 149 s" in text
    assert "commit " in text


def test_a_difference_that_chance_explains_is_called_so(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "noisy", {"a": 5, "b": 5})
    put(tmp_path, "enhanced", {"a": 5, "b": 5})
    write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy")
    assert "no difference shown" in (tmp_path / "RESULTS.md").read_text()


def test_a_work_directory_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataDirError, match="holds no scored decoding"):
        write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy")
    assert not (tmp_path / "RESULTS.md").exists()
