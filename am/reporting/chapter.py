"""What a chapter of the report is made of, and how the test conditions look in every picture."""

from __future__ import annotations

from dataclasses import dataclass

from am.reporting.canvas import Style
from am.reporting.examples import Examples
from am.reporting.tables import Table

STYLES = {  # of the test conditions; told apart by shape and dashes too
    "clean": Style("c-clean", "circle", "1 4"),
    "noisy": Style("c-noisy", "triangle", "7 4"),
    "enhanced": Style("c-enhanced", "square"),
    "mixed": Style("c-mixed", "diamond", "2 3"),
    "clean_enhanced": Style("c-through", "down", "8 3 2 3"),
}
VERDICT_STYLES = {
    "lowered": Style("c-lowered", "square"),
    "raised": Style("c-raised", "triangle"),
    "unchanged": Style("c-unchanged", "circle"),
    "few": Style("c-unchanged", "diamond"),
}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """pictures: SVG, side by side ('panels'), or one drawing for wide and one for narrow screens ('pair')."""

    title: str
    pictures: tuple[str, ...]
    captions: tuple[str, ...] = ()  # of panels
    layout: str = "panels"
    legend: tuple[tuple[Style, str], ...] = ()
    table: Table
    more: tuple[Table, ...] = ()  # further data of it, only on the page
    in_markdown: bool = True  # its table, that is


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Text of a file or a command; only on the page, since it may hold names of the machine's folders."""

    title: str
    text: str


Block = Table | Chart | Listing | Examples


@dataclass(frozen=True, kw_only=True)
class Chapter:
    name: str  # anchor
    title: str
    short: str  # its name in the list of chapters
    text: tuple[str, ...] = ()
    points: tuple[str, ...] = ()  # a list below the text
    twin_points: tuple[str, ...] = ()  # more of it in Markdown; a chart shows it on the page
    blocks: tuple[Block, ...] = ()
