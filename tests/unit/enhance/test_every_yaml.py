"""Every settings file of cfg/enhance: it builds, overfits, trains, resumes, and denoises any length.

A new generator or objective is tested by having its two files there.  The small ones always, those of the papers at
their full size with -m slow, on short pairs.
"""

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from enhance.pairs import Pairs
from enhance.settings import build_generator, build_objective, load_settings, settings_from
from enhance.sounds import gather
from enhance.streaming import enhance_samples
from enhance.train import Trainer
from enhance.weights import load_generator
from harness.checkpoint import load_checkpoint
from harness.config import to_plain

YAMLS = sorted((Path(__file__).parents[3] / "cfg" / "enhance").glob("*.yaml"))
TOYS = [path for path in YAMLS if path.stem.endswith("_toy")]
PAPERS = [path for path in YAMLS if path not in TOYS]
QUICK = [
    "pairs.batch=2", "pairs.seconds=0.256", "train.steps=3", "train.validate_every=2", "train.validation_batches=1",
    "train.warmup=0", "train.critic_from=0.0", "train.held_out_speakers=0.3",
]  # fmt: skip
LENGTHS = (1, 100, 16383, 16384, 16385, 50000)  # samples
# Adam's rate, steps, and the share of the first loss (without the adversary) that the last must have fallen below.
OVERFIT = {
    "am_gan_toy": (1e-3, 18, 0.85), "segan_toy": (1e-3, 18, 0.93), "demucs_toy": (1.5e-2, 14, 0.92),
    "hifi_plusplus_toy": (1e-2, 12, 0.85), "hifi_plusplus_bwe_toy": (1e-2, 12, 0.85), "finally_toy": (4e-3, 12, 0.9),
}  # fmt: skip
USUAL = (4e-3, 12, 0.85)
OVERFIT_AT_FULL_SIZE = dict.fromkeys(
    ["compact", "compact_cpu", "compact_no_critic", "gatewave", "metricgan_compact", "dwave"], (4e-3, 8, 0.85)
) | {
    "finally_stage1": (1e-4, 8, 0.3), "finally_stage2": (1e-4, 8, 0.3), "demucs64": (1.5e-4, 14, 0.93),
    "segan": (1e-4, 16, 0.93), "seae": (1e-3, 12, 0.93), "hifi_plusplus": (1e-3, 8, 0.8),
}  # fmt: skip
USUAL_AT_FULL_SIZE = (3e-4, 8, 0.9)
FACTORS = {"dwave_toy": 10.0, "dwave": 10.0}  # of the first weights: so small that the loss rests for hundreds of steps
LISTENER = "tests.unit.enhance.options_of_objectives:rough_listener"
TEN_STEPS = ["train.epochs=0", "train.steps=10", "train.validate_every=5", "train.log_every=5"]


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def in_short(path, changes=()):
    """The settings with less to do in a step; what may not be at hand (WavLM, a predictor of opinions) is made up."""
    settings = load_settings(path)
    seconds = 1.024 if settings.objective == "metricgan" else 0.256  # PESQ grades no shorter ones
    changes = [f"pairs.batch={max(2, settings.train.accumulate)}", f"pairs.seconds={seconds}", *changes]
    if settings.model == "finally":
        changes = ["generator.wavlm.source=random", "loss.wavlm.source=random", *changes]
    if settings.objective == "finally" and settings.loss.stage == 3:
        changes.append(f"loss.predictor={LISTENER}")
    return load_settings(path, ["train.critic_from=0.0", "train.validation_batches=1", *changes])


@cache
def sounds_at(sample_rate):
    """Eight glides of four speakers, four noises."""
    rng = np.random.default_rng(0)
    time = np.arange(16000) / 16000

    def glide(number):
        phase = 2 * np.pi * np.cumsum(200 + 20 * number + 60 * np.sin(2 * np.pi * 2 * time)) / 16000
        envelope = np.clip(np.sin(2 * np.pi * 3 * time), 0, None) ** 0.5
        return (0.1 * envelope * sum(np.sin(k * phase) / k for k in range(1, 9))).astype(np.float32)

    voices = [(f"u{i}", f"s{i % 4}", glide(i)) for i in range(8)]
    noises = [(f"n{i}", f"n{i}", rng.standard_normal(8000).astype(np.float32)) for i in range(4)]
    return (
        gather(voices, where="voices", active=True, sample_rate=sample_rate),
        gather(noises, where="noises", active=False, sample_rate=sample_rate),
    )


@pytest.fixture(scope="module")
def sounds():
    return sounds_at(16000)


@named(YAMLS)
def test_it_loads_builds_with_its_objective_and_comes_back_from_a_checkpoint(path):
    settings = load_settings(path)
    assert to_plain(settings_from(to_plain(settings), "checkpoint")) == to_plain(settings)
    with torch.device("meta"):
        model = build_generator(settings)
        objective = build_objective(settings, model.sample_rate)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0
    assert objective.critic is None or sum(1 for _ in objective.critic.parameters()) > 0


def test_every_model_and_objective_has_a_small_settings_file():
    from enhance.models import MODELS
    from enhance.objectives import OBJECTIVES

    toys = [load_settings(path) for path in TOYS]
    assert {settings.model for settings in toys} == set(MODELS)
    assert {settings.objective for settings in toys} == set(OBJECTIVES)


@named(TOYS)
def test_it_overfits_one_pair(path, sounds):
    settings = load_settings(path, [*QUICK, "pairs.batch=1", "pairs.clean_share=0.0"])
    check_overfits(path, settings, sounds, *OVERFIT.get(path.stem, USUAL))


@pytest.mark.slow
@named(PAPERS)
def test_at_full_size_it_overfits_one_pair(path):
    settings = in_short(path, ["pairs.batch=1", "pairs.clean_share=0.0", "train.accumulate=1"])
    sounds = sounds_at(getattr(settings.generator, "sample_rate", 16000))
    check_overfits(path, settings, sounds, *OVERFIT_AT_FULL_SIZE.get(path.stem, USUAL_AT_FULL_SIZE))


def check_overfits(path, settings, sounds, rate, steps, ceiling):
    torch.manual_seed(0)
    model = build_generator(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(FACTORS.get(path.stem, 1.0))
    objective = build_objective(settings, model.sample_rate)
    noisy, clean = Pairs(*sounds, settings.pairs, sample_rate=model.sample_rate, seed=0)(0)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], rate)
    losses = []
    for step in range(steps):
        objective.begin_step(step, 0.0)
        loss, _ = objective.model_loss(model(noisy), clean, noisy, adversarial=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - (1 - ceiling) * abs(losses[0]), losses  # a predicted opinion counts as negative


@named(TOYS)
def test_a_broken_run_goes_on_as_an_unbroken_one_and_denoises_any_length(path, sounds, tmp_path, monkeypatch):
    check_broken_run(load_settings(path, QUICK), sounds, tmp_path, monkeypatch, steps=3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@named(YAMLS)
def test_ten_steps_at_full_size_may_be_broken_and_denoise_any_length(path, tmp_path, monkeypatch):
    """The largest hold 9 GB and take a quarter of an hour on a busy core."""
    settings = in_short(path, [*TEN_STEPS, "train.held_out_speakers=0.3"])
    sounds = sounds_at(getattr(settings.generator, "sample_rate", 16000))
    check_broken_run(settings, sounds, tmp_path, monkeypatch, steps=10)
    shutil.rmtree(tmp_path)  # gigabytes, for the largest


def check_broken_run(settings, sounds, tmp_path, monkeypatch, steps):
    """A run and one that dies after its first checkpoint end alike; the generator keeps every length."""
    Trainer(settings, *sounds, tmp_path / "whole").run()
    broken = Trainer(settings, *sounds, tmp_path / "broken")
    save = broken._save

    def dies():
        save()
        raise KeyboardInterrupt

    monkeypatch.setattr(broken, "_save", dies)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    Trainer(settings, *sounds, tmp_path / "broken").run()
    whole, resumed = (load_checkpoint(tmp_path / run / "last.pt", "enhance-training") for run in ("whole", "broken"))
    assert whole["step"] == resumed["step"] == steps
    assert all(torch.equal(whole["model"][name], resumed["model"][name]) for name in whole["model"])
    rows = [json.loads(line) for line in (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    _, model = load_generator(tmp_path / "broken" / "best.pt")
    for count in LENGTHS:
        check_any_length(model, count)


def check_any_length(model, count):
    """As many samples as before, all finite, the same twice."""
    samples = (0.1 * np.random.default_rng(count).standard_normal(count)).astype(np.float32)
    first = enhance_samples(model, samples)
    assert first.shape == samples.shape
    assert np.isfinite(first).all()
    assert first.tobytes() == enhance_samples(model, samples).tobytes()


@pytest.mark.slow
@named(TOYS)
def test_five_minutes_are_denoised_sample_exactly(path):
    torch.manual_seed(0)
    model = build_generator(load_settings(path)).eval()
    check_any_length(model, 5 * 60 * model.sample_rate)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@named(PAPERS)
def test_five_minutes_are_denoised_sample_exactly_at_full_size(path):
    """Once, since some take half an hour; their bytes are compared at shorter lengths."""
    torch.manual_seed(0)
    model = build_generator(in_short(path)).eval()
    samples = (0.1 * np.random.default_rng(0).standard_normal(5 * 60 * model.sample_rate)).astype(np.float32)
    enhanced = enhance_samples(model, samples)
    assert enhanced.shape == samples.shape
    assert np.isfinite(enhanced).all()
