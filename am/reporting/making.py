"""The chapters on how the figures came about: curves of the trainings, stages with their time, versions, settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from am.reporting.canvas import Style
from am.reporting.chapter import Block, Chapter, Chart, Listing
from am.reporting.pictures import Axis, Point, Series, bars, curves
from am.reporting.provenance import (
    TrainingRun,
    commit,
    curve,
    duration,
    machine,
    read_runs,
    read_settings,
    read_stages,
    versions,
)
from am.reporting.tables import Cell, Row, Table

RUN_STYLES = (
    Style("c1", "circle"), Style("c2", "triangle", "7 4"), Style("c3", "square", "2 3"),
    Style("c4", "diamond", "8 3 2 3"), Style("c5", "down", "1 3"), Style("c6", "ring", "5 2"),
    Style("c7", "circle", "4 6"),
)  # fmt: skip
MODEL_CURVES = (  # of metrics.jsonl of an acoustic model: key, title of the panel, title of y
    ("dev_pdf_error", "Frame error on the development set", "wrong frames in %"),
    ("dev_phone_error", "Phone error by frame on the development set", "wrong frames in %"),
    ("train_loss", "Loss in training", "nats a frame"),
)
MANY_POINTS = 40  # of a curve; from here on without markers
MOST_LOSSES = 6  # panels of an enhancer's losses


def trainings(work: Path) -> Chapter | None:
    """Curves of the acoustic models against epochs, of the enhancers against steps."""
    runs = read_runs(work / "exp")
    charts = [_models([run for run in runs if not run.of_enhancer])]
    charts += [_enhancer(run) for run in runs if run.of_enhancer]
    blocks = tuple(chart for chart in charts if chart)
    return Chapter(name="training", title="Training curves", short="Training", blocks=blocks) if blocks else None


def _models(runs: Sequence[TrainingRun]) -> Chart | None:
    found = {
        key: [(run.name, curve(run.lines, "epoch", key)) for run in runs if curve(run.lines, "epoch", key)]
        for key, _, _ in MODEL_CURVES
    }
    names = sorted({name for lines in found.values() for name, _ in lines})
    if not names:
        return None
    styles = {name: RUN_STYLES[n % len(RUN_STYLES)] for n, name in enumerate(names)}
    panels = [(title, unit, found[key]) for key, title, unit in MODEL_CURVES if found[key]]
    return Chart(
        title="Acoustic models", captions=tuple(title for title, _, _ in panels), in_markdown=False,
        pictures=tuple(_panel(lines, styles, "epoch", unit, title) for title, unit, lines in panels),
        legend=tuple((style, name) for name, style in styles.items()),
        table=_table("training_models", "epoch", {f"{name}: {key}": dict(line) for key, lines in found.items()
                                                   for name, line in lines}),
    )  # fmt: skip


def _enhancer(run: TrainingRun) -> Chart | None:
    """Its validation scores, each with that of the unprocessed sound where the log has it; then losses."""
    keys = [key for key in _numbers(run.validations) if not key.endswith("_unprocessed")]
    losses = [key for key in _numbers(run.lines) if key != "minutes"][:MOST_LOSSES]
    panels: list[tuple[str, list[tuple[str, list[tuple[float, float]]]]]] = []
    for key in keys:
        lines = [("enhancer", curve(run.validations, "step", key))]
        lines += [("unprocessed", plain)] if (plain := curve(run.validations, "step", f"{key}_unprocessed")) else []
        panels.append((f"validation: {key}", lines))
    panels += [(f"training: {key}", [("enhancer", curve(run.lines, "step", key))]) for key in losses]
    panels = [(title, lines) for title, lines in panels if lines[0][1]]
    if not panels:
        return None
    styles = {"enhancer": Style("c1", "circle"), "unprocessed": Style("c2", "triangle", "7 4")}
    columns = {f"{title} ({name})": dict(line) for title, lines in panels for name, line in lines}
    return Chart(
        title=f"Enhancer {run.name.partition('/')[2]}", captions=tuple(title for title, _ in panels), in_markdown=False,
        pictures=tuple(_panel(lines, styles, "step", "", title) for title, lines in panels),
        legend=tuple((style, name) for name, style in styles.items()),
        table=_table(f"training_{run.name.replace('/', '_')}", "step", columns),
    )  # fmt: skip


def _numbers(rows: Sequence[object]) -> list[str]:
    """Keys of the rows that hold numbers, in order of appearance, without the counters."""
    keys: dict[str, None] = {}
    for row in rows:
        if isinstance(row, dict):
            keys |= {k: None for k, v in row.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return [key for key in keys if key not in ("step", "epoch")]


def _panel(
    lines: Sequence[tuple[str, list[tuple[float, float]]]], styles: dict[str, Style], x: str, y: str, title: str
) -> str:  # fmt: skip
    series = [
        Series(name, styles[name], tuple(Point(a, b, label=f"{name}, {x} {a:g}: {b:.4g}") for a, b in line))
        for name, line in lines
    ]
    marks = all(len(line) < MANY_POINTS for _, line in lines)
    return curves(series, x=Axis(x), y=Axis(y), label=f"{title} against {x}; figures below", marks=marks)


def _table(name: str, x: str, columns: dict[str, dict[float, float]]) -> Table:
    places = sorted({place for column in columns.values() for place in column})
    body: list[Row] = [
        [Cell(f"{place:g}", (place,)), *(_value(column.get(place)) for column in columns.values())] for place in places
    ]
    return Table.of(name, [x, *columns], body)


def _value(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(f"{value:.4g}", (value,))


def made_by(work: Path, command: str) -> Chapter:
    """Commit, versions, machine, stages with their time, settings and the command."""
    stages = read_stages(work / "exp")
    points = [f"commit {commit()}", f"{machine()}"]
    points.append("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()))
    listed = [f"stage{stage.number} ({stage.title}): {stage.mark}{stage.seconds:.0f} s" for stage in stages]
    blocks: list[Block] = []
    if stages:
        total = sum(stage.seconds for stage in stages)
        least = "at least " if any(stage.resumed for stage in stages) else ""
        names = [
            (f"{stage.number} {stage.title}", stage.seconds, stage.mark + duration(stage.seconds)) for stage in stages
        ]
        body: list[Row] = [
            [Cell(str(stage.number), (float(stage.number),)), stage.title,
             Cell(f"{stage.mark}{stage.seconds:.0f}", (stage.seconds,)), stage.ended]
            for stage in stages
        ]  # fmt: skip
        blocks.append(
            Chart(title=f"Wall time of the stages, {least}{duration(total)} in all", layout="pair", in_markdown=False,
                  pictures=bars(names, label="wall time of each stage; figures below"),
                  table=Table.of("stages", ["stage", "title", "seconds", "ended"], body))
        )  # fmt: skip
    if command:
        blocks.append(Listing(title="Command", text=command))
    blocks += [Listing(title=name, text=text) for name, text in read_settings(work)]
    partly = "≥: the stage had been stopped and went on; the seconds are those of its last part."
    return Chapter(
        name="made",
        title="Made by",
        short="Made by",
        text=(partly,) if any(stage.resumed for stage in stages) else (),
        points=tuple(points),
        twin_points=tuple(listed),
        blocks=tuple(blocks),
    )
