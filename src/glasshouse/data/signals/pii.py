"""Personal information: e-mail addresses, telephone numbers and IP addresses, found by pattern and masked.

Dolma (arXiv 2402.00159, section 5.3; datasheet N.4): documents with five or fewer spans are masked, those with six or
more are removed. Deliberate differences from Dolma's `pii_regex_with_counts_fast_v2`, whose patterns need white space
after an e-mail address and before a telephone number:

- an address at the very end of the text and a number at its very start are found;
- a span holds the address or number only, not the spaces around it, so the mask adds none;
- ten digits in a row are not a telephone number (separators or parentheses are required), numbers of the form
  `+33 6 12 34 56 78` are one;
- an e-mail domain must end in a label of two or more letters; local parts are limited to 64 characters (RFC 5321);
- four octets that continue a longer dotted number are not an IP address.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.signal import Signal, count, spans
from glasshouse.data.signals.span_columns import span_column
from glasshouse.store.configuration import Config

Kind = Literal["EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS"]

# The lookbehind and the possessive `{1,64}+` let every local part be tried from its start only: linear time.
_EMAIL = re.compile(
    r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]{1,64}+@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w@])"
)
_PHONE = re.compile(
    r"(?<![\w.+\-/(])(?:"
    r"(?:\+?1[-. ])?(?:\([0-9]{3}\)[-. ]?|[0-9]{3}[-. ])[0-9]{3}[-. ][0-9]{4}"
    r"|\+[0-9]{1,3}(?:[ .-]?\([0-9]{1,4}\))?(?:[ .-][0-9]{1,4}){2,6}[ .-][0-9]{2,4}"
    r")(?![\w]|[-.][0-9])"
)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IP = re.compile(rf"(?<![\w.]){_OCTET}(?:\.{_OCTET}){{3}}(?![\w]|\.[0-9])")


class Span(NamedTuple):
    """Characters `[start, end)` of the text."""

    start: int
    end: int
    kind: Kind


class PiiMasking(Config):
    """What to do about personal information: up to `most_masked` spans are masked, a document with more is removed."""

    most_masked: int = Field(default=5, ge=0)


pii = PiiMasking()
"""Dolma's policy: five or fewer spans masked, six or more remove the document."""


def find_spans(text: str) -> list[Span]:
    """All spans in order; where two overlap the earlier one, then the longer one, counts."""
    found: list[Span] = []
    if "@" in text:
        found += [Span(*match.span(), "EMAIL_ADDRESS") for match in _EMAIL.finditer(text)]
    found += [Span(*match.span(), "PHONE_NUMBER") for match in _PHONE.finditer(text)]
    found += [Span(*match.span(), "IP_ADDRESS") for match in _IP.finditer(text)]
    found.sort(key=lambda span: (span.start, -span.end))
    kept: list[Span] = []
    for span in found:
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


def mask(text: str, spans: list[Span]) -> str:
    """`text` with every span replaced by its kind, e.g. `|||EMAIL_ADDRESS|||`."""
    parts, at = [], 0
    for span in spans:
        parts += [text[at : span.start], f"|||{span.kind}|||"]
        at = span.end
    return "".join([*parts, text[at:]])


def masked(text: str) -> str:
    """`text` with all its personal information masked."""
    return mask(text, find_spans(text))


def spans_of_batch(batch: pa.RecordBatch) -> list[list[Span]]:
    """The spans of every document of a batch, as `find_spans` gives them; only suspicious lines meet the patterns."""
    from glasshouse.data.signals.pii_kernel import suspicious_lines

    offsets, data = text_buffers(batch)
    lines = np.empty((1024, 4), np.int64)
    count = suspicious_lines(offsets, data, lines)
    if count > len(lines):
        lines = np.empty((count, 4), np.int64)
        suspicious_lines(offsets, data, lines)
    spans: list[list[Span]] = [[] for _ in range(batch.num_rows)]
    for document, start, end, before in lines[:count].tolist():
        text = data[start:end].tobytes().decode()
        spans[document] += [Span(s.start + before, s.end + before, s.kind) for s in find_spans(text)]
    return spans


_CITATION = "arXiv 2402.00159, section 5.3; corrected patterns"
COLUMNS: dict[Kind, str] = {"EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "IP_ADDRESS": "ip"}
"""What the columns of each kind begin with."""


class Pii(Config):
    """Counts and spans of the corrected dialect."""

    name: Literal["pii"] = "pii"

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (
            *(count(f"{name}_count", "spans", f"{kind} spans", _CITATION) for kind, name in COLUMNS.items()),
            count("pii_count", "spans", "e-mail addresses, telephone numbers and IP addresses", _CITATION),
            *(spans(f"{name}_spans", f"{kind} spans", _CITATION) for kind, name in COLUMNS.items()),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        found = spans_of_batch(batch)
        flat = {
            kind: np.array([(row, s.start, s.end) for row, of in enumerate(found) for s in of if s.kind == kind])
            .astype(np.int64)
            .reshape(-1, 3)
            for kind in COLUMNS
        }
        counts = [np.bincount(rows[:, 0], minlength=batch.num_rows) for rows in flat.values()]
        columns = [span_column(batch.num_rows, rows[:, 0], rows[:, 1], rows[:, 2]) for rows in flat.values()]
        return [*map(pa.array, counts), pa.array([len(of) for of in found], pa.int64()), *columns]
