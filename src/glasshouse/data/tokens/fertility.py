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


def fertility(batches: Iterable[pa.RecordBatch], tokenizer: Tokenizer | Encoder) -> pa.Table:
    """A row per source, in the order of their names, and one for all (`TOTAL`).

    Words are runs without white space; the token that ends a document is not counted. Values without words are NaN.

    Args:
        batches: documents (`document.DOCUMENT`).
    """
    encoder = encoder_of(tokenizer)
    counts: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
    for batch in batches:
        texts = strings(batch, "text")
        for source, text, ids in zip(strings(batch, "source"), texts, encoder.encode_batch(texts), strict=True):
            row = counts.setdefault(source, np.zeros(4, np.int64))
            row += (1, len(text.encode()), len(text.split()), len(ids))
    rows = sorted(counts.items())
    rows.append((TOTAL, sum(counts.values(), np.zeros(4, np.int64))))
    numbers = np.stack([row for _, row in rows])
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [numbers[:, 3] / numbers[:, 2], numbers[:, 3] / numbers[:, 1]]
    columns: list[Any] = [pa.array([name for name, _ in rows]), *(pa.array(numbers[:, i]) for i in range(4))]
    columns += [pa.array(share) for share in shares]
    return pa.Table.from_arrays(columns, schema=FERTILITY)
