"""Hard-wrapped text to paragraphs: one line per paragraph, as text extracted from web pages has it.

Documentation and docstrings break their lines at some column; rules about lines (C4's ending punctuation, Gopher's
duplicate lines) mean paragraphs. Lines of a paragraph are joined; a blank line, a list item, a heading's underline, a
table row, a prompt of an interactive session or a line ending in a colon ends it.
"""

from __future__ import annotations

import re

_ITEM = re.compile(r"(?:[-*+•>]|\d+[.)]|:|\.\.|@|#|\|)")
_ALONE = re.compile(r"(?:>>>|\.\.\.|[=~\-^`#*]{3,}$|\|)")


def unwrap(text: str) -> str:
    """`text` with one line per paragraph and no blank lines."""
    lines: list[str] = []
    paragraph: list[str] = []

    def close() -> None:
        if paragraph:
            lines.append(" ".join(paragraph))
            paragraph.clear()

    for line in map(str.strip, text.split("\n")):
        if not line or (paragraph and _ITEM.match(line)):
            close()
        if not line:
            continue
        if line.endswith(":") or _ALONE.match(line):
            close()
            lines.append(line)
        else:
            paragraph.append(line)
    close()
    return "\n".join(lines)
