"""The four kinds of picture in the report: differences with intervals, curves, scatters and bars.

Curves and scatters are drawn 360 units wide and set side by side, so that their letters stay readable on a phone;
differences and bars come in a wide and a narrow drawing, of which the page shows one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten

from am.reporting.canvas import Canvas, Scale, Style, rounded_out, ticks

PANEL = (360.0, 262.0)  # units of a panel
WIDE, NARROW = 860.0, 350.0


@dataclass(frozen=True)
class Point:
    """x, y: in data units; low, high: of the interval of y, if any; label: shown where the pointer rests."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Series:
    name: str
    style: Style
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Axis:
    """title; marks: (place, text) to label, else round values; limits: of the axis, else of the data."""

    title: str
    marks: tuple[tuple[float, str], ...] = ()
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Difference:
    """A row of `differences`.  heading: stands above the first of its rows."""

    heading: str
    label: str
    value: float
    low: float
    high: float
    text: str
    style: Style


def differences(rows: Sequence[Difference], *, axis: str, label: str) -> tuple[str, str]:
    """(wide, narrow) picture of differences with their intervals, about a line at zero; left is lower."""
    low, high = rounded_out(min(0.0, *(row.low for row in rows)), max(0.0, *(row.high for row in rows)))
    return _differences(rows, low, high, axis, label, WIDE), _differences(rows, low, high, axis, label, NARROW)


def _differences(
    rows: Sequence[Difference], low: float, high: float, axis: str, label: str, width: float
) -> str:  # fmt: skip
    wide = width > 500
    left, right, step, head = (285.0, 175.0, 27.0, 30.0) if wide else (12.0, 12.0, 60.0, 30.0)
    headings = sum(n == 0 or rows[n - 1].heading != row.heading for n, row in enumerate(rows))
    bottom = head + headings * 30 + len(rows) * step
    canvas = Canvas(width, bottom + 42, label)
    scale = Scale(low, high, left, width - right)
    for mark in ticks(low, high, 6 if wide else 4):
        canvas.line(scale(mark), head, scale(mark), bottom, "zero" if mark == 0 else "grid")
        canvas.text(scale(mark), bottom + 16, f"{mark:+g}" if mark else "0", "tick", "middle")
    canvas.text((left + width - right) / 2, bottom + 34, axis, "axis", "middle")
    canvas.text(scale(0) - 8, head - 8, "fewer errors ◀", "tick", "end")
    if scale(0) < width - right - 60 or wide:
        canvas.text(scale(0) + 8, head - 8, "▶ more errors", "tick")
    y, heading = head, ""
    for row in rows:
        if row.heading != heading:
            heading = row.heading
            canvas.text(0 if wide else left, y + 20, heading, "heading")
            y += 30
        middle = y + (step / 2 if wide else 46)
        canvas.text(12 if wide else left, middle + 4 if wide else y + 16, row.label, "rowlabel")
        canvas.text(
            width if wide else left, middle + 4 if wide else y + 31, row.text, "value", "end" if wide else "start"
        )
        canvas.line(scale(row.low), middle, scale(row.high), middle, f"{row.style.css} stroke interval")
        for end in (row.low, row.high):
            canvas.line(scale(end), middle - 5, scale(end), middle + 5, f"{row.style.css} stroke")
        canvas.marker(scale(row.value), middle, row.style, 5.5, f"{row.label}: {row.text}")
        y += step
    return canvas.svg("wide" if wide else "narrow")


def curves(series: Sequence[Series], *, x: Axis, y: Axis, label: str, marks: bool = True) -> str:
    """Lines with intervals in one panel; points of several series at one x stand a little beside each other."""
    canvas, across, up = _panel(series, x, y, label)
    for n, one in enumerate(series):
        shift = (n - (len(series) - 1) / 2) * (4 if any(point.low is not None for point in one.points) else 0)
        places = [(across(point.x) + shift, up(point.y)) for point in one.points]
        for (place, _), point in zip(places, one.points, strict=True):
            if point.low is not None and point.high is not None:
                canvas.line(place, up(point.low), place, up(point.high), f"{one.style.css} stroke thin")
        canvas.path(places, f"{one.style.css} stroke", one.style.dash)
        if marks or len(places) == 1:
            for (place, height), point in zip(places, one.points, strict=True):
                canvas.marker(place, height, one.style, 4, point.label)
    return canvas.svg("panel")


def scatter(series: Sequence[Series], *, x: Axis, y: Axis, label: str, corner: tuple[str, str]) -> str:
    """Points about the lines x = 0 and y = 0.  corner: ('left' or 'right', text) of the upper quarter to be shaded."""
    canvas, across, up = _panel(series, x, y, label, corner[0])
    canvas.line(across(0), up.begin, across(0), up.end, "zero")
    canvas.line(across.begin, up(0), across.end, up(0), "zero")
    for one in series:
        for point in one.points:
            canvas.marker(across(point.x), up(point.y), one.style, 3.2, point.label)
    right = corner[0] == "right"
    canvas.text(
        across.end - 5 if right else across.begin + 5, up.end + 14, corner[1], "note", "end" if right else "start"
    )
    return canvas.svg("panel")


def _panel(
    series: Sequence[Series], x: Axis, y: Axis, label: str, shaded: str = ""
) -> tuple[Canvas, Scale, Scale]:  # fmt: skip
    """An empty panel with its axes and grid, and the scales of x and y."""
    width, height = PANEL
    points = [point for one in series for point in one.points]
    tops = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    y_low, y_high = y.limits or rounded_out(min(tops), max(tops))
    x_low, x_high = x.limits or rounded_out(min(p.x for p in points), max(p.x for p in points))
    canvas = Canvas(width, height, label)
    across, up = Scale(x_low, x_high, 50, width - 12), Scale(y_low, y_high, height - 46, 12)
    if shaded:
        zero = across(0)
        begin, end = (zero, across.end) if shaded == "right" else (across.begin, zero)
        canvas.rect(begin, up.end, end - begin, up(0) - up.end, "shade")
    for mark in ticks(y_low, y_high):
        canvas.line(across.begin, up(mark), across.end, up(mark), "grid")
        canvas.text(across.begin - 6, up(mark) + 4, f"{mark:g}", "tick", "end")
    for place, text in x.marks or tuple((mark, f"{mark:g}") for mark in ticks(x_low, x_high)):
        canvas.line(across(place), up.begin, across(place), up.begin + 4, "axisline")
        canvas.text(across(place), up.begin + 18, text, "tick", "middle")
    canvas.line(across.begin, up.begin, across.end, up.begin, "axisline")
    canvas.text((across.begin + across.end) / 2, height - 8, x.title, "axis", "middle")
    canvas.text(13, (up.begin + up.end) / 2, y.title, "axis", "middle", turned=True)
    return canvas, across, up


def bars(rows: Sequence[tuple[str, float, str]], *, label: str) -> tuple[str, str]:
    """(wide, narrow) picture of (name, value, text), longest bar over the whole width; values are not negative."""
    return _bars(rows, label, WIDE), _bars(rows, label, NARROW)


def _bars(rows: Sequence[tuple[str, float, str]], label: str, width: float) -> str:
    wide = width > 500
    left, step = (430.0, 26.0) if wide else (8.0, 42.0)
    canvas = Canvas(width, len(rows) * step + 4, label)
    scale = Scale(0, max(value for _, value, _ in rows) or 1.0, left, width - 96)
    for n, (name, value, text) in enumerate(rows):
        top = n * step + (5 if wide else 20)
        canvas.text(
            0 if wide else left, top + 13 if wide else top - 4, shorten(name, 58, placeholder=" ..."), "rowlabel"
        )
        canvas.rect(left, top, max(scale(value) - left, 1), 16, "bar")
        canvas.text(scale(value) + 6, top + 13, text, "value")
    return canvas.svg("wide" if wide else "narrow")
