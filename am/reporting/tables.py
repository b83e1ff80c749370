"""Tables that become Markdown, HTML or CSV: a cell has the text that people read and the numbers behind it."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from am.bootstrap import Difference, Interval
from am.reporting.findings import VERDICTS, verdict


@dataclass(frozen=True)
class Cell:
    """text: for people.  numbers: for sorting (the first) and for CSV; empty for words.  kind: how it is coloured."""

    text: str
    numbers: tuple[float, ...] = ()
    kind: str = ""


Row = list[Cell | str]
EMPTY = Cell("")


def number(value: float | None, digits: int = 2) -> Cell:
    return EMPTY if value is None else Cell(f"{value:.{digits}f}", (round(value, 6),))


def rate(found: Interval | None) -> Cell:
    """A word error rate with its interval; of one speaker there is none."""
    if found is None:
        return EMPTY
    if found.blocks < 2:
        return number(found.value)
    return Cell(f"{found.value:.2f} [{found.low:.1f}, {found.high:.1f}]", (found.value, found.low, found.high))


def change(found: Interval) -> Cell:
    """A difference in WER points with its interval."""
    numbers = (found.value, found.low, found.high) if found.blocks > 1 else (found.value,)
    return Cell(points(found), numbers, verdict(found))


def points(found: Interval) -> str:
    return f"{found.value:+.2f}" + (f" [{found.low:+.2f}, {found.high:+.2f}]" if found.blocks > 1 else "")


def p_value(found: Difference) -> Cell:
    """Empty where there are too few speakers for one."""
    return EMPTY if verdict(found) == "few" else Cell(f"{found.p_value:.4f}", (found.p_value,))


def verdict_cell(found: Difference) -> Cell:
    return Cell(VERDICTS[verdict(found)], (), verdict(found))


@dataclass(frozen=True, kw_only=True)
class Table:
    """head: names of the columns; rows: as many cells each.  name: of the CSV file, without its end."""

    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    @classmethod
    def of(cls, name: str, head: Sequence[str], rows: Iterable[Sequence[Cell | str]], caption: str = "") -> Table:
        """Strings among the cells are words."""
        cells = tuple(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in row) for row in rows)
        return cls(name=name, head=tuple(head), rows=cells, caption=caption)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers, for the eye's sake and for sorting."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.head)
        return tuple(any(cell.numbers for cell in column) for column in columns)

    def markdown(self) -> str:
        rows = [list(self.head), *([cell.text for cell in row] for row in self.rows)]
        rows = [[text.replace("|", r"\|") for text in row] for row in rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.head))]
        lines = [
            "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
        ]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join(lines)

    def csv(self) -> str:
        """One column a number: a cell with an interval becomes 'name', 'name low', 'name high'."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.head)
        wide = [max((len(cell.numbers) for cell in column), default=0) for column in columns]
        head = [name for title, width in zip(self.head, wide, strict=True) for name in _names(title, width)]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        for row in self.rows:
            writer.writerow(field for cell, width in zip(row, wide, strict=True) for field in _fields(cell, width))
        return stream.getvalue()

    def csv_uri(self) -> str:
        """The CSV as a data: URI, so that the page needs no second file."""
        return "data:text/csv;charset=utf-8;base64," + base64.b64encode(self.csv().encode()).decode()


def _names(title: str, width: int) -> list[str]:
    return [title] if width < 3 else [title, f"{title} low", f"{title} high"]


def _fields(cell: Cell, width: int) -> list[str]:
    if not width:
        return [cell.text]
    texts = [f"{value:.10g}" for value in cell.numbers] or [cell.text]
    return texts + [""] * (len(_names("", width)) - len(texts))
