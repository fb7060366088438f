"""Personal information exactly as Dolma's tagger `pii_regex_with_counts_fast_v2` finds it (arXiv 2402.00159, 5.3).

Kept as it is, for corpora that shall equal Dolma's. Where it differs from the corrected dialect of `pii.py`:

- an e-mail address must be followed by white space: one at the very end of a text is missed;
- a phone number must follow white space: one at the very start of a text is missed, `+33 6 12 34 56 78` always is, and
  ten digits in a row after a space are taken for one;
- spans include the separators and spaces around an address and the spaces before a number, so a mask joins lines;
- four octets inside a longer dotted number count as an IP address (`1.2.3.4.5`);
- the fraction adds the length of the whole document to that of the spans, so it is at least 1 (-1 for an empty text);
- texts with more than 10,000 question marks are not looked at;
- the URL pattern that should keep IP addresses inside URLs out holds a backspace instead of a word boundary and never
  matches: IP addresses in URLs are found, here too.

The patterns are matched in linear time (see `pii_dolma_kernel`), where Dolma's own need quadratic time.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.signal import Signal, count, spans
from glasshouse.data.signals.span_columns import character_counts, span_column
from glasshouse.store.configuration import Config

_CITATION = "Dolma pii_regex_with_counts_fast_v2"
MOST_QUESTION_MARKS = 10_000
KINDS = ("email", "phone", "ip")


class PiiDolma(Config):
    """Counts and spans in Dolma's dialect, and its `doc_count` and `doc_frac`."""

    name: Literal["pii_dolma"] = "pii_dolma"

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (
            *(count(f"pii_dolma_{kind}_count", "spans", f"{kind} spans, Dolma's dialect", _CITATION) for kind in KINDS),
            count("pii_dolma_count", "spans", "e-mail, phone and IP spans, Dolma's dialect (doc_count)", _CITATION),
            Signal(
                "pii_dolma_fraction",
                pa.float64(),
                "1 + characters of spans / characters of the text, as Dolma's doc_frac; -1 for an empty text",
                _CITATION,
                "ratio",
                low=None,
            ),
            *(spans(f"pii_dolma_{kind}_spans", f"{kind} spans, Dolma's dialect", _CITATION) for kind in KINDS),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        found, rows = dolma_matches(batch), batch.num_rows
        per_kind = [found[found[:, 1] == kind] for kind in range(len(KINDS))]
        counts = [np.bincount(matches[:, 0], minlength=rows) for matches in per_kind]
        total = np.sum(counts, axis=0) if counts else np.zeros(rows, np.int64)
        lengths = (found[:, 3] - found[:, 2]).astype(np.float64)
        covered = np.bincount(found[:, 0], weights=lengths, minlength=rows).astype(np.float64)
        return [
            *(pa.array(values.astype(np.int64)) for values in counts),
            pa.array(total.astype(np.int64)),
            pa.array(_fraction(covered, batch)),
            *(span_column(rows, m[:, 0], m[:, 2], m[:, 3]) for m in per_kind),
        ]


def dolma_matches(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Rows (document, kind, first character, end character), in Dolma's order; kind is a place in `KINDS`."""
    from glasshouse.data.signals.kernels import all_rows
    from glasshouse.data.signals.pii_dolma_kernel import match_documents, pattern_classes

    offsets, data = text_buffers(batch)
    classes = pattern_classes()
    return all_rows(lambda found: match_documents(offsets, data, classes, MOST_QUESTION_MARKS, found), 4, 1024)


def _fraction(covered: npt.NDArray[np.float64], batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
    characters = character_counts(batch)
    return np.where(characters > 0, (covered + characters) / np.maximum(characters, 1), -1.0)
