"""The chapter on quality: the metrics beside WER, and the utterances that sounded better and were recognised worse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from am.reporting import tables as cells
from am.reporting.canvas import rounded_out
from am.reporting.chapter import VERDICT_STYLES, Block, Chapter, Chart
from am.reporting.findings import Findings
from am.reporting.pictures import Axis, Point, Series, scatter
from am.reporting.quality import (
    METRICS,
    SCATTERED,
    Change,
    Mean,
    Metric,
    Scores,
    changes,
    rank_correlation,
    read_scores,
    summary_rows,
)
from am.reporting.tables import Cell, Row, Table
from am.results import TESTS


def quality(findings: Findings, work: Path) -> Chapter | None:
    """Quality metrics beside WER, and the utterances whose quality rose while their recognition fell."""
    head, rows = summary_rows(work)
    scores = read_scores(work)
    blocks: list[Block] = []
    if scores:
        blocks.append(_beside_wer(findings, scores))
        if chart := _against_errors(findings, scores):
            blocks.append(chart)
    if rows:
        body: list[Row] = [[_read_cell(text) for text in row] for row in rows]
        blocks.append(Table.of("quality", head, body, "Means by SNR, as enhance score gives them"))
    text = ("Measured against the clean originals. Better here need not mean better recognised.",)
    return Chapter(
        name="quality", title="Quality of the speech", short="Quality", text=text, blocks=tuple(blocks)
    ) if blocks else None  # fmt: skip


def _read_cell(text: str) -> Cell:
    try:
        return Cell(text, (float(text),))
    except ValueError:
        return Cell(text)


def _beside_wer(findings: Findings, scores: Scores) -> Table:
    arrows = {True: "higher is better", False: "lower is better"}
    body: list[Row] = [
        [TESTS[test], cells.rate(findings.rate(findings.main, test)),
         *(_mean(means.get(metric.column)) for metric in scores.metrics)]
        for test, means in scores.means.items()
    ]  # fmt: skip
    head = ["condition", f"WER % ({findings.main.name})", *(f"{m.label}, {arrows[m.up]}" for m in scores.metrics)]
    return Table.of("quality_and_wer", head, body, "Mean quality beside WER")


def _mean(found: Mean | None) -> Cell:
    if not found:
        return cells.EMPTY
    interval = f" [{found[1]:.2f}, {found[2]:.2f}]" if len(found) == 3 else ""
    return Cell(f"{found[0]:.3f}{interval}", found)


def _against_errors(findings: Findings, scores: Scores) -> Chart | None:
    pictures: list[str] = []
    captions: list[str] = []
    body: list[Row] = []
    columns: dict[str, dict[str, Change]] = {}
    for names in SCATTERED:
        rows: list[Change] = []
        for column in names:
            rows = rows or changes(scores, findings, column)
            metric = METRICS[column] if rows else METRICS[names[0]]
        if not rows:
            continue
        counts = _quarters(metric, rows)
        drawn = thinned(rows, MOST_POINTS)
        columns[metric.label] = {row.utterance: row for row in drawn}
        thin = f" ({len(drawn)} drawn)" if len(drawn) < len(rows) else ""
        captions.append(f"{metric.label}: better, yet more errors in {counts[2]} of {len(rows)} utterances{thin}")
        pictures.append(_cloud(metric, drawn, captions[-1]))
        body.append([metric.label, *(Cell(str(n), (float(n),)) for n in counts),
                     cells.number(rank_correlation(metric, rows))])  # fmt: skip
    if not pictures:
        return None
    head = ["metric", "better, fewer errors", "better, as many", "better, more errors", "not better, fewer errors",
            "not better, as many", "not better, more errors", "rank correlation"]  # fmt: skip
    return Chart(
        title=f"Change of quality against change of word errors, an utterance a point ({findings.main.name}; noisy -> "
        "enhanced; equal changes are spread a little)",
        pictures=tuple(pictures), captions=tuple(captions), table=Table.of("quality_against_errors", head, body),
        more=(_points(columns),),
        legend=tuple((VERDICT_STYLES[name], text) for name, text in ERRORS.items()),
    )  # fmt: skip


def _points(columns: dict[str, dict[str, Change]]) -> Table:
    """A row for each point: the change of errors, then that of each metric."""
    utterances = sorted({utterance for column in columns.values() for utterance in column})
    body: list[Row] = []
    for utterance in utterances:
        found = [column.get(utterance) for column in columns.values()]
        errors = next(change.errors for change in found if change)
        row: Row = [utterance, Cell(f"{errors:+d}", (float(errors),))]
        body.append(row + [Cell(f"{c.quality:+.3f}", (c.quality,)) if c else cells.EMPTY for c in found])
    head = ["utterance", "change of errors", *(f"change of {label}" for label in columns)]
    return Table.of("quality_points", head, body, "The points")


MOST_POINTS = 2000  # drawn of each cloud; more would make the page large, and tell no more
GOLDEN = 0.618034  # the fractions of its multiples fill a unit evenly
ERRORS = {"lowered": "fewer errors", "unchanged": "as many", "raised": "more errors"}


def _quarters(metric: Metric, rows: Sequence[Change]) -> list[int]:
    """Utterances by (quality better or not) x (fewer, as many, more errors)."""
    signs = [
        ((row.quality > 0) if metric.up else (row.quality < 0), (row.errors > 0) - (row.errors < 0)) for row in rows
    ]
    return [signs.count((better, errors)) for better in (True, False) for errors in (-1, 0, 1)]


def thinned(rows: Sequence[Change], most: int) -> Sequence[Change]:
    """At most ``most`` of the rows, evenly over their order, which is by name: every speaker keeps a share."""
    return rows if len(rows) <= most else [rows[n * len(rows) // most] for n in range(most)]


def _cloud(metric: Metric, rows: Sequence[Change], label: str) -> str:
    """The points; those of equal change in errors are spread over half a unit, so that they can be told apart."""
    series = []
    spread = {row.utterance: (n * GOLDEN % 1 - 0.5) / 2 for n, row in enumerate(rows)}
    for name, sign in (("unchanged", 0), ("lowered", -1), ("raised", 1)):
        points = tuple(
            Point(
                row.quality,
                row.errors + spread[row.utterance],
                label=f"{row.utterance}: {row.quality:+.2f}, {row.errors:+d} errors",
            )
            for row in rows
            if (row.errors > 0) - (row.errors < 0) == sign
        )
        series.append(Series(ERRORS[name], VERDICT_STYLES[name], points))
    x = rounded_out(min(0.0, *(row.quality for row in rows)), max(0.0, *(row.quality for row in rows)))
    y = rounded_out(min(row.errors for row in rows) - 0.5, max(row.errors for row in rows) + 0.5)
    corner = ("right" if metric.up else "left", "better, more errors")
    return scatter(series, x=Axis(f"change of {metric.label}", limits=x), y=Axis("change of word errors", limits=y),
                   label=label, corner=corner)  # fmt: skip
