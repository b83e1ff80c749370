"""A training of Kaldi's that is disturbed half-way is named with its program and log, and is whole when run again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import ProgramError
from kaldi_bridge.kaldi_step import run_step
from kaldi_bridge.programs import run_kaldi
from tests.golden.make import SYSTEM, lay_out

pytestmark = pytest.mark.kaldi
MONO = "steps/train_mono.sh --nj 1 --cmd run.pl --totgauss 60 --num-iters 6 --max-iter-inc 4 data/train lang exp/mono"
MADE = 3  # commands of SYSTEM: features, CMVN, lang


@pytest.fixture(scope="module")
def work(kaldi_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with features and lang, and first/ before Kaldi's programs on the PATH."""
    folder = tmp_path_factory.mktemp("disturbed") / "work"
    lay_out(folder)
    (folder / "first").mkdir()
    with open(folder / "path.sh", "a") as stream:
        stream.write('export PATH="$PWD/first:$PATH"\n')
    for _, command in SYSTEM[:MADE]:
        run_kaldi(f". ./path.sh; {{ {command}; }}", cwd=folder)
    return folder


def train(work: Path) -> None:
    """As kaldi_step of a recipe runs it."""
    exp = work / "exp/mono"
    run_step(MONO.split(), name="mono", workspace=work, log=work / "mono.log", folders=[exp], made=[exp / "final.mdl"])


@pytest.fixture(scope="module")
def undisturbed(work: Path) -> bytes:
    train(work)
    model = (work / "exp/mono/final.mdl").read_bytes()
    (work / "exp/mono").rename(work / "exp/mono_undisturbed")
    return model


def goes_on(work: Path) -> bytes:
    """The model of a second run, with nothing in the way."""
    train(work)
    model = (work / "exp/mono/final.mdl").read_bytes()
    (work / "exp/mono").rename(work / f"exp/mono_{len(os.listdir(work / 'exp'))}")
    return model


def test_a_program_that_is_killed_in_the_third_pass_is_named_and_the_next_run_is_whole(
    work: Path, undisturbed: bytes, kaldi_root: Path
) -> None:
    killed = work / "first/gmm-est"
    killed.write_text(
        "#!/usr/bin/env bash\n"
        f"case \"$*\" in *mono/3.mdl*) kill -9 $$ ;; *) exec {kaldi_root}/src/gmmbin/gmm-est \"$@\" ;; esac\n"
    )  # fmt: skip
    killed.chmod(0o755)
    with pytest.raises(ProgramError, match=r"train_mono\.sh failed with exit code 1: gmm-est") as caught:
        train(work)
    assert "ended by signal 9" in str(caught.value)
    assert "exp/mono/log/update.2.log" in str(caught.value)
    assert not (work / "exp/mono/final.mdl").exists()
    killed.unlink()
    assert goes_on(work) == undisturbed


def test_a_program_that_is_killed_inside_the_pipe_of_another_is_named(work: Path, undisturbed: bytes) -> None:
    killed = work / "first/apply-cmvn"
    killed.write_text("#!/usr/bin/env bash\nkill -9 $$\n")
    killed.chmod(0o755)
    with pytest.raises(ProgramError, match=r"mono \(Kaldi\): steps/train_mono.sh failed with exit code"):
        train(work)
    killed.unlink()
    assert goes_on(work) == undisturbed


def test_a_full_disk_under_a_model_is_named_and_the_next_run_is_whole(work: Path, undisturbed: bytes) -> None:
    (work / "exp/mono").mkdir()
    (work / "exp/mono/4.mdl").symlink_to("/dev/full")
    with pytest.raises(ProgramError, match=r"train_mono\.sh failed with exit code 1: gmm-est: 'ERROR") as caught:
        train(work)
    assert "exp/mono/log/update.3.log" in str(caught.value)
    assert not (work / "exp/mono/final.mdl").exists()
    (work / "exp/mono/4.mdl").unlink()
    assert goes_on(work) == undisturbed


def test_an_error_that_a_program_tells_only_its_log_stops_the_step(
    work: Path, undisturbed: bytes, kaldi_root: Path
) -> None:
    liar = work / "first/gmm-align-compiled"
    liar.write_text(
        "#!/usr/bin/env bash\n"
        f"{kaldi_root}/src/gmmbin/gmm-align-compiled \"$@\"\n"
        "echo 'ERROR (gmm-align-compiled[5.5]:main():x.cc:1) half of it is lost' >&2\nexit 0\n"
    )  # fmt: skip
    liar.chmod(0o755)
    problem = r"train_mono\.sh exited with 0, but its log holds an error: gmm-align-compiled"
    with pytest.raises(ProgramError, match=problem) as caught:
        train(work)
    assert "half of it is lost" in str(caught.value)
    liar.unlink()
    assert goes_on(work) == undisturbed
