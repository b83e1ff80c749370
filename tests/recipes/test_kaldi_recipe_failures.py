"""What stands between a real Kaldi and a recipe: each way in which its programs fail is caught and named."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import ProgramError
from kaldi_bridge.kaldi_step import find_trouble, main, run_step
from tests.recipes.kaldi_work import ROOT, kaldi_without, make_mini


def step(tmp_path: Path, *words: str, made: tuple[Path, ...] = ()) -> float:
    """A step whose logs lie in tmp_path/exp."""
    return run_step(
        words, name="a step", workspace=tmp_path, log=tmp_path / "step.log", folders=[tmp_path / "exp"], made=made
    )


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("ERROR (gmm-align[5.5.1]:main():gmm-align.cc:87) no", "gmm-align"),
        ("ASSERTION_FAILED (gmm-est[5.5]:Est():x.cc:1) Assertion failed: (a)", "gmm-est"),
        ("ERROR: FstHeader::Read: Bad FST header: -", "FstHeader::Read"),
        ("bash: line 1: 4711 Killed                  gmm-latgen-faster --beam=13 x", "gmm-latgen-faster"),
        ("run.sh: line 9: 12 Segmentation fault (core dumped) ( latgen-faster-mapped x )", "latgen-faster-mapped"),
        ("utils/mkgraph.sh: line 133: fstconvert: command not found", "fstconvert"),
        ("sh: 1: sph2pipe: not found", "sph2pipe"),
        ("gzip: stdout: No space left on device", "gzip"),
        ("steps/train_mono.sh: error, no such file", "steps/train_mono.sh"),
        ("WARNING (copy-feats[5.5]:Close():io.cc:3) Pipe apply-cmvn | had nonzero return status 256", "apply-cmvn |"),
        ("# Ended (code 1) at Sat Nov 21, elapsed time 0 seconds", "compute-mfcc-feats | copy-feats"),
        ("# Ended (code 0; signal 9) at Sat Nov 21, elapsed time 0 seconds", "compute-mfcc-feats | copy-feats"),
        ("# Finished at Sat Nov 21 with status 137", "compute-mfcc-feats | copy-feats"),
    ],
)  # fmt: skip
def test_each_sign_of_trouble_in_a_log_is_found_with_its_program(tmp_path: Path, line: str, program: str) -> None:
    log = tmp_path / "job.log"
    head = '# compute-mfcc-feats --verbose=2 "scp,p:a | b" ark:- | copy-feats ark:- ark:x'
    log.write_text(f"{head}\n# Started at now\nLOG (x[5.5]:main():x.cc:1) well\n{line}\nmore\n")
    found = find_trouble(log)
    assert found is not None
    assert (found.program, found.line) == (program, 4)


@pytest.mark.parametrize(
    "line",
    [
        "WARNING (gmm-align[5.5]:Align():x.cc:9) Retrying utterance a-1 with beam 40",
        "WARNING (feat-to-dim[5.5]:Close():kaldi-io.cc:333) Pipe apply-cmvn x | had nonzero return status 36096",
        "LOG (gmm-align[5.5]:main():x.cc:1) Done 6, errors on 0",
        "# Ended (code 0) at Sat Nov 21, elapsed time 0 seconds",
        "# Finished at Sat Nov 21 with status 0",
    ],
)
def test_warnings_and_good_ends_are_no_trouble(tmp_path: Path, line: str) -> None:
    log = tmp_path / "job.log"
    log.write_text(f"# gmm-align x\n{line}\n")
    assert find_trouble(log) is None


def test_a_script_that_ends_with_0_while_its_log_holds_an_error_fails(tmp_path: Path) -> None:
    line = "mkdir -p exp/log; echo 'ERROR (gmm-est[5.5]:main():x.cc:1) no Gaussians' >exp/log/est.log; exit 0"
    with pytest.raises(ProgramError, match="exited with 0, but its log holds an error: gmm-est") as caught:
        step(tmp_path, "bash", "-c", line)
    assert f"{tmp_path}/exp/log/est.log:1" in str(caught.value)


def test_an_old_log_with_an_error_does_not_count(tmp_path: Path) -> None:
    old = tmp_path / "exp/old.log"
    old.parent.mkdir()
    old.write_text("ERROR (gmm-est[5.5]:main():x.cc:1) of last week\n")
    os.utime(old, (time.time() - 60, time.time() - 60))
    assert step(tmp_path, "true") >= 0.0


def test_a_script_that_a_signal_ends_is_named_with_the_signal(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="bash was ended by signal 9"):
        step(tmp_path, "bash", "-c", "kill -9 $$")


def test_a_disk_that_is_full_now_is_told_where_a_program_does_not_say_why_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3 << 20))
    with pytest.raises(ProgramError, match="mend: free some space \\(3 MB are left\\)"):
        step(tmp_path, "bash", "-c", "echo 'ERROR (copy-feats[5.5]:Close():x.cc:1) Error closing'; exit 1")


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"steps/train_mono.sh: is missing from this Kaldi\n.*set KALDI_ROOT"):
        step(tmp_path, "steps/train_mono.sh", "x")


def test_an_archive_that_is_cut_off_fails_the_step_that_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "whole.gz").write_bytes(gzip.compress(os.urandom(5000)))
    with pytest.raises(ProgramError, match=r"ali.1.gz: bash ended well, but this archive is cut off"):
        step(tmp_path, "bash", "-c", "mkdir exp; head -c 3000 whole.gz >exp/ali.1.gz")


@pytest.mark.parametrize(
    ("command", "said"), [("true", "is not there"), ("mkdir exp; touch exp/final.mdl", "is empty")]
)
def test_a_step_that_does_not_make_its_output_fails(tmp_path: Path, command: str, said: str) -> None:
    with pytest.raises(ProgramError, match=f"ended well, but .*exp/final.mdl {said}"):
        step(tmp_path, "bash", "-c", command, made=(tmp_path / "exp/final.mdl",))


def test_a_step_that_is_done_is_not_run_again_and_its_cpu_time_stands_in_the_table(tmp_path: Path) -> None:
    own = ["--name", "busy", "--workspace", str(tmp_path), "--log", str(tmp_path / "log")]
    own += ["--done", str(tmp_path / ".done"), "--times", str(tmp_path / "times")]
    words = ["bash", "-c", "echo x >>runs; for ((n = 0; n < 200000; n++)); do :; done"]
    for _ in range(2):
        main([*own, "--", *words])
    assert (tmp_path / "runs").read_text() == "x\n"
    name, seconds = (tmp_path / "times").read_text().split()
    assert name == "busy"
    assert 0.05 < float(seconds) < 20


@pytest.mark.kaldi
def test_a_relative_kaldi_root_is_found_from_the_folder_of_the_scripts_too(tmp_path: Path, kaldi_root: Path) -> None:
    mini = make_mini(tmp_path, Path(os.path.relpath(kaldi_root, ROOT)))
    result = subprocess.run(
        mini.command(), cwd=ROOT, env=mini.environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_relative_language_model_is_named_from_the_root_for_the_script(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa.gz").touch()
    line = (
        'stages_libraries=() SCHOOLYARD_ROOT=$1 work=/w data=/w/data exp=/w/exp; . "$1/recipes/lib/kaldi.sh"; '
        'kaldi_step() { printf "%s\\n" "$@"; }; format_lm lm.arpa.gz /w/data/lang_open'
    )
    said = subprocess.run(
        ["bash", "-c", line, "x", str(ROOT)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"{tmp_path.resolve()}/lm.arpa.gz" in said.stdout.splitlines()


def decoded(out: Path, jobs: int) -> list[str]:
    """What decode_loglikes leaves of twelve utterances where Kaldi's own part of it does nothing."""
    (out.parent / "kaldi/utils").mkdir(parents=True, exist_ok=True)
    (out.parent / "kaldi/utils/split_scp.pl").symlink_to("/bin/true")
    (out.parent / "loglikes.scp").write_text("".join(f"u{n:02d} x:{n}\n" for n in range(12)))
    line = (
        "set -eu; stages_libraries=() SCHOOLYARD_ROOT=$1 work=$2 exp=$2/exp kaldi=$2/kaldi KALDI_NJ=$3; "
        "decode_cmd=run.pl; "
        '. "$1/recipes/lib/kaldi.sh"; kaldi_step() { :; }; decode_loglikes "$2/loglikes.scp" gmm graph "$2/out"'
    )
    subprocess.run(["bash", "-c", line, "x", str(ROOT), str(out.parent), str(jobs)], check=True)
    return [(out / "num_jobs").read_text().strip(), *sorted(path.name for path in out.glob("lat.*"))]


@pytest.mark.parametrize("done", [True, False])
def test_lattices_of_a_run_with_more_jobs_are_kept_whole_or_not_at_all(tmp_path: Path, done: bool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for job in range(1, 5):
        (out / f"lat.{job}.gz").touch()
    (out / "num_jobs").write_text("4\n")
    if done:
        (out / ".done").touch()
    assert decoded(out, 2) == (["4", *(f"lat.{job}.gz" for job in range(1, 5))] if done else ["2"])


@pytest.mark.kaldi
def test_a_blank_in_the_path_is_refused_before_the_first_stage(tmp_path: Path, kaldi_root: Path) -> None:
    (tmp_path / "my work").mkdir()
    result = make_mini(tmp_path / "my work", kaldi_root).run()
    assert result.returncode == 1
    assert f"ERROR {tmp_path}/my work/work has a blank in its path, which Kaldi's scripts take apart" in result.stderr
    assert "[stage" not in result.stdout


def test_without_a_kaldi_path_sh_says_in_one_sentence_how_to_get_one(tmp_path: Path) -> None:
    mini = make_mini(tmp_path, tmp_path / "nothing", HOME=str(tmp_path))
    result = mini.run()
    assert result.returncode == 1
    assert f"ERROR {tmp_path}/nothing: no built Kaldi there" in result.stderr
    assert (
        "mend: git clone https://github.com/kaldi-asr/kaldi, build it as its INSTALL says, then export" in result.stderr
    )
    assert "[stage" not in result.stdout


@pytest.mark.kaldi
def test_features_of_a_whole_set_are_made_and_a_second_run_skips_them(tmp_path: Path, kaldi_root: Path) -> None:
    mini = make_mini(tmp_path, kaldi_root)
    first = mini.run()
    assert first.returncode == 0, first.stdout + first.stderr
    assert len((mini.train / "feats.scp").read_text().splitlines()) == 6
    assert "nothing changed, skipped" in mini.run().stdout


@pytest.mark.kaldi
def test_a_program_killed_in_the_middle_of_a_pipeline_is_named_although_the_last_one_ends_well(
    tmp_path: Path, kaldi_root: Path
) -> None:
    mini = make_mini(tmp_path, kaldi_root)
    scp = mini.train / "wav.scp"
    last = scp.read_text().splitlines()[-1].split()[1]
    scp.write_text(scp.read_text().replace(last, f"sleep 60; cat {last} |"))
    run = subprocess.Popen(
        mini.command(), env=mini.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    os.kill(process_of("compute-mfcc-feats", str(mini.work), f"sleep 60; cat {last}"), signal.SIGKILL)
    said, _ = run.communicate(timeout=60)
    assert run.returncode != 0
    assert re.search(r"make_mfcc.sh failed with exit code 1: compute-mfcc-feats: 'ERROR .* ended by signal 9'", said)
    assert f"{mini.work}/exp/mfcc/log/make_mfcc_train.1.log" in said
    assert "Processed features for key b-1" in said, "the tail of the log"
    assert "ERROR stage 5 (features) failed" in said
    assert not (mini.work / "exp/stamps/stage5.json").exists()


@pytest.mark.kaldi
def test_a_program_killed_between_two_utterances_of_a_pipe_inside_kaldi_is_named_although_all_others_end_well(
    tmp_path: Path, kaldi_root: Path
) -> None:
    mini = make_mini(tmp_path, kaldi_root)
    assert mini.run().returncode == 0
    last = (mini.train / "wav.scp").read_text().splitlines()[-1].split()[1]
    slow = mini.work / "slow.scp"
    slow.write_text((mini.train / "wav.scp").read_text().replace(last, f"sleep 60; cat {last} |"))
    feats = f"ark:compute-mfcc-feats --use-energy=false scp:{slow} ark,f:- | add-deltas ark:- ark:- |"
    line = f'. ./path.sh; run.pl {mini.work}/exp/x/copy.log copy-feats "{feats}" ark:{mini.work}/exp/x/copy.ark'
    run = subprocess.Popen(
        [sys.executable, "-m", "kaldi_bridge.kaldi_step", "--name", "copy", "--workspace", str(mini.work / "kaldi"),
         "--log", str(tmp_path / "log"), "--in", str(mini.work / "exp/x"), "--", "bash", "-c", line],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    os.kill(process_of("compute-mfcc-feats", str(slow), f"sleep 60; cat {last}"), signal.SIGKILL)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "bash exited with 0, but its log holds an error: compute-mfcc-feats" in said, "Kaldi did not see it"
    assert "ended by signal 9" in said
    assert "Copied 5 feature matrices" in said, "one utterance is lost"


@pytest.mark.kaldi
def test_a_program_killed_in_a_pipeline_without_pipefail_as_a_cluster_runs_it_is_named(
    tmp_path: Path, kaldi_root: Path
) -> None:
    mini = make_mini(tmp_path, kaldi_root)
    assert mini.run().returncode == 0
    command = "echo 'a [ 1 ]'; sleep 60; echo 'b [ 1 ]'"
    slow = f"ark:{command} |"
    (tmp_path / "job.sh").write_text(
        f'. ./path.sh\ncopy-vector "{slow}" ark,f:- 2>>"$1" | copy-vector ark:- ark,t:- >>"$1" 2>&1\n'
    )
    (mini.work / "exp/x").mkdir()
    run = subprocess.Popen(
        [sys.executable, "-m", "kaldi_bridge.kaldi_step", "--name", "copy", "--workspace", str(mini.work / "kaldi"),
         "--log", str(tmp_path / "log"), "--in", str(mini.work / "exp/x"), "--", "bash", str(tmp_path / "job.sh"),
         str(mini.work / "exp/x/copy.log")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    os.kill(process_of("copy-vector", slow, command), signal.SIGKILL)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "bash exited with 0, but its log holds an error: copy-vector" in said
    assert "ended by signal 9" in said


@pytest.mark.kaldi
def test_a_reader_that_had_enough_is_no_trouble(tmp_path: Path, kaldi_root: Path) -> None:
    mini = make_mini(tmp_path, kaldi_root)
    assert mini.run().returncode == 0
    many = mini.work / "many.scp"
    many.write_text((mini.train / "feats.scp").read_text() * 200)
    feats = f"ark:copy-feats scp:{many} ark:- | add-deltas ark:- ark:- |"
    line = f'. ./path.sh; run.pl {mini.work}/exp/x/dim.log feat-to-dim "{feats}" -'
    run_step(
        ["bash", "-c", line], name="dim", workspace=mini.work / "kaldi", log=tmp_path / "log",
        folders=[mini.work / "exp/x"],
    )  # fmt: skip
    assert "\n39\n" in (mini.work / "exp/x/dim.log").read_text()


def process_of(program: str, argument: str, waits_for: str) -> int:
    """The process that runs a program with a word in its arguments, once it waits for a command of its input."""
    until = time.monotonic() + 100
    while time.monotonic() < until:
        time.sleep(0.1)
        found, waits = 0, False
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if Path(words[0]).name == program and any(argument in word for word in words):
                found = int(folder.name)
            waits = waits or (words[1:2] == ["-c"] and words[2].strip() == waits_for)
        if found and waits:
            return found
    raise AssertionError(f"{program} was never started")


@pytest.mark.kaldi
def test_a_full_disk_under_the_features_is_named(tmp_path: Path, kaldi_root: Path) -> None:
    mini = make_mini(tmp_path, kaldi_root)
    (mini.work / "exp/mfcc").mkdir(parents=True)
    (mini.work / "exp/mfcc/raw_mfcc_train.1.ark").symlink_to("/dev/full")
    result = mini.run()
    assert result.returncode != 0
    assert "mfcc data/train (Kaldi): steps/make_mfcc.sh failed with exit code 1: copy-feats" in result.stdout
    assert "ERROR (copy-feats[" in result.stdout
    assert "ERROR stage 5 (features) failed" in result.stderr


@pytest.mark.kaldi
def test_a_full_disk_under_an_archive_is_named_although_kaldi_ends_with_0(tmp_path: Path, kaldi_root: Path) -> None:
    mini = make_mini(tmp_path, kaldi_root)
    assert mini.run().returncode == 0
    (mini.work / "exp/x").mkdir()
    (mini.work / "exp/x/ali.1.gz").symlink_to("/dev/full")
    copy = f"copy-feats scp:{mini.train}/feats.scp 'ark:|gzip -c >{mini.work}/exp/x/ali.1.gz'"
    line = f'. ./path.sh; run.pl {mini.work}/exp/x/copy.log {copy}; echo "Kaldi ended with $?" >&2'
    with pytest.raises(ProgramError, match="exited with 0, but its log holds an error: gzip: ") as caught:
        run_step(
            ["bash", "-c", line], name="copy", workspace=mini.work / "kaldi", log=tmp_path / "log",
            folders=[mini.work / "exp/x"],
        )  # fmt: skip
    assert "No space left on device" in str(caught.value)
    assert "mend: free some space" in str(caught.value)
    assert "Kaldi ended with 0" in (tmp_path / "log").read_text(), "it did not see it itself"


@pytest.mark.kaldi
def test_a_program_that_this_kaldi_lacks_is_named(tmp_path: Path, kaldi_root: Path) -> None:
    mini = make_mini(tmp_path, kaldi_without(kaldi_root, tmp_path / "kaldi", "copy-feats"))
    result = mini.run()
    assert result.returncode != 0
    assert "copy-feats: command not found" in result.stdout
    assert "ERROR stage 5 (features) failed" in result.stderr


@pytest.mark.kaldi
@pytest.mark.parametrize(
    ("command", "program", "answer", "number", "memory"),
    [
        ("queue.pl --mem 4G", "qsub", 'Your job-array 7.1-1:1 (x) has been submitted', "SGE_TASK_ID", "mem_free=4G"),
        ("slurm.pl --mem 4G", "sbatch", "Submitted batch job 7", "SLURM_ARRAY_TASK_ID", "--mem-per-cpu 4G"),
    ],
)  # fmt: skip
def test_jobs_go_to_the_cluster_that_cmd_sh_names(
    command: str, program: str, answer: str, number: str, memory: str, tmp_path: Path, kaldi_root: Path
) -> None:
    """A qsub or sbatch of ours runs what queue.pl or slurm.pl hands in."""
    (tmp_path / "bin").mkdir()
    submit = tmp_path / "bin" / program
    submit.write_text(
        "#!/usr/bin/env bash\n"
        f'echo "$@" >>"{tmp_path}/calls"\n'
        f'echo "{answer}"\n'
        f'{number}=1 bash "${{@: -1}}" >/dev/null 2>&1\n'
    )
    submit.chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    mini = make_mini(tmp_path, kaldi_root, KALDI_CMD=command, PATH=path)
    result = mini.run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert memory in (tmp_path / "calls").read_text()
    assert len((mini.train / "feats.scp").read_text().splitlines()) == 6


@pytest.mark.kaldi
def test_the_stand_in_for_fstconvert_keeps_every_arc(tmp_path: Path, kaldi_root: Path) -> None:
    environment = os.environ | {"PATH": f"{kaldi_root}/tools/openfst/bin:{os.environ['PATH']}"}
    text = b"0 1 3 4 0.5\n0 2 5 0 1.25\n1 2 6 7\n2 0.75\n"
    vector = subprocess.run(["fstcompile"], input=text, env=environment, capture_output=True, check=True).stdout
    stand_in = [str(ROOT / "recipes/lib/stand_ins/fstconvert"), "--fst_type=const"]
    const = subprocess.run(stand_in, input=vector, env=environment, capture_output=True, check=True).stdout
    (tmp_path / "vector.fst").write_bytes(vector)
    (tmp_path / "const.fst").write_bytes(const)
    printed = [
        subprocess.run(
            ["fstprint", str(tmp_path / f"{kind}.fst")], env=environment, capture_output=True, check=True
        ).stdout
        for kind in ("vector", "const")
    ]
    info = subprocess.run(["fstinfo", str(tmp_path / "const.fst")], env=environment, capture_output=True, check=True)
    assert printed[0] == printed[1]
    assert b"fst type                                          const" in info.stdout
    refused = subprocess.run(stand_in, input=b"no fst", env=environment, capture_output=True, check=False)
    assert refused.returncode == 1
