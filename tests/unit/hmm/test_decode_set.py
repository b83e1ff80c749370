"""Decoding of sets: whole archives, resumption after a kill, failures listed, the same bytes with any jobs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DecodeError
from hmm import decode_set as module
from hmm.decode_set import decode_set
from hmm.decoder import DecodeConfig, DecodingGraph
from hmm.lattice import best_path
from kaldi_bridge.lattices import read_decode_dir
from kaldi_bridge.models import read_transition_model

CONFIG = DecodeConfig(beam=10.0, acoustic_scale=0.1)


@pytest.fixture
def graph() -> DecodingGraph:
    """Words 1..3, each two pdfs long, in any order."""
    source, target, ids, words = [], [], [], []
    for word in range(3):
        first, second = 2 * word + 1, 2 * word + 2
        source += [0, first, first, second, second]
        target += [first, first, second, second, 0]
        ids += [first, first, second, second, 0]
        words += [word + 1, 0, 0, 0, 0]
    return DecodingGraph(
        start=0, final=np.array([0.0] + [np.inf] * 6), source=np.array(source), target=np.array(target),
        transition_id=np.array(ids), word=np.array(words), cost=np.full(len(ids), 0.5),
        id2pdf=np.concatenate([[0], np.arange(6)]),
    )  # fmt: skip


@pytest.fixture
def loglikes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"u{n:02d}": rng.normal(0, 20, (20 + n, 6)).astype(np.float32) for n in range(12)}


@pytest.fixture(autouse=True)
def _small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UTTERANCES_A_JOB", 4)


def archives(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("lat.*.gz"))}


def test_every_utterance_has_a_lattice_and_jobs_do_not_change_the_bytes(
    tmp_path: Path, graph: DecodingGraph, loglikes: dict[str, np.ndarray]
) -> None:
    one = decode_set(graph, loglikes, list(loglikes), tmp_path / "one", CONFIG, jobs=1)
    two = decode_set(graph, loglikes.__getitem__, list(loglikes), tmp_path / "two", CONFIG, jobs=2)
    assert (one.utterances, one.failed, one.partial) == (12, (), ())
    assert one.frames == two.frames == sum(map(len, loglikes.values()))
    assert (tmp_path / "one/num_jobs").read_text() == "3\n"
    assert [name for name, _ in read_decode_dir(tmp_path / "one")] == sorted(loglikes)
    assert archives(tmp_path / "one") == archives(tmp_path / "two")


def test_a_second_run_decodes_only_the_jobs_that_are_missing(
    tmp_path: Path, graph: DecodingGraph, loglikes: dict[str, np.ndarray]
) -> None:
    asked = []

    def look_up(utterance: str) -> np.ndarray:
        asked.append(utterance)
        return loglikes[utterance]

    decode_set(graph, look_up, list(loglikes), tmp_path, CONFIG, jobs=1)
    whole = archives(tmp_path)
    (tmp_path / "lat.2.gz").unlink()
    (tmp_path / "num_jobs").unlink()
    asked.clear()
    decode_set(graph, look_up, list(loglikes), tmp_path, CONFIG, jobs=1)
    assert asked == ["u04", "u05", "u06", "u07"]
    assert archives(tmp_path) == whole
    asked.clear()
    other = DecodeConfig(beam=9.0, acoustic_scale=0.1)
    decode_set(graph, look_up, list(loglikes), tmp_path, other, jobs=1)
    assert len(asked) == 12  # another beam: nothing of the old is kept
    asked.clear()
    decode_set(graph, look_up, list(loglikes), tmp_path, other, jobs=1, identity="new model")
    assert len(asked) == 12


def test_scores_of_other_lattices_go_with_them(
    tmp_path: Path, graph: DecodingGraph, loglikes: dict[str, np.ndarray]
) -> None:
    decode_set(graph, loglikes, list(loglikes), tmp_path, CONFIG, jobs=1)
    for name in ("score.json", "per_utt.tsv", "aligned.tsv", "breakdown.json"):
        (tmp_path / name).write_text("of the first decoding")
    decode_set(graph, loglikes, list(loglikes), tmp_path, CONFIG, jobs=1)
    assert (tmp_path / "per_utt.tsv").exists()
    decode_set(graph, loglikes, list(loglikes), tmp_path, CONFIG, jobs=1, identity="new model")
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("lat.")}
    assert left == {"decode.json", "log", "num_jobs"}


def test_an_utterance_without_path_is_listed_and_the_others_are_decoded(
    tmp_path: Path, loglikes: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    dead_end = DecodingGraph(
        start=0, final=np.array([np.inf] * 30 + [0.0]), source=np.arange(30), target=np.arange(1, 31),
        transition_id=np.ones(30, int), word=np.ones(30, int), cost=np.zeros(30), id2pdf=np.array([0, 0]),
    )  # fmt: skip
    narrow = {utterance: matrix[:, :1] for utterance, matrix in loglikes.items()}
    with caplog.at_level(logging.WARNING, logger="schoolyard"):
        summary = decode_set(dead_end, narrow, list(loglikes), tmp_path, CONFIG, jobs=1)
    assert summary.failed == ("u11",)  # 31 frames, and no path is longer than 30
    assert "1 of 12 utterances have no path (first: u11)" in caplog.text
    assert len(summary.partial) == 10
    assert len(list(read_decode_dir(tmp_path))) == 11
    assert json.loads((tmp_path / "log/decode.3.json").read_text())["failed"] == ["u11"]
    with pytest.raises(DecodeError, match=r"1 of 12 utterances have no path \(first: u11\)"):
        decode_set(dead_end, loglikes, list(loglikes), tmp_path, CONFIG, jobs=1, max_failed=0.05)


@pytest.mark.parametrize("jobs", [1, 2])
def test_damaged_likelihoods_stop_the_set_and_name_the_utterance(
    tmp_path: Path, graph: DecodingGraph, loglikes: dict[str, np.ndarray], jobs: int
) -> None:
    loglikes["u09"][3] = np.nan
    with pytest.raises(DecodeError, match=r"u09: 1 of 29 frames have NaN"):
        decode_set(graph, loglikes, list(loglikes), tmp_path, CONFIG, jobs=jobs)
    assert not (tmp_path / "num_jobs").exists()
    assert not (tmp_path / "lat.3.gz").exists()


def test_missing_likelihoods_and_empty_sets_are_refused(tmp_path: Path, graph: DecodingGraph) -> None:
    with pytest.raises(DecodeError, match="u1: has no likelihoods"):
        decode_set(graph, {}, ["u1"], tmp_path / "a", CONFIG, jobs=1)
    with pytest.raises(DecodeError, match="there are no utterances to decode"):
        decode_set(graph, {}, [], tmp_path / "b", CONFIG, jobs=1)


@pytest.mark.kaldi
def test_the_real_lattice_best_path_prints_our_transcripts(
    golden_dir: Path, tmp_path: Path, kaldi: Callable[..., str]
) -> None:
    model = golden_dir / "exp/tri3b/final.mdl"
    rng = np.random.default_rng(2)
    pdfs = read_transition_model(model).num_pdfs
    matrices = {f"u{n}": np.cumsum(rng.normal(0, 4, (50 + n, pdfs)), 0).astype(np.float32) for n in range(5)}
    decode_set(golden_dir / "exp/tri3b/graph", matrices, list(matrices), tmp_path, model=model, jobs=1)
    kaldi(
        shell=f"lattice-best-path --lm-scale=12 'ark:gunzip -c {tmp_path}/lat.*.gz|' ark,t:{tmp_path}/words "
        f"ark,t:{tmp_path}/ali"
    )
    words = dict(line.partition(" ")[::2] for line in (tmp_path / "words").read_text().splitlines())
    alignments = dict(line.partition(" ")[::2] for line in (tmp_path / "ali").read_text().splitlines())
    for utterance, lattice in read_decode_dir(tmp_path):
        path = best_path(lattice, 12.0)
        assert words[utterance].split() == [str(word) for word in path.words]
        assert alignments[utterance].split() == [str(label) for label in path.transition_ids]
    assert len(words) == 5
