import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

from enhance.fine_tune import StartFrom
from enhance.pairs import Pairs, PairsConfig
from enhance.settings import build_generator, build_objective, load_settings
from enhance.sounds import hold_out
from enhance.train import RunOptions, Trainer
from enhance.validate import Validation
from enhance.weights import load_generator
from harness.checkpoint import load_checkpoint, save_checkpoint
from harness.errors import CheckpointError, ConfigError, TrainingError
from harness.seed import rng_for, seed_everything

RICH = [  # the options whose state a resumed run needs
    "train.optimizer=rmsprop", "train.momentum=0.5", "train.critic_optimizer=adam", "train.critic_updates=2",
    "train.schedule=halving", "train.halve_after=1", "train.accumulate=2", "train.precision=bfloat16",
    "train.keep_best=2", "train.best_by=si_sdr", "train.log_every=3",
]  # fmt: skip
ROWWISE = [
    "model=segan_plus", "objective=segan", "generator.channels=[4, 8]", "generator.latent=false",
    "loss.critic.channels=[4, 8]", "loss.critic.norm=none", "loss.critic.phase_shift=0",
]  # fmt: skip


class AsItIs(torch.nn.Module):
    """A generator that changes nothing."""

    def forward(self, noisy):
        return noisy


def trained(tmp_path, sounds, changes, options=None, name="run"):
    trainer = Trainer(load_settings(None, changes), *sounds, tmp_path / name, options)
    trainer.run()
    return trainer


def rows_of(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(trainer):
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


def with_scores(monkeypatch, trainer, values, measure="score"):
    """The trainer's validations give these values, one after the other."""
    real, coming = trainer.validation.scores, iter(values)
    monkeypatch.setattr(trainer.validation, "scores", lambda model: real(model) | {measure: next(coming)})


def test_the_default_loop_is_this_plain_one_to_the_bit(tmp_path, train_sounds, tiny_run):
    settings = load_settings(None, [*tiny_run, "train.critic_from=0.5"])
    ours = Trainer(settings, *train_sounds, tmp_path / "run")
    ours.run()

    config = settings.train
    seed_everything(config.seed)
    model, objective = build_generator(settings).train(), build_objective(settings, 16000)
    average = [parameter.detach().clone() for parameter in model.parameters()]
    speech = hold_out(train_sounds[0], config.held_out_speakers, 0, "held-out speakers")[0]
    noise = hold_out(train_sounds[1], config.held_out_noises, 0, "held-out noises")[0]
    pairs = Pairs(speech, noise, settings.pairs, sample_rate=16000, seed=config.seed)
    nets = [(objective.critic, config.critic_rate), (model, config.rate)]
    optimizers = [torch.optim.AdamW(net.parameters(), betas=(0.8, 0.99), weight_decay=1e-4) for net, _ in nets]
    for step in range(4):
        noisy, clean = pairs(step)
        fake = model(noisy)
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / 4))
        for (net, rate), optimizer in zip(nets, optimizers, strict=True):
            if net is not model and step < 2:
                continue
            optimizer.zero_grad()
            if net is model:
                loss = objective.model_loss(fake, clean, noisy, adversarial=step >= 2)[0]
            else:
                loss = objective.critic_loss(fake.detach(), clean, noisy)
            loss.backward()
            optimizer.param_groups[0]["lr"] = rate * cosine * min(1.0, (step + 1) / 2)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
        keep = min(0.998, (1 + step) / (10 + step))
        for kept, parameter in zip(average, model.parameters(), strict=True):
            kept.lerp_(parameter.detach(), 1 - keep)
    assert all(map(torch.equal, ours.model.parameters(), model.parameters()))
    assert all(map(torch.equal, ours.objective.critic.parameters(), objective.critic.parameters()))
    assert all(map(torch.equal, ours.turns.average.parameters(), average))


@pytest.mark.parametrize(
    "change",
    [
        ["optimizer=adam"], ["optimizer=rmsprop"], ["rate=0.1"], ["betas=[0.0, 0.9]"], ["weight_decay=0.5"],
        ["clip=0.001"],
        ["critic_optimizer=sgd"], ["critic_rate=0.1"], ["critic_betas=[0.0, 0.5]"], ["critic_clip=1.0e-6"],
        ["critic_weight_decay=0.9"], ["critic_updates=2"], ["critic_every=3"], ["critic_from=0.6"],
        ["precision=bfloat16"], ["schedule=constant"], ["schedule=exponential", "decay=0.5"], ["warmup=4"],
        ["warmup_power=3.0"], ["final_rate=1.0"], ["seed=3"], ["steps=3"], ["epochs=1.0"], ["held_out_speakers=0.6"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_option_of_the_training_changes_the_weights(tmp_path, train_sounds, tiny_run, change):
    short = [*tiny_run, "train.validate_every=100", "train.log_every=100"]
    usual = trained(tmp_path, train_sounds, short, name="usual")
    other = trained(tmp_path, train_sounds, [*short, *(f"train.{text}" for text in change)], name="other")
    assert not torch.equal(weights(usual), weights(other))


@pytest.mark.parametrize(
    ("given", "change"),
    [
        (["optimizer=rmsprop"], "momentum=0.9"), (["optimizer=rmsprop"], "smoothing=0.5"),
        (["critic_optimizer=sgd"], "critic_momentum=0.9"),
        (["schedule=exponential", "decay=0.5", "decay_every=1"], "decay_every=2"), ([], "held_out_noises=0.6"),
        (["schedule=exponential", "decay_every=1"], "decay=0.5"),
    ],
)  # fmt: skip
def test_an_option_beside_another_changes_the_weights(tmp_path, train_sounds, tiny_run, given, change):
    short = [*tiny_run, "train.validate_every=100", "train.log_every=100", *(f"train.{text}" for text in given)]
    usual = trained(tmp_path, train_sounds, short, name="usual")
    other = trained(tmp_path, train_sounds, [*short, f"train.{change}"], name="other")
    assert not torch.equal(weights(usual), weights(other))


@pytest.mark.parametrize(
    "change", ["validation_batches=2", "validation_snr=[-20.0, -20.0]", "clean_weight=5.0", "average=0.0"]
)
def test_an_option_of_the_validation_changes_the_score_and_leaves_the_training(
    tmp_path, train_sounds, tiny_run, change
):
    usual = trained(tmp_path, train_sounds, tiny_run, name="usual")
    other = trained(tmp_path, train_sounds, [*tiny_run, f"train.{change}"], name="other")
    assert torch.equal(weights(usual), weights(other))
    scores = [rows_of(tmp_path / name)[-1]["score"] for name in ("usual", "other")]
    assert scores[0] != scores[1]


def test_lines_and_validations_come_as_often_as_asked(tmp_path, train_sounds, tiny_run):
    trained(tmp_path, train_sounds, [*tiny_run, "train.log_every=2", "train.validate_every=3"])
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows if "loss" in row and "validation" not in row] == [2, 4]
    assert [row["step"] for row in rows if "validation" in row] == [3, 4]  # and at the end


def test_pieces_of_a_batch_give_the_step_of_the_whole_batch(tmp_path, train_sounds, tiny_run):
    # Nets without batch norm and without draws, so that rows do not touch each other.
    plain = [*ROWWISE, *tiny_run[5:], "pairs.batch=4", "train.optimizer=sgd", "train.rate=0.01", "train.steps=2"]
    whole = trained(tmp_path, train_sounds, plain, name="whole")
    calls = []
    settings = load_settings(None, [*plain, "train.accumulate=4"])
    pieces = Trainer(settings, *train_sounds, tmp_path / "pieces")
    pieces.model.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    pieces.run()
    assert calls == [1] * 16  # two steps, each four pieces once for the critic and once for the generator
    assert (weights(whole) - weights(pieces)).abs().max() < 1e-5
    for ours, theirs in zip(rows_of(tmp_path / "whole"), rows_of(tmp_path / "pieces"), strict=True):
        assert ours.get("loss", 0.0) == pytest.approx(theirs.get("loss", 0.0), rel=1e-4)


def test_channels_last_changes_the_order_in_memory_and_little_else(tmp_path, train_sounds, tiny_run):
    usual = trained(tmp_path, train_sounds, tiny_run, name="usual")
    other = trained(tmp_path, train_sounds, [*tiny_run, "train.channels_last=true"], name="other")

    def orders(trainer):
        kernels = [
            weight for weight in trainer.objective.critic.parameters() if weight.dim() == 4 and weight.numel() > 99
        ]
        return {weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels}

    assert (orders(usual), orders(other)) == ({False}, {True})
    losses = [[row["loss"] for row in rows_of(tmp_path / name) if "loss" in row] for name in ("usual", "other")]
    assert losses[0][:-1] == pytest.approx(losses[1][:-1], rel=1e-2)


def test_a_batch_that_pieces_do_not_divide_is_refused(tmp_path, train_sounds, tiny_run):
    with pytest.raises(ConfigError, match=r"pairs.batch: 2 pairs cannot be dealt to 1 processes in 3 pieces"):
        Trainer(load_settings(None, [*tiny_run, "train.accumulate=3"]), *train_sounds, tmp_path / "run")


def test_each_update_of_the_critic_sees_pairs_of_its_own(tmp_path, train_sounds, tiny_run, monkeypatch):
    settings = load_settings(None, [*tiny_run, "train.critic_updates=3", "train.critic_every=2"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "run")
    drawn, updates = [], []
    real = trainer.pairs
    monkeypatch.setattr(trainer, "pairs", lambda index: drawn.append(index) or real(index))
    optimizer = trainer.turns.critic.optimizer
    optimizer.register_step_post_hook(lambda *_: updates.append(trainer.step))
    trainer.run()
    assert updates == [0, 0, 0, 2, 2, 2]
    assert drawn == [2, 0, 1, 5, 8, 6, 7, 11]  # the generator's pairs first; the other updates' where it is their turn


def test_epochs_set_the_length_by_the_utterances(tmp_path, train_sounds, tiny_run):
    trainer = trained(tmp_path, train_sounds, [*tiny_run, "train.epochs=2.0"])
    kept = len(trainer.pairs.speech.names)
    assert trainer.step == math.ceil(2 * kept / 2)
    assert trainer.step != 4


def test_the_rate_halves_when_the_validation_stands_still(tmp_path, train_sounds, tiny_run, monkeypatch):
    changes = ["train.steps=7", "train.validate_every=1", "train.schedule=halving", "train.halve_after=2"]
    settings = load_settings(None, [*tiny_run, *changes, "train.warmup=0"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "run")
    with_scores(monkeypatch, trainer, [3.0, 4.0, 4.0, 2.0, 2.0, 2.0, 2.0])
    trainer.run()
    rates = [row["rate"] / settings.train.rate for row in rows_of(tmp_path / "run") if "rate" in row]
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_a_run_without_progress_ends_early_and_stays_ended(tmp_path, train_sounds, tiny_run, monkeypatch):
    settings = load_settings(None, [*tiny_run, "train.steps=9", "train.validate_every=1", "train.patience=2"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "run")
    with_scores(monkeypatch, trainer, [3.0, 2.0, 2.5, 2.0])
    trainer.run()
    assert trainer.step == 4
    again = Trainer(settings, *train_sounds, tmp_path / "run")
    again.run()
    assert again.step == 4
    assert load_checkpoint(tmp_path / "run" / "best.pt", "enhance")["facts"]["step"] == 2


@pytest.mark.parametrize(
    ("measure", "best"),
    [("score", 2), ("loss", 2), ("si_sdr", 3), ("pesq", 3), ("stoi", 3), ("covl", 3), ("ssnr", 3), ("lsd", 2)],
)
def test_the_best_is_the_lowest_error_or_the_highest_quality(
    tmp_path, train_sounds, tiny_run, monkeypatch, measure, best
):
    settings = load_settings(None, [*tiny_run, "train.validate_every=1", f"train.best_by={measure}"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "run")
    trainer.validation.measures = ()  # the values come from here
    with_scores(monkeypatch, trainer, [2.0, 1.0, 3.0, 2.5], measure)
    trainer.run()
    assert load_checkpoint(tmp_path / "run" / "best.pt", "enhance")["facts"]["step"] == best


def test_the_best_few_are_kept_and_ranked(tmp_path, train_sounds, tiny_run, monkeypatch):
    settings = load_settings(None, [*tiny_run, "train.steps=5", "train.validate_every=1", "train.keep_best=3"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "run")
    with_scores(monkeypatch, trainer, [5.0, 3.0, 4.0, 2.0, 6.0])
    trainer.run()
    kept = tmp_path / "run" / "kept"
    ranking = json.loads((kept / "ranking.json").read_text())
    assert [(row["rank"], row["score"], row["step"]) for row in ranking] == [(1, 2.0, 4), (2, 3.0, 2), (3, 4.0, 3)]
    assert sorted(path.name for path in kept.glob("*.pt")) == sorted(row["file"] for row in ranking)
    assert [load_checkpoint(kept / row["file"], "enhance")["facts"]["step"] for row in ranking] == [4, 2, 3]
    assert (kept / ranking[0]["file"]).read_bytes() == (tmp_path / "run" / "best.pt").read_bytes()
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_measures_are_those_of_the_scoring(tmp_path, train_sounds, tiny_run):
    from enhance.metrics.composite import segmental_snr
    from enhance.metrics.perceptual import pesq_of, stoi_of

    settings = load_settings(None, [*tiny_run, "pairs.seconds=1.0", "train.measures=[loss, pesq, stoi, ssnr]"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "run")
    scores = trainer.validation.scores(trainer.turns.average)
    (noisy, clean), model = trainer.validation.pairs[0], trainer.turns.average.eval()
    with torch.no_grad():
        enhanced = model(noisy)
        loss = trainer.objective.model_loss(enhanced, clean, noisy, adversarial=False)[0]
    rows = list(zip(clean.numpy(), enhanced.numpy(), strict=True))
    assert scores["pesq"] == pytest.approx(sum(pesq_of(*row, 16000) for row in rows) / len(rows))
    assert scores["stoi"] == pytest.approx(sum(stoi_of(*row, 16000) for row in rows) / len(rows))
    assert scores["ssnr"] == pytest.approx(sum(segmental_snr(*row, 16000) for row in rows) / len(rows))
    assert scores["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_pairs_without_a_score_are_counted_and_a_set_without_any_is_an_error(tmp_path, train_sounds, tiny_run):
    settings = load_settings(None, [*tiny_run, "train.best_by=pesq"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "run")
    noisy, clean = trainer.validation.pairs[0]
    clean[0] = 0.0
    noisy[0] = 0.0
    assert trainer.validation.scores(trainer.turns.average)["pesq_failed"] == 1
    trainer.validation.pairs = [(noisy[:1], clean[:1])]
    with pytest.raises(TrainingError, match="validation by pesq: no validation pair has a score"):
        trainer.validation.scores(trainer.turns.average)


def test_a_measure_that_is_unknown_or_whose_package_is_missing_is_said(tmp_path, train_sounds, tiny_run, monkeypatch):
    for option in ("train.best_by=mos", "train.measures=[si_sdr]"):  # that one is always there
        with pytest.raises(ConfigError, match=r"a measure must be one of .*covl"):
            load_settings(None, [*tiny_run, option])
    trainer = Trainer(load_settings(None, [*tiny_run, "train.best_by=covl"]), *train_sounds, tmp_path / "run")
    monkeypatch.setattr("enhance.metrics.importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"validation by covl: needs packages that are not installed: pesq"):
        trainer.validation.scores(trainer.turns.average)
    with pytest.raises(TrainingError, match=r"validation by covl: needs packages"):  # before the first step
        Trainer(load_settings(None, [*tiny_run, "train.best_by=covl"]), *train_sounds, tmp_path / "run")


def test_every_pair_of_the_validation_weighs_the_same(train_sounds):
    speech, noise = train_sounds
    noisy, clean = Pairs(speech, noise, PairsConfig(batch=17, seconds=0.3), sample_rate=16000, seed=0)(0)
    objective, model = build_objective(load_settings(), 16000), AsItIs()
    whole, *parts = (
        Validation([(noisy[rows], clean[rows])], 16000, 1.0, measures=["loss"], objective=objective).scores(model)
        for rows in (slice(None), *(slice(row, row + 1) for row in range(17)))
    )
    for name, value in whole.items():
        assert value == pytest.approx(sum(part[name] for part in parts) / 17, rel=1e-4), name


def test_a_run_killed_at_any_step_ends_with_the_same_bytes(tmp_path, train_sounds, tiny_run, monkeypatch):
    settings = load_settings(None, [*tiny_run, *RICH, "train.steps=7", "train.validate_every=2"])
    whole = Trainer(settings, *train_sounds, tmp_path / "whole")
    whole.objective.register_buffer("memory", torch.zeros(()))  # an objective that remembers what it saw
    monkeypatch.setattr(type(whole.objective), "begin_step", lambda self, step, done: self.memory.mul_(0.5).add_(step))
    whole.run()
    kill_at = int(rng_for(0, "kill").integers(3, 7))
    broken = Trainer(settings, *train_sounds, tmp_path / "broken")
    broken.objective.register_buffer("memory", torch.zeros(()))
    real = broken._train_step

    def dies(noisy, clean):
        parts = real(noisy, clean)
        if broken.step == kill_at:
            raise KeyboardInterrupt
        return parts

    monkeypatch.setattr(broken, "_train_step", dies)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = Trainer(settings, *train_sounds, tmp_path / "broken")
    resumed.objective.register_buffer("memory", torch.zeros(()))
    resumed.run()
    assert torch.equal(resumed.objective.memory, whole.objective.memory)
    names = ["best.pt", "kept/ranking.json", *(f"kept/{path.name}" for path in (tmp_path / "whole/kept").glob("*.pt"))]
    assert len(names) == 4
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name
    ours, theirs = (load_checkpoint(tmp_path / run / "last.pt", "enhance-training") for run in ("whole", "broken"))
    assert all(same(ours[key], theirs[key]) for key in ours if key != "seconds")
    whole_rows, broken_rows = rows_of(tmp_path / "whole"), rows_of(tmp_path / "broken")
    assert [row | {"minutes": 0} for row in whole_rows] == [row | {"minutes": 0} for row in broken_rows]


def same(one, other):
    """Equality of nested state, tensors to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_a_run_is_not_gone_on_with_by_other_sounds(tmp_path, train_sounds, tiny_run):
    speech, noise = train_sounds
    trained(tmp_path, train_sounds, tiny_run)
    rounded = replace(speech, powers=speech.powers * (1 + 1e-5))  # as packed
    assert trained(tmp_path, (rounded, noise), tiny_run).step == 4
    louder, fewer = replace(noise, powers=noise.powers * 2), speech.subset(range(7))
    for sounds, other in (((fewer, noise), "speech"), ((speech, louder), "noise")):
        with pytest.raises(CheckpointError, match=f"last.pt: was made with other {other}") as caught:
            trained(tmp_path, sounds, tiny_run)
        assert "--force" in caught.value.mend


def test_a_run_starts_from_a_trained_generator_and_critic(tmp_path, train_sounds, tiny_run):
    trained(tmp_path, train_sounds, tiny_run, name="first")
    first = tmp_path / "first"
    start = StartFrom(generator=first / "best.pt", critic=first / "last.pt")
    settings = load_settings(None, [*tiny_run, "train.seed=5"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "second", RunOptions(start=start))
    given = load_generator(first / "best.pt")[1].state_dict()
    assert all(torch.equal(value, given[name]) for name, value in trainer.model.state_dict().items())
    assert all(torch.equal(value, given[name]) for name, value in trainer.turns.average.state_dict().items())
    critic = load_checkpoint(first / "last.pt", "enhance-training")["critic"]
    assert all(torch.equal(value, critic[name]) for name, value in trainer.objective.critic.state_dict().items())
    trainer.run()
    facts = load_checkpoint(tmp_path / "second" / "best.pt", "enhance")["facts"]
    assert facts["start"] == {"generator": str(first / "best.pt"), "critic": str(first / "last.pt")}
    save_checkpoint(tmp_path / "critic.pt", "enhance-critic", {"critic": "spectrogram", "weights": critic})
    alone = RunOptions(start=StartFrom(critic=tmp_path / "critic.pt"))
    third = Trainer(settings, *train_sounds, tmp_path / "third", alone)
    assert all(torch.equal(value, critic[name]) for name, value in third.objective.critic.state_dict().items())


def test_nets_that_do_not_fit_are_refused_with_what_differs(tmp_path, train_sounds, tiny_run, small_model):
    def starts(start, changes=()):
        settings = load_settings(None, [*tiny_run, *changes])
        Trainer(settings, *train_sounds, tmp_path / "run", RunOptions(start=start))

    with pytest.raises(
        CheckpointError, match=r"(?s)weights of another model: .*set under generator: dilations \[1, 2\]"
    ):
        starts(StartFrom(generator=small_model))
    segan = ["model=segan_plus", "objective=segan", "generator.channels=[4, 4]", "loss.critic.channels=[4, 4]"]
    with pytest.raises(CheckpointError, match="holds a compact generator, the settings ask for segan_plus"):
        settings = load_settings(None, [*segan, "pairs.batch=2"])
        Trainer(settings, *train_sounds, tmp_path / "run", RunOptions(start=StartFrom(generator=small_model)))
    with pytest.raises(CheckpointError, match="holds a model of kind 'enhance', not 'enhance-critic'"):
        starts(StartFrom(critic=small_model))
    with pytest.raises(CheckpointError, match="the run has no critic to start"):
        starts(StartFrom(critic=small_model), ["loss.adversarial=0.0", "loss.matching=0.0"])
    with pytest.raises(CheckpointError, match=r"gone.pt: no such checkpoint"):
        starts(StartFrom(generator=tmp_path / "gone.pt"))


def test_a_time_limit_pulls_the_rate_down_with_the_clock(tmp_path, train_sounds, tiny_run, monkeypatch):
    settings = load_settings(None, [*tiny_run, "train.steps=100000"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "run", RunOptions(max_minutes=1.0))
    monkeypatch.setattr(trainer, "_elapsed", lambda: 12.0 * trainer.step)  # a step takes 12 seconds
    trainer.run()
    rates = [row["rate"] for row in rows_of(tmp_path / "run") if "rate" in row]
    cosine = [0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / 5)) for step in range(5)]
    assert rates == pytest.approx([1e-3 * share * min(1.0, (step + 1) / 2) for step, share in enumerate(cosine)])


@pytest.mark.parametrize(("processor_time", "clock"), [(False, "monotonic"), (True, "process_time")])
def test_the_limit_counts_time_on_the_wall_or_of_the_processor(
    tmp_path, train_sounds, tiny_run, monkeypatch, processor_time, clock
):
    ticks = itertools.count(0, 3600)  # an hour at each look
    monkeypatch.setattr(f"enhance.train.time.{clock}", lambda: next(ticks))
    options = RunOptions(max_minutes=1.0, processor_time=processor_time)
    assert trained(tmp_path, train_sounds, [*tiny_run, "train.steps=100"], options).step == 1
    assert (tmp_path / "run" / "best.pt").is_file()


def test_compact_overfits_one_batch_through_the_whole_loop(tmp_path, train_sounds, tiny_run, monkeypatch):
    changes = ["train.steps=40", "train.validate_every=100", "train.rate=5.0e-3", "train.schedule=constant"]
    settings = load_settings(None, [*tiny_run, *changes, "pairs.clean_share=0.0"])
    trainer = Trainer(settings, *train_sounds, tmp_path / "run")
    batch = trainer.pairs(0)
    monkeypatch.setattr(trainer, "pairs", lambda index: batch)
    trainer.run()
    losses = [row["loss"] for row in rows_of(tmp_path / "run") if "loss" in row][:-1]
    assert sum(losses[-5:]) / 5 < 0.85 * losses[0]
