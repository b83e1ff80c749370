import csv
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from enhance.profile import Profile, ProfileConfig, as_csv, markdown, profile, write
from harness.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parents[3]


def row(**changes):
    values = {
        "model": "a.pt", "kind": "compact", "threads": 2, "wall_factor": 0.5, "wall_factor_min": 0.25,
        "wall_factor_max": 1.0, "processor_factor": 0.125, "latency": float("inf"), "start_up": 2.0,
        "peak_memory": 300_000_000, "bare_memory": 200_000_000, "parameters": 1234567, "disk": 4_500_000, "load": 0.1,
        "sample_rate": 16000,
    }  # fmt: skip
    return Profile(**values | changes)


def test_a_checkpoint_is_measured_in_a_process_of_its_own(small_model):
    from enhance.weights import load_generator

    (found,) = profile([str(small_model)], ProfileConfig(seconds=1.0, repeats=2))
    model = load_generator(small_model)[1]
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (found.kind, found.sample_rate, found.latency) == ("compact", 16000, model.latency)
    assert found.disk == small_model.stat().st_size
    assert 0 < found.wall_factor_min <= found.wall_factor <= found.wall_factor_max
    assert 50e6 < found.bare_memory < found.peak_memory < 2e9  # torch alone is 200 MB
    assert found.start_up > 0.2  # torch cannot be loaded faster


def test_what_is_wrong_with_a_checkpoint_is_said_as_elsewhere(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint") as caught:
        profile([str(tmp_path / "none.pt")], ProfileConfig(seconds=1.0))
    assert caught.value.where == str(tmp_path / "none.pt")


def test_a_model_that_sleeps_takes_wall_time_and_no_processor_time(small_model, monkeypatch):
    import torch

    from enhance import streaming
    from enhance.profiled import measured

    seen = []

    def slow(model, samples):
        seen.append((len(samples), torch.get_num_threads()))
        time.sleep(0.03 if len(seen) > 2 else 0.3)  # the first second and the warm-up are not counted
        return samples

    monkeypatch.setattr(streaming, "enhance_samples", slow)
    before = torch.get_num_threads()
    try:
        found = measured({"model": str(small_model), "threads": 2, "seconds": 1.5, "repeats": 3})
    finally:
        torch.set_num_threads(before)
    assert [threads for _, threads in seen] == [2] * 5
    assert [samples for samples, _ in seen] == [16000, *[24000] * 4]
    assert len(found["wall"]) == 3
    assert min(found["wall"]) >= 0.03
    assert max(found["processor"]) < 0.02


def test_peak_memory_is_that_of_this_process_alone_and_does_not_fall():
    script = """
import subprocess, sys
from enhance.profiled import peak_memory
before = peak_memory()
block = bytearray(b"x") * 200_000_000
del block
after = peak_memory()
child = subprocess.run([sys.executable, "-c", "from enhance.profiled import peak_memory; print(peak_memory())"],
                       capture_output=True, text=True, check=True)
print(before, after, int(child.stdout))
"""
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after, of_child = map(int, said.stdout.split())
    assert 195e6 < after - before < 215e6
    assert of_child < 1.5 * before  # though the one that started it had 200 MB more


def test_the_tables_hold_what_was_measured(tmp_path):
    rows = [row(), row(threads=4, latency=0.144)]
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [(float(line["latency"]), int(line["threads"])) for line in read] == [(float("inf"), 2), (0.144, 4)]
    assert read[0].keys() == Profile.__dataclass_fields__.keys()
    cells = [cell.strip() for cell in markdown(rows, ProfileConfig()).splitlines()[2].split("|")[1:-1]]
    assert cells == [
        "a.pt (compact)", "2", "0.500 (0.250 to 1.000)", "0.125", "whole recording", "2.0", "300", "200", "1,234,567",
        "4.50", "0.1",
    ]  # fmt: skip
    write(tmp_path / "t.md", rows, ProfileConfig(seconds=7.0, repeats=3))
    assert "Median of 3 passes over 7 s" in (tmp_path / "t.md").read_text()
    with pytest.raises(ConfigError, match="no kind of table"):
        write(tmp_path / "t.txt", rows, ProfileConfig())


def test_a_busy_machine_and_too_many_threads_are_said(monkeypatch, caplog):
    monkeypatch.setattr("enhance.profile.default_jobs", lambda: 2)
    monkeypatch.setattr("enhance.profile.measure", lambda model, threads, config: row(threads=threads, load=1.7))
    rows = profile(["a.pt", "b.pt"], ProfileConfig(threads=(1, 3)))
    assert [found.threads for found in rows] == [1, 3, 1, 3]
    assert "3 threads on 2 cores" in caplog.text
    assert "the machine was busy (load 1.7 on 2 cores)" in caplog.text


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--threads", "1,two"], "expected whole numbers"), (["--threads", "0"], "from 1 on"),
        (["--seconds", "0.5"], "seconds must be 1 or more"), (["--repeats", "0"], "repeats must be 1 or more"),
        (["--out", "x.json"], "no kind of table"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_before_anything_is_measured(options, problem):
    from enhance.__main__ import app

    said = CliRunner().invoke(app, ["profile", "--model", "builtin", *options])
    assert said.exit_code == 1
    assert problem in str(said.exception)
