"""Web archives: the sample of real pages, damage of every kind, charsets, and what is no document."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.settings import Reading
from glasshouse.data.sources.web_archive import extractor

pytest.importorskip("fastwarc")
pytest.importorskip("resiliparse")
SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "dolma" / "warc"


def record(number, block, kind="response", content_type="application/http; msgtype=response", length=None, url=None):
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url or f'http://x.org/{number}'}\r\n"
        f"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def page(words, status="200 OK", header="Content-Type: text/html; charset=utf-8", encoding="utf-8", extra=b""):
    body = f"<html><body><main><p>{words}</p></main></body></html>".encode(encoding)
    return f"HTTP/1.1 {status}\r\n{header}\r\n".encode() + extra + b"\r\n" + body


def read(path, content=None, **reading):
    if content is not None:
        path.write_bytes(content)
    quarantine = Quarantine()
    (shard,) = plan_inputs(path, "warc", reading=Reading(**reading))
    found = [row for batch in shard.batches(quarantine) for row in batch.to_pylist()]
    assert quarantine.rows_kept == len(found)
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
    return found, quarantine


def ids(found):
    return [int(row["id"].removeprefix("urn:uuid:")) for row in found]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample archives are not on this machine")
@pytest.mark.parametrize("name", ["sample-0000.warc.gz", "sample-0001.warc.gz"])
def test_the_sample_equals_what_the_libraries_say(name):
    """The reference reads framing, HTTP and charset with FastWARC alone."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    wanted = {}
    with (SAMPLES / name).open("rb") as file:
        for item in ArchiveIterator(file, record_types=WarcRecordType.response, auto_decode="all"):
            body = item.reader.read()
            encoding = item.http_charset or detect_encoding(body, from_html_meta=True)
            wanted[item.record_id.strip("<>")] = extract_plain_text(bytes_to_str(body, encoding), main_content=True)
    found, quarantine = read(SAMPLES / name)
    assert {row["id"]: row["text"] for row in found} == {name: text for name, text in wanted.items() if text.strip()}
    assert len(found) > 10
    raw = gzip.decompress((SAMPLES / name).read_bytes())
    for row in found:
        start, end = row["origin"]["start"], row["origin"]["end"]
        assert raw[start:end].startswith(b"WARC/1.0\r\nWARC-Type: response")
        assert f"<{row['id']}>".encode() in raw[start:end]
        metadata = json.loads(row["metadata"])
        assert metadata["url"].startswith("https://")
        assert row["created"] == metadata["warc_date"] != ""
    assert quarantine.skipped["warc_request"] == len(wanted)
    assert quarantine.skipped["warc_not_web"] == 2


def test_what_is_no_document_is_counted_by_rule(tmp_path):
    content = b"".join(
        [
            record(0, b"software: x", "warcinfo", "application/warc-fields"),
            record(1, b"GET / HTTP/1.1\r\n\r\n", "request", "application/http; msgtype=request"),
            record(2, page("words of two")),
            record(3, page("gone", status="404 Not Found")),
            record(4, page("image", header="Content-Type: image/png")),
            record(5, b"plain words", "resource", "text/plain; charset=utf-8"),
            record(6, b"words of a WET file", "conversion", "text/plain"),
            record(7, b"log", "resource", "text/plain", url="metadata://x/y"),
            record(8, b"dns", "resource", "text/dns"),
            record(9, b"same", "revisit", "application/http; msgtype=response"),
            record(10, b"<html><body></body></html>", "resource", "text/html"),
        ]
    )
    found, quarantine = read(tmp_path / "x.warc", content)
    assert ids(found) == [2, 5, 6]
    assert [row["text"] for row in found] == ["words of two", "plain words", "words of a WET file"]
    assert quarantine.skipped == {
        "warc_warcinfo": 1, "warc_request": 1, "warc_http_status": 1, "warc_content_type": 2, "warc_not_web": 1,
        "warc_revisit": 1,
    }  # fmt: skip
    assert quarantine.by_reason == {"no_text": 1}


@pytest.mark.parametrize(
    ("header", "encoding", "meta"),
    [
        ("Content-Type: text/html; charset=utf-8", "utf-8", ""),
        ("Content-Type: text/html; charset=iso-8859-1", "latin-1", ""),
        ("Content-Type: text/html; charset=shift_jis", "shift_jis", ""),
        ("Content-Type: text/html", "windows-1251", '<meta charset="windows-1251">'),
        ("Content-Type: text/html", "utf-8", ""),
        ("Content-Type: text/html; charset=nonsense", "utf-8", ""),
    ],
)
def test_charsets(tmp_path, header, encoding, meta):
    words = {"shift_jis": "日本語の文章です", "windows-1251": "Это русский текст"}.get(
        encoding, "Où est le café à côté ?"
    )
    body = page(f"{meta}{words}" if not meta else words, header=header, encoding=encoding)
    body = body.replace(b"<body>", f"<head>{meta}</head><body>".encode()) if meta else body
    found, _ = read(tmp_path / "x.warc", record(1, body))
    assert [row["text"] for row in found] == [words]


def test_chunks_and_content_encodings(tmp_path):
    packed = gzip.compress(b"<html><body><p>packed words</p></body></html>")
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    found, _ = read(tmp_path / "x.warc", record(1, head + chunked))
    assert [row["text"] for row in found] == ["packed words"]
    bomb = gzip.compress(b"<p>" + b"\0" * (1 << 20))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n"
    found, quarantine = read(
        tmp_path / "x.warc", record(1, head + bomb) + record(2, page("two")), max_document_bytes=9999
    )
    assert ids(found) == [2]
    assert quarantine.by_reason == {"text_too_long": 1}


DAMAGE = {
    "broken version": (b"WRAC/1.0\r\nWARC-Type: response\r\n\r\nx\r\n\r\n", {"broken_warc_header": 1}),
    "no colon": (b"WARC/1.0\r\nWARC-Type response\r\n\r\n", {"broken_warc_header": 1}),
    "no length": (b"WARC/1.0\r\nWARC-Type: response\r\n\r\nx\r\n\r\n", {"broken_warc_header": 1}),
    "length is no number": (record(9, b"x", length="ten"), {"broken_warc_header": 1}),
    "negative length": (record(9, b"x", length=-5), {"broken_warc_header": 1}),
    "length too small": (record(9, page("nine words here"), length=20), {"wrong_content_length": 1}),
    "length too large": (record(9, page("nine"), length=len(page("nine")) + 300), {"wrong_content_length": 1}),
    "length huge": (record(9, page("nine"), length=10**15), {"record_too_long": 1}),
    "length beyond the end": (record(9, page("nine"), length=10**5), {"wrong_content_length": 1}),
    "no http": (record(9, b"this is not http"), {"broken_http": 1}),
    "empty http": (record(9, b""), {"broken_http": 1}),
    "no id": (record(9, page("nine")).replace(b"WARC-Record-ID: <urn:uuid:9>\r\n", b""), {"missing_id": 1}),
    "same id": (record(1, page("one")), {"duplicate_id": 1}),
    "endless header": (b"WARC/1.0\r\n" + b"a: b\r\n" * 20_000, {"broken_warc_header": 1}),
    "binary": (bytes(range(256)) * 40 + b"\n", {"broken_warc_header": 1}),
}


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_costs_itself_alone(tmp_path, kind, compress):
    bad, reasons = DAMAGE[kind]
    good = [record(number, page(f"words {number}")) for number in range(4)]
    parts = [good[0], good[1], bad, good[2], good[3]]
    name = "x.warc.gz" if compress is gzip.compress else "x.warc"
    found, quarantine = read(tmp_path / name, b"".join(compress(part) for part in parts))
    assert ids(found) == [0, 1, 2, 3]
    assert quarantine.by_reason == reasons
    assert quarantine.records[0]["offset"] == sum(map(len, parts[:2]))


def test_truncation_anywhere_keeps_the_records_before(tmp_path):
    parts = [record(number, page(f"words {number} " * 5)) for number in range(6)]
    content = b"".join(map(gzip.compress, parts))
    for size in range(20, len(content), 61):
        found, quarantine = read(tmp_path / "x.warc.gz", content[:size])
        whole = sum(1 for number in range(6) if sum(len(gzip.compress(part)) for part in parts[: number + 1]) <= size)
        assert ids(found)[:whole] == list(range(whole))
        assert quarantine.rows_quarantined <= 1
        assert len(found) in (whole, whole + 1)
    plain = b"".join(parts)
    found, quarantine = read(tmp_path / "y.warc", plain[:-60])
    assert ids(found) == [0, 1, 2, 3, 4]
    assert quarantine.by_reason == {"truncated_record": 1}
    assert read(tmp_path / "z.warc", b"")[1].by_reason == {"empty_file": 1}


@settings(max_examples=80, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 255)), min_size=1, max_size=4), packed=st.booleans()
)
def test_flipped_bytes_never_crash_or_cost_a_record_before_them(tmp_path_factory, flips, packed):
    parts = [record(number, page(f"words {number} " * 5)) for number in range(6)]
    stored = [gzip.compress(part) if packed else part for part in parts]
    content = bytearray(b"".join(stored))
    for position, change in flips:
        content[position % len(content)] ^= change
    first = min(position % len(content) for position, _ in flips)
    before = sum(1 for number in range(6) if sum(map(len, stored[: number + 1])) <= first)
    path = tmp_path_factory.mktemp("flip") / ("x.warc.gz" if packed else "x.warc")
    found, _ = read(path, bytes(content))
    assert ids(found[:before]) == list(range(before))


def test_extractors(tmp_path):
    html = (
        "<html><body><nav>menu</nav><main><h1>Head</h1><p>" + "A sentence of text. " * 20 + "</p></main></body></html>"
    )
    assert "A sentence of text." in extractor("resiliparse")(html)
    assert "menu" not in extractor("resiliparse")(html)
    pytest.importorskip("lxml_html_clean", reason="trafilatura cannot be imported without lxml_html_clean")
    other = extractor("trafilatura")
    assert "A sentence of text." in other(html)
    assert "menu" not in other(html)


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "resiliparse.extract.html2text", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'glasshouse\[web\]'"):
        read(tmp_path / "x.warc", record(1, page("one")))
