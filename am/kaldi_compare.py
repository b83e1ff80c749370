"""A recipe's embedded run beside its run with a real Kaldi: word error rates and CPU time, in one table.

Two runs agree in a word error rate where Kaldi's lies within the interval of the embedded one.  Of n rates compared at
95 % one in twenty falls outside by chance alone: what decides is the interval of 1 - 0.05 / n (Bonferroni), with
which all n hold together with 95 %.  The 95 % interval and the paired difference with its own interval stand beside it,
for a reader who wants the sharper question.  The bootstrap draws speakers; utterances where there are fewer speakers
than harness.bootstrap.FEW.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from am.bootstrap import Difference, Interval, Unit, difference, interval
from am.results import TESTS, TRAININGS, Decoding, read_decodings
from harness.bootstrap import FEW
from harness.errors import DataDirError, StageError

RUNGS = ("mono", "tri1", "tri2b", "tri3b", "ligru")

Key = tuple[str, str, str, str]  # training, model, test, language model


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One model on one test set, by both."""

    embedded: Decoding
    kaldi: Decoding
    embedded_interval: Interval
    kaldi_interval: Interval
    deciding: Interval  # of the embedded rate, wide enough for all that are compared to hold together
    change: Difference  # Kaldi's less ours

    @property
    def agrees(self) -> bool:
        """Whether Kaldi's word error rate lies within the deciding interval of ours."""
        return self._within(self.deciding)

    @property
    def agrees_alone(self) -> bool:
        """Whether it lies within the 95 % interval of ours."""
        return self._within(self.embedded_interval)

    def _within(self, found: Interval) -> bool:
        return found.low <= self.kaldi.errors.percent <= found.high


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """CPU seconds of one stage, user and system of all its processes; None where a run has no stamp of it."""

    number: int
    title: str
    embedded: float | None
    kaldi: float | None
    partial: bool  # a run went on where it had stopped: its seconds are those of the last part


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """All that two work directories have in common."""

    pairs: tuple[Pair, ...]
    stages: tuple[StageTime, ...]
    steps: Mapping[str, float]  # CPU seconds of each script of Kaldi's
    only_one: tuple[str, ...]  # decodings that one of the two lacks

    @property
    def agree(self) -> bool:
        return all(pair.agrees for pair in self.pairs)


def compare_runs(embedded: Path, kaldi: Path) -> RunComparison:
    """Read both work directories.  Raises DataDirError where they have no decoding in common."""
    ours, theirs = (_decodings(work) for work in (embedded, kaldi))
    common = sorted(ours.keys() & theirs.keys(), key=_order)
    if not common:
        raise DataDirError(kaldi, f"has no scored decoding in common with {embedded}", mend="run stage 9 of both")
    return RunComparison(
        pairs=tuple(_pair(ours[key], theirs[key], len(common)) for key in common),
        stages=_stage_times(embedded / "exp", kaldi / "exp"),
        steps=_steps(kaldi / "exp/log/kaldi/cpu_seconds"),
        only_one=tuple("/".join(key) for key in sorted(ours.keys() ^ theirs.keys(), key=_order)),
    )


def _decodings(work: Path) -> dict[Key, Decoding]:
    return {(one.training, one.model, one.test, one.lm): one for one in read_decodings(work / "exp")}


def _order(key: Key) -> tuple[int, int, int, Key]:
    training, model, test, _ = key
    places = [list(names).index(name) if name in names else len(names) for names, name in
              ((TRAININGS, training), (RUNGS, model), (TESTS, test))]  # fmt: skip
    return places[0], places[1], places[2], key


def _pair(ours: Decoding, theirs: Decoding, compared: int) -> Pair:
    by = drawn(ours)
    return Pair(
        embedded=ours,
        kaldi=theirs,
        embedded_interval=interval(ours.errors, by=by),
        kaldi_interval=interval(theirs.errors, by=by),
        deciding=interval(ours.errors, by=by, level=1 - 0.05 / compared),
        change=difference(ours.errors, theirs.errors, by=by),
    )


def drawn(decoding: Decoding) -> Unit:
    """What the bootstrap draws: speakers, or utterances where the speakers are too few for an interval of any use."""
    return "speaker" if len(set(decoding.errors.speakers)) >= FEW else "utterance"


def _stage_times(embedded: Path, kaldi: Path) -> tuple[StageTime, ...]:
    ours, theirs = _stamps(embedded), _stamps(kaldi)
    found = []
    for number in sorted(ours.keys() | theirs.keys()):
        first, second = ours.get(number, {}), theirs.get(number, {})
        found.append(
            StageTime(
                number=number, title=str((first or second)["title"]), embedded=first.get("cpu_seconds"),
                kaldi=second.get("cpu_seconds"), partial=bool(first.get("resumed") or second.get("resumed")),
            )
        )  # fmt: skip
    return tuple(found)


def _stamps(exp: Path) -> dict[int, dict[str, Any]]:
    found = {}
    for path in sorted(exp.glob("stamps/stage*.json")):
        try:
            stamp = json.loads(path.read_text(encoding="utf-8"))
            found[int(path.stem.removeprefix("stage"))] = {"title": stamp["title"], **stamp}
        except (ValueError, KeyError, TypeError) as error:
            raise StageError(path, f"is no stamp of a stage ({error})", mend="run the stage again") from error
    return found


def _steps(file: Path) -> dict[str, float]:
    """CPU seconds by step, of its last run."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    try:
        return {name: float(seconds) for name, _, seconds in (line.rpartition(" ") for line in lines)}
    except ValueError as error:
        mend = "remove the line; the time of that step is then not told"
        raise StageError(file, f"holds a line that a kill cut short ({error})", mend=mend) from error


def table(comparison: RunComparison, *, title: str, command: str, about: str = "") -> str:
    """The comparison as Markdown."""
    disagreeing = [pair for pair in comparison.pairs if not pair.agrees]
    number = len(comparison.pairs)
    verdict = f"**All {number} word error rates agree**: Kaldi's lies within the interval of the embedded run's."
    if disagreeing:
        which = ", ".join(f"{_model(pair)} on {TESTS[pair.embedded.test]}" for pair in disagreeing)
        verdict = f"**{len(disagreeing)} of {number} word error rates do not agree**: {which}"
    parts = [f"# {title}", f"    {command}", *([about] if about else []), verdict]
    unit = drawn(comparison.pairs[0].embedded)
    parts += [
        "## Word error rates",
        f"With 95 % intervals (bootstrap over {unit}s).{_about_together(comparison.pairs)}",
        "\n".join(_wer_rows(comparison.pairs)),
    ]
    parts += ["## CPU seconds of each stage"]
    parts += ["User and system of all processes of the stage, on the same machine.", "\n".join(_time_rows(comparison))]
    if any(stage.partial for stage in comparison.stages):
        parts.append("≥: the stage had been stopped and went on; the seconds are those of its last part.")
    if comparison.steps:
        parts += ["## CPU seconds of Kaldi's scripts", "\n".join(_step_rows(comparison.steps))]
    if comparison.only_one:
        parts.append(f"Decoded in one of the runs only, and left out: {', '.join(comparison.only_one)}.")
    return "\n\n".join(parts) + "\n"


def _about_together(pairs: tuple[Pair, ...]) -> str:
    if all(pair.agrees_alone or not pair.agrees for pair in pairs):
        return ""
    number = len(pairs)
    return (
        f" {_together(number).capitalize()}: Kaldi's lies outside of this one's 95 % interval, but inside of the wider "
        f"one ({100 - 5 / number:.1f} %) with which all {number} hold together with 95 %."
    )


def _together(number: int) -> str:
    return f"as one of {number}"


def _agreement(pair: Pair, number: int) -> str:
    return "yes" if pair.agrees_alone else _together(number) if pair.agrees else "**no**"


def _model(pair: Pair) -> str:
    return f"{pair.embedded.model} trained on {TRAININGS.get(pair.embedded.training, pair.embedded.training)}"


def _wer_rows(pairs: tuple[Pair, ...]) -> list[str]:
    rows = ["| trained on | model | test | LM | embedded WER % | Kaldi WER % | Kaldi less embedded | agrees |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    for pair in pairs:
        one = pair.embedded
        change = f"{pair.change.value:+.2f} [{pair.change.low:+.2f}, {pair.change.high:+.2f}]"
        rows.append(
            f"| {TRAININGS.get(one.training, one.training)} | {one.model} | {TESTS[one.test]} | {one.lm} "
            f"| {_wer(pair.embedded_interval)} | {_wer(pair.kaldi_interval)} | {change} "
            f"| {_agreement(pair, len(pairs))} |"
        )
    return rows


def _wer(found: Interval) -> str:
    return f"{found.value:.2f} [{found.low:.1f}, {found.high:.1f}]"


def _time_rows(comparison: RunComparison) -> list[str]:
    rows = ["| stage | | embedded | Kaldi |", "|---|---|---|---|"]
    for stage in comparison.stages:
        mark = "≥ " if stage.partial else ""
        embedded, kaldi = ("" if value is None else f"{mark}{value:.1f}" for value in (stage.embedded, stage.kaldi))
        rows.append(f"| {stage.number} | {stage.title} | {embedded} | {kaldi} |")
    return rows


def _step_rows(steps: Mapping[str, float]) -> list[str]:
    return ["| step | CPU s |", "|---|---|", *(f"| {name} | {seconds:.1f} |" for name, seconds in steps.items())]
