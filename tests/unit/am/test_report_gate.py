import json

import pytest

from am.report import ReportConfig, write_report
from am.reporting.gate import gate
from harness.errors import DataDirError
from tests.report_work import whole_work_dir


def check(**changes):
    return {
        "name": "mean pesq", "unit": "MOS-LQO", "limit": 4.3, "at_least": True, "value": 4.5, "low": 4.25, "high": 4.6,
        "kept": True, "worst": [["a-1", "3.100 MOS-LQO"]], "broken_by": 0.0,
    } | changes  # fmt: skip


def write(work, name, *checks):
    folder = work / "exp" / "score"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"kept": True, "checks": checks}))


def test_without_a_verdict_there_is_no_chapter(tmp_path):
    assert gate(tmp_path) is None


def test_the_chapter_says_how_many_limits_were_broken_and_by_how_much(tmp_path):
    write(tmp_path, "gate.json", check(), check(name="longest delay", unit="samples", limit=0, at_least=False, value=7,
                                              low=None, high=None, kept=False, broken_by=7))  # fmt: skip
    write(tmp_path, "gate_wer.json", check(name="rise of the WER", value=None, low=None, high=None, kept=False))
    chapter = gate(tmp_path)
    assert chapter.text == ("Clean speech through the enhancer broke 2 of 3 stated limits (cfg/gate.yaml).",)
    rows = [[cell.text for cell in row] for row in chapter.blocks[0].rows]
    assert rows == [
        ["mean pesq", "4.50 MOS-LQO [4.25, 4.60]", "at least 4.30", "kept", ""],
        ["longest delay", "7 samples", "at most 0", "broken by 7", "a-1 (3.100 MOS-LQO)"],
        ["rise of the WER", "could not be judged", "at least 4.30", "broken", "a-1 (3.100 MOS-LQO)"],
    ]
    assert chapter.blocks[0].rows[0][1].numbers == (4.5, 4.25, 4.6)


def test_kept_limits_are_said_to_be_kept(tmp_path):
    write(tmp_path, "gate.json", check(), check())
    assert "kept all 2 stated limits" in gate(tmp_path).text[0]


@pytest.mark.parametrize("text", ["{", "{}", '{"checks": [{"name": "x"}]}', '{"checks": 3}'])
def test_a_damaged_verdict_is_refused(tmp_path, text):
    write(tmp_path, "gate.json")
    (tmp_path / "exp" / "score" / "gate.json").write_text(text)
    with pytest.raises(DataDirError, match="is no verdict of the gate"):
        gate(tmp_path)


def test_the_report_holds_the_chapter_in_both_files(tmp_path):
    whole_work_dir(tmp_path)
    write(tmp_path, "gate.json", check(kept=False, broken_by=0.25))
    html = tmp_path / "report.html"
    config = ReportConfig(replicas=100, examples=0)
    write_report(tmp_path, tmp_path / "RESULTS.md", html=html, title="Toy", config=config)
    for path in (tmp_path / "RESULTS.md", html):
        text = path.read_text()
        assert "Does enhancement harm clean speech?" in text
        assert "broken by 0.25" in text
