"""compute-wer-bootci draw for draw: the C library's numbers, a hand-worked replica, and the real program's digits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from am.bootci import _rand, _unseeded, kaldi_comparison, kaldi_interval
from am.bootstrap import Errors
from harness.errors import DataDirError


def test_the_draws_are_those_of_the_c_library() -> None:
    """The first numbers of an unseeded rand() under GNU libc are printed in many a textbook."""
    state = _unseeded()
    assert [_rand(state) for _ in range(5)] == [1804289383, 846930886, 1681692777, 1714636915, 1957747793]


def test_replicas_worked_by_hand() -> None:
    """Of two utterances the draws above, modulo 2, take: 1, 0; then 1, 1."""
    errors = Errors.of({"a": ("s", 2, 1), "b": ("s", 4, 1)})
    found = kaldi_interval(errors, replications=2)
    rates = np.array([2 / 6, 2 / 8])
    assert found.mean == pytest.approx(rates.mean())
    assert found.half == pytest.approx(1.96 * rates.std(), rel=1e-4)
    assert kaldi_interval(errors, replications=1).line("Set1") == "Set1: %WER 33.33 95% Conf Interval [ 33.33, 33.33 ]"


def test_systems_of_other_utterances_are_refused() -> None:
    with pytest.raises(DataDirError, match=r"differ in 1 utterances \(first: b\)"):
        kaldi_comparison(Errors.of({"a": ("s", 2, 1)}), Errors.of({"a": ("s", 2, 1), "b": ("s", 2, 1)}))


@pytest.mark.kaldi
@pytest.mark.parametrize(("seed", "utterances", "replications"), [(0, 300, 10_000), (1, 41, 1000), (2, 1, 50)])
def test_every_printed_digit_is_that_of_the_real_program(
    kaldi_root: Path, tmp_path: Path, seed: int, utterances: int, replications: int
) -> None:
    rng = np.random.default_rng(seed)
    rows: list[dict[str, tuple[str, int, int]]] = [{}, {}]
    texts: list[list[str]] = [[], [], []]
    for n in range(utterances):
        words, name = int(rng.integers(2, 12)), f"u{n:03d}"
        texts[0].append(f"{name} {' '.join(['a'] * words)}")
        for system, rate in enumerate((0.30, 0.28)):
            wrong = int(rng.binomial(words, rate))
            rows[system][name] = ("s", words, wrong)
            texts[system + 1].append(f"{name} {' '.join(['b'] * wrong + ['a'] * (words - wrong))}")
    for name, lines in zip(("ref", "first", "second"), texts, strict=True):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    program = f"compute-wer-bootci --replications={replications} --mode=strict ark:ref ark:first ark:second"
    command = ["bash", "-c", f". {kaldi_root}/path.sh; cd {tmp_path}; {program}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C"})
    one, other, better = kaldi_comparison(Errors.of(rows[0]), Errors.of(rows[1]), replications)
    ours = [one.line("Set1"), other.line("Set2"), f"Probability of Set2 improving Set1: {100 * better:.2f}"]
    assert [line for line in done.stdout.splitlines() if line.strip()] == ours
