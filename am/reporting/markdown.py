"""The Markdown twin of the page: the same sentences and tables, for RESULTS.md; pictures become their tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from am.reporting.chapter import Chapter, Chart
from am.reporting.examples import Example, Examples
from am.reporting.headlines import Headline
from am.reporting.tables import Table


def markdown(title: str, headlines: Sequence[Headline], notes: Sequence[str], chapters: Sequence[Chapter]) -> str:
    """The whole file.  notes: Markdown put in below the headlines."""
    parts = [f"# {title}"]
    if headlines:
        parts.append("\n".join(f"- **{line.text}**" if line.main else f"- {line.text}" for line in headlines))
    parts += [note.strip() for note in notes]
    for chapter in chapters:
        body = [part for part in _body(chapter) if part]
        parts += [f"## {chapter.title}", *body] if body else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _body(chapter: Chapter) -> Iterator[str]:
    yield from chapter.text
    yield "\n".join(f"- {point}" for point in chapter.points + chapter.twin_points)
    for block in chapter.blocks:
        if isinstance(block, Table):
            yield f"*{block.caption}*" if len(chapter.blocks) > 1 else ""
            yield block.markdown()
        elif isinstance(block, Chart) and block.in_markdown:
            yield block.table.markdown()
        elif isinstance(block, Examples):
            yield _examples(block)


def _examples(examples: Examples) -> str:
    lines = []
    for title, some in (("Most errors taken away", examples.wins), ("Most errors made", examples.losses)):
        if some:
            lines += [f"### {title}", "\n".join(map(_example, some))]
    return "\n\n".join(lines)


def _example(example: Example) -> str:
    """The reference, then each transcript; errors are in brackets: [right > recognised], [+added], [-lost]."""
    reference = " ".join(ref for ref, _, op in example.transcripts[0].pairs if op != "I")
    lines = [f"- `{example.utterance}` ({example.facts}), {example.title}: {reference}"]
    for transcript in example.transcripts:
        words = " ".join(_word(*pair) for pair in transcript.pairs)
        lines.append(f"  - {transcript.name}, {transcript.errors} of {example.words} wrong: {words}")
    return "\n".join(lines)


def _word(reference: str, hypothesis: str, operation: str) -> str:
    match operation:
        case "C":
            return reference
        case "S":
            return f"[{reference} > {hypothesis}]"
        case "I":
            return f"[+{hypothesis}]"
        case _:
            return f"[-{reference}]"
