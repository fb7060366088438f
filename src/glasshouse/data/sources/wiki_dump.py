"""MediaWiki XML dumps (`pages-articles.xml.bz2`) to documents: one per page, wikitext made plain (`wikitext.py`).

The dump is parsed as a stream. A document type or an entity declaration is refused, so nothing can expand (the "billion
laughs") and nothing outside is read.

Rules of what is no document (counted in `Quarantine.skipped`): `wiki_redirect`, `wiki_namespace`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.parsers import expat

import fsspec
import orjson
import pyarrow as pa

from glasshouse.data.document import Document, Origin
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.json_lines import unreadable
from glasshouse.data.sources.lines import READERS, UNREADABLE, DamageError
from glasshouse.data.sources.rows import BadRowError, Found, SeenIds, batches_of
from glasshouse.data.sources.wikitext import plain_text

if TYPE_CHECKING:
    from glasshouse.data.sources.inputs import InputShard

_MARKUP = 4
"""Wikitext may be this many times longer than the longest plain text."""
_FIELDS = {
    ("mediawiki", "page", "title"): "title",
    ("mediawiki", "page", "ns"): "namespace",
    ("mediawiki", "page", "id"): "id",
    ("mediawiki", "page", "revision", "id"): "revision",
    ("mediawiki", "page", "revision", "timestamp"): "timestamp",
    ("mediawiki", "page", "revision", "format"): "format",
    ("mediawiki", "page", "revision", "text"): "text",
    ("mediawiki", "siteinfo", "base"): "base",
    ("mediawiki", "siteinfo", "dbname"): "database",
}
_OF_SITE = ("base", "database")
_DEEPEST = 32
_LONGEST_SITE = 4096
"""Characters that are kept of a field about the site."""
_LONGEST_TAG = 16 << 20
"""Bytes of a tag or comment that does not end, from which on it is refused: the parser holds them in memory."""


class RefusedXmlError(Exception):
    """The XML is nested too deep, has a tag without end, or declares a document type or an entity."""


@dataclass
class Page:
    """A page: its fields, its byte range in the uncompressed dump, and its characters of wikitext."""

    start: int
    end: int = 0
    fields: dict[str, list[str]] = field(default_factory=dict)
    redirect: bool = False
    characters: int = 0

    def get(self, name: str) -> str:
        """A field's text."""
        return "".join(self.fields.get(name, ()))


class _Parser:
    """Gathers pages while expat goes through the XML."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pages: list[Page] = []
        self.site: dict[str, list[str]] = {}
        self.page: Page | None = None
        self.path: list[str] = []
        self.fed = 0
        self.expat = expat.ParserCreate()
        self.expat.buffer_text = True
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end
        self.expat.CharacterDataHandler = self._characters
        self.expat.StartDoctypeDeclHandler = self._refuse
        self.expat.EntityDeclHandler = self._refuse

    def feed(self, block: bytes) -> None:
        """Parses more of the dump. Raises `RefusedXmlError`, or what expat raises."""
        self.expat.Parse(block, False)
        self.fed += len(block)
        begun = self.expat.CurrentByteIndex  # -1 while expat waits for more of a token
        if begun >= 0 and self.fed - begun > _LONGEST_TAG:
            raise RefusedXmlError(f"a tag or comment that begins at byte {begun} has more than {_LONGEST_TAG} bytes")

    def take(self) -> list[Page]:
        """The pages that are complete."""
        pages, self.pages = self.pages, []
        return pages

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.path.append(name)
        if len(self.path) > _DEEPEST:
            raise RefusedXmlError(f"elements are nested more than {_DEEPEST} deep")
        if self.path == ["mediawiki", "page"]:
            self.page = Page(self.expat.CurrentByteIndex)
        elif name == "redirect" and self.page is not None:
            self.page.redirect = True
        elif name == "revision" and self.page is not None:
            # A dump with full history: the last revision is the page.
            self.page.fields = {
                key: self.page.fields[key] for key in ("title", "namespace", "id") if key in self.page.fields
            }
            self.page.characters = 0

    def _end(self, name: str) -> None:
        if self.path == ["mediawiki", "page"] and self.page is not None:
            self.page.end = self.expat.CurrentByteIndex + len("</page>")
            self.pages.append(self.page)
            self.page = None
        self.path.pop()

    def _characters(self, text: str) -> None:
        wanted = _FIELDS.get(tuple(self.path)) if len(self.path) <= 4 else None
        if wanted is None:
            return
        if wanted in _OF_SITE:
            held = self.site.setdefault(wanted, [])
            held += [text] if sum(map(len, held)) + len(text) <= _LONGEST_SITE else []
        elif self.page is not None:
            self.page.characters += len(text)
            if self.page.characters <= self.limit:
                self.page.fields.setdefault(wanted, []).append(text)

    def _refuse(self, *declared: object) -> None:
        raise RefusedXmlError(f"a document type or an entity is declared ({declared[0]!s:.60}); a dump has none")


def read_wiki_dump(shard: InputShard, quarantine: Quarantine, seen: SeenIds) -> Iterator[pa.RecordBatch]:
    """The pages of a dump as documents: the id is the page's number, `created` the time of its last revision."""
    return batches_of(_found(shard, quarantine), shard.called(), quarantine, seen, shard.reading.batch_bytes)


def _found(shard: InputShard, quarantine: Quarantine) -> Iterator[Found]:
    parser, number, empty = _Parser(shard.reading.max_document_bytes * _MARKUP), 0, True
    problem = None
    try:
        with fsspec.open(shard.path, "rb") as raw:
            try:
                for block in READERS[shard.compression](raw):
                    empty = False
                    parser.feed(block)
                    for page in parser.take():
                        number += 1
                        yield from _page(page, parser.site, shard, number, quarantine)
                parser.expat.Parse(b"", True)
            except (DamageError, expat.ExpatError, RefusedXmlError, ValueError) as error:
                problem = error
    except UNREADABLE as error:
        unreadable(shard, error, quarantine)
        return
    for page in parser.take():
        number += 1
        yield from _page(page, parser.site, shard, number, quarantine)
    if problem is None and number:
        return
    quarantine.saw()
    if empty:
        quarantine.add("empty_file", "the file has no bytes", file=shard.called())
    elif problem is None:
        quarantine.add("empty_file", "the dump has no pages", file=shard.called())
    else:
        reason = "refused_xml" if isinstance(problem, RefusedXmlError) else "damaged_file"
        message = f"{problem}; the {number} pages before were read"
        quarantine.add(reason, message, file=shard.called(), line=number + 1, offset=parser.expat.CurrentByteIndex)


def _page(
    page: Page, site: dict[str, list[str]], shard: InputShard, number: int, quarantine: Quarantine
) -> Iterator[Found]:
    namespace = page.get("namespace") or "0"
    if namespace not in map(str, shard.reading.namespaces):
        quarantine.skip("wiki_namespace")
    elif page.redirect:
        quarantine.skip("wiki_redirect")
    else:
        quarantine.saw()
        try:
            document = _document(page, site, shard)
        except BadRowError as bad:
            quarantine.add(
                bad.reason, str(bad), file=shard.called(), line=number, offset=page.start, excerpt=page.get("title")
            )
            return
        yield Found(number, page.start, document)


def _document(page: Page, site: dict[str, list[str]], shard: InputShard) -> Document:
    limit = shard.reading.max_document_bytes
    title, identifier = page.get("title").strip(), page.get("id").strip()
    if page.characters > limit * _MARKUP:
        raise BadRowError("text_too_long", f"the page {title!r} has {page.characters} characters of wikitext")
    if not identifier:
        raise BadRowError("missing_id", f"the page {title!r} has no number")
    if "text" not in page.fields:
        raise BadRowError("missing_text", f"the page {title!r} has no text")
    text = plain_text(page.get("text"))
    if not text:
        raise BadRowError("no_text", f"nothing is left of the page {title!r} without its markup")
    size = len(text.encode())
    if size > limit:
        raise BadRowError("text_too_long", f"the text has {size} bytes, the limit is {limit}")
    base = "".join(site.get("base", ())).strip()
    metadata = {"title": title, "revision": page.get("revision"), "wiki": "".join(site.get("database", ())).strip()}
    if base:
        metadata["url"] = f"{base.rpartition('/')[0]}/{title.replace(' ', '_')}"
    return Document(
        identifier, text, shard.reading.source, Origin(shard.called(), page.start, page.end),
        created=page.get("timestamp").strip(), metadata=orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS).decode(),
    )  # fmt: skip
