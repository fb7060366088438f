"""Pieces of a model card in Markdown, on top of those of a datasheet: code, pictures, and panels as tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from glasshouse.data.description.datasheet_text import Paragraph, Table, block_lines, plain
from glasshouse.store import panels as store_panels
from glasshouse.store.panels import Numbers, Panel, Samples

MOST_ROWS = 60
MOST_SAMPLES = 4


@dataclass(frozen=True)
class Code:
    """A block set in type, such as a command or a Mermaid graph."""

    language: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A file beside the card."""

    file: str
    title: str


@dataclass(frozen=True)
class Text:
    """Sentences of the house's own; what comes from a document or a person goes through `Paragraph` or `Table`."""

    text: str


Piece = Paragraph | Table | Code | Picture | Text


@dataclass(frozen=True)
class Chapter:
    """A heading and what is under it."""

    title: str
    pieces: Sequence[Piece] = field(default_factory=list)


def card_markdown(title: str, chapters: Iterable[Chapter]) -> str:
    """The chapters as Markdown; one without pieces is left out."""
    lines = [f"# {plain(title)}", ""]
    for chapter in chapters:
        if chapter.pieces:
            lines += [f"## {plain(chapter.title)}", ""]
        for piece in chapter.pieces:
            lines += [*_lines(piece), ""]
    return "\n".join(lines).rstrip() + "\n"


def panel_pieces(panels: Iterable[Panel]) -> list[Piece]:
    """Panels as tables and samples. Curves are drawn elsewhere, and bars say what a table beside them says."""
    found: list[Piece] = []
    for panel in panels:
        if isinstance(panel, Numbers):
            found.append(Table(panel.title, ["", ""], list(panel.values.items()), panel.note))
        elif isinstance(panel, store_panels.Table):
            left = (
                f" {len(panel.rows) - MOST_ROWS} more rows are in the artifact." if len(panel.rows) > MOST_ROWS else ""
            )
            found.append(Table(panel.title, panel.columns, panel.rows[:MOST_ROWS], panel.note + left))
        elif isinstance(panel, Samples):
            found.append(Text(f"### {plain(panel.title)}"))
            for source, text in panel.samples[:MOST_SAMPLES]:
                found += [Text(plain(source)), Code("text", text)]
    return found


def _lines(piece: Piece) -> list[str]:
    if isinstance(piece, Code):
        # A fence longer than any in the text, so that the text cannot end it.
        fence = "`" * max([2, *(len(run) for run in re.findall(r"`+", piece.text))]) + "`"
        return [f"{fence}{piece.language}", *piece.text.splitlines(), fence]
    if isinstance(piece, Picture):
        return [f"![{plain(piece.title)}]({piece.file})"]
    if isinstance(piece, Text):
        return [piece.text]
    return block_lines(piece)
