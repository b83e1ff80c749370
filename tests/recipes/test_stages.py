"""The stage library on a miniature recipe of three stages: copy a file, double it, count its lines."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import StageError
from harness.work_lock import take_lock

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """\
#!/usr/bin/env bash
. "$ROOT/recipes/lib/stages.sh"
source_file='' times=2
recipe_option() {
  case $1 in
    --source) source_file=$2 ;;
    --times) times=$2 ;;
    *) return 1 ;;
  esac
}
stages_more="--source FILE [--times N]"
recipe_check() {
  stages_unnamed source_file
  stages_needs --source "$source_file"
}
recipe_help() { echo "  --times N       how often to repeat (default: $times)"; }
stages_begin "$@"

if stage 0 "copy" --in "$source_file" --out "$data/copy"; then
  ${PAUSE:-true}
  cp "$source_file" "$data/copy.tmp"
  mv "$data/copy.tmp" "$data/copy"
fi

stages_options=$times
if stage 1 "repeat" --in "$data/copy" --out "$data/many"; then
  echo "repeating $times times"
  ${PAUSE:-true}
  for ((n = 0; n < times; n++)); do cat "$data/copy"; done >"$data/many.tmp"
  mv "$data/many.tmp" "$data/many"
fi
stages_options=''

if stage 2 "count" --in "$data/many" --out "$work/RESULTS"; then
  ${PAUSE:-true}
  grep -c . "$data/many" >"$work/RESULTS.tmp"
  mv "$work/RESULTS.tmp" "$work/RESULTS"
fi
stages_end
"""


@dataclass(frozen=True)
class Mini:
    """A recipe in a folder of its own."""

    folder: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def command(self, *words: str) -> list[str]:
        source = str(self.folder / "source")
        return ["bash", str(self.folder / "mini/run.sh"), "--source", source, "--work", str(self.work), *words]

    def environment(self, **more: str) -> dict[str, str]:
        return os.environ | {"ROOT": str(ROOT), "SCHOOLYARD_VENV": str(self.folder / "venv")} | more

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.environment(**more), capture_output=True, text=True, check=False, timeout=120
        )

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """As run, but in a session of its own, and not waited for."""
        return subprocess.Popen(
            self.command(*words),
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=interruptible,
        )

    def ran(self, result: subprocess.CompletedProcess[str]) -> list[int]:
        """The stages that were not skipped."""
        assert result.returncode == 0, result.stdout + result.stderr
        return [n for n in range(3) if f"[stage {n}/2] done" in result.stdout]


@pytest.fixture
def mini(tmp_path: Path) -> Mini:
    (tmp_path / "venv/bin").mkdir(parents=True)
    python = Path(sys.executable).parent
    (tmp_path / "venv/bin/activate").write_text(f'export PATH="{python}:$PATH"\n')
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini/run.sh").write_text(RECIPE)
    (tmp_path / "source").write_text("one\ntwo\n")
    return Mini(tmp_path)


def interruptible() -> None:
    """In the child: an interrupt counts, also where the tests run in the background with interrupts ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def pausing(mini: Mini) -> str:
    """What PAUSE may be: says that it is at work, in a stage that heeds signals by then, and stays for a minute."""
    script = mini.folder / "pause.sh"
    script.write_text("echo pausing\nexec sleep 60\n")
    return f"bash {script}"


def wait_for(stream_of: subprocess.Popen[str], text: str) -> None:
    assert stream_of.stdout is not None
    for line in stream_of.stdout:
        if text in line:
            return
    raise AssertionError(f"the run ended without saying {text!r}")


def test_stages_run_once_and_say_what_they_read_and_write(mini: Mini) -> None:
    first = mini.run()
    assert mini.ran(first) == [0, 1, 2]
    assert (mini.work / "RESULTS").read_text() == "4\n"
    assert f"reads  {mini.work}/data/copy" in first.stdout
    assert f"writes {mini.work}/data/many" in first.stdout
    assert (mini.work / "exp/log/stage1.log").read_text() == "repeating 2 times\n"
    second = mini.run()
    assert mini.ran(second) == []
    assert second.stdout.count("nothing changed, skipped") == 3


def test_a_changed_input_or_option_runs_its_stage_and_the_later_ones(mini: Mini) -> None:
    mini.run()
    changed = mini.run("--times", "3")
    assert mini.ran(changed) == [1, 2]
    assert "[stage 1/2] runs again; changed: its commands or options" in changed.stdout
    (mini.folder / "source").write_text("one\n")
    again = mini.run("--times", "3")
    assert mini.ran(again) == [0, 1, 2]
    assert (mini.work / "RESULTS").read_text() == "3\n"


def test_a_command_edited_in_the_recipe_runs_its_stage_again(mini: Mini) -> None:
    mini.run()
    recipe = mini.folder / "mini/run.sh"
    recipe.write_text(recipe.read_text().replace("grep -c .", "grep -c one"))
    assert mini.ran(mini.run()) == [2]
    assert (mini.work / "RESULTS").read_text() == "2\n"


def test_force_and_stage_bounds_choose_what_runs(mini: Mini) -> None:
    assert mini.ran(mini.run("--stop-stage", "1")) == [0, 1]
    assert mini.ran(mini.run("--stage", "1", "--force")) == [1, 2]


def test_list_prints_the_stages_and_makes_nothing(mini: Mini) -> None:
    result = mini.run("--list")
    assert result.returncode == 0
    assert [line for line in result.stdout.splitlines() if not line.startswith("   ")] == [
        "  0  copy", "  1  repeat", "  2  count"
    ]  # fmt: skip
    assert not mini.work.exists()


def test_a_missing_input_names_its_path_and_the_stage_that_writes_it(mini: Mini) -> None:
    result = mini.run("--stage", "2")
    assert result.returncode == 1
    assert f"ERROR {mini.work}/data/many: is an input of this stage and does not exist" in result.stderr
    assert "mend: stage 1 writes it: run with --stage 1" in result.stderr


def test_a_failing_stage_names_itself_its_line_its_log_and_the_command_to_rerun(mini: Mini) -> None:
    mini.run()
    recipe = mini.folder / "mini/run.sh"
    recipe.write_text(recipe.read_text().replace('echo "repeating $times times"', 'bash -c "echo no luck; exit 7"'))
    result = mini.run("--times", "3")
    assert result.returncode == 7
    line = recipe.read_text().splitlines().index('  bash -c "echo no luck; exit 7"') + 1
    assert f"stage 1 (repeat) failed with exit code 7 at {recipe}:{line}" in result.stderr
    log = mini.work / "exp/log/stage1.log"
    assert f"log: {log}" in result.stderr
    assert log.read_text() == "no luck\n"
    command = f"{recipe} --source {mini.folder}/source --work {mini.work} --times 3 --stage 1"
    assert result.stderr.rstrip().endswith(command)
    assert "[stage 2/2]" not in result.stdout


def test_a_stage_that_does_not_write_its_output_fails(mini: Mini) -> None:
    recipe = mini.folder / "mini/run.sh"
    recipe.write_text(recipe.read_text().replace('mv "$data/many.tmp" "$data/many"', ":"))
    result = mini.run()
    assert result.returncode != 0
    assert "was not written by the stage 'repeat'" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stagge", "1"], "unknown option --stagge"),
        (["--stage", "one"], "--stage takes a number, got 'one'"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "42"], "there is no stage 42; there are: 0 1 2"),
        (["--stage", "08"], "there is no stage 08; there are: 0 1 2"),
        (["--stop-stage", "3"], "there is no stage 3; there are: 0 1 2"),
        (["--stage", "2", "--stop-stage", "1"], "--stage 2 comes after --stop-stage 1; the stages in order: 0 1 2"),
    ],
)
def test_a_wrong_option_exits_2_with_the_usage_and_makes_nothing(mini: Mini, words: list[str], said: str) -> None:
    result = mini.run(*words)
    assert result.returncode == 2
    assert said in result.stderr
    assert "usage:" in result.stderr
    assert not mini.work.exists()


def test_a_run_whose_options_leave_no_stage_is_refused(mini: Mini) -> None:
    recipe = mini.folder / "mini/run.sh"
    text = recipe.read_text().replace("stages_options=$times\n", 'stages_options=$times\nif [ "$times" -gt 0 ]; then\n')
    recipe.write_text(text.replace("stages_options=''\n", "fi\nstages_options=''\n"))
    result = mini.run("--times", "0", "--stage", "1", "--stop-stage", "1")
    assert result.returncode == 2
    assert "with these options no stage from 1 to 1 is left; there are: 0 2" in result.stderr
    assert "finished" not in result.stdout


def test_help_explains_the_options_of_the_recipe_with_their_defaults(mini: Mini) -> None:
    result = mini.run("--times", "7", "--help")
    assert result.returncode == 0
    assert "[--work DIR] --source FILE [--times N]" in result.stdout
    assert "  --times N       how often to repeat (default: 7)" in result.stdout


def test_the_time_of_a_run_is_without_the_installation_before_it(mini: Mini) -> None:
    activate = mini.folder / "venv/bin/activate"
    activate.write_text(activate.read_text() + "SECONDS=1500\n")
    assert re.search(r"mini: finished in 0 min \d+ s", mini.run("--stop-stage", "0").stdout)


def test_a_source_that_does_not_exist_is_refused_and_leaves_nothing(mini: Mini) -> None:
    (mini.folder / "source").unlink()
    before = sorted(mini.folder.rglob("*"))
    result = mini.run()
    assert result.returncode == 1
    assert "source: no such file or directory" in result.stderr
    assert sorted(mini.folder.rglob("*")) == before


def test_a_recipe_that_fails_before_its_supervisor_comes_to_look_fails_all_the_same(mini: Mini) -> None:
    """As on a busy machine: the supervisor sleeps between the start of the recipe and the wait for it."""
    slow = mini.folder / "slow.sh"
    slow.write_text('set() { builtin set "$@"; [ "$*" != +m ] || sleep 1; }\n')
    mini.work.write_text("a file where the folder should be")
    result = mini.run(BASH_ENV=str(slow))
    assert "cannot be made" in result.stderr
    assert result.returncode == 1


def test_an_input_of_the_first_stage_that_is_missing_is_no_work_of_earlier_stages(mini: Mini) -> None:
    recipe = mini.folder / "mini/run.sh"
    recipe.write_text(recipe.read_text().replace('--in "$source_file"', '--in "$source_file.list"'))
    result = mini.run()
    assert result.returncode == 1
    assert "source.list: is an input of this stage and does not exist" in result.stderr
    assert "mend: no stage writes it: check the folder that its option names (such as --source)" in result.stderr
    assert "earlier" not in result.stderr


def test_list_names_the_option_of_a_path_that_was_not_given(mini: Mini) -> None:
    words = [word for word in mini.command("--list") if word not in ("--source", str(mini.folder / "source"))]
    result = subprocess.run(words, env=mini.environment(), capture_output=True, text=True, check=True, timeout=120)
    assert "     reads  SOURCE_FILE\n" in result.stdout


def test_two_runs_in_one_work_directory_are_refused(mini: Mini) -> None:
    first = mini.start(PAUSE=pausing(mini))
    try:
        wait_for(first, "pausing")
        second = mini.run()
        assert second.returncode == 1
        assert f"another run is at work here (process {first.pid} of {socket.gethostname()})" in second.stderr
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=30)


def test_a_run_of_another_machine_counts_as_alive_and_no_process_here_is_ended_for_it(tmp_path: Path) -> None:
    """On a file system that machines share: the numbers in the lock are those of processes there."""
    innocent = subprocess.Popen(["sleep", "60"], start_new_session=True)
    ended = subprocess.Popen(["true"])
    ended.wait()
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"owner": ended.pid, "group": innocent.pid, "host": "elsewhere"}))
    with lock.open("a") as theirs, lock.open("a") as ours:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(StageError, match=f"another run is at work here .process {ended.pid} of elsewhere"):
            take_lock(ours.fileno(), lock, os.getpid(), os.getpgid(0))
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_takes_its_programs_along_and_continues_later(mini: Mini, sent: signal.Signals) -> None:
    run = mini.start(PAUSE=pausing(mini))
    wait_for(run, "pausing")
    begun = time.monotonic()
    run.send_signal(sent)
    said, _ = run.communicate(timeout=30)
    assert time.monotonic() - begun < 20
    assert run.returncode == 128 + sent
    assert "stage 0 (copy) was interrupted" in said
    assert mini.ran(mini.run()) == [0, 1, 2]


def test_a_run_whose_supervisor_was_killed_before_it_began_does_not_begin(mini: Mini) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert mini.run(STAGES_SUPERVISOR=str(gone.pid)).returncode == 137
    assert not mini.work.exists()


def test_kill_9_at_drawn_moments_then_the_same_command_ends_with_the_same_result(mini: Mini) -> None:
    draw = random.Random(3)
    for _ in range(6):
        run = mini.start(PAUSE="sleep 0.3")
        time.sleep(draw.uniform(0.1, 3.0))
        run.kill()  # the supervisor alone: what it started goes on, and the next run must end it
        run.wait()
        assert run.stdout is not None
        run.stdout.close()
    result = mini.run()
    assert result.returncode == 0, result.stderr
    assert (mini.work / "RESULTS").read_text() == "4\n"
    assert (mini.work / "data/many").read_text() == "one\ntwo\n" * 2


def test_an_interrupt_reaches_programs_that_run_side_by_side(mini: Mini) -> None:
    recipe = mini.folder / "mini/run.sh"
    beside = f'(echo beside; sleep 20; touch "{mini.folder}/survivor") & wait'
    recipe.write_text(recipe.read_text().replace('cp "$source_file" "$data/copy.tmp"', beside))
    run = mini.start()
    wait_for(run, "beside")
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)  # until nobody holds the pipe: a survivor would have left its mark by then
    assert run.returncode == 130
    assert not (mini.folder / "survivor").exists()


LIBRARY = """\
stages_libraries+=("${BASH_SOURCE[0]}")
loud=false
recipe_flag() { case $1 in --loud) loud=true stages_variant=_loud ;; *) return 1 ;; esac; }
count_lines() {
  grep -c . "$data/many" >"$work/RESULTS.tmp"
}
shared_stages() {
  stages_options=$loud
  if stage 2 "count" --in "$data/many" --out "$work/RESULTS"; then
    $BUSY
    count_lines
    mv "$work/RESULTS.tmp" "$work/RESULTS"
  fi
}
"""


@pytest.fixture
def shared(mini: Mini) -> Mini:
    """The same recipe with its last stage in a library, which has a flag too."""
    (mini.folder / "library.sh").write_text(LIBRARY)
    before, _, _ = RECIPE.partition('if stage 2 "count"')
    sourced = before.replace("source_file=''", f". {mini.folder}/library.sh\nsource_file=''", 1)
    (mini.folder / "mini/run.sh").write_text(sourced + "shared_stages\nstages_end\n")
    return Mini(mini.folder)


def run_shared(shared: Mini, *words: str, busy: str = "true") -> subprocess.CompletedProcess[str]:
    return shared.run(*words, BUSY=busy)


def test_a_stage_in_a_library_is_counted_listed_and_skipped_as_any_other(shared: Mini) -> None:
    listed = run_shared(shared, "--list").stdout
    assert "  2  count" in listed
    assert shared.ran(run_shared(shared)) == [0, 1, 2]
    assert (shared.work / "RESULTS").read_text() == "4\n"
    assert shared.ran(run_shared(shared)) == []


def test_a_stage_in_a_library_or_a_function_it_calls_that_was_edited_runs_again(shared: Mini) -> None:
    run_shared(shared)
    library = shared.folder / "library.sh"
    library.write_text(library.read_text().replace("grep -c .", "grep -c one"))
    assert shared.ran(run_shared(shared)) == [2]
    assert (shared.work / "RESULTS").read_text() == "2\n"
    library.write_text(library.read_text().replace("    count_lines", "    echo counting; count_lines"))
    assert shared.ran(run_shared(shared)) == [2]


@pytest.mark.parametrize(
    ("replaced", "by", "line"), [("    count_lines", "    false", 11), ("  grep -c .", "  false; grep -c .", 11)]
)
def test_a_failing_stage_in_a_library_is_named_by_the_line_of_the_library(
    shared: Mini, replaced: str, by: str, line: int
) -> None:
    library = shared.folder / "library.sh"
    library.write_text(library.read_text().replace(replaced, by))
    assert library.read_text().splitlines()[line - 1].strip() in {"false", "count_lines"}
    result = run_shared(shared)
    assert f"stage 2 (count) failed with exit code 1 at {library}:{line}" in result.stderr


def test_a_flag_of_a_library_takes_no_value_and_stands_in_the_command_to_rerun(shared: Mini) -> None:
    assert shared.ran(run_shared(shared, "--loud")) == [0, 1, 2]
    without = run_shared(shared)
    assert shared.ran(without) == [2]
    failed = run_shared(shared, "--loud", "--times", "3", busy="false")
    assert failed.stderr.rstrip().endswith("--loud --times 3 --stage 2")
    assert run_shared(shared, "--quiet", "x").returncode == 2
    assert "(default: work/mini_loud)" in run_shared(shared, "--loud", "--help").stdout


def test_the_stamp_holds_the_cpu_time_of_the_programs_of_the_stage(shared: Mini) -> None:
    """A loop of a second of work in a program, and a sleep of a second, which costs none."""
    work = "import time; t = time.process_time()\nwhile time.process_time() - t < 1: pass\ntime.sleep(1)"
    (shared.folder / "work.py").write_text(work)
    run_shared(shared, busy=f"python {shared.folder}/work.py")
    stamps = {n: json.loads((shared.work / f"exp/stamps/stage{n}.json").read_text()) for n in (1, 2)}
    assert 0.9 < stamps[2]["cpu_seconds"] - stamps[1]["cpu_seconds"] < 1.9
    assert stamps[2]["seconds"] >= 2
    assert stamps[2]["resumed"] is False


def test_a_stage_that_goes_on_where_it_stopped_is_marked_in_its_stamp(shared: Mini) -> None:
    assert run_shared(shared, busy="false").returncode == 1
    assert shared.ran(run_shared(shared)) == [2]
    assert json.loads((shared.work / "exp/stamps/stage2.json").read_text())["resumed"] is True
