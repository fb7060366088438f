"""Looking for evaluation items in documents: which items, how much of each, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.contamination.index import EvaluationIndex
from glasshouse.data.document import strings, text_buffers
from glasshouse.data.signals.signal import SPANS

_COLUMNS: dict[str, pa.DataType] = {
    "row": pa.int64(),
    "id": pa.string(),
    "source": pa.string(),
    "set": pa.string(),
    "item": pa.string(),
    "short": pa.bool_(),
    "overlap": pa.float64(),
    "item_ngrams": pa.float64(),
    "document_ngrams": pa.float64(),
    "spans": SPANS,
}
HITS: pa.Schema = pa.schema(_COLUMNS)
"""One row per document (`row` in its batch) and item with a common n-gram.

`overlap`: share of the item's words that lie in a common n-gram (Llama 2, arXiv 2307.09288, appendix A.6; half of an
item quoted gives one half); `item_ngrams`: share of the item's n-grams that the document has; `document_ngrams`: share
of the document's n-grams that are the item's. `spans`: the characters of the document that are the item's. A `short`
item is found as a whole, with overlap 1.
"""


def scan(batch: pa.RecordBatch, index: EvaluationIndex, minimum_overlap: float = 0.0) -> pa.Table:
    """The hits in a batch of documents, in the order of documents and items: a pure function; the index is only read.

    Args:
        batch: documents (`document.DOCUMENT`).
        index: what to look for.
        minimum_overlap: hits of less overlap are left out.
    """
    found, word_counts = _find(batch, index)
    if not len(found):
        return HITS.empty_table()
    starts, counts = index.gram_items[found[:, 1]], np.diff(index.gram_items)[found[:, 1]]
    match = np.repeat(np.arange(len(found)), counts)
    occurrence = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    item, word = index.occurrence_item[occurrence].astype(np.int64), index.occurrence_word[occurrence]
    document = found[match, 0]
    order = np.lexsort((word, item, document))
    document, item, word, match = document[order], item[order], word[order], match[order]
    edges = np.flatnonzero(np.diff(document) | np.diff(item)) + 1
    groups = np.concatenate([[0], edges])
    group = np.repeat(np.arange(len(groups)), np.diff([*groups, len(document)]))
    size = index.gram_size[found[match, 1]].astype(np.int64)
    words = _covered(group, word, size, len(groups))
    grams = _distinct(group, found[match, 1], len(groups))
    places = _distinct(group, match, len(groups))
    document, item, size = document[groups], item[groups], size[groups]
    overlap = words / index.item_words[item]
    columns = {
        "overlap": overlap,
        "item_ngrams": grams / index.item_grams[item],
        "document_ngrams": places / np.maximum(word_counts[document] - size + 1, 1),
    }
    kept = np.flatnonzero(overlap >= minimum_overlap)
    bounds = np.concatenate([groups, [len(match)]])
    spans = _spans(batch, document, [found[match[bounds[i] : bounds[i + 1]], 3:] for i in kept], kept)
    ids, sources = strings(batch, "id"), strings(batch, "source")
    rows: list[Any] = [
        pa.array(document[kept]), pa.array([ids[row] for row in document[kept]], pa.string()),
        pa.array([sources[row] for row in document[kept]], pa.string()),
        pa.array([index.sets[index.item_set[i]] for i in item[kept]], pa.string()),
        pa.array([index.item_ids[i] for i in item[kept]], pa.string()), pa.array(index.item_short[item[kept]]),
        *(pa.array(column[kept]) for column in columns.values()), pa.array(spans, SPANS),
    ]  # fmt: skip
    return pa.Table.from_arrays(rows, schema=HITS)


def _find(batch: pa.RecordBatch, index: EvaluationIndex) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    from glasshouse.data.contamination import words

    offsets, data = text_buffers(batch)
    word_counts = np.zeros(batch.num_rows, np.int64)
    found = np.empty((4096, 5), np.int64)
    while True:
        count = words.find_grams(
            offsets, data, words.folding(), index.sizes, index.matching.mask, index.keys, index.slots,
            index.filter_bits, index.gram_size, index.gram_letter, index.letters, word_counts, found,
        )  # fmt: skip
        if count <= len(found):
            return found[:count], word_counts
        found = np.empty((count, 5), np.int64)


def _covered(
    group: npt.NDArray[np.int64], word: npt.NDArray[np.int32], size: npt.NDArray[np.int64], groups: int
) -> npt.NDArray[np.int64]:
    """Words in the union of the n-grams of each group, which are sorted by their first word."""
    reach = size.copy()
    same = group[1:] == group[:-1]
    reach[:-1][same] = np.minimum(size[:-1], word[1:] - word[:-1])[same]
    return np.bincount(group, weights=reach, minlength=groups).astype(np.int64)


def _distinct(group: npt.NDArray[np.int64], value: npt.NDArray[np.int64], groups: int) -> npt.NDArray[np.int64]:
    """Different values in each group."""
    pairs = np.unique(np.stack([group, value], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=groups)


def _spans(
    batch: pa.RecordBatch, document: npt.NDArray[np.int64], ranges: list[npt.NDArray[np.int64]],
    kept: npt.NDArray[np.int64],
) -> list[list[dict[str, float]]]:  # fmt: skip
    """The byte ranges of each hit, joined where they overlap, in characters."""
    offsets, data = text_buffers(batch)
    characters: dict[int, npt.NDArray[np.int64]] = {}
    spans = []
    for number, hit in zip(ranges, kept, strict=True):
        row = int(document[hit])
        if row not in characters:
            lead = (data[offsets[row] : offsets[row + 1]] & 0xC0) != 0x80
            characters = {row: np.concatenate([[0], np.cumsum(lead)])}
        joined: list[list[int]] = []
        for start, end in sorted(map(tuple, number.tolist())):
            if joined and start <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], end)
            else:
                joined.append([start, end])
        count = characters[row]
        spans.append([{"start": int(count[start]), "end": int(count[end]), "score": 1.0} for start, end in joined])
    return spans
