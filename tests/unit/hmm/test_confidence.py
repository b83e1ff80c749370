"""Word confidences: worked by hand, and against Kaldi's lattice-to-ctm-conf."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DecodeError
from hmm.confidence import word_confidences
from hmm.lattice import best_path
from kaldi_bridge.lattice_arrays import CompactLattice
from kaldi_bridge.lattices import read_decode_dir


def fork(shares: list[float], words: list[int]) -> CompactLattice:
    """Word 1, then one of the given words with the given probabilities."""
    n = len(words)
    return CompactLattice(
        source=np.array([0] + [1] * n, np.int32), target=np.array([1] + [2] * n, np.int32),
        word=np.array([1, *words], np.int32), graph_cost=np.array([0] + [-math.log(p) for p in shares], np.float32),
        acoustic_cost=np.zeros(n + 1, np.float32), final_graph=np.array([np.inf, np.inf, 0], np.float32),
        final_acoustic=np.array([np.inf, np.inf, 0], np.float32), ids=np.zeros(0, np.int32),
        start=np.zeros(n + 5, np.int64),
    )  # fmt: skip


def test_a_fork_gives_each_word_its_probability() -> None:
    lattice = fork([0.7, 0.2, 0.1], [5, 6, 7])
    assert best_path(lattice).words.tolist() == [1, 5]
    assert word_confidences(lattice) == pytest.approx([1.0, 0.7], abs=1e-6)
    assert word_confidences(lattice, [1, 6]) == pytest.approx([1.0, 0.2], abs=1e-6)
    assert word_confidences(lattice, [9, 9]) == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_single_path_is_certain() -> None:
    assert word_confidences(fork([1.0], [3])) == pytest.approx([1.0, 1.0])


def test_an_empty_transcript_has_no_confidences_and_epsilon_is_refused() -> None:
    lattice = fork([1.0], [3])
    assert len(word_confidences(lattice, [])) == 0
    with pytest.raises(DecodeError, match="u2: a transcript holds word 0"):
        word_confidences(lattice, [0], utterance="u2")


@pytest.mark.kaldi
def test_confidences_are_those_of_lattice_to_ctm_conf(
    golden_dir: Path, tmp_path: Path, kaldi: Callable[..., str]
) -> None:
    archive = golden_dir / "exp/tri3b/decode_test/lat.1.gz"
    kaldi(
        shell=f"lattice-to-ctm-conf --decode-mbr=false --inv-acoustic-scale=10 "
        f"'ark:gunzip -c {archive}|' {tmp_path}/ctm"
    )
    rows: dict[str, list[tuple[int, float]]] = {}
    for line in (tmp_path / "ctm").read_text().splitlines():
        utterance, _, _, _, word, confidence = line.split()
        rows.setdefault(utterance, []).append((int(word), float(confidence)))
    seen = []
    for utterance, lattice in read_decode_dir(archive.parent):
        words = best_path(lattice, 10.0).words.tolist()
        assert words == [word for word, _ in rows[utterance]]
        found = word_confidences(lattice, lm_weight=10.0)
        assert found == pytest.approx([confidence for _, confidence in rows[utterance]], abs=0.006)
        seen += found.tolist()
    assert min(seen) < 0.95 < max(seen)
