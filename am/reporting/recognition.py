"""The chapters on recognition: rates, what enhancement changed, by SNR and by age."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from am.bootstrap import Interval
from am.reporting import tables as cells
from am.reporting.canvas import rounded_out
from am.reporting.chapter import STYLES, VERDICT_STYLES, Chapter, Chart
from am.reporting.findings import COMPARISONS, VERDICTS, Findings, System, verdict
from am.reporting.pictures import Axis, Difference, Point, Series, curves, differences
from am.reporting.tables import Cell, Row, Table
from am.results import TESTS, TUNED_AS, age_group_of, snr_of


def matrix(findings: Findings, lm: str) -> Table:
    """Trainings and models against test conditions."""
    rows: list[Row] = [
        [system.heard, system.model, *(cells.rate(findings.rate(system, test)) for test in findings.tests)]
        for system in findings.systems
    ]
    head = ["trained on", "model", *(TESTS[test] for test in findings.tests)]
    return Table.of(f"wer_{lm}", head, rows, f"WER in per cent, {lm} language model")


def rates(findings: Findings, lm: str, main: bool) -> Chapter:
    return Chapter(
        name=f"wer-{lm}", title=f"WER %, {lm} language model", short=f"WER, {lm}",
        text=(_reading(findings),) if main else (), blocks=(matrix(findings, lm),),
    )  # fmt: skip


def _reading(findings: Findings) -> str:
    others = "; ".join(f"{TESTS[test]}: of {TESTS[of]}" for test, of in TUNED_AS.items() if test in findings.tests)
    return (
        "WER in per cent with its 95 % interval (bootstrap over speakers). Language model weight and word insertion "
        f"penalty were tuned on the development set of the same condition{others and f' ({others})'}, never on test."
    )


def what_changed(findings: Findings, lm: str) -> Chapter | None:
    """The differences with and without enhancement, as a picture and as a table."""
    drawn: list[Difference] = []
    body: list[Row] = []
    for system in findings.systems:
        for before, after in COMPARISONS:
            change = findings.change(system, before, after)
            if change is None:
                continue
            names = f"{TESTS[before]} -> {TESTS[after]}"
            drawn.append(
                Difference(system.name, names, change.value, change.low, change.high, cells.points(change),
                           VERDICT_STYLES[verdict(change)])
            )  # fmt: skip
            relative = findings.relative(system, before, change)
            body.append(
                [system.heard, system.model, names, cells.change(change), Cell(f"{relative:+.1f} %", (relative,)),
                 cells.p_value(change), cells.verdict_cell(change)]
            )  # fmt: skip
    if not drawn:
        return None
    head = ["trained on", "model", "condition", "WER points [95 % interval]", "relative", "p", "enhancement"]
    seen = {cell.kind for row in body for cell in row if isinstance(cell, Cell)}
    label = "WER points by which enhancement changed each system, with 95 % intervals; the table below has the figures"
    chart = Chart(
        title="Change of WER through enhancement", layout="pair", table=Table.of("change", head, body),
        pictures=differences(drawn, axis="change of WER in points, with 95 % interval", label=label),
        legend=tuple((VERDICT_STYLES[name], text) for name, text in VERDICTS.items() if name in seen),
    )  # fmt: skip
    text = (
        f"Paired on the same utterances. There are {len(drawn)} comparisons: of those where nothing changed, one in "
        "twenty is called a difference by chance alone.",
    )
    return Chapter(
        name="change",
        title=f"What enhancement changed ({lm} language model)",
        short="Change",
        text=text,
        blocks=(chart,),
    )


Choice = Callable[[str, str], bool]  # of utterance and speaker


def _of_utterance(table: Mapping[str, str], value: str) -> Choice:
    return lambda utterance, _: table.get(utterance) == value


def _of_speaker(table: Mapping[str, str], value: str) -> Choice:
    return lambda _, speaker: table.get(speaker) == value


def by_snr(findings: Findings, data: Path) -> Chapter | None:
    snr = snr_of(data / "test_noisy")
    levels = sorted(set(snr.values()), key=float)
    if not levels:
        return None
    choices = {f"{float(level):g} dB": _of_utterance(snr, level) for level in levels}
    places = [float(level) for level in levels]
    text = ("Clean is the WER of the clean originals of the same utterances.",)
    title = "WER against SNR"
    tests = ("clean", "noisy", "enhanced", "mixed")
    chart = _breakdown(findings, tests, "snr", title, choices, places, "SNR in dB", needed="noisy")
    return Chapter(name="snr", title="By SNR", short="SNR", text=text, blocks=(chart,)) if chart else None


def by_age(findings: Findings, data: Path) -> Chapter | None:
    ages = age_group_of(data / "test")
    groups = sorted(set(ages.values()), key=lambda group: (group == "other", len(group), group))
    if not groups:
        return None
    choices = {group: _of_speaker(ages, group) for group in groups}
    tested = {s for system, test in findings.cells for s in findings.cells[system, test].errors.speakers}
    counts = {group: sum(ages.get(speaker) == group for speaker in tested) for group in groups}
    text = ("Speakers: " + ", ".join(f"{count} aged {group}" for group, count in counts.items()) + ".",)
    places = [float(n) for n in range(len(groups))]
    chart = _breakdown(findings, tuple(TESTS), "age", "WER by age", choices, places, "age in years")
    return Chapter(name="age", title="By age in years", short="Age", text=text, blocks=(chart,)) if chart else None


def _breakdown(
    findings: Findings, tests: Sequence[str], name: str, title: str, choices: dict[str, Choice], places: list[float],
    axis: str, needed: str | None = None,
) -> Chart | None:  # fmt: skip
    """A panel for each system, a line for each test condition, a point for each part of the test set.

    needed: systems that were not tested on this condition are left out.
    """
    systems = [system for system in findings.systems if needed is None or findings.errors(system, needed)]
    panels: dict[System, list[Series]] = {}
    body: list[Row] = []
    for system in systems:
        for test in tests:
            if findings.errors(system, test) is None:
                continue
            found = [findings.part(system, test, choice) for choice in choices.values()]
            body.append([system.heard, system.model, TESTS[test], *map(cells.rate, found)])
            points = tuple(
                _point(place, rate, f"{TESTS[test]}, {key}: {cells.rate(rate).text}")
                for place, key, rate in zip(places, choices, found, strict=True) if rate
            )  # fmt: skip
            panels.setdefault(system, []).append(Series(TESTS[test], STYLES[test], points))
    if not panels:
        return None
    drawn = [point for series in panels.values() for one in series for point in one.points]
    if not drawn:  # the table is of other speakers or utterances
        return None
    up = Axis("WER in %", limits=rounded_out(0, max(p.y if p.high is None else p.high for p in drawn)))
    margin = 0.08 * (max(places) - min(places)) or 0.5
    marks = tuple(zip(places, (key.removesuffix(" dB") for key in choices), strict=True))
    across = Axis(axis, marks, (min(places) - margin, max(places) + margin))
    return Chart(
        title=title, table=Table.of(name, ["trained on", "model", "condition", *choices], body),
        pictures=tuple(
            curves(series, x=across, y=up, label=f"{title}, {system.name}; the figures are in the table below")
            for system, series in panels.items()
        ),
        captions=tuple(system.name for system in panels),
        legend=tuple((STYLES[test], TESTS[test]) for test in tests if test in findings.tests),
    )  # fmt: skip


def _point(place: float, rate: Interval, label: str) -> Point:
    """Of one speaker there is no interval."""
    low, high = (rate.low, rate.high) if rate.blocks > 1 else (None, None)
    return Point(place, rate.value, low, high, label)
