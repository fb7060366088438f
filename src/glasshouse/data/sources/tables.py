"""Arrow tables to documents: Parquet files, Arrow files (what `datasets` saves), and tables in memory.

Columns of the document form pass through without a Python object per text: they are checked with Arrow's own kernels,
and only what is not a document is looked at row by row. Tables with other types are read row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute

from glasshouse.data.document import DOCUMENT, ORIGIN, Origin
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.json_lines import unreadable
from glasshouse.data.sources.lines import UNREADABLE
from glasshouse.data.sources.rows import BadRowError, Columns, SeenIds, document_of, duplicate, metadata_text
from glasshouse.data.sources.settings import Reading
from glasshouse.data.sources.table_structure import check_structure

if TYPE_CHECKING:
    from glasshouse.data.sources.inputs import InputShard

# The stubs know a few of the types that these kernels take.
pc: Any = pyarrow.compute
MOST_ROWS = 1 << 14
_DAMAGE = (*UNREADABLE, ValueError, MemoryError, pa.ArrowException)
Place = tuple[str, int]
"""A file, and how many rows of it were read before."""


def read_parquet(shard: InputShard, quarantine: Quarantine, seen: SeenIds) -> Iterator[pa.RecordBatch]:
    """The documents of a Parquet file, or of a range of its row groups.

    A row group that is damaged is quarantined as one record, and reading goes on after it.
    """
    import pyarrow.parquet as pq

    file, reading = shard.called(), shard.reading
    try:
        with fsspec.open(shard.path, "rb") as raw:
            about = pq.read_metadata(raw)
            paths = {about.schema.column(number).path for number in range(about.num_columns)}
            table = pq.ParquetFile(
                raw,
                metadata=about,
                read_dictionary=[reading.text_key] if reading.text_key in paths else None,
                page_checksum_verification=True,
            )
            sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
            if not sum(sizes):
                _empty(file, quarantine)
            last = len(sizes) if shard.end is None else shard.end
            for group in range(shard.start, last):
                yield from _row_group(table, group, (file, sum(sizes[:group])), reading, quarantine, seen)
    except _DAMAGE as error:
        unreadable(shard, error, quarantine)


def _row_group(
    table: Any, group: int, place: Place, reading: Reading, quarantine: Quarantine, seen: SeenIds
) -> Iterator[pa.RecordBatch]:
    about = table.metadata.row_group(group)
    rows = max(1, min(MOST_ROWS, about.num_rows, about.num_rows * reading.batch_bytes // (about.total_byte_size or 1)))
    file, first = place
    last = first + about.num_rows
    batches = table.iter_batches(
        batch_size=rows, row_groups=[group], use_threads=False, columns=_wanted(table.schema_arrow, reading)
    )
    try:
        for batch in batches:
            yield from documents_of_table(batch, (file, first), reading, quarantine, seen)
            first += batch.num_rows
        if first < last:
            # A damaged page header can hide a page, which Arrow does not mind when every column lacks the same rows.
            raise ValueError("the row group ends early")
    except _DAMAGE as error:
        quarantine.saw()
        message = f"row group {group} (from 0) cannot be read, rows {first + 1} to {last}: {error}"
        quarantine.add("damaged_row_group", message, file=file, line=first + 1)


def _wanted(schema: pa.Schema, reading: Reading) -> list[str] | None:
    """The columns to read; `None` for all."""
    if reading.other_fields == "metadata":
        return None
    names = [*DOCUMENT.names, reading.text_key, reading.id_key]
    return [name for name in schema.names if name in names]


def read_arrow(shard: InputShard, quarantine: Quarantine, seen: SeenIds) -> Iterator[pa.RecordBatch]:
    """The documents of an Arrow file in the stream or the file form."""
    place = (shard.called(), 0)
    try:
        with fsspec.open(shard.path, "rb") as raw:
            for batch in _arrow_batches(raw):
                yield from documents_of_table(batch, place, shard.reading, quarantine, seen)
                place = (shard.called(), place[1] + batch.num_rows)
            if not place[1]:
                _empty(shard.called(), quarantine)
    except _DAMAGE as error:
        if not place[1]:
            unreadable(shard, error, quarantine)
            return
        quarantine.saw()
        message = f"{error}; the {place[1]} rows before were kept"
        quarantine.add("damaged_file", message, file=shard.called(), line=place[1] + 1)


def _arrow_batches(raw: Any) -> Iterator[pa.RecordBatch]:
    form = raw.read(6)
    raw.seek(0)
    if form == b"ARROW1":
        table = pa.ipc.open_file(raw)
        yield from (table.get_batch(number) for number in range(table.num_record_batches))
    else:
        yield from pa.ipc.open_stream(raw)


def _empty(file: str, quarantine: Quarantine) -> None:
    quarantine.saw()
    quarantine.add("empty_file", "the file has no rows", file=file)


def documents_of_table(
    batch: pa.RecordBatch, place: Place, reading: Reading, quarantine: Quarantine, seen: SeenIds
) -> Iterator[pa.RecordBatch]:
    """The documents of a batch of any schema; texts in sum at most `batch_bytes` (or one document) at a time.

    Args:
        place: file, and the number of its rows before this batch.

    Raises `pa.ArrowInvalid` for a batch whose offsets or indices lead out of its bytes.
    """
    check_structure(batch)
    first = 0
    for last in _cuts(batch, reading):
        piece, here = batch.slice(first, last - first), (place[0], place[1] + first)
        found = _by_columns(piece, here, reading, quarantine, seen)
        if found is None:
            found = _by_rows(piece, here, reading, quarantine, seen)
        first = last
        if found.num_rows:
            yield found


def _cuts(batch: pa.RecordBatch, reading: Reading) -> list[int]:
    """Row numbers after which the texts reach `batch_bytes`, and the last one.

    A text that a dictionary holds once may stand in many rows: sizes are taken before the dictionary is expanded.
    """
    column = _column(batch, reading.text_key)
    if column is None or not _is_text(column.type) or batch.num_rows == 0:
        return [batch.num_rows]
    if isinstance(column, pa.DictionaryArray):
        sizes = pc.binary_length(column.dictionary.cast(pa.large_binary())).take(column.indices)
    else:
        sizes = pc.binary_length(column)
    running = np.cumsum(pc.fill_null(sizes, 0).to_numpy(zero_copy_only=False).astype(np.int64))
    cuts = [0]
    while cuts[-1] < batch.num_rows:
        before = running[cuts[-1] - 1] if cuts[-1] else 0
        cuts.append(max(cuts[-1], int(np.searchsorted(running, before + reading.batch_bytes))) + 1)
    return [*cuts[1:-1], batch.num_rows]


def _column(batch: pa.RecordBatch, name: str) -> Any:
    position = batch.schema.get_field_index(name)  # -1 also for a name that comes twice
    return None if position < 0 else batch.column(position)


def _is_text(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _by_columns(
    batch: pa.RecordBatch, place: Place, reading: Reading, quarantine: Quarantine, seen: SeenIds
) -> pa.RecordBatch | None:
    """The documents of a batch whose columns are texts; `None` when it has to be read row by row."""
    columns = _texts(batch, reading)
    if columns is None:
        return None
    origin = _column(batch, "origin")
    if origin is None:
        origin = _origins(columns["text"], place)
    elif origin.type != ORIGIN or origin.null_count or any(origin.field(i).null_count for i in range(3)):
        return None
    batch = pa.RecordBatch.from_arrays([*columns.values(), origin], schema=DOCUMENT)
    keep = _kept(batch, place, reading, quarantine, seen)
    quarantine.saw(batch.num_rows)
    quarantine.keep(batch.num_rows if keep is None else int(np.count_nonzero(keep)))
    return batch if keep is None else batch.filter(pa.array(keep))


def _texts(batch: pa.RecordBatch, reading: Reading) -> dict[str, Any] | None:
    """The columns of the document form before `origin`, each of its type; only id and text may hold nulls."""
    if reading.make_ids or reading.other_fields == "metadata":
        return None
    keys = {"id": reading.id_key, "text": reading.text_key}
    defaults = {"source": reading.source, "added": "", "created": "", "metadata": "{}"}
    found: dict[str, Any] = {}
    for name in DOCUMENT.names[:-1]:
        column = _column(batch, keys.get(name, name))
        if column is None and keys.get(name, name) in batch.schema.names:
            return None
        if column is None:
            column = pa.nulls(batch.num_rows, pa.string())
        if not _is_text(column.type):
            return None
        column = _valid(column, DOCUMENT.field(name).type)
        if column is None:
            return None
        found[name] = pc.fill_null(column, defaults[name]) if name in defaults and column.null_count else column
    empty = pc.equal(pc.binary_length(found["source"]), 0)
    if pc.any(empty).as_py():
        found["source"] = pc.if_else(empty, reading.source, found["source"])
    found["metadata"] = _metadata(found["metadata"])
    return found


def _valid(column: Any, kind: pa.DataType) -> Any:
    """The column as `kind`; `None` when it holds bytes that are no UTF-8."""
    try:
        if isinstance(column, pa.DictionaryArray):
            column.dictionary.validate(full=True)
        column = column.cast(kind)
        column.validate(full=True)
    except pa.ArrowException:
        return None
    return column


def _metadata(column: Any) -> Any:
    """Texts that are no JSON become JSON strings; each text is looked at once."""
    coded = column.dictionary_encode()
    texts = coded.dictionary.to_pylist()
    written = [metadata_text(text) for text in texts]
    return column if written == texts else pa.array(written, pa.string()).take(coded.indices)


def _origins(texts: Any, place: Place) -> Any:
    file, before = place
    names = pa.array([f"{file}#row={before + row + 1}" for row in range(len(texts))], pa.string())
    ends = pc.fill_null(pc.binary_length(texts), 0).cast(pa.int64())
    return pa.StructArray.from_arrays([names, pa.array(np.zeros(len(texts), np.int64)), ends], fields=list(ORIGIN))


def _kept(batch: pa.RecordBatch, place: Place, reading: Reading, quarantine: Quarantine, seen: SeenIds) -> Any:
    """Which rows are documents, as a mask; `None` when all are. The others are quarantined."""
    ids, texts, sources = batch.column("id"), batch.column("text"), batch.column("source")
    sizes = pc.fill_null(pc.binary_length(texts), reading.max_document_bytes + 1)
    bad = pc.or_(
        pc.equal(pc.fill_null(pc.binary_length(ids), 0), 0), pc.greater(sizes, reading.max_document_bytes)
    ).to_numpy(zero_copy_only=False)
    any_bad, keep = bool(bad.any()), None
    rows: Any = zip(ids.to_pylist(), sources.to_pylist(), strict=True)
    for row, (identifier, source) in enumerate(rows):
        if not (any_bad and bad[row]) and seen.is_new(source, identifier):
            continue
        if keep is None:
            keep = np.ones(batch.num_rows, bool)
        keep[row] = False
        _refuse(batch, row, place, reading, quarantine)
    return keep


def _refuse(batch: pa.RecordBatch, row: int, place: Place, reading: Reading, quarantine: Quarantine) -> None:
    """Quarantines one row of a batch in the document form."""
    values = batch.slice(row, 1).to_pylist()[0]
    named = values | {reading.id_key: values["id"], reading.text_key: values["text"]}
    number = place[1] + row + 1
    try:
        document = document_of(named, Origin(place[0], 0, 0), reading.max_document_bytes, reading)
    except BadRowError as bad:
        quarantine.add(bad.reason, str(bad), file=place[0], line=number)
    else:
        duplicate(quarantine, document, place[0], number, 0)


def _by_rows(
    batch: pa.RecordBatch, place: Place, reading: Reading, quarantine: Quarantine, seen: SeenIds
) -> pa.RecordBatch:
    columns = Columns()
    for position in range(batch.num_rows):
        number = place[1] + position + 1
        quarantine.saw()
        try:
            row = _row(batch, position)
            text = row.get(reading.text_key)
            size = len(text.encode(errors="surrogatepass")) if isinstance(text, str) else 0
            origin = Origin(f"{place[0]}#row={number}", 0, size)
            document = document_of(row, origin, reading.max_document_bytes, reading)
        except BadRowError as bad:
            quarantine.add(bad.reason, str(bad), file=place[0], line=number)
            continue
        if not seen.is_new(document.source, document.id):
            duplicate(quarantine, document, place[0], number, 0)
            continue
        quarantine.keep()
        columns.add(document)
    return columns.take() if columns.rows else pa.RecordBatch.from_pylist([], schema=DOCUMENT)


def _row(batch: pa.RecordBatch, position: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for number, name in enumerate(batch.schema.names):
        try:
            row[name] = batch.column(number)[position].as_py()
        except UnicodeDecodeError as error:
            raise BadRowError("invalid_utf8", f"column {name!r} is not valid UTF-8: {error.reason}") from None
        except (ValueError, OverflowError, pa.ArrowException) as error:
            raise BadRowError("unreadable_field", f"column {name!r} cannot be read: {error}") from None
    own = row.get("origin")
    return row if own is None or isinstance(own, dict) else row | {"origin": None}
