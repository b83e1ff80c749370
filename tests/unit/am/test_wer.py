"""Error counts and alignments: hand-worked, against the recursions as Kaldi states them, and against its programs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from am.hypotheses import read_references, read_words, sweep_decode_dir
from am.wer import GAP, ErrorCounts, align_words, count_errors, count_set, total
from harness.errors import DataDirError


def random_pairs(seed: int, count: int) -> list[tuple[list[str], list[str]]]:
    """References and hypotheses over few words, so that ties abound."""
    rng = np.random.default_rng(seed)
    return [
        tuple([f"w{w}" for w in rng.integers(0, 4, rng.integers(0, 9))] for _ in range(2))  # type: ignore[misc]
        for _ in range(count)
    ]


def kaldi_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int, int]:
    """(insertions, deletions, substitutions) by compute-wer's forward recursion and its order of preference."""
    row = [(m, 0, m, 0) for m in range(len(reference) + 1)]  # cost, insertions, deletions, substitutions
    for n, word in enumerate(hypothesis, 1):
        fresh = [(n, n, 0, 0)]
        for m, right in enumerate(reference, 1):
            same, inserted, deleted = row[m - 1], row[m], fresh[m - 1]
            substitution = same[0] + (word != right)
            insertion, deletion = inserted[0] + 1, deleted[0] + 1
            if substitution < insertion and substitution < deletion:
                fresh.append((substitution, same[1], same[2], same[3] + (word != right)))
            elif deletion < insertion:
                fresh.append((deletion, deleted[1], deleted[2] + 1, deleted[3]))
            else:
                fresh.append((insertion, inserted[1] + 1, inserted[2], inserted[3]))
        row = fresh
    return row[-1][1:]


def test_counts_worked_by_hand() -> None:
    counts = count_errors(["nine", "five", "four", "eight"], ["four", "four", "eight"])
    assert (counts.words, counts.insertions, counts.deletions, counts.substitutions) == (4, 0, 1, 1)
    assert counts.errors == 2
    assert counts.percent == 50.0
    assert count_errors([], ["a", "b"]) == ErrorCounts(words=0, insertions=2)
    assert count_errors(["a", "b"], []) == ErrorCounts(words=2, deletions=2)
    assert count_errors([], []).percent == 0.0
    assert count_errors([], ["a"]).percent == 100.0


def test_ties_are_broken_as_compute_wer_breaks_them() -> None:
    for reference, hypothesis in random_pairs(1, 2000):
        counts = count_errors(reference, hypothesis)
        expected = kaldi_counts(reference, hypothesis)
        assert (counts.insertions, counts.deletions, counts.substitutions) == expected, (reference, hypothesis)


def test_alignment_spells_both_texts_and_has_the_least_errors() -> None:
    for reference, hypothesis in random_pairs(2, 500):
        pairs = align_words(reference, hypothesis)
        assert [word for word, _ in pairs if word != GAP] == reference
        assert [word for _, word in pairs if word != GAP] == hypothesis
        assert (GAP, GAP) not in pairs
        assert sum(one != other for one, other in pairs) == count_errors(reference, hypothesis).errors


def test_line_is_that_of_compute_wer() -> None:
    counts = ErrorCounts(words=67, insertions=10, deletions=6, substitutions=17)
    assert counts.line() == "%WER 49.25 [ 33 / 67, 10 ins, 6 del, 17 sub ]"


def test_an_utterance_without_hypothesis_is_all_deleted() -> None:
    counts = count_set({"u1": ["a", "b"], "u2": ["c"]}, {"u2": ["c"]})
    assert counts["u1"].deletions == 2
    assert total(counts.values()) == ErrorCounts(words=3, deletions=2)


def test_a_hypothesis_without_reference_is_refused() -> None:
    with pytest.raises(DataDirError, match=r"1 decoded utterances have no transcript \(first: u9\)"):
        count_set({"u1": ["a"]}, {"u1": ["a"], "u9": ["b"]})


def run_kaldi(root: Path, command: str) -> str:
    environment = os.environ | {"LC_ALL": "C"}
    shell = ["bash", "-c", f". {root}/path.sh; {command}"]
    return subprocess.run(shell, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.mark.kaldi
def test_counts_are_those_of_the_real_compute_wer(kaldi_root: Path, tmp_path: Path) -> None:
    for seed in range(8):
        pairs = [pair for pair in random_pairs(seed, 600) if pair[0]]
        for name, side in (("ref", 0), ("hyp", 1)):
            text = "".join(f"u{n:04d} {' '.join(pair[side])}\n" for n, pair in enumerate(pairs))
            (tmp_path / name).write_text(text)
        printed = run_kaldi(kaldi_root, f"compute-wer --text --mode=strict ark:{tmp_path}/ref ark:{tmp_path}/hyp")
        ours = total(count_errors(*pair) for pair in pairs)
        assert re.search(r"%WER.*\]", printed).group() == ours.line()  # type: ignore[union-attr]


@pytest.mark.kaldi
def test_transcripts_of_the_golden_lattices_are_counted_as_compute_wer_counts_them(
    kaldi_root: Path, golden_dir: Path, tmp_path: Path
) -> None:
    """630 transcripts: those of 15 real lattices at 42 settings."""
    references = read_references(golden_dir / "data/test")
    words = read_words(golden_dir / "exp/tri3b/graph")
    swept = sweep_decode_dir(
        golden_dir / "exp/tri3b/decode_test", words, references, lm_weights=range(1, 15), penalties=[-8.0, 0.0, 8.0]
    )
    for number, setting in enumerate(swept.settings):
        text = "".join(f"{utterance} {' '.join(spoken)}\n" for utterance, spoken in swept.words[setting].items())
        (tmp_path / f"{number:02d}").write_text(text)
    # sed reads all: head would leave, and the pipe break under compute-wer
    one = f"compute-wer --text --mode=strict ark:{golden_dir}/data/test/text ark:$n 2>/dev/null | sed -n 1p"
    printed = run_kaldi(kaldi_root, f"cd {tmp_path}; for n in *; do {one}; done").splitlines()
    assert printed == [swept.counts(setting).line() for setting in swept.settings]
    assert len(set(printed)) > 5


@pytest.mark.kaldi
def test_alignments_are_those_of_the_real_align_text(kaldi_root: Path, tmp_path: Path) -> None:
    pairs = [pair for pair in random_pairs(7, 400) if pair[0] and pair[1]]
    for name, side in (("ref", 0), ("hyp", 1)):
        text = "".join(f"u{n:04d} {' '.join(pair[side])}\n" for n, pair in enumerate(pairs))
        (tmp_path / name).write_text(text)
    printed = run_kaldi(kaldi_root, f"align-text --special-symbol='***' ark:{tmp_path}/ref ark:{tmp_path}/hyp ark,t:-")
    for line, (reference, hypothesis) in zip(printed.splitlines(), pairs, strict=True):
        cells = [tuple(cell.split()) for cell in line.split(None, 1)[1].split(";")]
        assert align_words(reference, hypothesis) == cells
