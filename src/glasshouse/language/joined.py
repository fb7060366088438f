"""Several token shards as one, for a run whose data changed: rows are numbered through them, as `DataStages` does."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glasshouse.data.tokens.shards import DocumentSpan, ShardManifest, TokenShards


@dataclass(frozen=True)
class JoinedShards:
    """Answers for all of `parts`; a document that is in several is in the rows of each."""

    parts: tuple[TokenShards, ...]

    @property
    def vocabulary(self) -> int:
        return max(part.vocabulary for part in self.parts)

    @property
    def eos_id(self) -> int:
        return self.parts[0].eos_id

    @cached_property
    def manifest(self) -> ShardManifest:
        """The first one's, with the shards of all."""
        shards = tuple(entry for part in self.parts for entry in part.manifest.shards)
        joined: ShardManifest = self.parts[0].manifest.but(shards=shards)
        return joined

    def row_count(self, context: int) -> int:
        return self._first_rows(context)[-1]

    def rows(self, indices: Sequence[int] | NDArray[np.int64], context: int) -> NDArray[np.int64]:
        """Tokens `[rows, context]` of the rows with these numbers."""
        placed = [self._place(int(row), context) for row in indices]
        return np.concatenate([part.rows([row], context) for part, row in placed])

    def spans_of_row(self, row: int, context: int) -> list[DocumentSpan]:
        """The documents in a row, in order."""
        part, inside = self._place(row, context)
        return part.spans_of_row(inside, context)

    def rows_of_document(self, document_id: str, context: int, source: str | None = None) -> list[int]:
        """The rows that hold tokens of a document. Raises `KeyError` for an id that is in no part."""
        found, known = [], False
        for first, part in zip(self._first_rows(context), self.parts, strict=False):
            try:
                found += [first + row for row in part.rows_of_document(document_id, context, source)]
                known = True
            except KeyError:
                continue
        if not known:
            raise KeyError(f"no document {document_id!r} in any of the {len(self.parts)} sets of shards")
        return found

    def documents(self) -> pa.Table:
        """All spans, with a column `shard` that counts through the parts."""
        tables, shards = [], 0
        for part in self.parts:
            table = part.documents()
            at = table.schema.get_field_index("shard")
            numbers = pa.array(table.column("shard").to_numpy() + shards)
            tables.append(table.set_column(at, "shard", numbers))
            shards += len(part.manifest.shards)
        return pa.concat_tables(tables)

    def document_tokens(self, shard: int, start: int, end: int) -> NDArray[np.int64]:
        """Tokens `[start, end)` of a shard, counted through the parts."""
        for part in self.parts:
            if shard < len(part.manifest.shards):
                return part.document_tokens(shard, start, end)
            shard -= len(part.manifest.shards)
        raise IndexError(f"there are {len(self.manifest.shards)} shards")

    def _first_rows(self, context: int) -> list[int]:
        return [0, *accumulate(part.row_count(context) for part in self.parts)]

    def _place(self, row: int, context: int) -> tuple[TokenShards, int]:
        first = self._first_rows(context)
        if not 0 <= row < first[-1]:
            raise IndexError(f"row must be in [0, {first[-1]}), got {row}")
        part = bisect.bisect_right(first, row) - 1
        return self.parts[part], row - first[part]
