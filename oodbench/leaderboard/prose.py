"""Conversion of the Markdown in notes.md to HTML: headings, paragraphs, lists, bold, italics, code and links."""

from __future__ import annotations

import re
from html import escape

from oodbench.text import printable

ITEM = re.compile(r"^[-*] ", re.MULTILINE)
SPAN = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<bold>.+?)\*\*|(?<![\w*])\*(?P<italic>[^*\s][^*]*?)\*(?![\w*])|"
    r"(?P<image>!)?\[(?P<text>[^\]]*)\]\((?P<link>[^)\s]*)\)"
)
SAFE_LINK = re.compile(r"https?://", re.IGNORECASE)


def to_html(markdown: str) -> str:
    """Return the text as HTML. HTML in the text is escaped, and only links to the web (http, https) stay links."""
    blocks = re.split(r"\n[ \t]*\n", printable(markdown).strip())
    return "\n".join(_block(block) for block in blocks if block.strip())


def _block(block: str) -> str:
    if heading := re.match(r"#{1,6} (.*)", block):
        rest = block[heading.end() :].strip()
        return f"<h3>{_spans(heading[1])}</h3>" + (f"\n{_block(rest)}" if rest else "")
    first, *items = ITEM.split(block)
    paragraph = f"<p>{_spans(first)}</p>" if first.strip() else ""
    listed = "".join(f"<li>{_spans(item)}</li>" for item in items)
    return paragraph + (f"<ul>{listed}</ul>" if items else "")


def _spans(text: str) -> str:
    made, end = [], 0
    for match in SPAN.finditer(text):
        made += [escape(text[end : match.start()]), _span(match)]
        end = match.end()
    return "".join([*made, escape(text[end:])]).strip()


def _span(match: re.Match[str]) -> str:
    if code := match["code"]:
        return f"<code>{escape(code)}</code>"
    if bold := match["bold"]:
        return f"<strong>{_spans(bold)}</strong>"
    if italic := match["italic"]:
        return f"<em>{escape(italic)}</em>"
    if match["image"]:
        return f"<em>(figure: {escape(match['text'])})</em>"
    if SAFE_LINK.match(match["link"]):
        return f'<a href="{escape(match["link"])}" rel="noopener noreferrer">{_spans(match["text"])}</a>'
    return _spans(match["text"])
