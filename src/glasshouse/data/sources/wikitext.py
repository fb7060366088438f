"""Wikitext to plain text, simply: what a reader sees as running text stays, markup goes.

In this order: comments; `<ref>`, `<math>`, `<gallery>` and other elements whose content is no running text; templates
`{{…}}` and tables `{|…|}` with all they hold; links (`[[page|label]]` to its label, files and categories to nothing,
`[address label]` to its label); bold and italics; headings to lines of their own; list marks to `- `; remaining tags;
character references. Nothing is expanded: a number that a template computes is lost. Every pass goes over the text
once, so hostile nesting costs no more than honest text.
"""

from __future__ import annotations

import html
import re

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_NO_TEXT = "ref|math|chem|gallery|timeline|syntaxhighlight|source|score|graph|imagemap|mapframe|templatestyles|hiero|ce"
_EMPTY_ELEMENT = re.compile(rf"<(?:{_NO_TEXT})\b[^<>]*/>", re.IGNORECASE)
_ELEMENT_TAG = re.compile(rf"<(/?)({_NO_TEXT})\b[^<>]*>", re.IGNORECASE)
_BRACES = re.compile(r"\{\{|\}\}|(?<=\n)[ \t:]*\{\||\A[ \t:]*\{\||(?<=\n)[ \t]*\|\}(?!\})")
_SQUARES = re.compile(r"\[\[|\]\]")
_OUTSIDE_LINK = re.compile(
    r"\[(?:https?:|ftp:|mailto:)?//[^\s\[\]]*(?:[ \t]([^\[\]\n]*))?\]|\[mailto:[^\s\[\]]+[ \t]([^\[\]\n]*)\]"
)
_QUOTES = re.compile(r"'{2,5}")
_LIST = re.compile(r"^[*#:;]+[ \t]*", re.MULTILINE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,2000}>")
_MAGIC = re.compile(r"__[A-Z]{3,30}__")
_BLANKS = re.compile(r"\n{3,}")
_DROPPED_LINKS = frozenset(
    {
        "file", "image", "media", "category",
        "datei", "bild", "kategorie", "fichier", "catégorie", "archivo", "imagen", "categoría",
        "immagine", "categoria", "ficheiro", "imagem", "arquivo", "bestand", "afbeelding", "categorie",
        "plik", "grafika", "kategoria",
    }
)  # fmt: skip


def plain_text(wikitext: str) -> str:
    """The running text of a page; empty when there is none."""
    text = _COMMENT.sub("", wikitext.replace("\r\n", "\n").replace("\0", ""))
    text = _without_elements(_EMPTY_ELEMENT.sub("", text))
    text = _without_braces(text)
    text = _links(text)
    text = _OUTSIDE_LINK.sub(lambda found: found[1] or found[2] or "", text)
    text = _QUOTES.sub("", text)
    text = "\n".join(map(_without_heading_marks, text.split("\n")))
    text = _LIST.sub("- ", text)
    text = _MAGIC.sub("", _TAG.sub("", text))
    text = html.unescape(text).replace("\xa0", " ")
    text = "\n".join(line.strip(" \t") for line in text.split("\n"))
    return _BLANKS.sub("\n\n", text).strip().encode(errors="replace").decode()


def _without_heading_marks(line: str) -> str:
    """`== Heading ==` to the words between blank lines."""
    line = line.rstrip(" \t")
    if not line.startswith("=") or not line.endswith("=") or len(line) < 3:
        return line
    words = line.strip("=").strip(" \t")
    return f"\n{words}\n" if words else ""


def _without_elements(text: str) -> str:
    """Drops elements with their content; one that is never closed loses only its tag."""
    marks = list(_ELEMENT_TAG.finditer(text))
    closed = dict.fromkeys((mark[2].lower() for mark in marks), 0)
    for mark in marks:
        closed[mark[2].lower()] += bool(mark[1])
    parts, at, inside = [], 0, ""
    for mark in marks:
        name, ends = mark[2].lower(), bool(mark[1])
        closed[name] -= ends
        if not inside:
            parts.append(text[at : mark.start()])
            at = mark.end()
            inside = name if not ends and closed[name] else ""
        elif ends and name == inside:
            at, inside = mark.end(), ""
    return "".join([*parts, text[at:]])


def _without_braces(text: str) -> str:
    """Drops templates and tables with everything inside; braces without a partner lose only themselves."""
    marks = list(_BRACES.finditer(text))
    partner: dict[int, int] = {}
    waiting: dict[str, list[int]] = {"{{": [], "{|": []}
    order: list[int] = []
    for number, mark in enumerate(marks):
        brace = mark[0].strip(" \t:")
        if brace in waiting:
            waiting[brace].append(number)
            order.append(number)
            continue
        opening = waiting["{{" if brace == "}}" else "{|"]
        if opening:
            start = opening.pop()
            partner[start] = number
            while order and order[-1] >= start:  # what was opened inside and never closed ends here
                dropped = order.pop()
                for stack in waiting.values():
                    if stack and stack[-1] == dropped:
                        stack.pop()
    parts, at, number = [], 0, 0
    while number < len(marks):
        mark = marks[number]
        parts.append(text[at : mark.start()])
        number = partner.get(number, number)
        at = marks[number].end()
        number += 1
    return "".join([*parts, text[at:]])


def _links(text: str) -> str:
    """Labels instead of links, from the innermost out."""
    stack: list[list[str]] = [[]]
    at = 0
    for mark in _SQUARES.finditer(text):
        stack[-1].append(text[at : mark.start()])
        at = mark.end()
        if mark[0] == "[[":
            stack.append([])
        elif len(stack) > 1:
            label = _label("".join(stack.pop()))
            stack[-1].append(label)
    stack[-1].append(text[at:])
    return "".join("".join(parts) for parts in stack)


def _label(link: str) -> str:
    target, bar, rest = link.partition("|")
    prefix = target.lstrip().partition(":")[0].strip().lower() if ":" in target else ""
    if prefix in _DROPPED_LINKS:
        return ""
    return rest.rpartition("|")[2] if bar else target.lstrip(":")
