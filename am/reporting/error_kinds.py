"""The chapter on the errors themselves: kinds, sentences, other groups of the test set, and what was taken for what.

Reads the breakdown.json that ``am score`` writes beside each score (docs/files.md); a decoding without one is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from am.reporting.chapter import Block, Chapter
from am.reporting.findings import Findings, System
from am.reporting.tables import EMPTY, Cell, Row, Table, number
from am.results import TESTS
from harness.log import get_logger

SHOWN_ELSEWHERE = {"snr", "age", "speaker"}
MOST = 12  # confusions shown


def error_kinds(findings: Findings) -> Chapter | None:
    found = {key: content for key in findings.cells if (content := _read(findings, *key))}
    if not found:
        return None
    blocks: list[Block] = [_kinds(findings, found)]
    main = {test: found[findings.main, test] for test in findings.tests if (findings.main, test) in found}
    dimensions = dict.fromkeys(name for content in main.values() for name in content["by"])
    blocks += [_by(name, main) for name in dimensions if name not in SHOWN_ELSEWHERE]
    blocks += [_confusions(test, main[test], kind) for kind in ("words", "phones") for test in main
               if test in ("noisy", "enhanced") and main[test]["confusions"].get(kind)]  # fmt: skip
    text = (f"Groups of the test set and confusions are those of {findings.main.name}.",) if len(blocks) > 1 else ()
    return Chapter(name="errors", title="Kinds of errors", short="Errors", text=text, blocks=tuple(blocks))


def _read(findings: Findings, system: System, test: str) -> dict[str, Any] | None:
    path = findings.cells[system, test].folder / "breakdown.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"all": content["all"], "by": content["by"], "confusions": content["confusions"]}
    except (ValueError, KeyError, TypeError) as error:
        get_logger("am").warning("%s: damaged, left out of the report (%s)", path, error)
        return None


def _kinds(findings: Findings, found: Mapping[tuple[System, str], Mapping[str, Any]]) -> Table:
    body: list[Row] = []
    for system in findings.systems:
        for test in findings.tests:
            if cell := found.get((system, test), {}).get("all"):
                shares = [number(100 * cell[kind] / cell["words"] if cell["words"] else None) for kind in KINDS]
                body.append([system.heard, system.model, TESTS[test], *shares, number(cell["ser"])])
    head = ["trained on", "model", "condition", *(f"{name} %" for name in KINDS.values()), "wrong sentences %"]
    return Table.of("error_kinds", head, body, "Errors by kind, in per cent of the reference words")


KINDS = {"sub": "substitutions", "del": "deletions", "ins": "insertions"}


def _by(dimension: str, main: Mapping[str, Mapping[str, Any]]) -> Table:
    """WER of the main system by a dimension of the test set: noise, gender, grade."""
    cells = {test: {row["group"]: row for row in content["by"].get(dimension, ())} for test, content in main.items()}
    groups = dict.fromkeys(group for rows in cells.values() for group in rows)
    body: list[Row] = []
    for group in groups:
        words = next(rows[group]["words"] for rows in cells.values() if group in rows)
        body.append(
            [str(group), Cell(str(words), (float(words),)), *(_rate(rows.get(group)) for rows in cells.values())]
        )
    head = [dimension, "words", *(TESTS[test] for test in cells)]
    return Table.of(f"wer_by_{dimension}", head, body, f"WER % by {dimension}")


def _rate(cell: Mapping[str, Any] | None) -> Cell:
    if not cell:
        return EMPTY
    if cell["low"] is None:
        return number(cell["wer"])
    values = cell["wer"], cell["low"], cell["high"]
    return Cell(f"{values[0]:.2f} [{values[1]:.1f}, {values[2]:.1f}]", values)


def _confusions(test: str, content: Mapping[str, Any], kind: str) -> Table:
    """The most frequent substitutions, deletions and insertions side by side."""
    found = content["confusions"][kind]
    columns: list[list[tuple[str, int]]] = [
        [(f"{reference} > {hypothesis}", times) for reference, hypothesis, times in found["substitutions"][:MOST]],
        [(word, times) for word, times in found["deletions"][:MOST]],
        [(word, times) for word, times in found["insertions"][:MOST]],
    ]
    body: list[Row] = []
    for n in range(max(map(len, columns))):
        body.append([cell for column in columns for cell in _pair(column, n)])
    head = ["substituted", "times", "deleted", "times ", "inserted", "times  "]
    return Table.of(f"confusions_{kind}_{test}", head, body, f"Most frequent confusions of {kind}, {TESTS[test]}")


def _pair(column: Sequence[tuple[str, int]], n: int) -> list[Cell]:
    if n >= len(column):
        return [EMPTY, EMPTY]
    word, times = column[n]
    return [Cell(word), Cell(str(times), (float(times),))]
