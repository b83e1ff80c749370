from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from am.report import ReportConfig, write_report
from harness.errors import DataDirError, DiskError
from tests.report_work import UTTERANCES, put, whole_work_dir, write_data, write_scores, write_sounds

QUICK = {"replicas": 200}


class Parsed(HTMLParser):
    """What a page refers to, and its tables as lists of texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.downloads: dict[str, str] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        if "download" in found:
            self.downloads[found["download"]] = found["href"]
        if tag == "table":
            self.rows = self.tables.setdefault(found["data-name"], [])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())
            self.in_cell = False

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work directory with its report, both files."""
    work = tmp_path_factory.mktemp("report")
    whole_work_dir(work)
    config = ReportConfig(examples=2, **QUICK)
    write_report(
        work, work / "RESULTS.md", html=work / "report.html", title="Toy", command="./run.sh --toy", config=config
    )
    return work


def lines_of(path: Path) -> str:
    return re.sub(" +", " ", path.read_text())


def test_the_report_gives_rates_differences_and_breakdowns(whole: Path) -> None:
    text = lines_of(whole / "RESULTS.md")
    assert "| clean | ligru | 10.00 [10.0, 10.0] | 40.00 [40.0, 40.0] | 30.00 [30.0, 30.0]" in text
    assert "noisy -> enhanced | -10.00 [-10.00, -10.00] | -25.0 %" in text and "lowered WER" in text
    assert "clean -> clean through the enhancer | +5.00 [+5.00, +5.00]" in text and "raised WER" in text
    assert "60.00 [60.0, 60.0] | 20.00 [20.0, 20.0]" in text, "noisy by SNR: 0 dB, then 15 dB"
    assert "| noisy | all | 16 | 1.5000 | 0.0000 |" in text
    assert "6-8" in text and "9-11" in text and "Speakers: 4 aged 6-8, 4 aged 9-11." in text
    assert "- stage3 (denoise every set): 149 s" in text
    assert "commit " in text


def test_the_headlines_say_what_happened_with_the_main_system_first(whole: Path) -> None:
    lines = [line for line in (whole / "RESULTS.md").read_text().splitlines() if line.startswith("- ")][:3]
    assert lines[0] == (
        "- **Enhancement lowered WER: -10.00 [-10.00, -10.00] points, -25.0 % relative, from 40.0 to 30.0 % "
        "(ligru, trained on clean).**"
    )
    assert "did not change WER beyond chance: +0.00 [+0.00, +0.00] points" in lines[1] and "clean + noisy" in lines[1]
    assert lines[2].startswith("- On clean speech: the enhancer raised WER: +5.00 [+5.00, +5.00] points, +50.0 %")


def test_each_side_on_its_own_training_is_compared_across_the_two(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "noisy", {"a": 5, "b": 5}, training="multi")
    put(tmp_path, "enhanced", {"a": 4, "b": 4}, training="multi_enhanced")
    text = write_report(tmp_path, tmp_path / "R.md", title="T", config=ReportConfig(**QUICK))
    assert "Each side trained on its own" in text and "-10.00 [-10.00, -10.00] points, lower" in text


def test_the_page_holds_the_tables_of_its_twin(whole: Path) -> None:
    page = Parsed((whole / "report.html").read_text())
    for line in lines_of(whole / "RESULTS.md").splitlines():
        if line.startswith("| ") and not line.startswith("| ["):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert any(cells in rows for rows in page.tables.values()), line


def test_the_page_refers_to_nothing_outside_itself(whole: Path) -> None:
    text = (whole / "report.html").read_text()
    page = Parsed(text)
    outside = [address for address in page.addresses if not address.startswith(("data:", "#"))]
    assert outside == []
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "default-src 'none'" in text and not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", text)


def test_every_chart_can_be_downloaded_with_its_intervals_in_columns_of_their_own(whole: Path) -> None:
    page = Parsed((whole / "report.html").read_text())
    assert {f"{name}.csv" for name in page.tables} == set(page.downloads)
    uri = page.downloads["change.csv"]
    rows = list(csv.reader(io.StringIO(base64.b64decode(uri.partition("base64,")[2]).decode())))
    assert rows[0][3:6] == ["WER points [95 % interval]", "WER points [95 % interval] low",
                            "WER points [95 % interval] high"]  # fmt: skip
    assert rows[1][:6] == ["clean", "ligru", "noisy -> enhanced", "-10", "-10", "-10"]


def test_everything_that_was_made_is_in_its_chapter(whole: Path) -> None:
    page = Parsed((whole / "report.html").read_text())
    text = (whole / "report.html").read_text()
    chapters = ["wer-open", "change", "wer-closed", "snr", "age", "quality", "examples", "training", "made"]
    assert [name for name in page.ids if name in chapters] == chapters
    assert page.tables["training_models"][1] == ["1", "65", "5"], "epoch, dev error, training loss"
    assert page.tables["training_enhance_compact"][2][:2] == ["100", "9"], "step, validation SI-SDR"
    assert page.tables["stages"][1] == ["3", "denoise every set", "149", "2026-01-01 00:00:00"]
    assert "./run.sh --toy" in text and "model: ligru" in text
    twin = (whole / "RESULTS.md").read_text()
    assert "Training curves" not in twin, "they are on the page alone"
    assert "./run.sh --toy" not in twin, "a committed file names no machine's folders"


def test_the_time_of_a_stage_that_went_on_after_a_kill_is_a_lower_bound(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "clean", {"a": 1, "b": 1})
    stamps = tmp_path / "exp/stamps"
    stamps.mkdir()
    for number, resumed in ((5, False), (6, True)):
        stamp = {"seen": {}, "title": "a stage", "seconds": 60.0, "resumed": resumed}
        (stamps / f"stage{number}.json").write_text(json.dumps(stamp))
    out = tmp_path / "report.html"
    write_report(tmp_path, tmp_path / "RESULTS.md", html=out, title="Toy", config=ReportConfig(**QUICK))
    page, twin = Parsed(out.read_text()), lines_of(tmp_path / "RESULTS.md")
    assert [row[2] for row in page.tables["stages"][1:]] == ["60", "≥ 60"]
    assert "Wall time of the stages, at least 2 min 0 s in all" in out.read_text()
    assert "stage5 (a stage): 60 s" in twin and "stage6 (a stage): ≥ 60 s" in twin
    assert "the seconds are those of its last part" in twin


def test_missing_pieces_leave_their_chapters_out(tmp_path: Path) -> None:
    put(tmp_path, "clean", {"a": 1, "b": 2})
    write_report(tmp_path, tmp_path / "R.md", html=tmp_path / "R.html", title="T", config=ReportConfig(**QUICK))
    page = Parsed((tmp_path / "R.html").read_text())
    assert [name for name in page.ids if not name.endswith("-title")] == ["main", "wer-open", "made"]
    assert "headlines" not in re.sub(r"<style>.*?</style>", "", (tmp_path / "R.html").read_text(), flags=re.S)


def test_damaged_pieces_leave_their_chapters_out_too(tmp_path: Path) -> None:
    write_data(tmp_path)
    folder = put(tmp_path, "noisy", {"a": 5, "b": 5})
    put(tmp_path, "enhanced", {"a": 4, "b": 5})
    (folder / "breakdown.json").write_text('{"all": ')
    (folder.parent / "metrics.jsonl").write_text("no JSON\n[1]\n")
    (tmp_path / "exp" / "stamps").mkdir()
    (tmp_path / "exp" / "stamps" / "stage1.json").write_text("{}")
    (tmp_path / "exp" / "score" / "noisy").mkdir(parents=True)
    (tmp_path / "exp" / "score" / "noisy" / "scores.csv").write_text("")
    (tmp_path / "exp" / "score" / "noisy" / "summary.csv").write_text("")
    write_report(tmp_path, tmp_path / "R.md", html=tmp_path / "R.html", title="T", config=ReportConfig(**QUICK))
    ids = Parsed((tmp_path / "R.html").read_text()).ids
    assert not {"errors", "training", "quality"} & set(ids) and "examples" in ids


def test_a_difference_that_chance_explains_is_called_so(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "noisy", {"a": 5, "b": 5})
    put(tmp_path, "enhanced", {"a": 5, "b": 5})
    write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))
    assert "no difference shown" in (tmp_path / "RESULTS.md").read_text()


def test_of_five_speakers_no_change_is_claimed_and_of_one_no_interval_given(tmp_path: Path) -> None:
    """Five that all gain are one chance in sixteen; the only one aged 10 is no sample of those aged 10."""
    write_data(tmp_path)
    for test, wrong in (("noisy", 6), ("enhanced", 2)):
        scores = put(tmp_path, test, {"a": wrong, "b": wrong}) / "per_utt.tsv"
        head, *rows = scores.read_text().splitlines(keepends=True)
        scores.write_text(head + "".join(row for row in rows if row[:2] in ("s0", "s1", "s2", "s3", "s4")))
    write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))
    text = lines_of(tmp_path / "RESULTS.md")
    assert "Enhancement changed WER, of 5 speakers, too few to tell: -40.00 [-40.00, -40.00] points" in text
    assert "lowered" not in text
    assert "| -66.7 % | | too few speakers to tell |" in text
    assert "Speakers: 4 aged 6-8, 1 aged 9-11." in text
    assert "| clean | ligru | noisy | 60.00 [60.0, 60.0] | 60.00 |" in text


def test_what_a_kill_left_aside_is_no_system_and_other_decodings_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_data(tmp_path)
    put(tmp_path, "clean", {"a": 1, "b": 1})
    put(tmp_path, "clean", {"a": 9, "b": 9}, model=".ligru.77.old")
    (tmp_path / "exp/clean/.ligru.77.old/metrics.jsonl").write_text('{"epoch": 1, "dev_pdf_error": 50.0}\n')
    party = put(tmp_path, "party", {"a": 5, "b": 5})
    write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))
    text = lines_of(tmp_path / "RESULTS.md")
    assert "| clean | ligru | 10.00" in text
    assert "ligru.77" not in text and "90.00" not in text
    assert "1 decodings are left out" in caplog.text and str(party) in caplog.text


def test_the_report_says_which_development_set_weights_come_from(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "clean", {"a": 1, "b": 1})
    write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))
    assert "tuned on the development set of the same condition, never on test" in lines_of(tmp_path / "RESULTS.md")
    put(tmp_path, "clean_enhanced", {"a": 1, "b": 1})
    put(tmp_path, "mixed", {"a": 1, "b": 1})
    write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))
    said = "the same condition (enhanced, observation added: of enhanced; clean through the enhancer: of clean), never"
    assert said in lines_of(tmp_path / "RESULTS.md")


def test_a_work_directory_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataDirError, match="holds no scored decoding"):
        write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy")
    assert not (tmp_path / "RESULTS.md").exists()


def test_groups_of_a_single_speaker_have_no_interval_and_the_report_is_written(tmp_path: Path) -> None:
    write_data(tmp_path)
    for test in ("clean", "noisy"):
        folder = put(tmp_path, test, {"a": 1, "b": 3})
        rows = (folder / "per_utt.tsv").read_text().splitlines(keepends=True)
        (folder / "per_utt.tsv").write_text("".join(row for row in rows if row.startswith(("utt", "s0", "s5"))))
    write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))
    twin = lines_of(tmp_path / "RESULTS.md")
    assert "| clean | ligru | clean | 20.00 | 20.00 |" in twin, "one child aged 7, one aged 10"
    assert "Speakers: 1 aged 6-8, 1 aged 9-11." in twin


def test_ages_of_other_speakers_leave_their_chapter_out(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "clean", {"a": 1, "b": 1})
    (tmp_path / "data/test/spk2age").write_text("x1 7\nx2 10\n")
    write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))
    assert "By age" not in (tmp_path / "RESULTS.md").read_text()


def test_an_snr_counts_as_a_number_and_one_that_is_none_is_named(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "noisy", {"a": 1, "b": 3})
    table = tmp_path / "data/test_noisy/utt2snr"
    table.write_text(table.read_text().replace("s0-a 0\n", "s0-a 0.0\n"))
    write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))
    assert "| clean | ligru | noisy | 10.00 [10.0, 10.0] | 30.00 [30.0, 30.0] |" in lines_of(tmp_path / "RESULTS.md")
    table.write_text(table.read_text().replace("s0-a 0.0\n", "s0-a loud\n"))
    with pytest.raises(DataDirError, match="utt2snr: has an SNR that is no number"):
        write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))


def test_transcripts_of_other_utterances_than_were_scored_are_refused(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "noisy", {"a": 1, "b": 3})
    put(tmp_path, "enhanced", {"a": 0, "b": 3})
    (tmp_path / "data/test/text").write_text("s7-b A B\n")
    with pytest.raises(DataDirError, match="text: lacks utterance s0-a, which was decoded and scored"):
        write_report(tmp_path, tmp_path / "RESULTS.md", title="Toy", config=ReportConfig(**QUICK))


def test_a_note_in_another_encoding_is_named(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "clean", {"a": 1, "b": 1})
    (tmp_path / "note.md").write_bytes("né".encode("latin-1"))
    with pytest.raises(DataDirError, match=r"note\.md: is not UTF-8"):
        write_report(
            tmp_path, tmp_path / "R.md", title="Toy", notes=[tmp_path / "note.md"], config=ReportConfig(**QUICK)
        )


def test_one_file_cannot_be_both(tmp_path: Path) -> None:
    put(tmp_path, "clean", {"a": 1, "b": 2})
    with pytest.raises(DiskError, match="cannot be both the Markdown and the page"):
        write_report(tmp_path, tmp_path / "R.html", html=tmp_path / "R.html", title="T")


def test_text_from_files_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    put(tmp_path, "clean", {"a": 1, "b": 2}, model="<script>alert(1)</script>"[:8])
    note = tmp_path / "note.md"
    note.write_text("## <img src=x onerror=alert(1)>\n\n- `<b>` and **bold**\n")
    write_report(tmp_path, tmp_path / "R.md", html=tmp_path / "R.html", title="a <title>", notes=[note],
                 config=ReportConfig(**QUICK))  # fmt: skip
    text = (tmp_path / "R.html").read_text()
    assert "<img src=x" not in text and "a &lt;title&gt;" in text and "<script>alert" not in text
    assert "<code>&lt;b&gt;</code> and <strong>bold</strong>" in text


def test_the_same_work_directory_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report(whole, tmp_path / f"{name}.md", html=tmp_path / f"{name}.html", title="T",
                     config=ReportConfig(examples=1, **QUICK))  # fmt: skip
    assert (tmp_path / "one.md").read_bytes() == (tmp_path / "two.md").read_bytes()
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def varied(work: Path) -> None:
    """Errors that differ from speaker to speaker, so that the draws of the bootstrap show."""
    write_data(work)
    write_sounds(work, 0.05)
    for training in ("clean", "multi"):
        for model in ("tri3b", "ligru"):
            put(work, "noisy", lambda utt: 3 + int(utt[1]) % 5, training=training, model=model)
            put(work, "enhanced", lambda utt: 2 + int(utt[1]) % 3, training=training, model=model)
    put(work, "noisy", lambda utt: int(utt[1]) % 3, lm="closed")


@pytest.mark.parametrize(
    "option",
    [{"replicas": 20}, {"seed": 7}, {"main_lm": "closed"}, {"main_training": "multi"}, {"main_model": "tri3b"},
     {"examples": 0}, {"audio": "mp3"}, {"max_megabytes": 0.0}],
    ids=lambda option: next(iter(option)),
)  # fmt: skip
def test_every_setting_changes_the_page(option: dict, tmp_path: Path) -> None:  # type: ignore[type-arg]
    varied(tmp_path)
    pages = []
    for settings in ({}, option):
        config = ReportConfig(**({"examples": 1, **QUICK} | settings))
        write_report(tmp_path, tmp_path / "R.md", html=tmp_path / "R.html", title="T", config=config)
        pages.append((tmp_path / "R.html").read_text())
    assert pages[0] != pages[1]


def test_the_main_system_is_the_one_asked_for_or_the_first(tmp_path: Path) -> None:
    varied(tmp_path)

    def first(**settings: str) -> str:
        config = ReportConfig(examples=0, **QUICK, **settings)  # type: ignore[arg-type]
        return write_report(tmp_path, tmp_path / "R.md", title="T", config=config).splitlines()[0]

    assert "(ligru, trained on clean)" in first()
    assert "(tri3b, trained on clean + noisy)" in first(main_training="multi", main_model="tri3b")
    assert "(tri3b, trained on clean)" in first(main_training="none", main_model="none")


@pytest.mark.parametrize("wrong", [{"replicas": 0}, {"examples": -1}, {"max_megabytes": -1.0}, {"audio": "wav"}])
def test_settings_that_make_no_sense_are_refused(wrong: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReportConfig(**wrong)


def test_quality_is_counted_against_errors_by_hand(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "noisy", {"a": 5, "b": 5})
    put(tmp_path, "enhanced", {"a": 4, "b": 6})  # a better, b worse
    noisy = {utt: {"pesq": 2.0, "log_mel": 1.0} for utt in UTTERANCES}
    enhanced = {utt: {"pesq": 3.0 if utt[1] in "012" else 1.0, "log_mel": 0.5} for utt in UTTERANCES}
    write_scores(tmp_path, {"noisy": noisy, "enhanced": enhanced})
    write_report(tmp_path, tmp_path / "R.md", html=tmp_path / "R.html", title="T", config=ReportConfig(**QUICK))
    rows = Parsed((tmp_path / "R.html").read_text()).tables["quality_against_errors"]
    assert rows[1] == ["PESQ (wide band)", "3", "0", "3", "5", "0", "5", "0.00"], "half of each gained in errors"
    assert rows[2] == ["log-mel error, nepers", "8", "0", "8", "0", "0", "0", ""], "lower is better; it does not vary"
    assert "better, yet more errors in 3 of 16 utterances" in (tmp_path / "R.html").read_text()


def test_means_of_quality_carry_the_intervals_of_the_summary(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "noisy", {"a": 5, "b": 5})
    write_scores(tmp_path, {"noisy": {utt: {"pesq": 2.0, "brightness": 9.0} for utt in UTTERANCES}})
    metrics = {"pesq": {"better": "higher", "unit": "MOS"}, "brightness": {"better": "lower", "unit": ""}}
    means = {"pesq": {"mean": 2.0, "low": 1.9, "high": 2.2}, "brightness": {"mean": 9.0, "low": 8.0, "high": 9.5}}
    content = {"metrics": metrics, "groups": [{"by": "all", "value": "all", "metrics": means}]}
    (tmp_path / "exp" / "score" / "noisy" / "summary.json").write_text(json.dumps(content))
    write_report(tmp_path, tmp_path / "R.md", title="T", config=ReportConfig(**QUICK))
    text = lines_of(tmp_path / "R.md")
    assert "| PESQ (wide band), higher is better | brightness, lower is better |" in text
    assert "| 2.000 [1.90, 2.20] | 9.000 [8.00, 9.50] |" in text


def test_a_mean_over_a_single_speaker_stands_without_an_interval(tmp_path: Path) -> None:
    write_data(tmp_path)
    put(tmp_path, "noisy", {"a": 5, "b": 5})
    write_scores(tmp_path, {"noisy": {utt: {"pesq": 2.0} for utt in UTTERANCES}})
    means = {"pesq": {"mean": 2.0, "low": None, "high": None}}
    content = {"metrics": {"pesq": {"better": "higher", "unit": "MOS"}},
               "groups": [{"by": "all", "value": "all", "metrics": means}]}  # fmt: skip
    (tmp_path / "exp" / "score" / "noisy" / "summary.json").write_text(json.dumps(content))
    write_report(tmp_path, tmp_path / "R.md", title="T", config=ReportConfig(**QUICK))
    assert "| 2.000 |" in lines_of(tmp_path / "R.md")


def test_kinds_of_errors_come_from_the_breakdown(tmp_path: Path) -> None:
    folder = put(tmp_path, "noisy", {"a": 5, "b": 5})
    cell = {"words": 200, "sub": 50, "del": 20, "ins": 10, "wer": 40.0, "low": 35.0, "high": 45.5, "ser": 75.0}
    words = {"substitutions": [["A", "THE", 7]], "deletions": [["OF", 4], ["TO", 2]], "insertions": []}
    content = {"all": cell, "by": {"gender": [cell | {"group": "f"}], "snr": []},
               "confusions": {"words": words, "phones": None}}  # fmt: skip
    (folder / "breakdown.json").write_text(json.dumps(content))
    write_report(tmp_path, tmp_path / "R.md", html=tmp_path / "R.html", title="T", config=ReportConfig(**QUICK))
    tables = Parsed((tmp_path / "R.html").read_text()).tables
    assert tables["error_kinds"][1] == ["clean", "ligru", "noisy", "25.00", "10.00", "5.00", "75.00"]
    assert tables["wer_by_gender"] == [["gender", "words", "noisy"], ["f", "200", "40.00 [35.0, 45.5]"]]
    assert tables["confusions_words_noisy"][1:] == [["A > THE", "7", "OF", "4", "", ""], ["", "", "TO", "2", "", ""]]


def test_a_large_cloud_is_thinned_evenly_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path)
    put(tmp_path, "noisy", {"a": 5, "b": 5})
    put(tmp_path, "enhanced", {"a": 4, "b": 6})
    scores = {utt: {"pesq": 2.0} for utt in UTTERANCES}
    write_scores(tmp_path, {"noisy": scores, "enhanced": scores})
    monkeypatch.setattr("am.reporting.speech_quality.MOST_POINTS", 4)
    write_report(tmp_path, tmp_path / "R.md", html=tmp_path / "R.html", title="T", config=ReportConfig(**QUICK))
    page = Parsed((tmp_path / "R.html").read_text())
    assert [row[0] for row in page.tables["quality_points"][1:]] == ["s0-a", "s2-a", "s4-a", "s6-a"]
    assert "of 16 utterances (4 drawn)" in (tmp_path / "R.html").read_text()
    assert page.tables["quality_against_errors"][1][4:7] == ["8", "0", "8"], "counts are of all"
