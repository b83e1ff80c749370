"""Two processes on a CPU (gloo) against one with the same batch."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from enhance.distributed import Processes, join_processes, leave_processes
from enhance.settings import load_settings
from enhance.train import RunOptions, Trainer
from harness.checkpoint import load_checkpoint
from harness.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parents[3]
ROWWISE = [  # nets without batch norm and without draws, so that rows do not touch each other
    "model=segan_plus", "objective=segan", "generator.channels=[4, 8]", "generator.latent=false",
    "loss.critic.channels=[4, 8]", "loss.critic.norm=none", "loss.critic.phase_shift=0", "pairs.batch=4",
    "pairs.seconds=0.3", "train.steps=4", "train.validate_every=2", "train.validation_batches=1", "train.warmup=2",
    "train.critic_from=0.0", "train.held_out_speakers=0.3", "train.log_every=1", "train.average=0.5",
]  # fmt: skip


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def work(rank, port, settings, sounds, out, dies_at):
    """What torchrun would start."""
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }  # fmt: skip
    processes, device = join_processes("cpu")
    trainer = Trainer(settings, *sounds, out, RunOptions(processes=processes, device=device))
    real = trainer._train_step

    def step(noisy, clean):
        if trainer.step == dies_at:
            os._exit(7)
        assert len(noisy) == settings.pairs.batch // 2
        return real(noisy, clean)

    trainer._train_step = step
    trainer.run()
    leave_processes()


def two(settings, sounds, out, dies_at=-1):
    """Exit codes of two processes that train together."""
    context, port = multiprocessing.get_context("fork"), free_port()
    started = [context.Process(target=work, args=(rank, port, settings, sounds, out, dies_at)) for rank in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    return [process.exitcode for process in started]


def rows_of(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def state_of(out):
    return load_checkpoint(out / "last.pt", "enhance-training")


def test_two_processes_have_the_losses_of_one_with_the_same_batch(tmp_path, train_sounds):
    settings = load_settings(None, ROWWISE)
    Trainer(settings, *train_sounds, tmp_path / "one").run()
    assert two(settings, train_sounds, tmp_path / "two") == [0, 0]
    one, both = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert len(one) == len(both) == 6  # one process alone writes
    for ours, theirs in zip(one, both, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"minutes"}:
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4, abs=1e-5), name
    assert not list((tmp_path / "two").rglob("*.tmp"))


def test_two_processes_resume_to_the_bit(tmp_path, train_sounds):
    changes = ["generator.latent=true", "loss.critic.phase_shift=3", "loss.critic.norm=batch"]
    settings = load_settings(None, [*ROWWISE, *changes])
    assert two(settings, train_sounds, tmp_path / "whole") == [0, 0]
    assert two(settings, train_sounds, tmp_path / "broken", dies_at=3) == [7, 7]
    assert state_of(tmp_path / "broken")["step"] == 2
    assert two(settings, train_sounds, tmp_path / "broken") == [0, 0]
    whole, broken = state_of(tmp_path / "whole"), state_of(tmp_path / "broken")
    for part in ("model", "average", "critic"):
        assert all(torch.equal(value, broken[part][name]) for name, value in whole[part].items())
    assert len(whole["random"]) == 2
    assert not torch.equal(whole["random"][0]["cpu"], whole["random"][1]["cpu"])  # latents differ by rows
    with pytest.raises(CheckpointError, match="was made by 2 processes, not 1"):
        Trainer(settings, *train_sounds, tmp_path / "whole").run()


def test_torchrun_starts_the_training_command(tmp_path, clean_dir, noise_dir):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()),
        "-m", "enhance", "train", "--data", str(clean_dir), "--noise", str(noise_dir), "--device", "cpu", "--out",
        str(tmp_path / "run"),
    ]  # fmt: skip
    for change in [*ROWWISE, "train.steps=2"]:
        command += ["--set", change]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("best generator:") == 1
    assert len(state_of(tmp_path / "run")["random"]) == 2


def test_rows_are_dealt_out_in_order_and_each_once():
    batch = torch.arange(6)[:, None]
    dealt = [Processes(rank=rank, count=3).rows(batch) for rank in range(3)]
    assert torch.equal(torch.cat(dealt), batch)
    with pytest.raises(ConfigError, match=r"5 pairs cannot be dealt to 2 processes in 1 pieces.*\n.*multiple of 2"):
        Processes(count=2).check_batch(5, 1)
