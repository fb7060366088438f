"""One place where something was found: the document, where it came from, and the text around it."""

from __future__ import annotations

import dataclasses

import numpy as np

from glasshouse.data.search.suffix_array import SuffixArray

CONTEXT = 80
"""Characters shown on either side of a match."""


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """A match inside a document.

    Attributes:
        document, source: the document's id, which is unique inside its source.
        file, bytes: where the document was read from: a file and a byte range of the uncompressed file.
        start, end: the match as a byte range of the document's text (UTF-8).
        before, match, after: the text of the match and around it.
        ordinal: number of the document in the index.
    """

    document: str
    source: str
    file: str
    bytes: tuple[int, int]
    start: int
    end: int
    before: str
    match: str
    after: str
    ordinal: int

    @property
    def snippet(self) -> str:
        """The match in its context on one line, marked."""
        return " ".join(f"{self.before}⟦{self.match}⟧{self.after}".split())


def occurrence_at(shard: SuffixArray, first: int, row: int, start: int, end: int, context: int = CONTEXT) -> Occurrence:
    """The occurrence at bytes `[start, end)` of the text of document `row` of a shard.

    Args:
        first: ordinal of the shard's first document.
        context: characters before and after the match.
    """
    record = {name: shard.documents.column(name)[row].as_py() for name in shard.documents.schema.names}
    low, high = int(shard.offsets[row]), int(shard.offsets[row + 1]) - 1
    at, until = low + start, low + end
    # A character has at most four bytes; what is cut at the outer edges is dropped.
    before = bytes(shard.text[max(low, at - 4 * context) : at]).decode(errors="ignore")[-context:] if context else ""
    after = bytes(shard.text[until : min(high, until + 4 * context)]).decode(errors="ignore")[:context]
    return Occurrence(
        document=record["id"], source=record["source"], file=record["file"],
        bytes=(record["byte_start"], record["byte_end"]), start=start, end=end, before=before,
        match=bytes(shard.text[at:until]).decode(errors="replace"), after=after, ordinal=first + row,
    )  # fmt: skip


def occurrences_at(
    shard: SuffixArray, first: int, positions: np.ndarray, size: int, context: int = CONTEXT
) -> list[Occurrence]:
    """The occurrences of `size` bytes at positions of a shard's text, in their order."""
    rows = shard.rows(positions)
    return [
        occurrence_at(
            shard, first, int(row), int(at - shard.offsets[row]), int(at - shard.offsets[row]) + size, context
        )
        for at, row in zip(positions.tolist(), rows.tolist(), strict=True)
    ]
