"""The embedded run beside the run with a real Kaldi: when do they agree, and what does the table say?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from am.kaldi_compare import compare_runs, table
from am.kaldi_scoring import check_counts
from harness.config import load_config
from harness.errors import ConfigError, DataDirError, DecodeError, StageError
from hmm.gmm import SplitConfig
from hmm.kaldi_schedule import schedule_words
from hmm.ladder_config import DeltasConfig, LadderConfig, SatConfig
from kaldi_bridge.feature_config import FeatureConfig, read_config
from tests.report_work import put

ROOT = Path(__file__).resolve().parents[2]


def stamp(work: Path, number: int, cpu: float | None, *, resumed: bool = False) -> None:
    file = work / f"exp/stamps/stage{number}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"seen": {}, "title": "a stage", "cpu_seconds": cpu, "resumed": resumed}))


def two_runs(tmp_path: Path, kaldi_errors: int, *, last_seven: int | None = None) -> tuple[Path, Path]:
    """mono with 1 or 3 errors of 10 words, by turns, in the embedded run; as many as given in Kaldi's."""
    embedded, kaldi = tmp_path / "embedded", tmp_path / "kaldi"
    put(embedded, "clean", lambda utterance: 1 if int(utterance[1]) % 2 else 3, model="mono")
    many = kaldi_errors if last_seven is None else last_seven
    put(kaldi, "clean", lambda utterance: kaldi_errors if utterance[1] == "0" else many, model="mono")
    return embedded, kaldi


@pytest.mark.parametrize(("errors", "agrees"), [(2, True), (0, False), (5, False)])
def test_the_runs_agree_where_kaldis_rate_lies_within_the_embedded_interval(
    tmp_path: Path, errors: int, agrees: bool
) -> None:
    """20 % on average over eight speakers of 10 or 30 %: a 95 % interval of 0.2 +- 1.96 * 0.1 / sqrt(8), about."""
    found = compare_runs(*two_runs(tmp_path, errors))
    pair = found.pairs[0]
    assert pair.embedded_interval.value == pytest.approx(20.0)
    assert (pair.embedded_interval.low, pair.embedded_interval.high) == pytest.approx((13.1, 26.9), abs=1.5)
    assert found.agree is agrees
    assert pair.change.value == pytest.approx(10.0 * errors - 20.0)


def test_the_table_has_the_rungs_in_order_and_the_cpu_time_of_every_stage(tmp_path: Path) -> None:
    embedded, kaldi = two_runs(tmp_path, 2)
    for work in (embedded, kaldi):
        for model in ("ligru", "tri3b", "tri1", "tri2b"):
            put(work, "clean", {"a": 1, "b": 2}, model=model)
    put(kaldi, "noisy", {"a": 1, "b": 2}, model="tri3b")
    stamp(embedded, 6, 25.6)
    stamp(kaldi, 6, 43.3, resumed=True)
    stamp(kaldi, 5, 4.8)
    (kaldi / "exp/log/kaldi").mkdir(parents=True)
    (kaldi / "exp/log/kaldi/cpu_seconds").write_text(
        "exp/clean/mono 6.0\nscore exp/clean/mono 1.0\nexp/clean/mono 6.5\n"
    )
    text = table(compare_runs(embedded, kaldi), title="Both", command="a command", about="On a machine.")
    rows = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| clean |")]
    assert rows == ["mono", "tri1", "tri2b", "tri3b", "ligru"]
    assert "**All 5 word error rates agree**" in text
    assert "| 5 | a stage |  | 4.8 |" in text
    assert "| 6 | a stage | ≥ 25.6 | ≥ 43.3 |" in text
    assert "| exp/clean/mono | 6.5 |" in text, "the last run of a step counts"
    assert "left out: clean/tri3b/noisy/open" in text


def test_a_line_of_the_times_that_a_kill_cut_short_is_named(tmp_path: Path) -> None:
    embedded, kaldi = two_runs(tmp_path, 2)
    (kaldi / "exp/log/kaldi").mkdir(parents=True)
    (kaldi / "exp/log/kaldi/cpu_seconds").write_text("exp/clean/mono 6.0\nexp/clean/tri1")
    with pytest.raises(StageError, match=r"cpu_seconds: holds a line that a kill cut short.*tri1"):
        compare_runs(embedded, kaldi)


def test_of_many_rates_one_may_lie_a_little_outside_by_chance(tmp_path: Path) -> None:
    """Bonferroni: of 10, each interval is of 99.5 %, 2.81 instead of 1.96 standard errors: up to 20 + 2.81 * 3.5."""
    embedded, kaldi = two_runs(tmp_path, 2, last_seven=3)  # 28.75 %
    alone = compare_runs(embedded, kaldi)
    assert not alone.agree
    assert "**no** |" in table(alone, title="Both", command="a command")
    for number in range(9):
        for work in (embedded, kaldi):
            put(work, "clean", {"a": 1, "b": 2}, model=f"model{number}")
    found = compare_runs(embedded, kaldi)
    pair = next(pair for pair in found.pairs if pair.embedded.model == "mono")
    assert not pair.agrees_alone
    assert (pair.deciding.low, pair.deciding.high) == pytest.approx((10.1, 29.9), abs=2.0)
    assert found.agree
    text = table(found, title="Both", command="a command")
    assert "**All 10 word error rates agree**" in text
    assert "| as one of 10 |" in text
    assert "(99.5 %) with which all 10 hold together" in text


@pytest.mark.parametrize(("errors", "code"), [(2, 0), (5, 1)])
def test_the_exit_code_tells_whether_they_agree(tmp_path: Path, errors: int, code: int) -> None:
    embedded, kaldi = two_runs(tmp_path, errors)
    out = tmp_path / "both.md"
    words = ["am", "kaldi-compare", "--embedded", str(embedded), "--kaldi", str(kaldi), "--out", str(out)]
    ended = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == code
    assert ("is outside 1" in ended.stdout) is bool(code)
    assert str(tmp_path) not in out.read_text(), "a file to be committed names no machine's folders"


def test_runs_without_a_decoding_in_common_are_refused(tmp_path: Path) -> None:
    embedded, _ = two_runs(tmp_path, 2)
    put(tmp_path / "other", "clean", {"a": 1, "b": 1}, model="lstm")
    with pytest.raises(DataDirError, match="has no scored decoding in common"):
        compare_runs(embedded, tmp_path / "other")


def test_kaldis_own_count_of_the_errors_must_be_ours(tmp_path: Path) -> None:
    score = {"lm_weight": 12, "word_ins_penalty": 0.5, "words": 106, "ins": 5, "del": 0, "sub": 10}
    (tmp_path / "score.json").write_text(json.dumps(score))
    with pytest.raises(DecodeError, match=r"wer_12_0.5: holds no word error rate"):
        check_counts(tmp_path)
    (tmp_path / "wer_12_0.5").write_text("%WER 14.15 [ 15 / 106, 5 ins, 0 del, 10 sub ]\n%SER 35.71 [ 10 / 28 ]\n")
    assert check_counts(tmp_path) == "%WER 14.15 [ 15 / 106, 5 ins, 0 del, 10 sub ]"
    (tmp_path / "wer_12_0.5").write_text("%WER 15.09 [ 16 / 106, 5 ins, 0 del, 11 sub ]\n")
    with pytest.raises(DecodeError, match="Kaldi counts 16 errors in 106 words, am score 15 in 106"):
        check_counts(tmp_path)


SCRIPTS = {"mono": "train_mono", "tri1": "train_deltas", "tri2b": "train_lda_mllt", "tri3b": "train_sat"}


@pytest.mark.kaldi
@pytest.mark.parametrize(("rung", "script"), SCRIPTS.items())
def test_the_default_ladder_is_said_in_the_words_of_the_scripts_own_defaults(
    rung: str, script: str, kaldi_root: Path
) -> None:
    source = (kaldi_root / f"egs/wsj/s5/steps/{script}.sh").read_text()
    own = {}
    for line in source.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.isidentifier() and name not in own:
            own[name.replace("_", "-")] = value.split("#")[0].strip().rstrip(";").strip('"')
    words = schedule_words(rung, LadderConfig())
    options = words if rung == "mono" else words[:-2]
    said = dict(zip([name.removeprefix("--") for name in options[::2]], options[1::2], strict=True))
    assert len(said) > 6
    for name, value in said.items():
        if name == "splice-opts":
            assert value == "--left-context=4 --right-context=4"  # splice-feats' own
        else:
            assert _same(own[name], value), name


def _same(first: str, second: str) -> bool:
    return first == second or (first.replace(".", "").isdigit() and float(first) == float(second))


def test_the_toy_ladder_reaches_kaldis_scripts_with_its_sizes() -> None:
    config = load_config(LadderConfig, ROOT / "cfg/hmm/ladder_toy.yaml")
    assert schedule_words("tri1", config)[-2:] == ["200", "1000"]
    mono = schedule_words("mono", config)
    assert mono[mono.index("--totgauss") + 1] == "400"
    assert mono[mono.index("--num-iters") + 1] == "25"


def test_a_setting_that_kaldis_script_has_no_option_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="tri1: Kaldi's script has no option for 'split'"):
        schedule_words("tri1", LadderConfig(deltas=DeltasConfig(split=SplitConfig(power=0.3))))
    assert schedule_words("tri3b", LadderConfig(sat=SatConfig(adapt=(2, 4))))


def test_kaldis_features_are_made_with_the_options_of_ours() -> None:
    assert read_config(ROOT / "cfg/kaldi/mfcc.conf") == FeatureConfig()
