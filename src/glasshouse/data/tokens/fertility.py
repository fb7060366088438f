"""Fertility: how many tokens a tokenizer needs per word and per byte, for every source (Dolma, arXiv 2402.00159)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from glasshouse.data.document import strings
from glasshouse.data.tokens.encoder import Encoder, encoder_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOTAL = "all sources"
_COLUMNS: dict[str, pa.DataType] = {
    "source": pa.string(),
    "documents": pa.int64(),
    "bytes": pa.int64(),
    "words": pa.int64(),
    "tokens": pa.int64(),
    "tokens_per_word": pa.float64(),
    "tokens_per_byte": pa.float64(),
}
FERTILITY: pa.Schema = pa.schema(_COLUMNS)


Counts = dict[str, list[int]]
"""Documents, bytes, words and tokens of every source."""


def fertility(batches: Iterable[pa.RecordBatch], tokenizer: Tokenizer | Encoder) -> pa.Table:
    """A row per source, in the order of their names, and one for all (`TOTAL`).

    Words are runs without white space; the token that ends a document is not counted. Where there
    are no words, tokens per word are infinite, or NaN without tokens too.

    Args:
        batches: documents (`document.DOCUMENT`).
    """
    encoder = encoder_of(tokenizer)
    counts: Counts = {}
    for batch in batches:
        add_counts(counts, counts_of(batch, [len(ids) for ids in encoder.encode_batch(strings(batch, "text"))]))
    return fertility_of(counts)


def counts_of(batch: pa.RecordBatch, tokens: Iterable[int]) -> Counts:
    """What is counted of a batch, given the number of tokens of every document."""
    counts: Counts = {}
    for source, text, size in zip(strings(batch, "source"), strings(batch, "text"), tokens, strict=True):
        add_counts(counts, {source: [1, len(text.encode()), len(text.split()), size]})
    return counts


def add_counts(counts: Counts, more: Counts) -> None:
    """Adds up counts by source, into the first."""
    for source, row in more.items():
        known = counts.get(source, [0, 0, 0, 0])
        counts[source] = [have + new for have, new in zip(known, row, strict=True)]


def fertility_of(counts: Counts) -> pa.Table:
    """The table of what was counted."""
    rows = sorted(counts.items())
    rows.append((TOTAL, [sum(column) for column in zip([0, 0, 0, 0], *counts.values(), strict=True)]))
    numbers = np.array([row for _, row in rows], np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [numbers[:, 3] / numbers[:, 2], numbers[:, 3] / numbers[:, 1]]
    columns: list[Any] = [pa.array([name for name, _ in rows]), *(pa.array(numbers[:, i]) for i in range(4))]
    columns += [pa.array(share) for share in shares]
    return pa.Table.from_arrays(columns, schema=FERTILITY)
