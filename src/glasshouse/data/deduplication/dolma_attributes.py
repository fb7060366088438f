"""Attributes as `dolma dedupe` writes them, a row per document: `{"id": …, "attributes": {name: [[start, end, score]]}}`.

Repeated pieces: every document with a text has the attribute, be it an empty list. Repeated documents: only those that
are not the first have it, as one span over their key. Offsets and lengths are characters (Dolma's are bytes in places,
see `paragraphs.py`; of a key it writes the length in bytes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from glasshouse.data.deduplication.keys import Keys
from glasshouse.data.deduplication.ngrams import Ngrams
from glasshouse.data.deduplication.paragraphs import Paragraphs
from glasshouse.data.deduplication.url import UniqueUrl
from glasshouse.data.document import strings
from glasshouse.data.executor import Executor, Threads

Attributes = dict[str, list[list[float]]]
AttributeRow = dict[str, Any]


def piece_attributes(
    batches: Sequence[pa.RecordBatch], method: Paragraphs | Ngrams, name: str, executor: Executor | None = None
) -> Iterator[AttributeRow]:
    """A row for every document of all batches, with the spans of its repeated pieces under `name`."""
    executor = executor or Threads()
    signed = list(executor.map(method.sign, batches))
    repeated = method.repeated([pieces.keys for pieces in signed], executor)
    at = 0
    for batch, pieces in zip(batches, signed, strict=True):
        spans = method.spans(batch, repeated[at : at + len(pieces.keys)])
        at += len(pieces.keys)
        for identifier, text, found in zip(strings(batch, "id"), strings(batch, "text"), spans, strict=True):
            attributes: Attributes = {name: [list(span) for span in found]} if text else {}
            yield {"id": identifier, "attributes": attributes}


def url_attributes(
    batches: Sequence[pa.RecordBatch], method: UniqueUrl, name: str, executor: Executor | None = None
) -> Iterator[AttributeRow]:
    """A row for every document of all batches, with a span over its key under `name` where it is a duplicate."""
    executor = executor or Threads()
    keepers = method.keepers(Keys(list(executor.map(method.sign, batches))), executor)
    is_duplicate = iter((keepers != np.arange(len(keepers))).tolist())
    for batch in batches:
        for identifier, key in zip(strings(batch, "id"), method.keys(batch), strict=True):
            spans = [[0, len(key or ""), 1]]
            yield {"id": identifier, "attributes": {name: spans} if next(is_duplicate) else {}}
