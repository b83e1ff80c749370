import csv
import json

import pytest

from enhance.search import search
from harness.errors import ConfigError, TrainingError

pytest.importorskip("optuna", reason="the search needs the package optuna")

SPACE = """
trials: 8
startup: 2
spared: 1
space:
  loss.log_mel: {low: 0.1, high: 3.0, log: true}
  loss.si_sdr: {choices: [0.0, 0.02]}
  train.warmup: {low: 0, high: 9, whole: true}
"""
FAST = ["train.steps=3", "train.validate_every=1"]


def error_of(settings):
    """Least at log_mel 1 and si_sdr 0.02."""
    return abs(settings.loss.log_mel - 1.0) + (0.0 if settings.loss.si_sdr else 5.0)


def bowl(settings, directory, report):
    """In place of a training: three validations that come down to the error."""
    directory.mkdir(parents=True, exist_ok=True)
    for step in (1, 2, 3):
        report(step, {"score": error_of(settings) + 3 - step})
    return error_of(settings)


def table(out):
    with open(out / "results.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def test_a_search_ranks_its_trials_cuts_poor_ones_off_and_writes_the_best(tmp_path, space):
    best = search(space, None, FAST, tmp_path / "out", bowl)
    rows = table(tmp_path / "out")
    assert len(rows) == 8
    whole = [row for row in rows if row["state"] == "complete"]
    cut = [row for row in rows if row["state"] == "pruned"]
    assert len(whole) + len(cut) == 8 and cut
    scores = [float(row["score"]) for row in whole]
    assert scores == sorted(scores)
    assert best["score"] == pytest.approx(scores[0])
    assert all(row["step"] == "2" for row in cut)  # the first validation is spared, the second one decides
    for row in whole:
        expected = abs(float(row["loss.log_mel"]) - 1.0) + (0.0 if float(row["loss.si_sdr"]) else 5.0)
        assert float(row["score"]) == pytest.approx(expected)
        assert 0 <= int(row["train.warmup"]) <= 9
    from enhance.settings import load_settings

    again = load_settings(tmp_path / "out" / "best.yaml")
    assert error_of(again) == pytest.approx(scores[0])
    assert again.train.steps == 3


def test_a_killed_search_goes_on_where_it_was(tmp_path, space):
    seen = []

    def dies(settings, directory, report):
        seen.append(directory.name)
        report(1, {"score": 9.0})
        if len(seen) == 3:
            raise KeyboardInterrupt
        return bowl(settings, directory, lambda step, scores: None)

    with pytest.raises(KeyboardInterrupt):
        search(space, None, FAST, tmp_path / "out", dies)
    _leave_running(tmp_path / "out")
    taken_up = []

    def goes_on(settings, directory, report):
        taken_up.append((directory.name, settings.loss.log_mel))
        return error_of(settings)

    search(space, None, FAST, tmp_path / "out", goes_on, trials=5)
    assert taken_up[0] == ("0002", pytest.approx(_params_of(tmp_path / "out", 2)["loss.log_mel"]))
    complete = [row for row in table(tmp_path / "out") if row["state"] == "complete"]
    assert len(complete) == 5
    search(space, None, FAST, tmp_path / "out", goes_on, trials=5)
    assert len(taken_up) == 3  # nothing is left to do


def _study(out):
    import optuna
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(out / "study.log")))
    return optuna.load_study(study_name="by score", storage=storage)


def _params_of(out, number):
    return _study(out).trials[number].params


def _leave_running(out):
    """An interrupt marks the trial as failed; a SIGKILL does not: take the line with the mark away."""
    lines = (out / "study.log").read_text().splitlines(keepends=True)
    (out / "study.log").write_text("".join(lines[:-1]))
    assert _study(out).trials[2].state.name == "RUNNING"


@pytest.mark.parametrize("lost", [1, 40, 10_000_000])
def test_a_search_goes_on_after_a_full_disk_cut_its_journal_short(tmp_path, space, lost):
    search(space, None, FAST, tmp_path / "out", bowl, trials=3)
    journal = tmp_path / "out" / "study.log"
    journal.write_bytes(journal.read_bytes()[: -min(lost, journal.stat().st_size - 10)])
    for trials in (4, 5):
        search(space, None, FAST, tmp_path / "out", bowl, trials=trials)
    whole = [row for row in table(tmp_path / "out") if row["state"] in ("complete", "pruned")]
    assert len(whole) == 5


def test_a_directory_of_another_search_is_refused_and_wider_ranges_are_not(tmp_path, space):
    best = search(space, None, FAST, tmp_path / "out", bowl, trials=2)
    for change in ("loss.magnitude=0.5", "train.best_by=si_sdr"):
        with pytest.raises(ConfigError, match="out: holds a search with other settings"):
            search(space, None, [*FAST, change], tmp_path / "out", bowl)
    for old, new in (("[0.0, 0.02]", "[0.0, 0.05]"), ("log: true", "log: false")):
        (tmp_path / "other.yaml").write_text(SPACE.replace(old, new))
        with pytest.raises(ConfigError, match=r"out: holds a search with other choices of (loss|train)\."):
            search(tmp_path / "other.yaml", None, FAST, tmp_path / "out", bowl)
    (tmp_path / "wider.yaml").write_text(SPACE.replace("high: 3.0", "high: 4.0") + "  loss.complex: {choices: [1.0]}\n")
    search(tmp_path / "wider.yaml", None, FAST, tmp_path / "out", bowl, trials=4)
    assert len(table(tmp_path / "out")) == 4
    assert search(space, None, FAST, tmp_path / "out", bowl, trials=2)["score"] <= best["score"]


def test_a_diverging_trial_is_named_and_the_search_goes_on(tmp_path, space):
    def diverges(settings, directory, report):
        raise TrainingError(directory, "step 50: not finite: loss", mend="lower train.rate")

    with pytest.raises(TrainingError, match="no trial came to its end"):
        search(space, None, FAST, tmp_path / "out", diverges, trials=2)
    assert [row["problem"] for row in table(tmp_path / "out")] == ["step 50: not finite: loss"] * 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("space: {loss.logmel: {low: 0.1, high: 1.0}}", "loss.logmel: unknown key 'logmel'; did you mean 'log_mel'"),
        ("space: {train.steps: {low: 0, high: 3, whole: true}}", "train.steps: steps must be at least 1"),
        ("space: {train.rate: {low: 2.0, high: 1.0}}", "low must lie below high"),
        ("space: {train.rate: {low: 0.0, high: 1.0, log: true}}", "a logarithmic range starts above 0"),
        ("space: {train.rate: {choices: [1.0], low: 0.0, high: 1.0}}", "either choices, or low and high"),
        ("trials: 3", "space must name at least one setting"),
    ],
)
def test_a_space_that_does_not_fit_is_refused_before_any_trial(tmp_path, text, words):
    (tmp_path / "space.yaml").write_text(text + "\n")
    with pytest.raises(ConfigError, match=words):
        search(tmp_path / "space.yaml", None, FAST, tmp_path / "out", bowl)
    assert not (tmp_path / "out" / "trials").exists()


NUMBERS = {"low": 1.0, "high": 8.0}
PLAN = {
    "trials": 8, "startup": 2, "spared": 1,
    "space": {"loss.log_mel": NUMBERS, "loss.si_sdr": {"choices": [0.0, 1.0]}},
}  # fmt: skip


def trials_of(plan, out):
    out.mkdir()
    (out / "space.yaml").write_text(json.dumps(plan))
    search(out / "space.yaml", None, ["train.steps=3", "train.validate_every=1"], out, bowl)
    return [(row["trial"], row["state"], row["step"], row["loss.log_mel"], row["loss.si_sdr"]) for row in table(out)]


@pytest.fixture(scope="module")
def usual_trials(tmp_path_factory):
    return trials_of(PLAN, tmp_path_factory.mktemp("search") / "usual")


@pytest.mark.parametrize(
    "change",
    [
        {"trials": 6}, {"seed": 1}, {"pruner": "none"}, {"startup": 5}, {"spared": 2},
        {"space": PLAN["space"] | {"loss.si_sdr": {"choices": [0.0, 2.0]}}},
        *({"space": PLAN["space"] | {"loss.log_mel": NUMBERS | change}} for change in (
            {"low": 2.0}, {"high": 5.0}, {"log": True}, {"whole": True},
        )),
    ],
    ids=str,
)  # fmt: skip
def test_every_option_of_a_search_changes_its_trials(tmp_path, usual_trials, change):
    assert trials_of(PLAN | change, tmp_path / "other") != usual_trials


def test_the_sampler_decides_once_there_are_trials_to_learn_from(tmp_path):
    learnt, drawn = (
        trials_of(PLAN | {"trials": 13, "pruner": "none", "sampler": sampler}, tmp_path / sampler)
        for sampler in ("tpe", "random")
    )
    assert len(learnt) == len(drawn) == 13
    apart = {row[0] for row in set(learnt) ^ set(drawn)}
    assert apart <= {"0010", "0011", "0012"} and len(apart) > 1  # Optuna's first ten are drawn either way


def test_a_search_makes_the_same_trials_twice(tmp_path, usual_trials):
    assert trials_of(PLAN, tmp_path / "again") == usual_trials


def test_a_real_search_trains_each_trial(tmp_path, train_sounds, tiny_run):
    from enhance.train import RunOptions, Trainer

    (tmp_path / "space.yaml").write_text("trials: 2\nspace: {loss.log_mel: {low: 0.1, high: 1.0}}\n")

    def run(settings, directory, report):
        trainer = Trainer(settings, *train_sounds, directory, RunOptions(on_validation=report))
        trainer.run()
        return trainer.ranking.entries[0][0]

    best = search(tmp_path / "space.yaml", None, [*tiny_run, "train.steps=2"], tmp_path / "out", run)
    assert (best["model"] / "best.pt").is_file()
    assert len({row["score"] for row in table(tmp_path / "out")}) == 2
