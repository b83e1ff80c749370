"""Notes to HTML: the small part of Markdown that the recipes' notes use, everything else as plain text.

Headings, paragraphs, lists with their continued lines, indented code; **bold**, `code` and [links](target) within.
"""

from __future__ import annotations

import re
from html import escape


def notes_html(text: str) -> str:
    """HTML of a note; whatever HTML it holds is shown, not obeyed."""
    return "\n".join(_block(block) for block in _blocks(text.expandtabs(4)))


def _blocks(text: str) -> list[list[str]]:
    """Lines that belong together: a heading, a list, code, or a paragraph."""
    blocks: list[list[str]] = []
    fresh = True
    for line in text.splitlines():
        if line.strip():
            if fresh or _begins(line, blocks[-1][0]):
                blocks.append([])
            blocks[-1].append(line)
        fresh = not line.strip() or line.startswith("#")
    return _joined(blocks)


def _begins(line: str, first: str) -> bool:
    """Whether a line begins a block although no blank line stands before it.  first: line of the block above."""
    return line.startswith("#") or (_kind(line) == "list" and _kind(first) != "list")


def _joined(blocks: list[list[str]]) -> list[list[str]]:
    """Lists and code that only a blank line parts become one."""
    joined: list[list[str]] = []
    for block in blocks:
        kind = _kind(block[0])
        if joined and kind in ("list", "code") and _kind(joined[-1][0]) == kind:
            joined[-1] += ([""] if kind == "code" else []) + block
        else:
            joined.append(block)
    return joined


def _kind(line: str) -> str:
    if line.startswith("#"):
        return "heading"
    if re.match(r"[-*] ", line):
        return "list"
    return "code" if line.startswith("    ") else "paragraph"


def _block(lines: list[str]) -> str:
    match _kind(lines[0]):
        case "heading":
            marks, _, words = lines[0].partition(" ")
            level = min(max(len(marks), 2), 6)  # h1 is the title of the page
            return f"<h{level}>{_inline(words)}</h{level}>"
        case "list":
            items = re.split(r"\n[-*] ", "\n" + "\n".join(lines))[1:]
            return "<ul>" + "".join(f"<li>{_inline(' '.join(item.split()))}</li>" for item in items) + "</ul>"
        case "code":
            return f"<pre>{escape(chr(10).join(line[4:] for line in lines))}</pre>"
        case _:
            return f"<p>{_inline(' '.join(line.strip() for line in lines))}</p>"


def _inline(text: str) -> str:
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(f"<code>{escape(p[1:-1])}</code>" if p[:1] == "`" and len(p) > 1 else _spans(p) for p in parts)


def _spans(text: str) -> str:
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"\[([^]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>', text)
