import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from enhance.pairs import Pairs
from enhance.settings import build_generator, build_objective, load_settings
from enhance.sounds import gather
from enhance.train import Trainer
from enhance.weights import export_generator, load_generator
from harness.checkpoint import load_checkpoint
from harness.errors import CheckpointError, TrainingError

ROOT = Path(__file__).parents[3]
TINY = [
    "generator.channels=8", "generator.dual_paths=1", "generator.dilations=[1]", "loss.critic.sizes=[128]",
    "loss.critic.channels=2", "pairs.batch=2", "pairs.seconds=0.3", "train.steps=8", "train.validate_every=4",
    "train.validation_batches=1", "train.warmup=2", "train.critic_from=0.25", "train.held_out_speakers=0.3",
]  # fmt: skip
TINY_SEGAN = [
    "model=segan_plus", "objective=segan", "generator.channels=[4, 8, 8]", "loss.critic.channels=[4, 8, 8]", *TINY[5:]
]  # fmt: skip


@pytest.fixture
def sounds(make_voice):
    voices = [(f"u{i}", f"s{i % 4}", make_voice(i, 1.0)) for i in range(8)]
    rng = np.random.default_rng(0)
    noises = [(f"n{i}", f"n{i}", rng.standard_normal(8000).astype(np.float32)) for i in range(4)]
    return (
        gather(voices, where="voices", active=True, sample_rate=16000),
        gather(noises, where="noises", active=False, sample_rate=16000),
    )


def weights_of(path):
    return load_checkpoint(path, "enhance-training")["model"]


@pytest.mark.parametrize("changes", [TINY, TINY_SEGAN], ids=["compact", "segan_plus"])
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, sounds, monkeypatch, changes):
    settings = load_settings(None, changes)
    Trainer(settings, *sounds, tmp_path / "whole").run()
    broken = Trainer(settings, *sounds, tmp_path / "broken")
    real = broken._train_step

    def dies(noisy, clean):
        if broken.step == 6:
            raise KeyboardInterrupt
        return real(noisy, clean)

    monkeypatch.setattr(broken, "_train_step", dies)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    Trainer(settings, *sounds, tmp_path / "broken").run()
    whole, resumed = weights_of(tmp_path / "whole" / "last.pt"), weights_of(tmp_path / "broken" / "last.pt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    steps = [json.loads(line)["step"] for line in (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [4, 8]
    assert (tmp_path / "whole" / "best.pt").is_file()


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path, sounds):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        Trainer(load_settings(None, [*TINY, f"train.seed={seed}"]), *sounds, tmp_path / name).run()
    a, b, c = (load_checkpoint(tmp_path / name / "best.pt", "enhance")["weights"] for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_without_weight_there_is_no_critic(tmp_path, sounds):
    settings = load_settings(None, [*TINY, "loss.adversarial=0.0", "loss.matching=0.0"])
    trainer = Trainer(settings, *sounds, tmp_path / "run")
    assert trainer.objective.critic is None
    trainer.run()
    assert "critic" not in load_checkpoint(tmp_path / "run" / "last.pt", "enhance-training")


def test_other_settings_do_not_resume_a_run(tmp_path, sounds):
    Trainer(load_settings(None, TINY), *sounds, tmp_path / "run").run()
    other = Trainer(load_settings(None, [*TINY, "train.rate=0.5"]), *sounds, tmp_path / "run")
    with pytest.raises(CheckpointError, match="was made with other settings"):
        other.run()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, sounds, monkeypatch):
    trainer = Trainer(load_settings(None, TINY), *sounds, tmp_path / "run")
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        trainer.run()
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize(
    ("changes", "steps", "ceiling"), [(TINY, 60, 0.85), (TINY_SEGAN, 80, 0.7)], ids=["compact", "segan"]
)
def test_an_objective_overfits_one_batch(sounds, changes, steps, ceiling):
    torch.manual_seed(0)
    settings = load_settings(None, [*changes, "pairs.seconds=0.5", "pairs.snr=[0.0, 0.0]", "pairs.clean_share=0.0"])
    model, objective = build_generator(settings), build_objective(settings, 16000)
    noisy, clean = Pairs(*sounds, settings.pairs, sample_rate=16000, seed=0)(0)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    critic_optimizer = torch.optim.Adam(objective.critic.parameters(), 1e-3)
    losses = []
    for _ in range(steps):
        fake = model(noisy)
        critic_optimizer.zero_grad()
        objective.critic_loss(fake.detach(), clean, noisy).backward()
        critic_optimizer.step()
        loss, parts = objective.model_loss(fake, clean, noisy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert "adversarial" in parts
    assert np.mean(losses[-5:]) < ceiling * losses[0]


def test_a_killed_training_command_goes_on_and_ends(tmp_path, sounds, clean_dir, noise_dir):
    command = [
        sys.executable, "-m", "enhance", "train", "--data", str(clean_dir), "--noise", str(noise_dir), "--out",
        str(tmp_path / "run"), "--device", "cpu",
    ]  # fmt: skip
    for change in [*TINY, "train.steps=2000", "train.validate_every=2"]:
        command += ["--set", change]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (tmp_path / "run" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert load_checkpoint(tmp_path / "run" / "last.pt", "enhance-training")["step"] >= 2
    again = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert again.stderr is not None
    said = ""
    for line in again.stderr:
        said += line
        if "resumed at step" in line:
            break
    again.kill()
    again.wait()
    again.stderr.close()
    assert "resumed at step" in said


def test_exported_weights_load_as_the_same_generator(tmp_path, small_model):
    export_generator(small_model, tmp_path / "small.safetensors")
    name, exported = load_generator(tmp_path / "small.safetensors")
    _, model = load_generator(small_model)
    signal = torch.randn(1, 3000)
    assert name == "compact"
    assert torch.equal(exported(signal), model(signal))


def test_damaged_and_foreign_weights_are_refused(tmp_path, small_model):
    content = small_model.read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"cut.pt: cannot be read as a checkpoint"):
        load_generator(tmp_path / "cut.pt")
    export_generator(small_model, tmp_path / "small.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "small.safetensors").read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"cut.safetensors: cannot be read as exported weights"):
        load_generator(tmp_path / "cut.safetensors")
    state = load_checkpoint(small_model, "enhance")
    from harness.checkpoint import save_checkpoint

    save_checkpoint(tmp_path / "other.pt", "enhance", state | {"model": "vocoder"})
    with pytest.raises(CheckpointError, match="unknown model 'vocoder'"):
        load_generator(tmp_path / "other.pt")
    save_checkpoint(tmp_path / "wide.pt", "enhance", state | {"config": state["config"] | {"channels": 16}})
    with pytest.raises(CheckpointError, match="weights of another model"):
        load_generator(tmp_path / "wide.pt")
