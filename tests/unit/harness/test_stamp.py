"""Stamps of stages: what counts as a change, and what does not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.errors import StageError
from harness.stamp import check, cpu_seconds, fingerprint, finish, main, stage_text

RECIPE = """\
. library.sh
if stage 0 "prepare" --out data; then
  prepare "$data"
  if true; then
    echo
  fi
fi

# a comment
if stage 1 "train" --in data \\
  --out model; then
  train --rate 0.1
fi
"""
LIBRARY = """\
train() { # MODEL
  # how
  helper "$1"
}
helper() { python -m am train; }
prepare() {
  echo prepare
}
"""


def data_dir(path: Path) -> Path:
    path.mkdir()
    (path / "a.wav").write_bytes(b"RIFF")
    (path / "utt2spk").write_text("a s\n")
    (path / "wav.scp").write_text(f"a {path}/a.wav\n")
    return path


def run_stage(tmp_path: Path, inputs: list[Path], outputs: list[Path], text: str = "text") -> str | None:
    return check(tmp_path / "stamp.json", text, inputs, outputs, {})


def test_a_finished_stage_is_fresh_until_an_input_an_output_or_its_text_changes(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    source.write_text("1")
    assert run_stage(tmp_path, [source], [made]) == "not finished before"
    made.write_text("2")
    finish(tmp_path / "stamp.json", "a stage", 1.0, [made])
    assert run_stage(tmp_path, [source], [made]) is None
    assert run_stage(tmp_path, [source], [made], "other") == "changed: its commands or options"
    source.write_text("3")
    assert run_stage(tmp_path, [source], [made]) == f"changed: {source}"
    source.write_text("1")
    made.unlink()
    assert run_stage(tmp_path, [source], [made]) == f"gone: {made}"


def test_an_input_that_changes_while_the_stage_runs_makes_it_run_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("1")
    run_stage(tmp_path, [source], [])
    source.write_text("2")
    finish(tmp_path / "stamp.json", "a stage", 1.0, [])
    assert run_stage(tmp_path, [source], []) == f"changed: {source}"


def test_a_stage_that_was_cut_off_keeps_its_training_unless_something_changed(tmp_path: Path) -> None:
    source, training = tmp_path / "source", tmp_path / "training"
    source.write_text("1")
    assert check(tmp_path / "stamp.json", "", [source], [], {}, [training]) == "not finished before"
    training.mkdir()
    assert check(tmp_path / "stamp.json", "", [source], [], {}, [training]) == "was cut off"
    assert training.exists()
    source.write_text("2")
    assert check(tmp_path / "stamp.json", "", [source], [], {}, [training]) == f"changed: {source}"
    assert not training.exists()


def test_archives_count_with_the_table_that_points_into_them(tmp_path: Path) -> None:
    archive, table = tmp_path / "feats.ark", tmp_path / "feats.scp"
    archive.write_bytes(b"12345678")
    table.write_text(f"a {archive}:2\nb {archive}:5[0:3]\n")
    before = fingerprint(table)
    os.utime(archive, (1e9, 1e9))
    assert fingerprint(table) != before


def test_a_damaged_stamp_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "stamp.json").write_text("{")
    assert run_stage(tmp_path, [], []) == "not finished before"
    (tmp_path / "stamp.json").write_text("[1]")
    assert run_stage(tmp_path, [], []) == "was cut off"


def test_an_output_that_the_stage_did_not_make_is_an_error(tmp_path: Path) -> None:
    run_stage(tmp_path, [], [tmp_path / "made"])
    with pytest.raises(StageError, match="was not written by the stage 'a stage'"):
        finish(tmp_path / "stamp.json", "a stage", 1.0, [tmp_path / "made"])
    assert not (tmp_path / "stamp.json").exists()


def test_a_missing_input_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    writers = {str(tmp_path / "exp/model"): "2"}
    with pytest.raises(StageError, match=r"best.pt: is an input .*\n.*stage 2 writes it"):
        check(tmp_path / "stamp.json", "", [tmp_path / "exp/model/best.pt"], [], writers)
    with pytest.raises(StageError, match="check the path"):
        check(tmp_path / "stamp.json", "", [tmp_path / "elsewhere"], [], writers)


def test_a_data_dir_counts_by_tables_and_audio_not_by_features(tmp_path: Path) -> None:
    data = data_dir(tmp_path / "data")
    before = fingerprint(data)
    (data / "feats.scp").write_text("a feats.ark:0\n")
    (data / "utt2dur").write_text("a 1.0\n")
    (data / "split2").mkdir()
    assert fingerprint(data) == before
    (data / "text").write_text("a HELLO\n")
    with_text = fingerprint(data)
    assert with_text != before
    (data / "a.wav").write_bytes(b"RIFF longer")
    assert fingerprint(data) != with_text


def test_a_small_file_counts_by_its_content_and_a_large_one_by_its_time(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    large.write_bytes(b"x" * (1 << 21))
    before = fingerprint(small), fingerprint(large)
    later = time.time() + 10
    os.utime(small, (later, later))
    os.utime(large, (later, later))
    assert fingerprint(small) == before[0]
    assert fingerprint(large) != before[1]


def test_a_table_in_another_encoding_counts_with_the_files_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "ark").write_bytes(b"1")
    (tmp_path / "old.scp").write_bytes(b"m\xfcller " + str(tmp_path / "ark").encode() + b":0\n")
    before = fingerprint(tmp_path / "old.scp")
    (tmp_path / "ark").write_bytes(b"12")
    assert fingerprint(tmp_path / "old.scp") != before


def test_a_directory_counts_by_names_and_content_but_not_by_logs(tmp_path: Path) -> None:
    folder = tmp_path / "noise"
    (folder / "log").mkdir(parents=True)
    (folder / "fan.wav").write_bytes(b"1")
    before = fingerprint(folder)
    (folder / "log" / "a.log").write_text("x")
    (folder / ".hidden").write_text("x")
    assert fingerprint(folder) == before
    (folder / "fan.wav").rename(folder / "hum.wav")
    assert fingerprint(folder) != before


def test_the_text_of_a_stage_is_its_block_with_the_functions_it_calls(tmp_path: Path) -> None:
    recipe, library = tmp_path / "run.sh", tmp_path / "library.sh"
    recipe.write_text(RECIPE)
    library.write_text(LIBRARY)
    first, second = stage_text(recipe, 2, [library]), stage_text(recipe, 11, [library])
    assert first.splitlines()[0] == 'if stage 0 "prepare" --out data; then'
    assert "echo prepare" in first
    assert "python -m am train" not in first
    assert "train --rate 0.1" in second
    assert "python -m am train" in second
    assert "echo" not in second


def test_comments_and_other_stages_do_not_change_the_text_of_a_stage(tmp_path: Path) -> None:
    recipe, library = tmp_path / "run.sh", tmp_path / "library.sh"
    recipe.write_text(RECIPE)
    library.write_text(LIBRARY)
    before = stage_text(recipe, 11, [library])
    recipe.write_text("# one more line\n" + RECIPE.replace('prepare "$data"', 'prepare "$other"'))
    library.write_text(LIBRARY.replace("# how", "# and why").replace("echo prepare", "echo"))
    assert stage_text(recipe, 12, [library]) == before
    library.write_text(LIBRARY.replace("am train", "am train --force"))
    assert stage_text(recipe, 12, [library]) != before


def test_the_command_exits_3_with_the_reason_for_a_stage_that_is_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = ["--stamp", str(tmp_path / "stamp.json")]
    assert main(["check", *stamp]) == 3
    assert capsys.readouterr().out == "not finished before\n"
    assert main(["finish", *stamp, "--title", "a stage"]) == 0
    assert main(["check", *stamp]) == 0
    assert main(["check", *stamp, "--options", "--size paper"]) == 3


def test_the_times_of_a_shell_are_added_up_with_those_of_its_children(tmp_path: Path) -> None:
    """As bash's `times` prints them: user and system of the shell, then of its children."""
    times = tmp_path / "times"
    times.write_text("0m0.250s 0m0.125s\n61m2.500s 1m0.125s\n")
    assert cpu_seconds(times) == 0.25 + 0.125 + 61 * 60 + 2.5 + 60 + 0.125
