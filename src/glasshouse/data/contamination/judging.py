"""What happens to documents that hold evaluation items: the policy, applied to a batch."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from glasshouse.data.contamination.index import EvaluationIndex
from glasshouse.data.contamination.paragraphs import ParagraphIndex
from glasshouse.data.contamination.scanning import HITS, scan
from glasshouse.data.curation.judging import REMOVED
from glasshouse.data.document import strings
from glasshouse.store.configuration import Config

STAGE = "decontamination"
EXCERPT = 200
FOUND: pa.Schema = HITS.append(pa.field("contaminated", pa.bool_())).append(pa.field("excerpt", pa.string()))
"""Columns of `hits-*.parquet`: `scanning.HITS` (`row` counts through the input file), the verdict and the text found.
"""


class Decontamination(Config):
    """What happens to a document that holds evaluation items.

    Attributes:
        threshold: overlap from which an item counts as contaminated (`scanning.HITS`).
        action: remove the whole `document`, cut the `span`s, or only `report`.
        short_items: whether items found as a whole (fewer words than an n-gram) count for the action, or are reported.
        report_from: hits of less overlap are not listed.
    """

    threshold: float = Field(default=0.5, gt=0.0, le=1.0)
    action: Literal["document", "span", "report"] = "document"
    short_items: Literal["report", "act"] = "report"
    report_from: float = Field(default=0.1, ge=0.0, le=1.0)


class Judged(NamedTuple):
    """A batch after the verdict.

    Attributes:
        documents: what is kept, with contaminated spans cut.
        hits: `FOUND`.
        removed: `REMOVED`.
    """

    documents: pa.RecordBatch
    hits: pa.Table
    removed: pa.Table


def judge(
    batch: pa.RecordBatch, index: EvaluationIndex | ParagraphIndex, settings: Decontamination, first_row: int = 0
) -> Judged:
    """Scans a batch and applies the policy: a pure function.

    Args:
        first_row: the batch's first row in its file, added to `row`.
    """
    # The verdict must not depend on what is listed.
    lowest = min(settings.report_from, settings.threshold)
    found = index.scan(batch) if isinstance(index, ParagraphIndex) else scan(batch, index, lowest)
    overlap = found.column("overlap").to_numpy()
    short = np.asarray(found.column("short").to_pylist(), dtype=np.bool_)
    contaminated = overlap >= settings.threshold
    acted = contaminated & (~short | (settings.short_items == "act"))
    rows: list[dict[str, Any]] = found.to_pylist()
    texts = batch.column("text")
    excerpts = [_excerpt(str(texts[row["row"]]), row["spans"]) for row in rows]
    hits = found.append_column("contaminated", pa.array(contaminated)).append_column(
        "excerpt", pa.array(excerpts, pa.string())
    )
    hits = hits.set_column(0, "row", pa.array(found.column("row").to_numpy() + first_row, pa.int64())).cast(FOUND)
    documents, gone = batch, set[int]()
    if settings.action == "document":
        gone = {row["row"] for row, act in zip(rows, acted, strict=True) if act}
    elif settings.action == "span" and acted.any():
        documents, gone = _cut(batch, [row for row, act in zip(rows, acted, strict=True) if act])
    removed = [
        {"id": row["id"], "source": row["source"], "stage": STAGE, "rule": row["set"], "value": row["overlap"],
         "threshold": settings.threshold, "duplicate_of": None, "excerpt": excerpt}
        for row, excerpt, act in zip(rows, excerpts, acted, strict=True) if act and row["row"] in gone
    ]  # fmt: skip
    kept = pa.array([row for row in range(batch.num_rows) if row not in gone], pa.int64())
    return Judged(documents.take(kept) if gone else documents, hits, pa.Table.from_pylist(removed, REMOVED))


def _cut(batch: pa.RecordBatch, rows: list[dict[str, Any]]) -> tuple[pa.RecordBatch, set[int]]:
    """The batch without the spans of these hits, and the rows of which nothing is left."""
    texts, gone = strings(batch, "text"), set()
    spans: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        spans.setdefault(row["row"], []).extend((span["start"], span["end"]) for span in row["spans"])
    for row_number, found in spans.items():
        text, kept, at = texts[row_number], [], 0
        for start, end in sorted(found):
            kept.append(text[at : max(start, at)])
            at = max(at, end)
        texts[row_number] = "".join([*kept, text[at:]])
        if not texts[row_number].strip():
            gone.add(row_number)
    place = batch.schema.get_field_index("text")
    return batch.set_column(place, batch.schema.field(place), pa.array(texts, pa.large_string())), gone


def _excerpt(text: str, spans: list[dict[str, Any]]) -> str:
    return text[spans[0]["start"] : spans[0]["end"]][:EXCERPT] if spans else ""
