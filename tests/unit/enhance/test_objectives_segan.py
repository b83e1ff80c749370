import numpy as np
import pytest
import scipy.signal
import torch

from enhance.critics.critic import Critic, Opinion
from enhance.critics.grading import GradingCriticConfig
from enhance.critics.segan import SeganCriticConfig, SeganV1CriticConfig
from enhance.layers.emphasis import pre_emphasis
from enhance.losses.adversarial import GAMES
from enhance.losses.regression import WeightSchedule
from enhance.losses.stft import compressed_distance, log_power_distance
from enhance.objectives import OBJECTIVES, metricgan, wsegan
from enhance.objectives.am_gan import EPOCH, AmGanCriticConfig, AmGanObjectiveConfig
from enhance.objectives.wsegan import WseganCriticConfig
from enhance.settings import load_settings
from enhance.sounds import gather
from enhance.train import Trainer
from harness.checkpoint import load_checkpoint
from harness.errors import ConfigError

SMALL = {"channels": (4, 6), "frames": 8}  # windows of 128 samples with stride 4, of 32 with stride 2
CRITICS = {
    "segan": SeganCriticConfig(**SMALL), "segan_v1": SeganV1CriticConfig(**SMALL),
    "wsegan": WseganCriticConfig(**SMALL),
    "advanced_segan": SeganV1CriticConfig(**SMALL), "am_gan": AmGanCriticConfig(**SMALL),
    "metricgan": GradingCriticConfig(channels=4, levels=2, size=64, hidden=(6,)),
}  # fmt: skip
ADVERSARIAL = list(CRITICS)
GAMES_OF_SEGAN = [name for name in ADVERSARIAL if name != "metricgan"]


class Mean(Critic):
    """One score a row: the mean of the speech, plus three times that of the other signal."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))

    def keep_reference(self, clean, noisy):
        self.reference = torch.stack([clean, noisy], dim=1)

    def forward(self, samples, noisy):
        return Opinion([self.factor * (samples.mean(-1) + 3 * noisy.mean(-1))[:, None]], [])


def built(name, judge=None, sample_rate=16000, **change):
    torch.manual_seed(0)
    config_class, objective_class = OBJECTIVES[name]
    words = {"critic": CRITICS[name]} if name in CRITICS else {}
    words |= {"metric": "stoi"} if name == "metricgan" else {}
    objective = objective_class(config_class(**(words | change)), sample_rate)
    if judge is not None:
        objective.critic = judge
    return objective


def triple(rows=3, samples=1500, seed=1):
    generator = torch.Generator().manual_seed(seed)
    fake, clean, noise = (0.1 * torch.randn(rows, samples, generator=generator) + 0.05 for _ in range(3))
    return fake, clean, clean + noise


def critic_loss(objective, signals=None, seed=3):
    torch.manual_seed(seed)
    return objective.critic_loss(*(signals or triple())).item()


def model_loss(objective, signals=None, seed=3, **words):
    torch.manual_seed(seed)
    return objective.model_loss(*(signals or triple()), **words)[0].item()


@pytest.fixture(autouse=True)
def quick_grades(monkeypatch, request):
    """The metrics are slow: a made-up one stands in, but for the test of the real ones."""
    if "real_metric" not in request.node.name:
        monkeypatch.setattr(metricgan, "grades", lambda speech, clean, *_: 1 / (1 + (speech - clean).abs().mean(-1)))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_gradients_reach_the_critic_and_the_generator(name):
    objective = built(name)
    objective.begin_step(0, 0.0)
    fake, clean, noisy = triple()
    loss = objective.critic_loss(fake, clean, noisy)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in objective.critic.parameters())
    fake.requires_grad_()
    loss, parts = objective.model_loss(fake, clean, noisy)
    loss.backward()
    assert fake.grad.abs().sum() > 0
    assert parts["adversarial"].requires_grad is False


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_without_its_weight_there_is_no_critic(name):
    change = {"adversarial": 0.0} | ({"spectral": 1.0} if name == "metricgan" else {})
    objective = built(name, **change)
    objective.begin_step(0, 0.0)
    assert objective.critic is None
    assert "adversarial" not in objective.model_loss(*triple())[1]


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_before_the_critic_joins_in_the_generator_has_the_distance_only(name):
    objective = built(name, **({"spectral": 1.0} if name == "metricgan" else {}))
    _, parts = objective.model_loss(*triple(), adversarial=False)
    assert set(parts) == ({"spectral"} if name == "metricgan" else {"regression"} | set(parts) & {"power"})


@pytest.mark.parametrize("game", list(GAMES))
def test_the_losses_of_segan_are_worked_by_hand(game):
    objective = built("segan", Mean(), game=game, penalty=0.0, emphasis=0.0, critic=SeganCriticConfig(norm="none"))
    fake, clean, noisy = triple()
    real, bad = (signal.mean(-1) + 3 * noisy.mean(-1) for signal in (clean, fake))
    one, zero = torch.ones(3), torch.zeros(3)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    expected_critic = {
        "least_squares": (real - 1).square().mean() + bad.square().mean(),
        "cross_entropy": entropy(real, one) + entropy(bad, zero),
        "wasserstein": bad.mean() - real.mean(),
    }
    expected_model = {
        "least_squares": (bad - 1).square().mean(), "cross_entropy": entropy(bad, one), "wasserstein": -bad.mean()
    }  # fmt: skip
    assert critic_loss(objective) == pytest.approx(expected_critic[game].item(), rel=1e-5)
    expected = expected_model[game] + 100 * (fake - clean).abs().mean()
    assert model_loss(objective) == pytest.approx(expected.item(), rel=1e-5)


def test_the_wasserstein_game_pays_for_the_slope_of_the_critic():
    plain, paying = (
        built("segan", Mean(), game="wasserstein", penalty=weight, emphasis=0.0, critic=SeganCriticConfig(norm="none"))
        for weight in (0.0, 10.0)
    )
    slope = 1500**-0.5  # of a mean over 1500 samples
    assert critic_loss(paying) - critic_loss(plain) == pytest.approx(10 * (slope - 1) ** 2, rel=1e-4)


@pytest.mark.parametrize("name", ["segan_v1", "advanced_segan", "am_gan"])
def test_the_reference_batch_is_of_pairs_of_clean_and_noisy_as_they_are_judged(name):
    objective = built(name)
    fake, clean, noisy = triple()
    objective.model_loss(fake, clean, noisy)
    assert not objective.critic.has_reference
    objective.critic_loss(fake, clean, noisy)
    judge = Mean()
    built(name, judge).critic_loss(fake, clean, noisy)
    windows = judge.reference[..., : objective.critic.window]
    assert torch.equal(objective.critic.reference[0], windows[0])


@pytest.mark.parametrize("norm", ["spectral", "virtual", "none"])
@pytest.mark.parametrize("sinc", [False, True])
def test_the_gradient_penalty_trains_every_part_of_the_critic(norm, sinc):
    objective = built("segan", game="wasserstein", critic=SeganCriticConfig(**SMALL, norm=norm, sinc=sinc))
    plain, paying = (
        torch.autograd.grad(one.critic_loss(*triple()), one.critic.blocks.parameters())
        for one in (built("segan", game="wasserstein", penalty=0.0, critic=objective.config.critic), objective)
    )
    assert all(torch.isfinite(grad).all() for grad in paying)
    assert any((one - two).abs().max() > 1e-6 for one, two in zip(plain, paying, strict=True))


def test_both_sides_judge_pre_emphasised_speech():
    fake, clean, noisy = triple()
    emphasised = [pre_emphasis(signal, 0.95) for signal in (fake, clean, noisy)]
    ours, plain = built("segan", Mean()), built("segan", Mean(), emphasis=0.0)
    assert critic_loss(ours) == pytest.approx(critic_loss(plain, emphasised), rel=1e-5)
    assert model_loss(ours) == pytest.approx(model_loss(plain, emphasised), rel=1e-5)


def test_advanced_segan_halves_the_game_and_normalises_what_the_critic_sees():
    objective = built("advanced_segan", Mean())
    fake, clean, noisy = triple()
    other = 3 * (noisy.mean(-1) + 1.0704e-4) / 0.075683
    real, bad = ((signal.mean(-1) + 3.028e-5) / 0.0621301 + other for signal in (clean, fake))
    expected = ((real - 1).square().mean() + bad.square().mean()) / 2
    assert critic_loss(objective) == pytest.approx(expected.item(), rel=1e-4)
    expected = (bad - 1).square().mean() / 2 + 100 * (fake - clean).abs().mean()
    assert model_loss(objective) == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("change", ["clean_mean", "clean_std", "noisy_mean", "noisy_std"])
def test_each_statistic_of_advanced_segan_changes_what_the_critic_sees(change):
    assert critic_loss(built("advanced_segan", Mean())) != critic_loss(built("advanced_segan", Mean(), **{change: 0.5}))


def test_wsegan_takes_the_mean_over_its_kinds_of_pairs(monkeypatch):
    fake, clean, noisy = triple()
    turned, square = clean.roll(1, dims=0), torch.full_like(clean, 0.5)
    monkeypatch.setattr(wsegan, "misaligned", lambda _: turned)
    monkeypatch.setattr(wsegan, "square_waves", lambda *_: square)

    def score(speech, other):
        return speech.mean(-1) + 3 * other.mean(-1)

    real, bad = (score(clean, noisy) - 1).square().mean(), score(fake, noisy).square().mean()
    crossed, disturbed = score(clean, turned).square().mean(), score(clean + square, noisy).square().mean()
    for change, expected in (
        ({"misaligned": False}, (real + bad) / 2),
        ({}, (real + bad + crossed) / 3),
        ({"misaligned": False, "interference": True}, (real + bad + disturbed) / 3),
        ({"interference": True}, (real + bad + crossed + disturbed) / 4),
    ):
        objective = built("wsegan", Mean(), emphasis=0.0, **change)
        assert critic_loss(objective) == pytest.approx(expected.item(), rel=1e-5)


def test_wsegan_adds_the_distance_of_log_power_spectra():
    fake, clean, _ = triple()
    emphasised = [pre_emphasis(signal, 0.95) for signal in (fake, clean)]
    without = model_loss(built("wsegan", Mean(), power=0.0))
    expected = without + 0.5 * log_power_distance(*emphasised).item()
    assert model_loss(built("wsegan", Mean(), power=0.5)) == pytest.approx(expected, rel=1e-5)
    assert "power" not in built("wsegan", power=0.0).model_loss(*triple())[1]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_misaligned_pairs_hold_every_row_beside_another(rows):
    clean = torch.arange(rows * 40.0).reshape(rows, 40)
    for seed in range(8):
        torch.manual_seed(seed)
        other = wsegan.misaligned(clean)
        assert not bool((other == clean).all(1).any())
        assert sorted(other.flatten().tolist()) == clean.flatten().tolist()


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_interference_is_a_square_wave_of_scipy(sample_rate):
    torch.manual_seed(0)
    waves = wsegan.square_waves(torch.zeros(40, 400), sample_rate).numpy()
    time = (np.arange(400) + 0.01) / sample_rate  # off the edges, where rounding decides
    hertz = [value for value in wsegan.SQUARE_HERTZ if value < sample_rate / 2]
    choices = {(f, a): a * scipy.signal.square(2 * np.pi * f * time) for f in hertz for a in wsegan.SQUARE_HEIGHTS}
    found = {key for wave in waves for key, truth in choices.items() if np.allclose(wave, truth)}
    assert all(any(np.allclose(wave, truth) for truth in choices.values()) for wave in waves)
    assert {f for f, _ in found} == set(hertz)
    assert {a for _, a in found} == set(wsegan.SQUARE_HEIGHTS)


def test_the_weight_of_the_distance_follows_its_schedule():
    objective = built("segan", adversarial=0.0, schedule=WeightSchedule(kind="linear", start=10, fall=1.0))
    losses = {}
    for step in (0, 9, 59, 200):
        objective.begin_step(step, 0.0)
        losses[step] = model_loss(objective)
    assert losses == pytest.approx({0: losses[0], 9: losses[0], 59: losses[0] / 2, 200: 0.0})


def test_am_gan_lets_noise_fade_and_ends_the_distance_after_150_epochs():
    config = AmGanObjectiveConfig()
    assert (config.critic.channels, config.critic.norm) == (SeganV1CriticConfig().channels, "virtual")
    objective = built("am_gan", schedule=config.schedule)
    seen = {}
    for epoch in (0, 5, 6, 15, 16, 149, 150):
        objective.begin_step(epoch * EPOCH, 0.0)
        seen[epoch] = (round(objective.critic.noise, 4), objective.regression)
    assert seen == {
        0: (0.5, 100), 5: (0.5, 100), 6: (0.35, 100), 15: (0.0141, 100), 16: (0, 100),
        149: (0, 100), 150: (0, 0),
    }  # fmt: skip


@pytest.mark.parametrize("name", GAMES_OF_SEGAN)
@pytest.mark.parametrize(
    "change",
    [
        {"regression": 50.0}, {"distance": "mse"}, {"distance": "huber"}, {"adversarial": 2.0},
        {"game": "cross_entropy"}, {"emphasis": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_every_option_of_a_segan_objective_changes_the_generators_loss(name, change):
    assert model_loss(built(name)) != pytest.approx(model_loss(built(name, **change)), rel=1e-4)


@pytest.mark.parametrize("change", [{"real_label": 0.8}, {"game": "cross_entropy"}, {"emphasis": 0.5}], ids=str)
@pytest.mark.parametrize("name", GAMES_OF_SEGAN)
def test_every_option_of_a_segan_objective_changes_the_critics_loss(name, change):
    assert critic_loss(built(name)) != pytest.approx(critic_loss(built(name, **change)), rel=1e-6)


@pytest.mark.parametrize("name", ["aewsegan", "segan"])
def test_huber_turns_straight_where_it_is_told(name):
    words = {"distance": "huber"} | ({"adversarial": 0.0} if name == "segan" else {})
    few, many = (model_loss(built(name, huber_delta=delta, **words)) for delta in (0.05, 10.0))
    squares = model_loss(built(name, **(words | {"distance": "mse"})))
    assert many == pytest.approx(squares / 2, rel=1e-5)
    assert few < many


def test_the_auto_encoder_objective_is_the_distance_alone():
    fake, clean, _ = triple()
    objective = built("aewsegan", emphasis=0.0)
    assert objective.critic is None
    assert model_loss(objective) == pytest.approx((fake - clean).abs().mean().item(), rel=1e-6)
    assert model_loss(built("aewsegan")) != model_loss(objective)


@pytest.mark.parametrize("name", ["aewsegan", "segan", "segan_v1", "am_gan", "advanced_segan", "wsegan", "metricgan"])
def test_what_the_generator_pays_without_a_critic_falls_as_noise_falls(name, make_voice):
    clean = torch.from_numpy(make_voice(0, 0.5))[None]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    change = {} if name == "aewsegan" else {"adversarial": 0.0}
    objective = built(name, **(change | ({"spectral": 1.0} if name == "metricgan" else {})))
    levels = [clean + level * noise for level in (0.3, 0.1, 0.03, 0.01)]
    losses = [model_loss(objective, (speech, clean, levels[0])) for speech in levels]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 2 * losses[-1]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("segan", {"regression": -1.0}, "are weights"),
        ("segan", {"real_label": 0.2}, "real_label must lie in"),
        ("segan", {"huber_delta": 0.0}, "huber_delta must be positive"),
        ("segan", {"game": "wasserstein"}, "critic.norm must not be batch"),
        ("wsegan", {"game": "wasserstein", "real_label": 0.9}, "has no labels"),
        ("wsegan", {"power": -1.0}, "power is a weight"),
        ("advanced_segan", {"clean_std": 0.0}, "must be positive"),
        ("aewsegan", {"emphasis": 1.0}, "emphasis in"),
        ("metricgan", {"adversarial": 0.0}, "not both 0"),
        ("metricgan", {"target": 2.0}, "target is a grade"),
    ],
)
def test_settings_that_cannot_work_are_refused(name, change, words):
    with pytest.raises(ValueError, match=words):
        built(name, **change)


class Grader(Critic):
    """The grade is a parameter plus the mean of the speech."""

    def __init__(self):
        super().__init__()
        self.grade = torch.nn.Parameter(torch.tensor(0.25))

    def forward(self, samples, noisy):
        return Opinion([(self.grade + samples.mean(-1))[:, None]], [])


def test_the_losses_of_metricgan_are_worked_by_hand(monkeypatch):
    fake, clean, noisy = triple()
    truth = {id(fake): torch.tensor([0.1, float("nan"), 0.7]), id(noisy): torch.tensor([0.2, 0.3, float("nan")])}
    monkeypatch.setattr(metricgan, "grades", lambda speech, *_: truth[id(speech)])
    on_clean = (0.25 + clean.mean(-1) - 1).square().mean()
    on_fake = (0.25 + fake.mean(-1) - truth[id(fake)])[[0, 2]].square().mean()
    on_noisy = (0.25 + noisy.mean(-1) - truth[id(noisy)])[:2].square().mean()
    objective = built("metricgan", Grader())
    assert critic_loss(objective, (fake, clean, noisy)) == pytest.approx((on_clean + on_fake + on_noisy).item())
    parts = objective.model_loss(fake, clean, noisy)[1]
    assert parts["grade"].item() == pytest.approx(0.4)
    assert parts["ungraded"].item() == 2
    expected = (0.25 + fake.mean(-1) - 1).square().mean()
    assert model_loss(objective, (fake, clean, noisy)) == pytest.approx(expected.item())
    without = built("metricgan", Grader(), grade_noisy=False)
    assert critic_loss(without, (fake, clean, noisy)) == pytest.approx((on_clean + on_fake).item())


def test_a_batch_without_any_grade_still_trains_on_clean_speech(monkeypatch):
    monkeypatch.setattr(metricgan, "grades", lambda speech, *_: torch.full((len(speech),), float("nan")))
    objective = built("metricgan", Grader())
    clean = triple()[1]
    assert critic_loss(objective) == pytest.approx((0.25 + clean.mean(-1) - 1).square().mean().item())
    parts = objective.model_loss(*triple())[1]
    assert parts["ungraded"].item() == 6
    assert parts["grade"].item() == 0


def test_the_options_of_metricgan_change_what_the_generator_pays():
    plain = model_loss(built("metricgan"))
    assert model_loss(built("metricgan", adversarial=3.0)) == pytest.approx(3 * plain, rel=1e-5)
    assert model_loss(built("metricgan", target=0.5)) != pytest.approx(plain, rel=1e-3)
    fake, clean, noisy = triple()
    level = noisy.square().mean(-1, keepdim=True).sqrt()
    magnitude, in_complex, _ = compressed_distance(fake / level, clean / level, 512, 128)
    expected = plain + 2 * (magnitude + in_complex).item()
    assert model_loss(built("metricgan", spectral=2.0)) == pytest.approx(expected, rel=1e-4)


def test_the_grading_critic_learns_to_grade(make_voice):
    clean = torch.stack([torch.from_numpy(make_voice(seed, 0.3)) for seed in range(4)])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    fake, noisy = clean + 0.05 * noise, clean + 0.5 * noise
    objective = built("metricgan", critic=GradingCriticConfig(channels=6, levels=2, size=64, hidden=(8,)))
    optimizer = torch.optim.Adam(objective.critic.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = objective.critic_loss(fake, clean, noisy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    said = [objective.critic(speech, clean).scores[0].mean().item() for speech in (clean, fake, noisy)]
    assert said == sorted(said, reverse=True)


@pytest.mark.parametrize("metric", ["pesq", "stoi"])
def test_grades_of_the_real_metric_lie_between_0_and_1_and_silence_has_none(metric, make_voice):
    pytest.importorskip("pesq")
    from pesq import pesq
    from pystoi import stoi

    clean = torch.from_numpy(np.stack([make_voice(1, 1.0), make_voice(2, 1.0), np.zeros(16000, np.float32)]))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    speech = clean + 1e-4 * noise
    ours = metricgan.grades(speech, clean, metric, 16000)
    assert torch.equal(ours.isnan(), torch.tensor([False, False, True]))
    torch.testing.assert_close(metricgan.grades(clean, clean, metric, 16000)[:2], torch.ones(2), atol=1e-3, rtol=0)
    for row in range(2):
        truth, judged = clean[row].double().numpy(), speech[row].double().numpy()
        score = pesq(16000, truth, judged, "wb") if metric == "pesq" else stoi(truth, judged, 16000)
        lowest, highest = (1.0437, 4.6439) if metric == "pesq" else (0, 1)  # ITU-T P.862.2 at raw scores -0.5 and 4.5
        assert ours[row].item() == pytest.approx((score - lowest) / (highest - lowest), abs=1e-3)
        assert 0.2 < ours[row].item() < 1


def test_pesq_at_another_rate_is_refused_and_stoi_is_not():
    with pytest.raises(ConfigError, match="pesq needs 16000 Hz, got 8000"):
        built("metricgan", metric="pesq", sample_rate=8000)
    built("metricgan", sample_rate=8000)
    built("metricgan", metric="pesq", sample_rate=8000, adversarial=0.0, spectral=1.0)  # nothing to be graded


def test_a_missing_package_for_pesq_is_named_with_its_mend(monkeypatch):
    monkeypatch.setattr(metricgan, "pesq_installed", lambda: False)
    with pytest.raises(ConfigError, match="pip install pesq"):
        built("metricgan", metric="pesq")


TINY = [
    "model=segan_plus", "generator.channels=[4, 8]", "loss.critic.channels=[4, 8]", "loss.critic.frames=16",
    "pairs.batch=2", "pairs.seconds=0.1", "train.steps=6", "train.validate_every=3", "train.validation_batches=1",
    "train.warmup=0", "train.critic_from=0", "train.held_out_speakers=0.3",
]  # fmt: skip
NOISY_CRITIC = ["loss.critic.noise=0.5", "loss.critic.noise_every=1", "loss.critic.noise_from=1"]
RUNS = {
    "am_gan": ["objective=am_gan", *NOISY_CRITIC],
    "wsegan": ["objective=wsegan", "loss.interference=true", "loss.game=wasserstein", "loss.critic.sinc=true"],
    "segan": ["objective=segan", "loss.schedule.kind=linear", "loss.schedule.fall=20.0"],
}


@pytest.mark.parametrize("name", list(RUNS))
def test_a_resumed_run_keeps_reference_noise_and_schedule(name, tmp_path, make_voice, monkeypatch):
    voices = [(f"u{i}", f"s{i % 4}", make_voice(i, 0.6)) for i in range(8)]
    rng = np.random.default_rng(0)
    noises = [(f"n{i}", f"n{i}", rng.standard_normal(4000).astype(np.float32)) for i in range(4)]
    sounds = [
        gather(voices, where="voices", active=True, sample_rate=16000),
        gather(noises, where="noises", active=False, sample_rate=16000),
    ]
    settings = load_settings(None, [*TINY, *RUNS[name]])
    Trainer(settings, *sounds, tmp_path / "whole").run()
    broken = Trainer(settings, *sounds, tmp_path / "broken")
    begin = broken.objective.begin_step

    def dies(step, done):
        if step == 4:
            raise KeyboardInterrupt
        begin(step, done)

    monkeypatch.setattr(broken.objective, "begin_step", dies)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = Trainer(settings, *sounds, tmp_path / "broken")
    resumed.run()
    whole, again = (load_checkpoint(tmp_path / run / "last.pt", "enhance-training") for run in ("whole", "broken"))
    for part in ("model", "critic"):
        assert all(torch.equal(whole[part][key], again[part][key]) for key in whole[part])
    if name == "am_gan":
        assert bool(again["critic"]["has_reference"])
        assert resumed.objective.critic.noise == pytest.approx(0.5 * 0.7**4)
    if name == "segan":
        assert resumed.objective.regression == 0
