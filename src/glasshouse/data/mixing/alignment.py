"""What is known about documents, lined up with them row by row and checked by id: side-files and tables of signals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from glasshouse.data.sources.attributes import AttributeRow, read_attributes


class MisalignedError(ValueError):
    """Attributes or signals that are not those of the documents; the message names file and row."""


class SideFile:
    """A side-file, read along with its documents."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.rows = read_attributes(path)
        self.last = 0

    def at(self, number: int, identifier: str | None, documents: str) -> dict[str, Any]:
        """The attributes of row `number`; with no identifier (a quarantined row) the row is passed over."""
        row: AttributeRow | None = next(self.rows, None)
        if row is None:
            raise MisalignedError(
                f"{self.path} ends after row {self.last}, {documents} goes on with row {number}"
                + (f" (id {identifier!r})" if identifier else "")
                + ": the attributes are not complete, tag these documents again"
            )
        self.last = row.number
        if identifier is not None and row.id != identifier:
            raise MisalignedError(
                f"{self.path} row {row.number} is of id {row.id!r}, {documents} row {number} has id {identifier!r}: "
                "the attributes are of other documents or in another order"
            )
        return row.attributes

    def at_end(self, documents: str) -> None:
        row = next(self.rows, None)
        if row is not None:
            raise MisalignedError(
                f"{self.path} goes on with row {row.number} (id {row.id!r}), {documents} ends before it: "
                "the attributes are of other documents"
            )


class SignalRows:
    """Rows of signals, taken in pieces of any length."""

    def __init__(self, tables: Iterator[pa.Table], name: str) -> None:
        self.tables = tables
        self.name = name
        self.held: pa.Table | None = None
        self.row = 0

    def take(self, ids: list[str], documents: str) -> pa.Table:
        parts, missing = [], len(ids)
        while missing:
            if self.held is None or not self.held.num_rows:
                self.held = next(self.tables, None)
                if self.held is None:
                    raise MisalignedError(f"{self.name} ends after row {self.row}, {documents} has more documents")
            parts.append(self.held.slice(0, missing))
            self.held = self.held.slice(missing)
            missing -= parts[-1].num_rows
        taken = pa.concat_tables(parts).combine_chunks()
        for position, (got, wanted) in enumerate(zip(taken.column("id").to_pylist(), ids, strict=True)):
            if got != wanted:
                row = self.row + position + 1
                raise MisalignedError(f"{self.name} row {row} is of id {got!r}, {documents} has {wanted!r} there")
        self.row += len(ids)
        return taken

    def at_end(self, documents: str) -> None:
        if self.held is not None and not self.held.num_rows:
            self.held = next(self.tables, None)
        if self.held is not None and self.held.num_rows:
            raise MisalignedError(f"{self.name} goes on after row {self.row}, {documents} does not")


def signal_tables(files: list[Path], columns: Sequence[str], verdict: str | None) -> Iterator[pa.Table]:
    for path in files:
        with pq.ParquetFile(path) as table:
            names = table.schema_arrow.names
            wanted = [
                "id",
                *([] if verdict is None else ["verdict"]),
                *(n for n in columns if n in names and n != "id"),
            ]
            for batch in table.iter_batches(batch_size=1 << 14, columns=list(dict.fromkeys(wanted))):
                found = pa.Table.from_batches([batch])
                if verdict is not None:
                    found = found.filter(pc.equal(found.column("verdict"), pa.scalar(verdict)))
                yield found


def window(tables: Iterator[pa.Table], first: int, count: int) -> Iterator[pa.Table]:
    """Rows `[first, first + count)` of tables one after the other."""
    at = 0
    for table in tables:
        start, end = max(first - at, 0), min(first + count - at, table.num_rows)
        at += table.num_rows
        if start < end:
            yield table.slice(start, end - start)
        if at >= first + count:
            return
