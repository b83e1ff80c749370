"""Agreement with NIST's sctk: alignments under sclite's weights, the matched pairs of sc_stats; both by hand too."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from am.matched_pairs import matched_pairs, segments
from am.wer import GAP, KALDI, SCLITE, align_words, count_errors, count_pairs
from harness.errors import DataDirError

Texts = list[list[str]]


@pytest.fixture(scope="session")
def sctk() -> Path:
    """The folder of sclite and sc_stats (Debian's package sctk, or the PATH)."""
    found = shutil.which("sclite", path=f"/usr/lib/sctk/bin:{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip("sclite is not installed (Debian: apt install sctk)")
    return Path(found).parent


def random_texts(seed: int, count: int, longest: int, vocabulary: int) -> tuple[Texts, Texts]:
    """Unrelated references and hypotheses over few words: alignments full of ties."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers((1, 0), longest, (count, 2))
    sides = [[[f"w{w}" for w in rng.integers(0, vocabulary, n)] for n in column] for column in lengths.T]
    return sides[0], sides[1]


def corrupted(texts: Texts, rate: float, seed: int) -> Texts:
    """Deletions, substitutions and insertions, each with a third of the rate."""
    rng = np.random.default_rng(seed)
    found = []
    for words in texts:
        heard = []
        for word in words:
            chance = rng.random()
            if chance < rate / 3:
                continue
            heard.append(f"w{rng.integers(30)}" if chance < 2 * rate / 3 else word)
            if chance > 1 - rate / 3:
                heard.append(f"w{rng.integers(30)}")
        found.append(heard)
    return found


def write_trn(path: Path, texts: Texts) -> None:
    path.write_text("".join(f"{' '.join(words)} (s_{n:05d})\n" for n, words in enumerate(texts)))


def sgml(sctk: Path, folder: Path, references: Texts, hypotheses: Texts, name: str) -> str:
    """sclite's alignments."""
    write_trn(folder / "ref.trn", references)
    write_trn(folder / f"{name}.trn", hypotheses)
    command = [f"{sctk}/sclite", "-r", "ref.trn", "trn", "-h", f"{name}.trn", "trn", "-i", "spu_id", "-o", "sgml"]
    subprocess.run([*command, "-O", ".", "-n", name], cwd=folder, check=True, capture_output=True)
    return (folder / f"{name}.sgml").read_text()


def operations(text: str) -> dict[int, str]:
    """{number of the utterance: its operations} of an SGML file."""
    paths = re.findall(r'<PATH id="\(s_(\d+)\)"[^>]*>\n(.*?)\n?</PATH>', text, re.DOTALL)
    return {int(number): "".join(step[0] for step in body.split(":") if step) for number, body in paths}


def letters(pairs: Sequence[tuple[str, str]]) -> str:
    kinds = ((one == GAP, other == GAP, one == other) for one, other in pairs)
    return "".join("I" if no_one else "D" if no_other else "C" if same else "S" for no_one, no_other, same in kinds)


@pytest.mark.parametrize(("seed", "count", "longest", "vocabulary"), [(0, 2000, 9, 4), (1, 500, 20, 5), (2, 60, 60, 9)])
def test_every_step_of_every_alignment_is_sclites(
    sctk: Path, tmp_path: Path, seed: int, count: int, longest: int, vocabulary: int
) -> None:
    references, hypotheses = random_texts(seed, count, longest, vocabulary)
    theirs = operations(sgml(sctk, tmp_path, references, hypotheses, "hyp"))
    assert len(theirs) == count
    for number, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        pairs = align_words(reference, hypothesis, SCLITE)
        assert letters(pairs) == theirs[number], (reference, hypothesis)
        assert count_errors(reference, hypothesis, SCLITE) == count_pairs(pairs)


def test_sclites_weights_turn_a_double_substitution_into_gaps() -> None:
    """a b c against c x: three errors either way, but sclite keeps the c that both have: 2 x 3 + 3 < 2 x 4 + 3."""
    reference, hypothesis = ["a", "b", "c"], ["c", "x"]
    assert letters(align_words(reference, hypothesis, SCLITE)) == "DDCI"
    assert letters(align_words(reference, hypothesis, KALDI)) == "DSS"


def told_by_sc_stats(sctk: Path, tmp_path: Path, references: Texts, systems: list[Texts]) -> list[float]:
    """Segments, mean, standard deviation and Z of two systems."""
    both = "".join(sgml(sctk, tmp_path, references, texts, name) for texts, name in zip(systems, "ab", strict=True))
    command = [f"{sctk}/sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "test"]
    subprocess.run(command, input=both, text=True, cwd=tmp_path, check=True, capture_output=True)
    line = next(line for line in (tmp_path / "test.stats.mapsswe").read_text().splitlines() if "MTCH_PR" in line)
    stated = re.search(r"# segs: (\d+).*mean: ([-\d.]+).*std dev: ([\d.]+).*Z Stat: ([-\d.]+)", line)
    assert stated is not None
    return [float(number) for number in stated.groups()]


def ours(references: Texts, systems: list[Texts]) -> list[float]:
    first, second = (
        {str(n): align_words(references[n], words, SCLITE) for n, words in enumerate(texts)} for texts in systems
    )
    found = matched_pairs(first, second)
    return [found.segments, found.mean, found.deviation, found.statistic]


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6])
def test_matched_pairs_are_those_of_sc_stats(sctk: Path, tmp_path: Path, rate: float) -> None:
    references, _ = random_texts(7, 250, 20, 30)
    systems = [corrupted(references, rate, 1), corrupted(references, 1.2 * rate, 2)]
    theirs = told_by_sc_stats(sctk, tmp_path, references, systems)
    assert ours(references, systems) == pytest.approx(theirs, abs=6e-4)


def test_differences_that_are_all_equal_are_no_proof_to_sc_stats_either(sctk: Path, tmp_path: Path) -> None:
    references = [["one", "two", "three", "four"]] * 3
    systems = [references, [["one", "x", "three", "four"]] * 3]
    theirs = told_by_sc_stats(sctk, tmp_path, references, systems)
    assert theirs == [3, -1, 0, 0]
    assert ours(references, systems) == theirs


def pairs_of(text: str) -> list[tuple[str, str]]:
    return [(one, other) for one, _, other in (cell.partition(":") for cell in text.split())]


def test_segments_end_at_two_words_that_both_have_right() -> None:
    first = pairs_of("a:x b:b c:c d:d ***:z e:e f:f g:***")
    second = pairs_of("a:a b:b c:y d:d e:e f:f g:g")
    # a is wrong in the first; b alone is right in both; c is wrong in the second: one segment of 1 and 1 errors.
    # d alone right; z too many in the first; e f end it: g is lost in the first.
    assert segments(first, second) == [(2, 1), (1, 0)]
    assert segments(first, second, boundary=1) == [(1, 0), (0, 1), (1, 0), (1, 0)]
    assert segments(first, first, boundary=99) == [(3, 3)]


def test_the_statistic_worked_by_hand() -> None:
    right = pairs_of("a:a b:b")
    wrong, worse = pairs_of("a:x b:b"), pairs_of("a:x b:y ***:z")
    found = matched_pairs({"1": wrong, "2": worse, "3": right}, {"1": right, "2": right, "3": right})
    assert (found.segments, found.mean) == (2, 2.0)  # differences 1 and 3
    assert found.deviation == pytest.approx(math.sqrt(2))
    assert found.statistic == pytest.approx(2.0)
    assert found.p_value == pytest.approx(0.0455, abs=1e-4)
    same = matched_pairs({"1": wrong, "2": worse}, {"1": wrong, "2": worse})
    assert (same.segments, same.statistic, same.p_value) == (2, 0.0, 1.0)
    equal = matched_pairs({"1": wrong, "2": wrong}, {"1": right, "2": right})
    assert (equal.mean, equal.statistic, equal.p_value) == (1.0, 0.0, 1.0), "two segments prove nothing"
    none = matched_pairs({"1": right}, {"1": right})
    assert (none.segments, none.p_value) == (0, 1.0)


def test_other_references_or_utterances_are_refused() -> None:
    with pytest.raises(DataDirError, match="utterance u has other reference words"):
        matched_pairs({"u": pairs_of("a:a")}, {"u": pairs_of("b:a")})
    with pytest.raises(DataDirError, match=r"differ in 1 utterances \(first: v\)"):
        matched_pairs({"u": pairs_of("a:a")}, {"u": pairs_of("a:a"), "v": []})
