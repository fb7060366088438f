"""How documents are read, whatever the form of the files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from glasshouse.data.document import BATCH_BYTES
from glasshouse.store.configuration import Config

MAX_DOCUMENT_BYTES = 8 << 20
UNKNOWN_SOURCE = "unknown"


class Reading(Config):
    """Settings of a reader. Those of one form are ignored by the others.

    Attributes:
        max_document_bytes: longest line, and longest text, that is read, in bytes of UTF-8.
        batch_bytes: size of the Arrow batches, in bytes of text.
        text_key, id_key: rows: the fields that hold text and id.
        source: the source of documents that do not say theirs.
        make_ids: rows: a row without an id gets the sha256 of its text and its origin; else it is quarantined.
        number_ids: rows: a whole number is taken as an id, as its decimal digits.
        other_fields: rows: "metadata" keeps fields that are not the document form's in the metadata.
        extractor: web archives: what takes the main text out of a page.
        namespaces: wiki dumps: the namespaces to read (0 holds the articles).
    """

    max_document_bytes: int = Field(default=MAX_DOCUMENT_BYTES, ge=1)
    batch_bytes: int = Field(default=BATCH_BYTES, ge=1)
    text_key: str = Field(default="text", min_length=1)
    id_key: str = Field(default="id", min_length=1)
    source: str = Field(default=UNKNOWN_SOURCE, min_length=1)
    make_ids: bool = False
    number_ids: bool = False
    other_fields: Literal["drop", "metadata"] = "drop"
    extractor: Literal["resiliparse", "trafilatura"] = "resiliparse"
    namespaces: tuple[int, ...] = (0,)
