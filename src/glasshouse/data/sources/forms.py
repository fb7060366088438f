"""The forms that documents come in, and which one a file has: by its suffix, or by its first bytes."""

from __future__ import annotations

import io
from typing import Literal

import fsspec

from glasshouse.data.sources.lines import READERS, DamageError, compression_of

Form = Literal["jsonl", "parquet", "arrow", "warc", "wiki", "text", "code"]

FORMS: dict[str, str] = {
    "jsonl": "JSON Lines, one document per line: .jsonl, .json, .ndjson",
    "parquet": "Parquet: .parquet",
    "arrow": "Arrow, as Hugging Face datasets are saved: .arrow, or the folder of save_to_disk",
    "warc": "web archives: .warc",
    "wiki": "a MediaWiki XML dump: .xml",
    "text": "a tree of plain text, one document per file: .txt, .md, .rst, …",
    "code": "a tree of source code, one document per file",
}
COMPRESSED = tuple(f".{name}" for name in READERS if name)
TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex")
_ENDINGS: dict[str, Form] = {
    ".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".arrow": "arrow",
    ".warc": "warc", ".wet": "warc", ".xml": "wiki", **dict.fromkeys(TEXT_SUFFIXES, "text"),
}  # fmt: skip
_WHOLE = ("parquet", "arrow", "text")
_MAGIC: dict[bytes, Form] = {
    b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrow", b"WARC/1.": "warc",
    b"<mediawiki": "wiki", b"{": "jsonl",
}  # fmt: skip
_COMPRESSION_MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst", b"BZh": "bz2"}
_HEAD = 4096
KNOWN = ", ".join([*_ENDINGS, *COMPRESSED])


class UnknownFormatError(ValueError):
    """A file that is in no known form."""


def form_of_name(name: str) -> Form | None:
    """The form that a file's name says; compressed files without a suffix of their own are JSON Lines."""
    base = name.rsplit("/", 1)[-1].lower()
    compression = compression_of(base)
    if compression:
        base = base[: -len(compression) - 1]
    stem, dot, ending = base.rpartition(".")
    form = _ENDINGS.get(f".{ending}") if dot else None
    if compression:
        known = form is not None and form not in _WHOLE
        return form if known else None if form is not None or ending in ("tar", "zip") else "jsonl"
    return form if stem or form != "text" else None


def form_of_content(path: str) -> tuple[Form, str]:
    """Form and compression that the first bytes of a file say.

    Raises `UnknownFormatError` naming the known forms.
    """
    with fsspec.open(path, "rb") as raw:
        head = raw.read(_HEAD)
    compression = next((name for magic, name in _COMPRESSION_MAGIC.items() if head.startswith(magic)), "")
    if compression:
        head = _first(head, compression)
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    form = next((form for magic, form in _MAGIC.items() if head.startswith(magic)), None)
    if form is None and b"<mediawiki" in head:
        form = "wiki"
    if form is None or (compression and form in _WHOLE):
        raise unknown(path)
    return form, compression


def _first(head: bytes, compression: str) -> bytes:
    try:
        return next(READERS[compression](io.BytesIO(head)), b"")[:_HEAD]
    except DamageError:
        return b""


def unknown(path: str) -> UnknownFormatError:
    """The error for a file in no known form."""
    forms = "; ".join(f"{name}: {about}" for name, about in FORMS.items())
    return UnknownFormatError(
        f"cannot read {path!r}: neither its suffix nor its first bytes are of a known form; "
        f"force one with form=…. Forms: {forms}. Compressed: {', '.join(COMPRESSED)}"
    )
