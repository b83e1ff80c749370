"""Running Kaldi's programs: exit codes of every part, the log's end in the error."""

from __future__ import annotations

import pytest

from harness.errors import ProgramError
from kaldi_bridge.programs import kaldi_environment, kaldi_root, kaldi_workspace, run_kaldi


@pytest.fixture
def fake_root(tmp_path):
    """A Kaldi of one program that complains."""
    folder = tmp_path / "kaldi" / "src" / "featbin"
    folder.mkdir(parents=True)
    program = folder / "complain"
    said = ["ERROR (complain) no such rspecifier", "[ Stack-Trace: ]", "0x7f"]
    program.write_text("\n".join(["#!/bin/sh", "cat", *(f"echo '{line}' >&2" for line in said), "exit 3", ""]))
    program.chmod(0o755)
    return tmp_path / "kaldi"


def test_without_a_kaldi_the_error_says_how_to_name_one(monkeypatch, tmp_path):
    monkeypatch.delenv("KALDI_ROOT", raising=False)
    with pytest.raises(ProgramError, match=r"KALDI_ROOT: is not set\n  mend: export KALDI_ROOT"):
        kaldi_root()
    with pytest.raises(ProgramError, match=r"holds no built Kaldi"):
        run_kaldi("true", root=tmp_path)


def test_a_failing_program_shows_its_last_words_and_no_stack_trace(fake_root, tmp_path):
    with pytest.raises(
        ProgramError, match=r"failed with exit code 3; it said:\n    ERROR .complain. no such"
    ) as caught:
        run_kaldi(["complain"], root=fake_root, log=tmp_path / "log" / "x.log")
    assert "Stack-Trace" not in str(caught.value)
    assert (tmp_path / "log" / "x.log").read_text().startswith("# complain\nERROR (complain)")


def test_a_failure_in_the_middle_of_a_pipeline_is_a_failure(fake_root):
    with pytest.raises(ProgramError, match="exit code 3"):
        run_kaldi("echo hello | complain | cat", root=fake_root)


def test_output_input_and_environment_pass_through(fake_root, tmp_path):
    assert run_kaldi("cat; echo $LC_ALL $WORD; pwd", root=fake_root, stdin=b"in\n", environment={"WORD": "yes"},
                     cwd=tmp_path).decode() == f"in\nC yes\n{tmp_path}\n"  # fmt: skip
    assert str(fake_root / "src" / "featbin") in kaldi_environment(fake_root)["PATH"]


@pytest.mark.kaldi
def test_scripts_of_a_real_kaldi_run_in_a_workspace(kaldi_root, tmp_path):
    workspace = kaldi_workspace(tmp_path / "place", kaldi_root)
    assert kaldi_workspace(workspace, kaldi_root) == workspace
    (workspace / "utt2spk").write_text("a-1 a\na-2 a\n")
    assert run_kaldi("utils/utt2spk_to_spk2utt.pl utt2spk", cwd=workspace) == b"a a-1 a-2\n"
    assert b"Copy features" in run_kaldi(". ./path.sh; copy-feats --help 2>&1", cwd=workspace, root=kaldi_root)
    with pytest.raises(ProgramError, match="no such directory"):
        run_kaldi("utils/validate_data_dir.sh nowhere", cwd=workspace)
