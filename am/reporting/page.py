"""The page: one file of HTML with style, pictures, sounds and script inside; it asks the network for nothing.

A content security policy in its head forbids what it does not do.  Without script everything is there but the sorting.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from am.reporting.canvas import swatch
from am.reporting.chapter import Chapter, Chart, Listing
from am.reporting.examples import Examples
from am.reporting.headlines import Headline
from am.reporting.notes import notes_html
from am.reporting.tables import Table

HERE = Path(__file__).resolve().parent


def page(title: str, headlines: Sequence[Headline], notes: Sequence[str], chapters: Sequence[Chapter]) -> str:
    """The whole file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["safe_swatch"] = lambda style: Markup(swatch(style))
    environment.tests["a_table"] = lambda block: isinstance(block, Table)
    environment.tests["a_chart"] = lambda block: isinstance(block, Chart)
    environment.tests["a_listing"] = lambda block: isinstance(block, Listing)
    environment.tests["examples"] = lambda block: isinstance(block, Examples)
    return environment.get_template("page.html.jinja").render(
        title=title, headlines=headlines, notes=[Markup(notes_html(note)) for note in notes], chapters=chapters,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
    )  # fmt: skip
