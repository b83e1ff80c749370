"""Scoring: the golden directory to the byte, tuning and its grid, utterances without a lattice, refusals."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from am.__main__ import app
from am.aligned import read_aligned
from am.hypotheses import read_references, read_words, sweep_decode_dir
from am.score import ScoreConfig, read_errors, score, score_kaldi, tune
from am.wer_details import operations, per_speaker, per_utterance
from harness.errors import DataDirError, DecodeError, TableError
from kaldi_bridge.lattices import CompactLattice, write_lattices


@pytest.fixture
def golden_decode(golden_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The golden lattices alone, under the relative path that Kaldi's files mention."""
    source = golden_dir / "exp/tri3b/decode_test"
    target = tmp_path / "exp/tri3b/decode_test"
    target.mkdir(parents=True)
    for name in ("lat.1.gz", "num_jobs"):
        shutil.copyfile(source / name, target / name)
    monkeypatch.chdir(tmp_path)
    return Path("exp/tri3b/decode_test")


def test_golden_scoring_directory_is_reproduced_to_the_byte(golden_dir: Path, golden_decode: Path) -> None:
    config = ScoreConfig(min_lmwt=7, max_lmwt=20, widen=False)
    graph = golden_dir / "exp/tri3b/graph"
    setting, counts = score_kaldi(golden_decode, golden_dir / "data/test", graph, config)
    assert setting == (7, 0.0)
    assert counts.line() == "%WER 49.25 [ 33 / 67, 10 ins, 6 del, 17 sub ]"
    golden = golden_dir / "exp/tri3b/decode_test"
    files = [p for p in (golden / "scoring_kaldi").rglob("*") if p.is_file()]
    files += list(golden.glob("wer_*"))
    assert len(files) > 48
    for path in files:
        assert (golden_decode / path.relative_to(golden)).read_bytes() == path.read_bytes(), path


def test_score_writes_a_row_an_utterance_and_the_sums(golden_dir: Path, golden_decode: Path) -> None:
    result = score(golden_decode, golden_dir / "data/test", golden_dir / "exp/tri3b/graph", 7, 0.0)
    assert result.counts.line() == "%WER 49.25 [ 33 / 67, 10 ins, 6 del, 17 sub ]"
    lines = (golden_decode / "per_utt.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["utterance", "speaker", "words", "ins", "del", "sub", "hypothesis"]
    assert lines[1].split("\t") == ["dov-000", "dov", "4", "0", "1", "1", "four four eight"]
    assert len(lines) == 16
    summary = json.loads((golden_decode / "score.json").read_text())
    assert (summary["lm_weight"], summary["word_ins_penalty"], summary["words"]) == (7, 0.0, 67)
    errors = read_errors(golden_decode)
    assert errors.percent == pytest.approx(49.2537, abs=1e-3)
    assert set(errors.speakers) == {"dov"}


def test_tuning_grows_the_grid_where_the_best_stands_at_its_edge(
    golden_dir: Path, golden_decode: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, graph = golden_dir / "data/test", golden_dir / "exp/tri3b/graph"
    with caplog.at_level(logging.WARNING, logger="schoolyard"):
        weight, penalty = tune(golden_decode, text, graph, ScoreConfig(min_lmwt=19, max_lmwt=20))
    assert "stands at the edge of 19..20" in caplog.text
    assert weight < 19
    grown = [(weight, penalty), (18, 0.0), (19, 0.5), (20, 1.0)]
    errors = {}
    for one, other in grown:
        swept = sweep_decode_dir(
            golden_decode, read_words(graph), read_references(text), lm_weights=[one], penalties=[other]
        )
        errors[one, other] = swept.counts((one, other)).errors
    assert errors[weight, penalty] == min(errors.values())
    fixed = tune(golden_decode, text, graph, ScoreConfig(min_lmwt=19, max_lmwt=20, widen=False))
    assert 19 <= fixed[0] <= 20


def test_a_weight_that_costs_cannot_be_divided_by_is_refused(golden_decode: Path) -> None:
    ask = ["score", "--decode", golden_decode, "--data", "data", "--graph", "graph"]
    for weight in (0, -3):
        done = CliRunner().invoke(app, [*map(str, ask), "--lm-weight", str(weight)])
        assert done.exit_code == 2
        assert "--lm-weight" in done.stderr
    assert not (golden_decode / "score.json").exists()
    with pytest.raises(ValueError, match="lmwt_limits must be greater than 0 and rise, got 0 and 10"):
        ScoreConfig(lmwt_limits=(0, 10))


def test_of_equal_settings_the_mildest_is_tuned(tmp_path: Path) -> None:
    decode, data, words = small_set(tmp_path)  # one path an utterance: every setting is as good
    assert tune(decode, data, words, ScoreConfig(min_lmwt=7, max_lmwt=17)) == (12, 0.0)


def one_path(words: list[int], cost: float = 1.0) -> CompactLattice:
    """A lattice with a single path."""
    n = len(words)
    return CompactLattice(
        source=np.arange(n, dtype=np.int32), target=np.arange(1, n + 1, dtype=np.int32),
        word=np.array(words, np.int32), graph_cost=np.full(n, cost, np.float32),
        acoustic_cost=np.full(n, cost, np.float32),
        final_graph=np.array([np.inf] * n + [0.0], np.float32),
        final_acoustic=np.array([np.inf] * n + [0.0], np.float32),
        ids=np.ones(n, np.int32), start=np.minimum(np.arange(2 * n + 2), n).astype(np.int64),
    )  # fmt: skip


def small_set(folder: Path) -> tuple[Path, Path, Path]:
    """(decode dir, data dir, words.txt): two children, three utterances, one of them without a lattice."""
    decode, data = folder / "decode", folder / "data"
    decode.mkdir()
    data.mkdir()
    (data / "text").write_text("u1 red blue\nu2 blue\nu3 green green red\n")
    (data / "utt2spk").write_text("u1 s1\nu2 s1\nu3 s2\n")
    (folder / "words.txt").write_text("<eps> 0\nred 1\nblue 2\ngreen 3\n")
    (decode / "num_jobs").write_text("1\n")
    write_lattices(decode / "lat.1.gz", [("u1", one_path([1, 2])), ("u2", one_path([2, 2]))])
    return decode, data, folder / "words.txt"


def test_an_utterance_without_a_lattice_counts_as_deleted_and_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    decode, data, words = small_set(tmp_path)
    with caplog.at_level(logging.WARNING, logger="schoolyard"):
        result = score(decode, data, words, 10, 0.0)
    assert result.counts.line() == "%WER 66.67 [ 4 / 6, 1 ins, 3 del, 0 sub ]"
    assert result.missing == ("u3",)
    assert "1 of 3 utterances have no lattice and count as all deleted (first: u3)" in caplog.text
    assert json.loads((decode / "score.json").read_text())["missing"] == ["u3"]


@pytest.mark.parametrize("weight", [1, 60])
def test_extreme_weights_hold_out(tmp_path: Path, weight: int) -> None:
    decode, data, words = small_set(tmp_path)
    assert score(decode, data, words, weight, -1.0).counts.words == 6


def test_an_utterance_without_transcript_or_speaker_is_refused(tmp_path: Path) -> None:
    decode, data, words = small_set(tmp_path)
    (data / "utt2spk").write_text("u1 s1\nu2 s1\n")
    with pytest.raises(DataDirError, match=r"utt2spk: 1 utterances have no speaker \(first: u3\)"):
        score(decode, data, words, 10, 0.0)
    (data / "text").write_text("u1 red blue\n")
    with pytest.raises(DataDirError, match="utterance u2 has no transcript"):
        score(decode, data, words, 10, 0.0)


def test_a_space_that_is_no_separator_to_kaldi_belongs_to_its_word(tmp_path: Path) -> None:
    decode, data, words = small_set(tmp_path)
    for path in (data / "text", words):
        path.write_text(path.read_text().replace("blue", "bleu\u00a0ciel").replace("green", "vert\u2028olive"))
    write_lattices(decode / "lat.1.gz", [("u1", one_path([1, 2])), ("u2", one_path([2])), ("u3", one_path([3, 3]))])
    result = score(decode, data, words, 10, 0.0)
    assert (result.counts.words, result.counts.errors) == (6, 1)  # compute-wer: one deletion
    assert read_errors(decode).errors.tolist() == [0, 0, 1]
    assert read_aligned(decode).errors().words.tolist() == [2, 1, 3]


def test_a_word_that_words_txt_lacks_is_named(tmp_path: Path) -> None:
    decode, data, words = small_set(tmp_path)
    words.write_text("<eps> 0\nred 1\n")
    with pytest.raises(DecodeError, match=r"u1: the lattice holds word 2, which words.txt lacks"):
        score(decode, data, words, 10, 0.0)


def test_a_missing_job_or_an_empty_directory_is_refused(tmp_path: Path) -> None:
    decode, data, words = small_set(tmp_path)
    (decode / "num_jobs").write_text("2\n")
    with pytest.raises(TableError, match=r"lat.2.gz: is missing"):
        score(decode, data, words, 10, 0.0)
    (decode / "num_jobs").write_text("1\n")
    write_lattices(decode / "lat.1.gz", [])
    with pytest.raises(DecodeError, match="holds no lattice that reaches an end"):
        score(decode, data, words, 10, 0.0)


def test_a_damaged_table_of_errors_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "per_utt.tsv").write_text("utterance\t...\nu1\ts1\t4\tx\t0\t0\t\n")
    with pytest.raises(DataDirError, match=r"per_utt.tsv:2: is no row"):
        read_errors(tmp_path)
    for name, read in (("per_utt.tsv", read_errors), ("aligned.tsv", read_aligned)):
        (tmp_path / name).write_bytes(b"utterance\t\xff\n")
        with pytest.raises(DataDirError, match=rf"{name}: is not UTF-8"):
            read(tmp_path)


def test_details_worked_by_hand() -> None:
    alignments = {"u1": [("a", "a"), ("bb", "***"), ("***", "ccc")], "u2": [("a", "x")]}
    assert per_utterance(alignments) == (
        "u1 ref  a   bb  ***\nu1 hyp  a  ***  ccc\nu1 op   C   D    I \nu1 #csid 1 0 1 1\n"
        "u2 ref  a\nu2 hyp  x\nu2 op   S\nu2 #csid 0 1 0 0\n"
    )
    table = per_speaker(alignments, {"u1": "s1", "u2": "s2"}).splitlines()
    assert table[1].split() == ["s1", "raw", "1", "2", "1", "0", "1", "1", "2", "1"]
    assert table[-1].split() == ["SUM", "sys", "2", "3", "33.33", "33.33", "33.33", "33.33", "100.00", "100.00"]
    assert operations(alignments).splitlines()[0].split() == ["correct", "a", "a", "1"]
