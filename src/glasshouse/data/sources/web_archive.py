"""Web archives (WARC 1.0 and 1.1, ISO 28500; WET too): the main text of every page.

The framing of records is read here, so that a damaged record costs that record and nothing after it, and every document
knows its byte range in the uncompressed archive. HTTP is parsed by FastWARC (chunks and content encodings), text is
decoded by the charset of the header, then by detection, and extracted by Resiliparse or Trafilatura
(arXiv 2402.00159, section 5 on web data; allenai/dolma `warc`).

Rules of what is no document (counted in `Quarantine.skipped`): `warc_request`, `warc_warcinfo` and other types than
response, resource and conversion; `warc_not_web` (no http address); `warc_http_status` (not 2xx); `warc_content_type`
(neither HTML nor plain text).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import fsspec
import orjson
import pyarrow as pa

from glasshouse.data.document import Document, Origin
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.json_lines import unreadable
from glasshouse.data.sources.lines import READERS, UNREADABLE
from glasshouse.data.sources.rows import BadRowError, Found, SeenIds, batches_of
from glasshouse.data.sources.warc_records import WarcRecord, warc_records

if TYPE_CHECKING:
    from glasshouse.data.sources.inputs import InputShard

_HTML = ("text/html", "application/xhtml+xml")
_PLAIN = "text/plain"
_MARKUP = 8
"""A page may have this many times the longest text in markup."""


class SkippedRecordError(Exception):
    """A record that by a named rule is no document."""


def read_web_archive(shard: InputShard, quarantine: Quarantine, seen: SeenIds) -> Iterator[pa.RecordBatch]:
    """The pages of an archive as documents: the id is the record's, `created` its date.

    Raises `ModuleNotFoundError` when the packages for web archives are not installed.
    """
    extract = extractor(shard.reading.extractor)
    return batches_of(_found(shard, quarantine, extract), shard.called(), quarantine, seen, shard.reading.batch_bytes)


def extractor(name: str) -> Callable[[str], str]:
    """The function that takes the main text out of HTML: "resiliparse" or "trafilatura"."""
    try:
        if name == "resiliparse":
            from resiliparse.extract.html2text import extract_plain_text

            return lambda page: str(extract_plain_text(page, main_content=True, list_bullets=True))
        import trafilatura
    except ImportError as error:
        message = f"{name} is not installed, or a package it needs ({error}): pip install 'glasshouse[web]'"
        raise ModuleNotFoundError(message) from error
    return lambda page: trafilatura.extract(page) or ""


def _found(shard: InputShard, quarantine: Quarantine, extract: Callable[[str], str]) -> Iterator[Found]:
    file, number = shard.called(), 0
    limit = shard.reading.max_document_bytes * _MARKUP
    try:
        with fsspec.open(shard.path, "rb") as raw:
            for record in warc_records(READERS[shard.compression](raw), limit):
                number += 1
                try:
                    document = _document(record, shard, extract)
                except SkippedRecordError as rule:
                    quarantine.skip(str(rule))
                    continue
                except BadRowError as bad:
                    quarantine.saw()
                    quarantine.add(
                        bad.reason, str(bad), file=file, line=number, offset=record.start, excerpt=record.head[:800]
                    )
                    continue
                quarantine.saw()
                yield Found(number, record.start, document)
    except UNREADABLE as error:
        unreadable(shard, error, quarantine)
        return
    if not number:
        quarantine.saw()
        quarantine.add("empty_file", "the file has no records", file=file)


def _document(record: WarcRecord, shard: InputShard, extract: Callable[[str], str]) -> Document:
    if record.problem:
        raise BadRowError(record.problem, record.message)
    kind, url = record.fields.get("warc-type", ""), record.fields.get("warc-target-uri", "").strip("<>")
    if kind not in ("response", "resource", "conversion"):
        raise SkippedRecordError(f"warc_{kind if kind.isalpha() else 'unknown_type'}")
    if not url.startswith(("http://", "https://")):
        raise SkippedRecordError("warc_not_web")
    identifier = record.fields.get("warc-record-id", "").strip("<>")
    if not identifier:
        raise BadRowError("missing_id", "the record has no WARC-Record-ID")
    content, content_type, charset = _payload(record, kind, shard.reading.max_document_bytes * _MARKUP)
    if content_type not in (*_HTML, _PLAIN):
        raise SkippedRecordError("warc_content_type")
    page, encoding = _decoded(content, charset, content_type != _PLAIN)
    text = page if content_type == _PLAIN else _extracted(page, extract)
    size = len(text.encode())
    if not text.strip():
        raise BadRowError("no_text", f"nothing is left of {url} after extraction")
    if size > shard.reading.max_document_bytes:
        raise BadRowError(
            "text_too_long", f"the text has {size} bytes, the limit is {shard.reading.max_document_bytes}"
        )
    date = record.fields.get("warc-date", "")
    metadata = {
        "url": url, "content_type": content_type, "warc_date": date, "warc_record_id": identifier,
        "encoding": encoding,
    }  # fmt: skip
    return Document(
        identifier, text, shard.reading.source, Origin(shard.called(), record.start, record.end), created=date,
        metadata=orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS).decode(),
    )  # fmt: skip


def _payload(record: WarcRecord, kind: str, limit: int) -> tuple[bytes, str, str]:
    """Content, content type and charset: of the HTTP response in a response, of the record itself otherwise."""
    of_record, _, parameters = record.fields.get("content-type", "").partition(";")
    if kind != "response":
        charset = parameters.partition("charset=")[2].strip(" \"'").lower() if "charset=" in parameters else ""
        return record.block, of_record.strip().lower(), charset
    if of_record.strip().lower() != "application/http":
        raise SkippedRecordError("warc_content_type")
    parsed = _http(record)
    status = parsed.http_headers.status_code
    if not isinstance(status, int):
        raise BadRowError("broken_http", f"a response begins with a status line, got {record.block[:40]!r}")
    if not 200 <= status < 300:
        raise SkippedRecordError("warc_http_status")
    content_type = (parsed.http_content_type or "").lower()
    if content_type not in (*_HTML, _PLAIN):
        raise SkippedRecordError("warc_content_type")
    try:
        content = parsed.reader.read(limit + 1)
    except (OSError, ValueError) as error:
        raise BadRowError("broken_http", f"the body cannot be decoded: {error}") from None
    if len(content) > limit:
        raise BadRowError("text_too_long", f"the page has more than {limit} bytes, which is the limit")
    return bytes(content), content_type, (parsed.http_charset or "").lower()


def _http(record: WarcRecord) -> Any:
    try:
        from fastwarc.warc import ArchiveIterator
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("fastwarc is not installed: pip install 'glasshouse[web]'") from error
    try:
        parsed = next(
            iter(ArchiveIterator(io.BytesIO(record.head + record.block + b"\r\n\r\n"), auto_decode="all")), None
        )
        if parsed is not None and not parsed.is_http_parsed:
            parsed.parse_http(auto_decode="all")
    except (OSError, ValueError) as error:
        raise BadRowError("broken_http", f"the response cannot be parsed: {error}") from None
    if parsed is None or parsed.http_headers is None:
        raise BadRowError("broken_http", "the record holds no HTTP response")
    return parsed


def _decoded(content: bytes, charset: str, html: bool) -> tuple[str, str]:
    """Text and its encoding: the header's charset, then what the page says, then detection."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

    encoding = (map_encoding_to_html5(charset) if charset else "") or detect_encoding(content, from_html_meta=html)
    try:
        text = bytes_to_str(content, encoding or "utf-8")
    except (LookupError, ValueError) as error:
        raise BadRowError("invalid_encoding", f"the page cannot be read as {encoding}: {error}") from None
    return text.encode(errors="replace").decode(), str(encoding)


def _extracted(page: str, extract: Callable[[str], str]) -> str:
    try:
        return extract(page).encode(errors="replace").decode()
    except Exception as error:
        raise BadRowError("extraction_failed", f"the extractor failed: {type(error).__name__}: {error}") from None
