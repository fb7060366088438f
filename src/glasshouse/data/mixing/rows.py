"""Rows of documents with what is known about them: attributes of side-files, signals of a directory or of a corpus.

Everything is lined up row by row and checked by id: a side-file that is missing, too short, too long or of other
documents is an error that names file and row, never a guess.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.corpus import KEPT, signal_files
from glasshouse.data.document import Document, Origin
from glasshouse.data.mixing.alignment import MisalignedError, SideFile, SignalRows, signal_tables, window
from glasshouse.data.mixing.expression import Usage
from glasshouse.data.mixing.fields import FIELDS, Seen, table_of_rows
from glasshouse.data.mixing.mixture import Stream
from glasshouse.data.opening import open_corpus
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.signals.measuring import ABOUT, SignalsMismatchError
from glasshouse.data.sources.attributes import attribute_path
from glasshouse.data.sources.inputs import InputShard, plan_inputs
from glasshouse.data.sources.lines import READERS, Line, lines
from glasshouse.data.sources.reading import MAX_DOCUMENT_BYTES, BadRowError, document_of

BATCH_ROWS = 1024
BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class InputFile:
    """A file of documents, and where what is known about them is.

    Attributes:
        shard: the file.
        attributes: its side-files, one per attribute set.
        signals: its file of signals.
        corpus: the curated corpus it is part of.
        first: in a corpus, the number of documents before this file.
    """

    shard: InputShard
    attributes: tuple[str, ...] = ()
    signals: str | None = None
    corpus: str | None = None
    first: int = 0

    def fingerprint(self) -> str:
        """Changes when the documents or what is known about them changes."""
        beside = [*self.attributes, *([self.signals] if self.signals else [])]
        stamps = [f"{path} {Path(path).stat().st_size} {Path(path).stat().st_mtime_ns}" for path in beside]
        return "\n".join([self.shard.fingerprint(), *stamps, str(self.corpus), str(self.first)])


@dataclass
class Rows:
    """Some rows in order: their numbers in the file (from 1), documents, raw rows and attributes, and the columns."""

    numbers: list[int] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)
    attributes: list[dict[str, Any]] = field(default_factory=list)
    signals: pa.Table | None = None
    bytes: int = 0

    def table(self, wanted: Mapping[str, Usage], seen: Seen) -> pa.Table:
        """The wanted columns: those that were measured, and the others from the rows themselves."""
        measured = set(self.signals.schema.names) - set(FIELDS) if self.signals is not None else set()
        from_rows = {name: usage for name, usage in wanted.items() if name not in measured}
        table = table_of_rows(self.raw, self.attributes, from_rows, seen)
        for name in wanted:
            if name in measured and self.signals is not None:
                column = self.signals.column(name)
                seen.present[name] += len(column) - column.null_count
                table = table.append_column(name, column)
        return table


def plan_stream(stream: Stream) -> list[InputFile]:
    """The files of a stream in their order, with everything that goes with them found.

    Raises:
        FileNotFoundError: documents that are not there.
        MisalignedError: a file of attributes or signals that is not there.
    """
    found: list[InputFile] = []
    for entry in stream.documents:
        if (Path(entry) / "summary.json").is_file() and list(Path(entry).glob("documents-*.parquet")):
            found += _corpus_files(entry)
        else:
            found += [_with_attributes(shard, stream) for shard in plan_inputs(entry)]
    if stream.signals is not None:
        return _with_signals(found, Path(stream.signals))
    return found


def _corpus_files(entry: str) -> list[InputFile]:
    found, first = [], 0
    for file in open_corpus(entry).document_files:
        (shard,) = plan_inputs(str(file))
        found.append(InputFile(shard, corpus=entry, first=first))
        first += pq.read_metadata(file).num_rows
    return found


def _with_attributes(shard: InputShard, stream: Stream) -> InputFile:
    paths = tuple(attribute_path(shard.path, name) for name in stream.attributes)
    for name, path in zip(stream.attributes, paths, strict=True):
        system, where = fsspec.core.url_to_fs(path)
        if not system.exists(where):
            raise MisalignedError(
                f"stream {stream.name!r}: {shard.path} has no attributes {name!r}: {path} does not exist; "
                "tag these documents, or leave the attribute set out"
            )
    return InputFile(shard, attributes=paths)


def _with_signals(files: list[InputFile], directory: Path) -> list[InputFile]:
    if not (directory / ABOUT).is_file():
        raise SignalsMismatchError(f"{directory} holds no {ABOUT}: measure signals into it first")
    names = [entry["file"] for entry in orjson.loads((directory / ABOUT).read_bytes())["shards"]]
    if names != [file.shard.name for file in files]:
        raise SignalsMismatchError(
            f"{directory} was measured from {len(names)} files ({', '.join(names[:3])}…), the stream has "
            f"{len(files)} ({', '.join(file.shard.name for file in files[:3])}…): measure signals of the same files"
        )
    return [
        InputFile(file.shard, file.attributes, signals=str(directory / f"signals-{number:05d}.parquet"))
        for number, file in enumerate(files)
    ]


def read_rows(file: InputFile, quarantine: Quarantine, columns: Sequence[str]) -> Iterator[Rows]:
    """The documents of a file in batches; what cannot become a document is quarantined.

    Args:
        columns: the columns of signals to read, where there are signals.

    Raises:
        MisalignedError: naming the row from which attributes or signals are not those of the documents.
    """
    sides = [SideFile(path) for path in file.attributes]
    signals = _signals_of(file, columns)
    seen: set[bytes] = set()
    rows = Rows()
    for number, document, raw in _documents(file.shard, quarantine):
        identifier = None if document is None else document.id
        attributes: dict[str, Any] = {}
        for side in sides:
            attributes |= side.at(number, identifier, file.shard.path)
        if document is None:
            continue
        key = hashlib.blake2b(f"{document.source}\0{document.id}".encode(), digest_size=16).digest()
        if key in seen:
            message = f"id {document.id!r} was already read for source {document.source!r}"
            quarantine.add("duplicate_id", message, file=file.shard.called(), line=number, excerpt=document.text[:200])
            continue
        seen.add(key)
        quarantine.keep()
        _add(rows, number, document, raw, attributes)
        if len(rows.numbers) >= BATCH_ROWS or rows.bytes >= BATCH_BYTES:
            yield _measured(rows, signals, file)
            rows = Rows()
    if rows.numbers:
        yield _measured(rows, signals, file)
    for side in sides if "damaged_file" not in quarantine.by_reason else []:
        side.at_end(file.shard.path)
    if signals is not None:
        signals.at_end(file.shard.path)


def _add(rows: Rows, number: int, document: Document, raw: dict[str, Any], attributes: dict[str, Any]) -> None:
    own = raw.pop("attributes", None)
    rows.numbers.append(number)
    rows.documents.append(document)
    rows.raw.append(raw)
    rows.attributes.append((own | attributes) if isinstance(own, dict) else attributes)
    text = document.text
    rows.bytes += len(text) if text.isascii() else len(text.encode())


def _signals_of(file: InputFile, columns: Sequence[str]) -> SignalRows | None:
    if file.signals is not None:
        return SignalRows(signal_tables([Path(file.signals)], columns, None), file.signals)
    if file.corpus is not None:
        files = signal_files(file.corpus)
        count = pq.read_metadata(file.shard.path).num_rows
        kept = window(signal_tables(files, columns, KEPT), file.first, count)
        return SignalRows(kept, f"{file.corpus}/signals-*.parquet (kept documents)") if files else None
    return None


def _measured(rows: Rows, signals: SignalRows | None, file: InputFile) -> Rows:
    if signals is not None:
        rows.signals = signals.take([document.id for document in rows.documents], file.shard.path)
    return rows


def _documents(shard: InputShard, quarantine: Quarantine) -> Iterator[tuple[int, Document | None, dict[str, Any]]]:
    """(row, document, the row as it was read); no document where the row was quarantined."""
    if shard.form == "parquet":
        yield from _parquet_documents(shard, quarantine)
    elif shard.form == "jsonl":
        yield from _json_documents(shard, quarantine)
    else:
        yield from _other_documents(shard, quarantine)


def _json_documents(shard: InputShard, quarantine: Quarantine) -> Iterator[tuple[int, Document | None, dict[str, Any]]]:
    number, path = 0, shard.called()
    with fsspec.open(shard.path, "rb") as raw:
        for line in lines(READERS[shard.compression](raw), MAX_DOCUMENT_BYTES):
            if not line.damage and not line.content.strip():
                continue
            number += 1
            quarantine.saw()
            try:
                row = _decoded(line)
                document = document_of(row, Origin(path, line.offset, line.offset + line.size))
            except BadRowError as bad:
                excerpt = line.content[:800]
                quarantine.add(bad.reason, str(bad), file=path, line=number, offset=line.offset, excerpt=excerpt)
                yield number, None, {}
                continue
            yield number, document, row
    if not number:
        quarantine.saw()
        quarantine.add("empty_file", "the file has no rows", file=path)


def _decoded(line: Line) -> Any:
    if line.damage:
        raise BadRowError("damaged_file", line.damage)
    if line.size > MAX_DOCUMENT_BYTES:
        raise BadRowError("line_too_long", f"the line has {line.size} bytes, the limit is {MAX_DOCUMENT_BYTES}")
    try:
        return orjson.loads(line.content)
    except orjson.JSONDecodeError as error:
        raise BadRowError("invalid_json", f"not a JSON value: {error}") from None


def _parquet_documents(
    shard: InputShard, quarantine: Quarantine
) -> Iterator[tuple[int, Document | None, dict[str, Any]]]:
    number, path = 0, shard.called()
    with fsspec.open(shard.path, "rb") as raw, pq.ParquetFile(raw) as table:
        for batch in table.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                quarantine.saw()
                try:
                    document = document_of(
                        row, Origin(f"{path}#row={number}", 0, len((row.get("text") or "").encode()))
                    )
                except BadRowError as bad:
                    quarantine.add(bad.reason, str(bad), file=path, line=number)
                    yield number, None, {}
                    continue
                yield number, document, row | {"metadata": orjson.loads(document.metadata)}


def _other_documents(
    shard: InputShard, quarantine: Quarantine
) -> Iterator[tuple[int, Document | None, dict[str, Any]]]:
    """Formats without rows of their own: the number is that of the document."""
    number = 0
    for batch in shard.batches(quarantine):
        for row in batch.to_pylist():
            number += 1
            quarantine.keep(-1)  # counted again where it is decided
            origin = Origin(**row["origin"])
            document = Document(**(row | {"origin": origin}))
            yield number, document, row | {"metadata": orjson.loads(document.metadata)}
