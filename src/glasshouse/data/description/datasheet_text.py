"""The sections of a datasheet as Markdown and as one HTML page. All text is escaped: ids, sources and licences come
from documents, and a document must not be able to write into the page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Any

NOT_STATED = "not stated"
_MARKED = re.compile(r"([\\`*_\[\]#!|~>$]|:(?=//))")
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")


@dataclass(frozen=True)
class Paragraph:
    """A question and its answer; `None` where nobody has stated one."""

    question: str
    answer: str | None


@dataclass(frozen=True)
class Table:
    """Rows of values; a percentage is a number in a column whose name has a %."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


Block = Paragraph | Table


@dataclass(frozen=True)
class Section:
    """A heading and what is under it."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The sections as Markdown (GitHub's tables)."""
    lines = [f"# Datasheet: {plain(title)}", ""]
    for section in sections:
        lines += [f"## {plain(section.title)}", ""]
        for block in section.blocks:
            lines += [*block_lines(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def block_lines(block: Block) -> list[str]:
    """One block as lines of Markdown."""
    return _paragraph(block) if isinstance(block, Paragraph) else _table(block)


def html(title: str, sections: Sequence[Section]) -> str:
    """The sections as one page that fetches nothing and runs nothing."""
    links = "".join(f"<a href='#s{n}'>{escape(section.title)}</a>" for n, section in enumerate(sections))
    body = "".join(
        f"<section id='s{number}'><h2>{escape(section.title)}</h2>"
        + "".join(_paragraph_html(b) if isinstance(b, Paragraph) else _table_html(b) for b in section.blocks)
        + "</section>"
        for number, section in enumerate(sections)
    )
    page = (files("glasshouse.data.description") / "datasheet.html").read_text(encoding="utf-8")
    # In one pass, so that a title that looks like a mark is not replaced in turn.
    parts = {"title": escape(title), "links": links, "body": body}
    return re.sub(r"\{\{(title|links|body)\}\}", lambda mark: parts[mark[1]], page)


def plain(text: str) -> str:
    """Text on one line in which Markdown and HTML mean nothing."""
    line = _MARKED.sub(r"\\\1", _LINE_ENDS.sub(" ", text))
    return line.replace("&", "&amp;").replace("<", "&lt;")


def shown(value: str | int | float | None, column: str = "") -> str:
    """A value as it is read by people."""
    if value is None:
        return "–" if column else NOT_STATED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.2f} %" if "%" in column else f"{value:,.4g}"
    return value


def _paragraph(block: Paragraph) -> list[str]:
    answer = f"*{NOT_STATED}*" if block.answer is None else plain(block.answer)
    return [f"**{plain(block.question)}** {answer}"]


def _table(block: Table) -> list[str]:
    lines = [f"### {plain(block.title)}", ""] if block.title else []
    if block.rows:
        lines += ["| " + " | ".join(plain(name) for name in block.columns) + " |", "|" + " --- |" * len(block.columns)]
        lines += ["| " + " | ".join(_cells(block, row)) + " |" for row in block.rows]
    return [*lines, *(["", plain(block.note)] if block.note else [])]


def _cells(block: Table, row: Sequence[str | int | float | None]) -> list[str]:
    return [plain(shown(value, name)) for name, value in zip(block.columns, row, strict=True)]


def _paragraph_html(block: Paragraph) -> str:
    answer = f"<em>{NOT_STATED}</em>" if block.answer is None else escape(block.answer)
    return f"<h3>{escape(block.question)}</h3><p>{answer}</p>"


def _table_html(block: Table) -> str:
    first = block.rows[0] if block.rows else [""] * len(block.columns)
    head = "".join(
        f"<th{' class=n' if isinstance(value, int | float) else ''}>{escape(name)}</th>"
        for name, value in zip(block.columns, first, strict=True)
    )
    head = f"<thead><tr>{head}</tr></thead>" if any(block.columns) else ""
    rows = "".join(
        "<tr>" + "".join(_cell_html(name, value) for name, value in zip(block.columns, row, strict=True)) + "</tr>"
        for row in block.rows
    )
    title = f"<h3>{escape(block.title)}</h3>" if block.title else ""
    note = f"<p class='note'>{escape(block.note)}</p>" if block.note else ""
    return (
        title + note + (f"<div class='scroll'><table>{head}<tbody>{rows}</tbody></table></div>" if block.rows else "")
    )


def _cell_html(column: str, value: str | int | float | None) -> str:
    text = escape(shown(value, column))
    if value is None:
        return f"<td><em>{text}</em></td>"
    if isinstance(value, str):
        if column == "rule":
            return f"<td><code class='short'>{text}</code></td>"
        return f"<td>{f'<code>{text}</code>' if column in ('sha256', 'settings') else text}</td>"
    bar = f" style='--share:{max(0.0, min(100.0, value)):.2f}%'" if "%" in column else ""
    return f"<td class='n{' share' if bar else ''}'{bar}>{text}</td>"
