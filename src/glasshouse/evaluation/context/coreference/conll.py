"""Coreference in columns: CoNLL-2012 (OntoNotes `*.v4_gold_conll`) and the three columns of OntoGUM.

A document stands between `#begin document` and `#end document`, a token to a line. The word is the fourth column, or of
two or three columns the second; the last column opens `(7`, closes `7)` or does both `(7)`, several parts side by side
or with `|` between them. A closing part closes the mention of that cluster that was opened last. Where a mention is
marked more than once, the mark that was opened first counts and the others are dropped, as in the reference scorer.

OntoNotes is licensed and has to be brought along; OntoGUM is open. Words of OntoGUM that are masked (`_`) are of reddit
posts, which may not be passed on; such documents are left out, since nothing can be read in them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from glasshouse.evaluation.context.coreference.documents import Document, Mention
from glasshouse.evaluation.context.sources import DataError, find_files, require_folder

_PART = re.compile(r"\((?P<single>[^()|\s]+)\)|\((?P<open>[^()|\s]+)|(?P<close>[^()|\s]+)\)")
_BEGIN = re.compile(r"#\s*begin document\s*(?P<name>.*)", re.IGNORECASE)
_NOTHING = frozenset(("-", "_", "*"))


def read_conll(path: str | Path) -> list[Document]:
    """The documents of a file; a part of a CoNLL document is a document of its own.

    Raises:
        DataError: naming file and line: a mention is closed that is not open, or one stays open.
    """
    place = Path(path)
    lines = place.read_text(encoding="utf-8").splitlines()
    found: list[Document] = []
    body: list[tuple[int, list[str]]] = []
    name = place.stem
    for number, line in enumerate(lines, start=1):
        if begins := _BEGIN.match(line):
            name, body = _name(begins["name"], place.stem), []
        elif line.startswith(("#end document", "# end document")):
            found.append(_document(name, body, place))
            body = []
        elif not line.startswith("#"):
            body.append((number, line.split()))
    if any(columns for _, columns in body):
        found.append(_document(name, body, place))
    return found


def _name(given: str, otherwise: str) -> str:
    """`(bc/cctv/00/cctv_0000); part 001` as `bc/cctv/00/cctv_0000#1`."""
    inside = re.match(r"\((?P<name>[^)]*)\)(?:;\s*part\s*(?P<part>\d+))?", given.strip())
    if not inside:
        return given.strip() or otherwise
    return inside["name"] + (f"#{int(inside['part'])}" if inside["part"] else "")


def _document(name: str, body: list[tuple[int, list[str]]], place: Path) -> Document:
    tokens: list[str] = []
    speakers: list[str] = []
    sentences: list[int] = []
    marks: list[tuple[int, str]] = []
    begins = True
    for number, columns in body:
        if not columns:
            begins = True
            continue
        if len(columns) < 2:
            raise DataError(f"{place}, line {number}: a token needs two columns or more, got {columns[0]!r}")
        if begins:
            sentences.append(len(tokens))
            begins = False
        tokens.append(columns[3] if len(columns) > 4 else columns[1])
        if len(columns) > 10:
            speakers.append(columns[9])
        marks.append((number, columns[-1]))
    clusters = _clusters(marks, place)
    complete = tuple(speakers) if len(speakers) == len(tokens) else ()
    return Document(name, tuple(tokens), clusters, tuple(sentences), complete)


def _clusters(marks: Iterable[tuple[int, str]], place: Path) -> tuple[frozenset[Mention], ...]:
    spans: list[tuple[int, int, str] | None] = []  # in the order in which they were opened
    opened: dict[str, list[tuple[int, int, int]]] = {}
    for token, (number, mark) in enumerate(marks):
        for part in () if mark in _NOTHING else _parts(mark, place, number):
            if part["single"]:
                spans.append((token, token + 1, part["single"]))
            elif part["open"]:
                opened.setdefault(part["open"], []).append((len(spans), token, number))
                spans.append(None)
            elif not opened.get(part["close"]):
                raise DataError(
                    f"{place}, line {number}: {mark!r} closes a mention of {part['close']} that is not open"
                )
            else:
                slot, start, _ = opened[part["close"]].pop()
                spans[slot] = (start, token + 1, part["close"])
    for label, rest in opened.items():
        if rest:
            raise DataError(f"{place}, line {rest[0][2]}: the mention of {label} that opens here is never closed")
    clusters: dict[str, list[Mention]] = {}
    seen: set[Mention] = set()
    for start, end, label in filter(None, spans):
        mention = Mention(start, end)
        if mention not in seen:
            seen.add(mention)
            clusters.setdefault(label, []).append(mention)
    return tuple(frozenset(members) for members in clusters.values())


def _parts(mark: str, place: Path, number: int) -> Iterator[re.Match[str]]:
    end = 0
    for part in _PART.finditer(mark):
        if mark[end : part.start()].strip("|"):
            break
        end = part.end()
        yield part
    if mark[end:].strip("|"):
        raise DataError(f"{place}, line {number}: {mark!r} is no coreference mark such as (3, 3), (3) or -")


def read_ontonotes(folder: str | Path) -> list[Document]:
    """The documents of a CoNLL-2012 folder, which the user has from the LDC: of its `*gold_conll` files where there are
    any, and not of the same documents with automatic annotation beside them."""
    files = find_files("ontonotes", folder, "**/*gold_conll", "**/*_conll")
    return [document for file in files for document in read_conll(file)]


def read_ontogum(
    folder: str | Path, split: str | None = "test", aside: Callable[[str], object] | None = None
) -> list[Document]:
    """Documents of OntoGUM, without those that are masked.

    OntoNotes annotates nothing that is mentioned once; the few such clusters that the conversion has left are dropped.

    Args:
        split: "train", "dev", "test", "test2" as in `SPLITS.md`; all documents when `None`.
        aside: told why, of each document that is damaged and left out; without it a damaged document is an error.

    Raises:
        DataError: the folder is not there, has no such split, or a document in it is damaged.
    """
    home = require_folder("ontogum", folder)
    files = find_files("ontogum", home, "*.conll")
    if split is not None:
        chosen = _splits(home).get(split)
        if chosen is None:
            raise DataError(f"{home} has no split {split!r}; it has {', '.join(_splits(home))}")
        files = [file for file in files if file.stem in chosen]
    found: list[Document] = []
    for file in files:
        try:
            found += read_conll(file)
        except DataError as error:
            if aside is None:
                raise
            aside(str(error))
    return [_without_singletons(document) for document in found if set(document.tokens) != {"_"}]


def _without_singletons(document: Document) -> Document:
    return dataclasses.replace(document, clusters=tuple(c for c in document.clusters if len(c) > 1))


def _splits(home: Path) -> dict[str, set[str]]:
    listing = next((home / name for name in ("SPLITS.md", "splits.md") if (home / name).is_file()), None)
    if listing is None:
        raise DataError(
            f"{home} has no SPLITS.md, which says which documents are for testing: take all with split=None"
        )
    found: dict[str, set[str]] = {}
    section = ""
    for line in listing.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:].strip()
        elif section and line.strip().startswith("*"):
            found.setdefault(section, set()).add(line.strip(" *"))
    return found
