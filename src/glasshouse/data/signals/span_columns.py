"""Arrow columns of spans from flat arrays, and the JSON metadata of a batch."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from glasshouse.data.document import strings
from glasshouse.data.signals.signal import SPANS


def span_column(
    rows: int,
    documents: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64] | None = None,
) -> pa.Array[Any]:
    """A column of type `SPANS`.

    Args:
        rows: documents of the batch.
        documents: for every span the row it belongs to, in ascending order.
        starts, ends: characters `[start, end)`.
        scores: 1 for every span by default.
    """
    offsets = np.searchsorted(documents, np.arange(rows + 1)).astype(np.int32)
    values = np.ones(len(starts), np.float32) if scores is None else scores.astype(np.float32)
    items = pa.StructArray.from_arrays(
        [pa.array(starts.astype(np.int32)), pa.array(ends.astype(np.int32)), pa.array(values)],
        fields=list(cast("pa.ListType[Any]", SPANS).value_type),
    )
    return cast("pa.Array[Any]", pa.ListArray.from_arrays(cast(Any, pa.array(offsets)), cast(Any, items), type=SPANS))


def character_counts(batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
    """Characters (code points) of every text."""
    import pyarrow.compute as pc

    counted: Any = pc.utf8_length(cast("pa.LargeStringArray", batch.column("text")))
    return cast("npt.NDArray[np.float64]", counted.to_numpy(zero_copy_only=False).astype(np.float64))


def metadata_of(batch: pa.RecordBatch, *mentioning: str) -> list[dict[str, Any]]:
    """The metadata of every document, as an object; `{}` where it is none.

    Args:
        mentioning: only texts that contain one of these are parsed (the others count as `{}`), which is faster.
    """
    found: list[dict[str, Any]] = []
    for text in strings(batch, "metadata"):
        value: Any = {}
        if len(text) > 2 and (not mentioning or any(word in text for word in mentioning)):
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError:
                value = {}
        found.append(value if isinstance(value, dict) else {})
    return found
