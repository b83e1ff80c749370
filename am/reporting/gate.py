"""The chapter on clean speech: what the no-harm gate found, limit by limit (exp/score/gate.json, gate_wer.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from am.reporting.chapter import Chapter
from am.reporting.tables import Cell, Row, Table
from harness.errors import DataDirError

VERDICTS = ("gate.json", "gate_wer.json")  # of the sound, of the words


def gate(work: Path) -> Chapter | None:
    """None where nothing was judged.  Raises DataDirError for a damaged verdict."""
    checks = [check for name in VERDICTS for check in _checks(work / "exp" / "score" / name)]
    if not checks:
        return None
    broken = sum(not check["kept"] for check in checks)
    text = (
        f"Clean speech through the enhancer broke {broken} of {len(checks)} stated limits (cfg/gate.yaml)."
        if broken
        else f"Clean speech through the enhancer kept all {len(checks)} stated limits (cfg/gate.yaml)."
    )
    head = ["limit", "found", "allowed", "verdict", "worst utterances"]
    table = Table.of("gate", head, [_row(check) for check in checks], "Limits, with 95 % intervals over speakers")
    title = "Does enhancement harm clean speech?"
    return Chapter(name="gate", title=title, short="No-harm gate", text=(text,), blocks=(table,))


def _checks(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        checks: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["checks"]
        for check in checks:
            _row(check)
    except (KeyError, TypeError, ValueError) as error:
        mend = "make it again: python -m enhance gate"
        raise DataDirError(path, f"is no verdict of the gate ({error})", mend=mend) from error
    return checks


def _row(check: dict[str, Any]) -> Row:
    values = tuple(float(check[name]) for name in ("value", "low", "high") if check[name] is not None)
    interval = f" [{_shown(values[1])}, {_shown(values[2])}]" if len(values) == 3 else ""
    found = f"{_shown(values[0])} {check['unit']}{interval}" if values else "could not be judged"
    limit = float(check["limit"])
    allowed = f"at {'least' if check['at_least'] else 'most'} {_shown(limit)}"
    verdict = "kept" if check["kept"] else f"broken by {_shown(check['broken_by'])}" if values else "broken"
    worst = "" if check["kept"] else ", ".join(f"{name} ({what})" for name, what in check["worst"])
    return [
        check["name"], Cell(found, values), Cell(allowed, (limit,)),
        Cell(verdict, (), "kept" if check["kept"] else "broken"), worst,
    ]  # fmt: skip


def _shown(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}"
