from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.stats import spearmanr

from am.bootstrap import Interval
from am.report import ReportConfig, write_report
from am.reporting.examples import BANDS, FORMATS, encode, gather, picture, ranked, spectrogram
from am.reporting.findings import Findings, verdict
from am.reporting.notes import notes_html
from am.reporting.quality import METRICS, Change, rank_correlation
from am.reporting.tables import Cell, Table
from am.results import read_decodings
from tests.report_work import RATE, WORDS, put, write_data, write_sounds


def of(work: Path) -> Findings:
    return Findings(read_decodings(work / "exp"), replicas=50, seed=0, main=("clean", "ligru"))


def content(uri: str) -> bytes:
    return base64.b64decode(uri.partition("base64,")[2])


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """s0-a loses 5 errors, s1-a 3, s2-b gains 4; the others do not change."""
    write_data(tmp_path)
    write_sounds(tmp_path)
    changed = {"s0-a": 1, "s1-a": 3, "s2-b": 10}
    put(tmp_path, "noisy", {"a": 6, "b": 6})
    put(tmp_path, "enhanced", lambda utt: changed.get(utt, 6))
    return tmp_path


def test_wins_and_losses_are_ranked_by_the_change_in_errors(work: Path) -> None:
    assert ranked(of(work), 6) == ([("s0-a", -5), ("s1-a", -3)], [("s2-b", 4)])
    assert ranked(of(work), 1) == ([("s0-a", -5)], [("s2-b", 4)])


def test_an_example_has_transcripts_with_every_error_marked(work: Path) -> None:
    found = gather(work, of(work), many=3, audio="flac", max_bytes=10**7)
    assert found is not None and found.silent == 0
    win = found.wins[0]
    assert (win.utterance, win.words, win.title) == ("s0-a", 10, "5 errors fewer")
    assert win.facts == "speaker s0, 7 years, 0 dB SNR"
    noisy, enhanced = win.transcripts
    assert (noisy.name, noisy.errors, enhanced.name, enhanced.errors) == ("noisy", 6, "enhanced", 1)
    assert enhanced.pairs[0] == ("A", "NOISE", "S")
    assert [reference for reference, _, _ in enhanced.pairs] == list(WORDS)
    assert found.losses[0].title == "4 errors more"


def test_the_transcript_of_clean_speech_stands_beside_them_where_it_was_decoded(work: Path) -> None:
    put(work, "clean", {"a": 0, "b": 0})
    found = gather(work, of(work), many=1, audio="flac", max_bytes=10**7)
    assert found is not None
    assert [transcript.name for transcript in found.wins[0].transcripts] == ["noisy", "enhanced", "clean"]


def test_sounds_of_the_page_are_those_that_were_recognised(work: Path) -> None:
    found = gather(work, of(work), many=1, audio="flac", max_bytes=10**7)
    assert found is not None
    for version, name in zip(found.wins[0].versions, ("test_noisy", "test_enhanced", "test"), strict=True):
        heard, rate = soundfile.read(io.BytesIO(content(version.sound)))
        original, _ = soundfile.read(work / "data" / name / "wav" / "s0-a.wav")
        assert rate == RATE and np.array_equal(heard, original)


def test_examples_past_the_page_s_size_are_text_alone_and_counted(work: Path) -> None:
    everything = gather(work, of(work), many=3, audio="flac", max_bytes=10**7)
    assert everything is not None
    size = sum(len(v.sound) + len(v.picture) for v in everything.wins[0].versions)
    some = gather(work, of(work), many=3, audio="flac", max_bytes=int(1.2 * size))
    assert some is not None
    assert some.wins[0].versions and not some.wins[1].versions and some.silent == 2
    assert some.wins[1].transcripts == everything.wins[1].transcripts


def test_a_missing_sound_is_named_in_the_report(work: Path) -> None:
    (work / "data" / "test_enhanced" / "wav" / "s0-a.wav").unlink()
    write_report(work, work / "R.md", html=work / "R.html", title="T", config=ReportConfig(examples=1, replicas=50))
    text = (work / "R.md").read_text()
    assert "1 of them are without sound" in text and "s0-a.wav" in text
    assert (work / "R.html").read_text().count("<audio") == 3, "those of the loss"


def test_markdown_shows_the_errors_in_brackets(work: Path) -> None:
    write_report(work, work / "R.md", title="T", config=ReportConfig(examples=1, replicas=50))
    assert "  - enhanced, 1 of 10 wrong: [A > NOISE] B C D" in (work / "R.md").read_text()


@pytest.mark.parametrize("audio", FORMATS)
def test_every_format_keeps_length_and_tone(audio) -> None:
    tone = (0.3 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.float32)
    uri = encode(tone, RATE, audio)
    assert uri.startswith(f"data:{FORMATS[audio][2]};base64,")
    heard, rate = soundfile.read(io.BytesIO(content(uri)))
    assert len(heard) / rate == pytest.approx(1.0, abs=0.1)
    strongest = np.argmax(np.abs(np.fft.rfft(heard))) * rate / len(heard)
    assert strongest == pytest.approx(1000, abs=3)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_tone_stands_in_its_row_of_the_spectrogram(rate: int) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
    level = spectrogram(tone, rate)
    assert level.shape[0] == BANDS and level.shape[1] == pytest.approx(98, abs=1), "a frame each 10 ms"
    row = np.argmax(level.mean(1))  # from the top: half the rate
    assert (BANDS - row) / BANDS * rate / 2 == pytest.approx(1000, abs=rate / 2 / BANDS)


def test_a_sound_shorter_than_a_window_has_one_frame() -> None:
    assert spectrogram(np.ones(10, np.float32), 16000).shape == (BANDS, 1)


def test_the_picture_is_a_png_of_the_levels() -> None:
    level = np.array([[-100.0, -60.0], [-30.0, 0.0]])
    data = content(picture(level, 0.0))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (2, 2)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(2, 3)
    assert rows[:, 0].tolist() == [0, 0], "no filter"
    palette = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3).astype(float)
    light = palette @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(light) > 0), "louder is lighter, without colour too"
    assert rows[0, 1:].tolist() == [0, 0] and rows[1, 1:].tolist() == [(len(palette) - 1) // 2 + 1, len(palette) - 1]


def test_csv_has_a_column_for_each_number() -> None:
    table = Table.of("t", ["a", "b"], [["x,y", Cell("1.00 [0.5, 2.0]", (1.0, 0.5, 2.0))], ["z", ""]])
    assert table.csv() == 'a,b,b low,b high\n"x,y",1,0.5,2\nz,,,\n'
    assert table.numeric == (False, True)
    assert table.markdown().splitlines()[2] == "| x,y | 1.00 [0.5, 2.0] |"


def test_notes_become_headings_lists_and_code() -> None:
    note = "## What\n\n- **One** thing\n  goes on\n- `two`\n\nText & more,\ngoing on.\n\n    ./run.sh \\\n      --x\n"
    assert notes_html(note).splitlines() == [
        "<h2>What</h2>",
        "<ul><li><strong>One</strong> thing goes on</li><li><code>two</code></li></ul>",
        "<p>Text &amp; more, going on.</p>",
        "<pre>./run.sh \\",
        "  --x</pre>",
    ]


@pytest.mark.parametrize(
    ("low", "high", "speakers", "said"),
    [(-5.0, -0.1, 6, "lowered"), (-5.0, 0.0, 6, "unchanged"), (-5.0, 3.0, 6, "unchanged"), (0.0, 4.0, 6, "unchanged"),
     (0.1, 4.0, 6, "raised"), (-5.0, -0.1, 5, "few"), (-5.0, 3.0, 5, "few")],
)  # fmt: skip
def test_only_an_interval_on_one_side_of_zero_of_enough_speakers_is_a_change(
    low: float, high: float, speakers: int, said: str
) -> None:
    assert verdict(Interval(value=(low + high) / 2, low=low, high=high, blocks=speakers)) == said


def test_the_rank_correlation_is_spearman_s_of_gains_on_both_sides() -> None:
    draw = np.random.default_rng(1)
    quality, errors = draw.normal(size=50), draw.integers(-3, 4, 50)
    rows = [Change(str(n), float(q), int(e)) for n, (q, e) in enumerate(zip(quality, errors, strict=True))]
    expected = spearmanr(quality, -errors).statistic
    assert rank_correlation(METRICS["pesq"], rows) == pytest.approx(expected)
    assert rank_correlation(METRICS["log_mel"], rows) == pytest.approx(-expected), "there less is better"
