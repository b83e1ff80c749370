import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from enhance.gate import GateLimits, read_scores, read_word_errors, score_checks, sound_checks, step_checks, wer_check
from enhance.in_step import Step, delay_of, steps_of
from enhance.verdict import GateError, Verdict
from harness.config import load_config
from harness.errors import AudioError, ConfigError, DataDirError
from kaldi_bridge.data_dir import DataDir

ROOT = Path(__file__).parents[3]
RATE = 16000


def named(checks):
    return {check.name: check for check in checks}


def only(metric="pesq", **changes):
    """Limits that judge one metric alone."""
    return GateLimits(**{"mean": {metric: 4.0}, "harm": {}} | changes)


def copy_of(folder, out, change=lambda name, sound: (sound, RATE)):
    """A data directory with the sounds of another, changed; change gives None to leave an utterance out."""
    data = DataDir.read(folder)
    out.mkdir()
    places = {}
    for name, place in (data.wav_scp or {}).items():
        changed = change(name, soundfile.read(place, dtype="float32")[0])
        if changed is not None:
            places[name] = str(out / f"{name}.wav")
            soundfile.write(places[name], *changed, "FLOAT")
    DataDir.build(out, utt2spk={name: data.utt2spk[name] for name in places}, wav_scp=places).write_tables(out)
    return out


def write_scores(path, rows, metrics=("pesq",)):
    lines = [f"utterance,speaker,{','.join(metrics)},problem"]
    lines += [f"{name},{speaker},{','.join(map(str, values))}," for name, (speaker, *values) in rows.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_errors(folder, rows):
    folder.mkdir()
    lines = ["utterance\tspeaker\twords\tins\tdel\tsub\thypothesis"]
    lines += [f"{name}\t{speaker}\t{words}\t0\t0\t{errors}\tA 'B" for name, (speaker, words, errors) in rows.items()]
    (folder / "per_utt.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("lag", [0, 1, 7, -13, 400])
@pytest.mark.parametrize("gain", [1.0, -0.2])
def test_the_delay_is_the_shift_that_was_made(lag, gain):
    sound = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    shifted = np.concatenate([np.zeros(lag), sound]) if lag >= 0 else sound[-lag:]
    noise = 0.3 * np.random.default_rng(1).standard_normal(len(shifted))
    assert delay_of(sound + 5.0, gain * shifted + 0.05 * noise - 3.0) == lag  # an offset does not matter


def test_the_delay_is_where_the_plain_correlation_is_largest():
    rng = np.random.default_rng(2)
    for length in (5, 20, 33):
        sound, output = rng.standard_normal(20), rng.standard_normal(length)
        plain = np.correlate(output - output.mean(), sound - sound.mean(), "full")
        assert delay_of(sound, output) == np.argmax(np.abs(plain)) - (len(sound) - 1)


def test_silence_has_no_delay():
    with pytest.raises(AudioError, match="output: is silent"):
        delay_of(np.arange(10.0), np.full(10, 0.5))


def test_each_way_to_be_out_of_step_is_a_check_that_names_the_utterance(clean_dir, tmp_path):
    def change(name, sound):
        match name:
            case "ann-1":
                return np.concatenate([np.zeros(3, np.float32), sound[:-3]]), RATE
            case "ann-2":
                return sound[:-5], RATE
            case "bob-1":
                return sound[::2], RATE // 2
            case "bob-2":
                return np.zeros_like(sound), RATE
        return None

    estimate = copy_of(clean_dir, tmp_path / "estimate", change)
    steps = {step.utterance: step for step in steps_of(clean_dir, estimate, jobs=1)}
    assert steps.keys() == {"ann-1", "ann-2", "bob-1", "bob-2"}
    scores = write_scores(
        tmp_path / "scores.csv", {name: (name[:3], 4.5) for name in DataDir.read(clean_dir).utterances}
    )
    found = named(sound_checks(clean_dir, estimate, scores, only(), jobs=1))
    broken = {name: check.worst for name, check in found.items() if not check.kept}
    assert broken == {
        "missing utterances": (("cyd-1", "missing"),),
        "unreadable, or silent output": (("bob-2", "output: is silent"),),
        "another sample rate": (("bob-1", "8000 Hz for 16000 Hz"),),
        "another length": (("ann-2", "-5 samples"),),
        "longest delay": (("ann-1", "+3 samples"),),
    }
    assert (found["longest delay"].value, found["longest delay"].broken_by) == (3, 3)
    assert named(sound_checks(clean_dir, estimate, scores, only(max_delay=3), jobs=1))["longest delay"].kept


def test_a_second_look_sees_the_recordings_that_are_there_now(clean_dir, tmp_path):
    for lag in (2, 5):
        late = copy_of(
            clean_dir, tmp_path / str(lag), lambda _, sound, lag=lag: (np.concatenate([np.zeros(lag), sound]), RATE)
        )
        shutil.rmtree(tmp_path / "there", ignore_errors=True)
        shutil.copytree(late, tmp_path / "there")
        assert {step.delay for step in steps_of(clean_dir, tmp_path / "there", jobs=1)} == {lag}


def test_silence_that_stays_silence_is_no_harm(clean_dir, tmp_path):
    silence = copy_of(clean_dir, tmp_path / "silence", lambda _, sound: (np.zeros_like(sound), RATE))
    for step in steps_of(silence, silence, jobs=1):
        assert (step.longer, step.delay, step.problem) == (0, None, "")


def test_the_latest_utterances_come_first_and_no_utterance_at_all_keeps_no_limit():
    steps = [Step(utterance=f"u{n}", rates=(8000, 8000), longer=0, delay=delay) for n, delay in enumerate((2, -9, 0))]
    (delay,) = [check for check in step_checks(steps) if check.name == "longest delay"]
    assert delay.worst == (("u1", "-9 samples"), ("u0", "+2 samples"))
    assert "BROKEN longest delay: 9 samples, at most 0 samples: 9 samples beyond; worst: u1 (-9" in delay.line()
    (nothing,) = [check for check in step_checks([]) if check.name == "longest delay"]
    assert not nothing.kept
    assert "could not be judged" in nothing.line()


def test_a_mean_is_judged_with_its_interval_over_speakers():
    scores = {"a1": {"pesq": 4.0}, "a2": {"pesq": 4.0}, "b1": {"pesq": 4.6}, "b2": {"pesq": 4.6}}
    utt2spk = {name: name[0] for name in scores}
    mean = named(score_checks(scores, utt2spk, only(mean={"pesq": 4.3})))["mean pesq"]
    assert mean.kept
    assert (mean.value, mean.low, mean.high) == pytest.approx((4.3, 4.0, 4.6))  # a quarter of the draws has one speaker
    unsure = named(score_checks(scores, utt2spk, only(mean={"pesq": 4.3}, certain=True)))["mean pesq"]
    assert not unsure.kept
    assert unsure.broken_by == pytest.approx(0.3)
    broken = named(score_checks(scores, utt2spk, only(mean={"pesq": 4.5})))["mean pesq"]
    assert broken.broken_by == pytest.approx(0.2)
    assert [name for name, _ in broken.worst] == ["a1", "a2", "b1", "b2"]
    line = broken.line()
    assert line.startswith("BROKEN mean pesq: 4.300 MOS-LQO [4, 4.600], at least 4.500 MOS-LQO: 0.200 MOS-LQO beyond;")


def test_a_metric_that_is_better_when_lower_has_an_upper_limit():
    scores = {name: {"log_mel": value} for name, value in {"a": 0.1, "b": 0.9, "c": 0.2}.items()}
    limits = only(mean={"log_mel": 0.3}, harm={"log_mel": 0.5}, max_harmed=0.4)
    found = named(score_checks(scores, dict.fromkeys(scores, "x"), limits))
    assert found["mean log_mel"].value == pytest.approx(0.4)
    assert found["mean log_mel"].broken_by == pytest.approx(0.1)
    assert found["mean log_mel"].worst[0] == ("b", "0.900 neper")
    harmed = found["harmed (log_mel above 0.500 neper)"]
    assert harmed.value == pytest.approx(100 / 3)
    assert harmed.kept
    stricter = only(mean={}, harm={"log_mel": 0.5}, max_harmed=0.3)
    assert not named(score_checks(scores, dict.fromkeys(scores, "x"), stricter))[harmed.name].kept


def test_utterances_without_a_value_are_counted_and_enter_no_mean(tmp_path):
    file = write_scores(tmp_path / "scores.csv", {"a": ("x", ""), "b": ("x", 4.2), "c": ("y", 4.4)})
    found = named(score_checks(*read_scores(tmp_path), only()))
    assert found["mean pesq"].value == pytest.approx(4.3)
    assert found["without pesq"].value == pytest.approx(100 / 3)
    assert found["without pesq"].worst == (("a", "no value"),)
    assert not found["without pesq"].kept
    assert named(score_checks(*read_scores(file), only(max_unscored=0.4)))["without pesq"].kept
    nothing = write_scores(tmp_path / "none.csv", {"a": ("x", "")})
    assert not named(score_checks(*read_scores(nothing), only(max_unscored=1.0)))["mean pesq"].kept


def test_scores_of_other_metrics_or_utterances_are_refused(clean_dir, tmp_path):
    scores = write_scores(tmp_path / "scores.csv", {"ann-1": ("ann", 4.2)})
    with pytest.raises(ConfigError, match="stoi has a limit and was not scored"):
        score_checks(*read_scores(scores), only("stoi"))
    with pytest.raises(DataDirError, match=r"does not have the utterances of .*first: ann-2"):
        sound_checks(clean_dir, clean_dir, scores, only(), jobs=1)
    (tmp_path / "bad.csv").write_text("utterance,pesq\nann-1,good\n")
    with pytest.raises(DataDirError, match=r"is no table of scores .*good"):
        read_scores(tmp_path / "bad.csv")
    with pytest.raises(DataDirError, match="cannot be read"):
        read_scores(tmp_path / "missing.csv")


def test_the_rise_of_the_word_error_rate_is_judged_with_its_interval(tmp_path):
    before = write_errors(tmp_path / "before", {"a1": ("a", 6, 1), "a2": ("a", 4, 0), "b1": ("b", 10, 2)})
    after = write_errors(tmp_path / "after", {"a1": ("a", 6, 3), "a2": ("a", 4, 0), "b1": ("b", 10, 2)})
    check = wer_check(before, after, GateLimits(max_wer_rise=10.0))
    assert (check.value, check.low, check.high) == pytest.approx((10.0, 0.0, 20.0))  # 2 errors more in 20 words
    assert check.kept
    assert check.worst == (("a1", "+2 errors"),)
    assert wer_check(before, after, GateLimits(max_wer_rise=9.0)).broken_by == pytest.approx(1.0)
    assert wer_check(before, after, GateLimits(max_wer_rise=10.0, certain=True)).broken_by == pytest.approx(10.0)
    assert wer_check(after, before, GateLimits(max_wer_rise=0.0)).kept


def test_decodings_of_other_references_are_refused(tmp_path):
    before = write_errors(tmp_path / "before", {"a1": ("a", 6, 1)})
    for folder, rows in (("words", {"a1": ("a", 7, 1)}), ("more", {"a1": ("a", 6, 1), "a2": ("a", 1, 0)})):
        with pytest.raises(DataDirError, match="is missing or has other words"):
            wer_check(before, write_errors(tmp_path / folder, rows), GateLimits())
    with pytest.raises(DataDirError, match="cannot be read"):
        read_word_errors(tmp_path / "none")
    with pytest.raises(DataDirError, match="holds no words"):
        read_word_errors(write_errors(tmp_path / "silent", {"a1": ("a", 0, 0)}))
    (tmp_path / "bad.tsv").write_text("utterance\tspeaker\na1\ta\n")
    with pytest.raises(DataDirError, match="is no table"):
        read_word_errors(tmp_path / "bad.tsv")


def test_the_file_of_limits_states_the_defaults_and_is_read_strictly(tmp_path):
    assert load_config(GateLimits, ROOT / "cfg" / "gate.yaml") == GateLimits()
    for text, problem in {
        "mean: {peskq: 4}": "unknown metric 'peskq'", "max_harmed: 2.0": "must lie in", "max_delay: -1": "negative",
        "max_unscored: -0.1": "must lie in", "max_wer: 1.0": "did you mean 'max_wer_rise'",
    }.items():  # fmt: skip
        (tmp_path / "limits.yaml").write_text(text)
        with pytest.raises(ConfigError, match=problem):
            load_config(GateLimits, tmp_path / "limits.yaml")


def test_a_verdict_is_written_and_demanded(tmp_path):
    checks = score_checks({"a": {"pesq": 3.5}}, {"a": "x"}, only())
    verdict = Verdict(of={"after": "decoded"}, limits={"mean": {"pesq": 4.0}}, checks=tuple(checks))
    verdict.write(tmp_path / "gate.json")
    plain = json.loads((tmp_path / "gate.json").read_text())
    assert plain["kept"] is False
    assert (plain["checks"][0]["name"], plain["checks"][0]["broken_by"]) == ("mean pesq", 0.5)
    assert plain["checks"][0]["worst"] == [["a", "3.500 MOS-LQO"]]
    with pytest.raises(GateError, match="decoded: breaks 1 of 2 limits: mean pesq"):
        verdict.demand(tmp_path / "gate.json")


def test_the_verb_exits_with_1_where_a_limit_is_broken_and_with_0_when_only_asked_to_warn(tmp_path, caplog):
    from enhance.__main__ import app

    before = write_errors(tmp_path / "before", {"a1": ("a", 10, 1)})
    after = write_errors(tmp_path / "after", {"a1": ("a", 10, 2)})
    call = ["gate", "--before", str(before), "--after", str(after), "--out", str(tmp_path / "gate.json")]
    said = CliRunner().invoke(app, call)
    assert said.exit_code == 1
    assert isinstance(said.exception, GateError)
    assert "BROKEN rise of the WER: 10 % absolute [10, 10], at most 1 % absolute: 9 % absolute beyond" in said.stdout
    assert CliRunner().invoke(app, [*call, "--warn"]).exit_code == 0
    assert "the gate would stop here: breaks 1 of 1 limits" in caplog.text
    assert CliRunner().invoke(app, [*call, "--set", "max_wer_rise=10.0"]).exit_code == 0
    assert json.loads((tmp_path / "gate.json").read_text())["kept"] is True


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "nothing to judge"), (["--reference", "a", "--estimate", "b"], "--scores together"),
        (["--after", "a"], "--before and --after together"),
    ],
)  # fmt: skip
def test_the_verb_refuses_half_of_what_it_needs(tmp_path, options, problem):
    from enhance.__main__ import app

    said = CliRunner().invoke(app, ["gate", "--out", str(tmp_path / "gate.json"), *options])
    assert said.exit_code == 1
    assert problem in str(said.exception)
    assert not (tmp_path / "gate.json").exists()


def test_scoring_with_the_gate_lets_a_copy_pass_and_stops_at_harm(clean_dir, tmp_path):
    pytest.importorskip("pesq", reason="PESQ is not installed")
    from enhance.__main__ import app

    def score(estimate, *options):
        call = ["score", "--reference", str(clean_dir), "--estimate", str(estimate), "--out", str(tmp_path / "scores")]
        said = CliRunner().invoke(app, [*call, "--metrics", "si_sdr,pesq", "--jobs", "1", *options])
        return said, json.loads((tmp_path / "scores" / "gate.json").read_text())

    said, verdict = score(clean_dir, "--gate")
    assert said.exit_code == 0, said.output
    assert verdict["kept"] is True
    values = {check["name"]: check["value"] for check in verdict["checks"]}
    assert values["mean pesq"] == pytest.approx(4.644, abs=1e-3)
    assert values["longest delay"] == 0

    late = copy_of(clean_dir, tmp_path / "late", lambda _, sound: (np.concatenate([sound, np.zeros(9, "f4")]), RATE))
    said, verdict = score(late, "--gate")  # no utterance has a score: the gate says why
    assert isinstance(said.exception, GateError)
    broken = {check["name"]: check["worst"] for check in verdict["checks"] if not check["kept"]}
    assert broken["another length"][0] == ["ann-1", "+9 samples"]

    noisy = copy_of(
        clean_dir, tmp_path / "noisy",
        lambda _, sound: (sound + 0.02 * np.random.default_rng(0).standard_normal(len(sound)).astype("f4"), RATE),
    )  # fmt: skip
    said, verdict = score(noisy, "--gate")
    assert isinstance(said.exception, GateError)
    assert "breaks 3 of 11 limits: mean si_sdr, mean pesq, harmed (pesq" in said.exception.problem
    assert "worst: " in said.stdout
    (tmp_path / "limits.yaml").write_text("mean: {si_sdr: -5.0}\nharm: {}\n")
    assert score(noisy, "--gate", "--limits", str(tmp_path / "limits.yaml"))[0].exit_code == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--limits", "cfg/gate.yaml", "--reference", "a"], "the gate, which is not asked for"),
        (["--gate"], "compares with clean speech"),
        (["--gate", "--limits", "none.yaml", "--reference", "a"], "none.yaml"),
        (["--gate", "--reference", "a", "--metrics", "stoi,pesq"], "si_sdr has a limit and is not scored"),
    ],
)  # fmt: skip
def test_scoring_refuses_a_gate_that_cannot_judge(tmp_path, options, problem):
    from enhance.__main__ import app

    said = CliRunner().invoke(app, ["score", "--estimate", "b", "--out", str(tmp_path / "scores"), *options])
    assert said.exit_code == 1
    assert problem in str(said.exception)
