"""Writing the index of a corpus (`corpus_index.py`), a shard at a time, so that a stopped build goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import orjson
import pyarrow as pa
from pydantic import Field

from glasshouse.data.document import check_batch, strings, text_buffers
from glasshouse.data.executor import Executor
from glasshouse.data.resumption import RECEIPT, run_resumable, work_key
from glasshouse.data.search.errors import SearchIndexError
from glasshouse.data.search.header import FORMAT, write_header
from glasshouse.data.search.ranked import write_ranked
from glasshouse.data.search.suffix_array import DOCUMENT_TABLE, SuffixArray, write_suffix_array
from glasshouse.data.suffixes import LARGEST
from glasshouse.store.artifact import RECORD
from glasshouse.store.configuration import Config

HEADER = "index.json"
SHARDS = "shards"
RANKED = f"{RECORD}/ranked"


class Indexing(Config):
    """How a corpus is indexed.

    Attributes:
        shard_bytes: a suffix array is closed by the document that reaches this many bytes of text. Sorting takes five
            times as much memory, for every worker. A query visits every shard.
        ranked: whether to make the ranked index too (about a third of the text's size on disk).
        writer_bytes: memory of the ranked index's writer.
    """

    shard_bytes: int = Field(default=128 << 20, ge=1, le=LARGEST)
    ranked: bool = True
    writer_bytes: int = Field(default=64 << 20, ge=16 << 20)


class IndexHeader(Config):
    """`index.json`."""

    format: int
    corpus: str
    content: str
    documents: int
    text_bytes: int
    shards: tuple[str, ...]
    ranked: bool


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Documents of one shard: their text, each followed by 0xFF, and the table of the documents."""

    text: bytearray
    documents: pa.Table

    @property
    def key(self) -> str:
        rows = hashlib.sha256(orjson.dumps(self.documents.to_pydict())).hexdigest()
        return work_key("suffix array", FORMAT, hashlib.sha256(self.text).hexdigest(), rows)


def write_index(
    batches: Iterable[pa.RecordBatch], known: str, home: Path, indexing: Indexing, executor: Executor,
    progress: Callable[[int], None] | None,
) -> None:  # fmt: skip
    """Writes an index into `home`, its header last.

    Args:
        known: the corpus' fingerprint; empty takes that of the content.
    """
    keys: list[str] = []
    documents = text_bytes = 0
    tasks = ((_remember(piece.key, keys), piece) for piece in _pieces(batches, indexing.shard_bytes))
    for says in run_resumable(_sort, tasks, home / SHARDS, executor):
        documents, text_bytes = documents + says["documents"], text_bytes + says["text_bytes"]
        if progress is not None:
            progress(says["text_bytes"])
    if not keys:
        raise SearchIndexError("there are no documents to index")
    for folder in (home / SHARDS).iterdir():
        # Left by an earlier attempt at a longer corpus.
        if not folder.name.isdigit() or int(folder.name) >= len(keys):
            shutil.rmtree(folder)
    content = work_key(*keys)
    if indexing.ranked:
        _write_ranked(home, len(keys), content, indexing)
    header = IndexHeader(
        format=FORMAT, corpus=known or content, content=content, documents=documents, text_bytes=text_bytes,
        shards=tuple(keys), ranked=indexing.ranked,
    )  # fmt: skip
    write_header(home / HEADER, header)


def _remember(key: str, keys: list[str]) -> str:
    keys.append(key)
    return key


def _write_ranked(home: Path, shards: int, content: str, indexing: Indexing) -> None:
    folder, key = home / RANKED, work_key("ranked", FORMAT, content)
    if (folder / RECEIPT).exists() and (folder / RECEIPT).read_text() == key:
        return
    partial = folder.with_name("ranked.partial")
    for old in (folder, partial):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    write_ranked(partial, _texts([home / SHARDS / f"{n:05d}" for n in range(shards)]), indexing.writer_bytes)
    (partial / RECEIPT).write_text(key)
    partial.rename(folder)


def _texts(folders: list[Path]) -> Iterator[tuple[str, str, str]]:
    for folder in folders:
        shard = SuffixArray(folder)
        ids, sources = (cast("list[str]", shard.documents.column(name).to_pylist()) for name in ("id", "source"))
        for row, (identifier, source) in enumerate(zip(ids, sources, strict=True)):
            yield identifier, source, shard.document_text(row)


def _sort(piece: _Piece, folder: Path) -> dict[str, Any]:
    header = write_suffix_array(folder, piece.text, piece.documents)
    return {"documents": header.documents, "text_bytes": header.text_bytes}


def _pieces(batches: Iterable[pa.RecordBatch], shard_bytes: int) -> Iterator[_Piece]:
    text = bytearray()
    rows: dict[str, list[Any]] = {name: [] for name in DOCUMENT_TABLE.names}
    for batch in batches:
        check_batch(batch)
        offsets, data = text_buffers(batch)
        origins = cast("list[dict[str, Any]]", batch.column("origin").to_pylist())
        values = zip(strings(batch, "id"), strings(batch, "source"), origins, strict=True)
        for row, (identifier, source, origin) in enumerate(values):
            size = int(offsets[row + 1] - offsets[row])
            if text and len(text) + size + 1 > shard_bytes:
                yield _Piece(text, pa.table(rows, schema=DOCUMENT_TABLE))
                text, rows = bytearray(), {name: [] for name in DOCUMENT_TABLE.names}
            if size >= LARGEST:
                raise SearchIndexError(
                    f"document {identifier!r} has {size} bytes, at most {LARGEST - 1} can be indexed"
                )
            record = (identifier, source, origin["file"], origin["start"], origin["end"], len(text))
            for name, value in zip(DOCUMENT_TABLE.names, record, strict=True):
                rows[name].append(value)
            text += data[offsets[row] : offsets[row + 1]].tobytes() + b"\xff"
    if text:
        yield _Piece(text, pa.table(rows, schema=DOCUMENT_TABLE))


def move_index(home: Path, target: Path) -> None:
    """Puts a finished index in its place; the header goes last, so that what has one is whole."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        home.rename(target)
        return
    for path in sorted(home.iterdir(), key=lambda path: path.name == HEADER):
        if (target / path.name).exists():
            raise SearchIndexError(f"{target} holds {path.name} already: build into a new or empty directory")
        path.rename(target / path.name)
    home.rmdir()
