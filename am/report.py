"""The table that the recipes are for: WER by training, model and test condition, and what enhancement changed.

Every figure carries a 95 % bootstrap interval over speakers; differences are paired on the same utterances.  Written to
Markdown together with the commands and the commit that made it.
"""

from __future__ import annotations

import csv
import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from am.bootstrap import Difference, Errors, difference, interval
from am.results import TESTS, TRAININGS, Decoding, age_group_of, part_of, read_decodings, snr_of
from harness.atomic import write_whole

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    replicas: int = 10_000  # bootstrap replicas
    seed: int = 0
    main_lm: str = "open"  # the language model of the breakdowns


def write_report(
    work: Path, out: Path, *, title: str, notes: Sequence[Path] = (), config: ReportConfig | None = None
) -> str:
    """Write the report on ``work`` to ``out`` and return its main table (for the terminal).

    notes: Markdown files that are put in below the title (what was run, on what, with which limits).
    """
    config = config or ReportConfig()
    decodings = read_decodings(work / "exp")
    lms = sorted({decoding.lm for decoding in decodings}, key=lambda lm: (lm != config.main_lm, lm))
    parts = [f"# {title}", *(path.read_text(encoding="utf-8").strip() for path in notes), _reading()]
    tables = {lm: _main_table([d for d in decodings if d.lm == lm], config) for lm in lms}
    for lm, table in tables.items():
        parts += [f"## WER %, {lm} language model", table]
    main = [decoding for decoding in decodings if decoding.lm == lms[0]]
    parts += [f"## What enhancement changed ({lms[0]} language model)", _differences(main, config)]
    parts += _breakdowns(work / "data", main, config)
    parts += [_quality(work), _made_by(work)]
    with write_whole(out) as stream:
        stream.write("\n\n".join(part for part in parts if part) + "\n")
    return tables[lms[0]]


def _reading() -> str:
    return (
        "WER in per cent with its 95 % interval (bootstrap over speakers). Language model weight and word insertion "
        "penalty were tuned on the development set of the same condition, never on test."
    )


def _rows(decodings: Iterable[Decoding]) -> list[tuple[str, str]]:
    """(training, model) pairs in the order of the table."""
    pairs = {(decoding.training, decoding.model) for decoding in decodings}
    known = list(TRAININGS)
    return sorted(
        pairs, key=lambda p: (known.index(p[0]) if p[0] in known else len(known), p[0], p[1] != "tri3b", p[1])
    )


def _main_table(decodings: list[Decoding], config: ReportConfig) -> str:
    cells = {(d.training, d.model, d.test): d for d in decodings}
    tests = [test for test in TESTS if any(d.test == test for d in decodings)]
    body = []
    for training, model in _rows(decodings):
        row = [TRAININGS.get(training, training), model]
        for test in tests:
            found = cells.get((training, model, test))
            row.append(_rate(found.errors, config) if found else "")
        body.append(row)
    return _table(["trained on", "model", *(TESTS[test] for test in tests)], body)


def _rate(errors: Errors, config: ReportConfig) -> str:
    rate = interval(errors, replicas=config.replicas, seed=config.seed)
    return f"{rate.value:.2f} [{rate.low:.1f}, {rate.high:.1f}]"


COMPARISONS = (("noisy", "enhanced"), ("noisy", "mixed"), ("clean", "clean_enhanced"))


def _differences(decodings: list[Decoding], config: ReportConfig) -> str:
    cells = {(d.training, d.model, d.test): d.errors for d in decodings}
    body = []
    for training, model in _rows(decodings):
        for before, after in COMPARISONS:
            first, second = cells.get((training, model, before)), cells.get((training, model, after))
            if first is None or second is None:
                continue
            change = difference(first, second, replicas=config.replicas, seed=config.seed)
            relative = 100 * change.value / first.percent if first.percent else 0.0
            values = f"{change.value:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"
            body.append(
                [TRAININGS.get(training, training), model, f"{TESTS[before]} -> {TESTS[after]}", values,
                 f"{relative:+.1f} %", f"{change.p_value:.4f}", _verdict(change)]
            )  # fmt: skip
    if not body:
        return ""
    head = ["trained on", "model", "condition", "WER points [95 % interval]", "relative", "p", "enhancement"]
    return _table(head, body)


def _verdict(change: Difference) -> str:
    if change.high < 0:
        return "lowered WER"
    return "raised WER" if change.low > 0 else "no difference shown"


def _breakdowns(data: Path, decodings: list[Decoding], config: ReportConfig) -> list[str]:
    snr, ages = snr_of(data / "test_noisy"), age_group_of(data / "test")
    parts = []
    if snr:
        levels = sorted(set(snr.values()), key=float)
        heads = {level: f"{float(level):g} dB" for level in levels}
        noisy = [d for d in decodings if d.test in ("noisy", "enhanced", "mixed")]
        by_level = {level: (lambda utt, _, level=level: snr.get(utt) == level) for level in levels}
        parts += ["## By SNR", _breakdown(noisy, heads, by_level, config)]
    if ages:
        groups = sorted(set(ages.values()), key=lambda group: (group == "other", len(group), group))
        by_group = {group: (lambda _, spk, group=group: ages.get(spk) == group) for group in groups}
        parts += ["## By age in years", _breakdown(decodings, {group: group for group in groups}, by_group, config)]
    return parts


def _breakdown(decodings: list[Decoding], heads: dict, choices: dict, config: ReportConfig) -> str:  # type: ignore[type-arg]
    body = []
    for training, model in _rows(decodings):
        for test in TESTS:
            for found in (d for d in decodings if (d.training, d.model, d.test) == (training, model, test)):
                row = [TRAININGS.get(training, training), model, TESTS[test]]
                for key in heads:
                    part = part_of(found.errors, choices[key])
                    row.append(_rate(part, config) if part else "")
                body.append(row)
    return _table(["trained on", "model", "condition", *heads.values()], body)


def _quality(work: Path) -> str:
    """Mean quality of the test conditions, from the summaries of ``enhance score``."""
    head: list[str] = []
    body = []
    for condition, name in TESTS.items():
        path = work / "exp" / "score" / condition / "summary.csv"
        if path.is_file():
            with open(path, encoding="utf-8", newline="") as stream:
                head, *rows = csv.reader(stream)
            body += [[name, *row] for row in rows]
    if not body:
        return ""
    text = "Against the clean originals; SI-SDR in dB, log-mel error in nepers. None of these predicts WER."
    return f"## Quality of the speech\n\n{text}\n\n{_table(['condition', *head], body)}"


def _made_by(work: Path) -> str:
    lines = [f"- commit {_commit()}", f"- {platform.platform()}, Python {platform.python_version()}"]
    stamps = sorted(
        (work / "exp" / "stamps").glob("stage*.json"), key=lambda path: int(path.stem.removeprefix("stage"))
    )
    for stamp in stamps:
        row = json.loads(stamp.read_text(encoding="utf-8"))
        lines.append(f"- {stamp.stem} ({row['title']}): {row['seconds']:.0f} s")
    return "## Made by\n\n" + "\n".join(lines)


def _commit() -> str:
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown (not a git checkout)"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    rows = [list(head), *map(list, body)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
