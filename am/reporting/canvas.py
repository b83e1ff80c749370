"""A small writer of SVG: crisp at any size, coloured by the page's style sheet, readable without colour.

Series are told apart by class (colour), marker and dashes at once.  Nothing here knows what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Style:
    """css: class that gives the colour; marker: circle, square, triangle, diamond, down or ring; dash: of lines."""

    css: str
    marker: str = "circle"
    dash: str = ""


class Scale:
    """A straight line from data to picture units."""

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        if high <= low:
            low, high = low - 0.5, low + 0.5
        self.low, self.high, self.begin, self.end = low, high, begin, end

    def __call__(self, value: float) -> float:
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values in [low, high], about ``wanted`` of them: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


def rounded_out(low: float, high: float) -> tuple[float, float]:
    """The range, widened to the round values about it."""
    if high <= low:
        return low - 0.5, high + 0.5
    marks = ticks(low, high)
    step = marks[1] - marks[0] if len(marks) > 1 else high - low
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


class Canvas:
    """Shapes in the order they were drawn.  width, height: of the view box; label: what a screen reader says."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height, self.label = width, height, label
        self.parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str, dash: str = "") -> None:
        self.path([(x1, y1), (x2, y2)], css, dash)

    def path(self, points: Sequence[tuple[float, float]], css: str, dash: str = "") -> None:
        if len(points) < 2:
            return
        d = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<path class="{css}" d="{d}" fill="none"{dashes}/>')

    def rect(self, x: float, y: float, width: float, height: float, css: str) -> None:
        self.parts.append(
            f'<rect class="{css}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(max(height, 0))}"/>'
        )

    def text(self, x: float, y: float, text: str, css: str = "", anchor: str = "start", turned: bool = False) -> None:
        turn = f' transform="rotate(-90 {_n(x)} {_n(y)})"' if turned else ""
        name = f' class="{css}"' if css else ""
        self.parts.append(f'<text{name} x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}"{turn}>{escape(text)}</text>')

    def marker(self, x: float, y: float, style: Style, size: float = 4.5, title: str = "") -> None:
        """A mark of the style's shape, about 2 * size wide; title: shown where the pointer rests."""
        inner = f"<title>{escape(title)}</title>" if title else ""
        fill = ' fill="none"' if style.marker == "ring" else ""
        if style.marker in ("circle", "ring"):
            shape = f'<circle class="{style.css} mark"{fill} cx="{_n(x)}" cy="{_n(y)}" r="{_n(size)}">{inner}</circle>'
        else:
            corners = " ".join(f"{_n(x + size * dx)},{_n(y + size * dy)}" for dx, dy in SHAPES[style.marker])
            shape = f'<polygon class="{style.css} mark" points="{corners}">{inner}</polygon>'
        self.parts.append(shape)

    def svg(self, css: str = "") -> str:
        name = f' class="{css}"' if css else ""
        return (
            f'<svg{name} viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" aria-label="{escape(self.label)}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(self.parts)}</svg>'
        )


SHAPES = {  # corners in units of the size
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    "down": ((0, 1.15), (1.1, -0.85), (-1.1, -0.85)),
    "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
}


def swatch(style: Style) -> str:
    """A line with its marker, for a legend."""
    canvas = Canvas(28, 14, "")
    canvas.line(1, 7, 27, 7, f"{style.css} stroke", style.dash)
    canvas.marker(14, 7, style, 4)
    return canvas.svg("swatch").replace(' role="img" aria-label=""', ' aria-hidden="true"')


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
