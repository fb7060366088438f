"""Documents to token shards (`shard_reader.py`), split by a hash of the document's id.

Memory holds a few batches and the spans of one Parquet row group, whatever the size of a shard. Files are written under
a `.partial` name and renamed when they are whole; the manifest comes last.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.document import strings
from glasshouse.data.executor import Executor, Threads
from glasshouse.data.tokens.encoder import Encoder, encoder_of
from glasshouse.data.tokens.encoding import Encode, Encoded
from glasshouse.data.tokens.shard_reader import MANIFEST, SPANS, ShardEntry, ShardError, ShardManifest
from glasshouse.data.tokens.tokenizer import EndOfSequenceError, check_end_of_sequence, end_of_sequence_id
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.files import hash_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRAIN, HOLDOUT = "train", "holdout"
SHARD_TOKENS = 1 << 28
NONE_GIVEN = "no documents were given"
SPANS_HELD = 1 << 20
"""Spans in a Parquet row group: so many documents are held before they are written."""

_OWN_FILES = re.compile(r"(tokens-\d{5}\.bin|spans-\d{5}\.parquet|shards\.json)(\.partial)?")


def write_shards(
    batches: Iterable[pa.RecordBatch],
    tokenizer: Tokenizer | Encoder,
    directory: str | Path,
    *,
    holdout: float = 0.0,
    seed: int = 0,
    eos_id: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, ShardManifest]:
    """Tokenises documents into `directory/train` and, for `holdout > 0`, `directory/holdout`.

    Special tokens that occur in a text (`<|endoftext|>` in a source file) are tokenised as ordinary characters, so only
    the end of a document is the end-of-sequence token. The files are the same for any number of workers, on threads or
    on Ray. What an interrupted run left in the directory is replaced.

    Args:
        batches: documents (`document.DOCUMENT`); their order is the order of the tokens.
        tokenizer: a Hugging Face tokenizer (encoded by tiktoken where that gives exactly its ids), or any `Encoder`.
        directory: empty or new.
        holdout: share of the documents to hold out, chosen by a keyed hash of the id: adding documents moves no other.
        seed: of that choice.
        eos_id: checked against the tokenizer when given.
        shard_tokens: a shard is closed by the document that reaches this many tokens.
        workers: threads of the tokenizer.
        executor: where to encode, in place of threads.
        progress: called with the bytes of text of every batch written.

    Returns:
        The manifests by split.

    Raises:
        EndOfSequenceError: when `eos_id` is not the tokenizer's end-of-sequence token.
        ShardError: when a split would be empty, or the directory holds shards already.
        DiskFullError: naming the file.
    """
    if not 0.0 <= holdout < 1.0:
        raise ValueError(f"holdout must be a share in [0, 1), got {holdout}")
    eos = end_of_sequence(tokenizer, eos_id)
    encoder = encoder_of(tokenizer)
    encode = Encode(encoder, eos, holdout, seed)
    with Splits(Path(directory), holdout, encoder.vocabulary, eos, shard_tokens) as splits:
        for encoded in (executor or Threads(workers)).map(encode, batches):
            splits.add(encoded)
            if progress is not None:
                progress(sum(encoded.sizes))
        return splits.finish()


class Splits:
    """Writes documents into `directory/train` and, for `holdout > 0`, `directory/holdout`; a context manager."""

    def __init__(self, directory: Path, holdout: float, vocabulary: int, eos_id: int, shard_tokens: int) -> None:
        names = (TRAIN, HOLDOUT) if holdout > 0 else (TRAIN,)
        self._writers = {name: SplitWriter(directory / name, name, vocabulary, eos_id, shard_tokens) for name in names}

    def add(self, encoded: Encoded) -> None:
        """Appends a batch, every document to its split."""
        for name, writer in self._writers.items():
            writer.add(encoded, np.flatnonzero(encoded.held_out == (name == HOLDOUT)))

    def finish(self) -> dict[str, ShardManifest]:
        """Writes the manifests and returns them by split. Raises `ShardError` when one would be empty."""
        documents = {name: writer.documents for name, writer in self._writers.items()}
        if not documents[TRAIN]:
            held = documents.get(HOLDOUT, 0)
            hint = (
                f"all {held} documents are held out: give more documents or a smaller holdout" if held else NONE_GIVEN
            )
            raise ShardError(f"the split {TRAIN!r} would be empty: {hint}")
        if not documents.get(HOLDOUT, 1):
            hint = f"none of {documents[TRAIN]} documents is held out: give more documents or a larger holdout"
            raise ShardError(f"the split {HOLDOUT!r} would be empty: {hint}")
        return {name: writer.finish() for name, writer in self._writers.items()}

    def __enter__(self) -> Splits:
        return self

    def __exit__(self, *error: object) -> None:
        for writer in self._writers.values():
            writer.abandon()


def id_type(vocabulary: int) -> str:
    """The NumPy type of the ids in a shard: the smallest that holds them all."""
    return "<u2" if vocabulary <= 1 << 16 else "<u4"


def end_of_sequence(tokenizer: Tokenizer | Encoder, eos_id: int | None = None) -> int:
    """The id that ends a document, checked when it is given. Raises `EndOfSequenceError`."""
    if isinstance(tokenizer, Encoder):
        right = tokenizer.eos_id
        if eos_id not in (None, right):
            raise EndOfSequenceError(f"the encoder's end-of-sequence id is {right}, not {eos_id}")
        return right
    eos = end_of_sequence_id(tokenizer) if eos_id is None else eos_id
    check_end_of_sequence(tokenizer, eos)
    return eos


@dataclass
class _OpenShard:
    number: int
    file: IO[bytes]
    path: Path
    spans_path: Path
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    writer: pq.ParquetWriter | None = None
    held: list[pa.Table] = field(default_factory=list)
    held_rows: int = 0
    tokens: int = 0
    documents: int = 0

    def flush(self) -> None:
        """Writes the held spans as one row group."""
        if not self.held:
            return
        rows, self.held, self.held_rows = pa.concat_tables(self.held).combine_chunks(), [], 0
        with disk_errors_named(self.spans_path):
            self.writer = self.writer or pq.ParquetWriter(_partial(self.spans_path), SPANS, compression="zstd")
            self.writer.write_table(rows, row_group_size=SPANS_HELD)

    def close(self) -> None:
        """Closes both files under their partial names."""
        with disk_errors_named(self.path):
            self.file.close()
        with disk_errors_named(self.spans_path):
            if self.writer is not None:
                self.writer.close()


class SplitWriter:
    """Writes the shards of one split. Raises `ShardError` when `home` holds anything but an interrupted run's files."""

    def __init__(self, home: Path, name: str, vocabulary: int, eos_id: int, shard_tokens: int) -> None:
        self.home, self.name, self.vocabulary, self.eos_id = home, name, vocabulary, eos_id
        self.shard_tokens = shard_tokens
        self.dtype = id_type(vocabulary)
        self.entries: list[ShardEntry] = []
        self.sources: dict[str, int] = {}
        self.text_bytes = 0
        self.shard: _OpenShard | None = None
        home.mkdir(parents=True, exist_ok=True)
        _clear_unfinished(home)

    def add(self, encoded: Encoded, rows: npt.NDArray[np.int64]) -> None:
        """Appends documents of a batch, closing a shard behind the document that fills it."""
        sizes = np.array([len(encoded.tokens[row]) for row in rows], dtype=np.int64)
        at = 0
        while at < len(rows):
            shard = self.shard = self.shard or self._open()
            total = shard.tokens + np.cumsum(sizes[at:])
            taken = min(int(np.searchsorted(total, self.shard_tokens)) + 1, len(total))
            self._append(shard, encoded, rows[at : at + taken], total[:taken])
            at += taken
            if shard.tokens >= self.shard_tokens:
                self._close()

    def _append(
        self, shard: _OpenShard, encoded: Encoded, rows: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> None:
        content = np.concatenate([encoded.tokens[row] for row in rows]).astype(self.dtype).tobytes()
        with disk_errors_named(shard.path):
            shard.file.write(content)
        shard.digest.update(content)
        about = encoded.spans.take(rows)
        starts = np.concatenate([[shard.tokens], ends[:-1]])
        columns: list[Any] = [pa.array(starts, pa.int64()), pa.array(ends, pa.int64())]
        shard.held.append(pa.Table.from_arrays([*columns, *about.columns], schema=SPANS))
        shard.held_rows += len(rows)
        shard.documents += len(rows)
        shard.tokens = int(ends[-1])
        if shard.held_rows >= SPANS_HELD:
            shard.flush()
        for source in strings(about, "source"):
            self.sources[source] = self.sources.get(source, 0) + 1
        self.text_bytes += sum(encoded.sizes[row] for row in rows)

    @property
    def documents(self) -> int:
        """How many were added."""
        return sum(self.sources.values())

    def finish(self) -> ShardManifest:
        """Writes the manifest. Raises `ShardError` when there is nothing in this split."""
        if self.shard is not None:
            self._close()
        if not self.entries:
            raise ShardError(f"the split {self.name!r} in {self.home} would be empty: {NONE_GIVEN}")
        manifest = ShardManifest(
            split=self.name,
            dtype={"<u2": "uint16", "<u4": "uint32"}[self.dtype],
            vocabulary=self.vocabulary,
            eos_id=self.eos_id,
            text_bytes=self.text_bytes,
            sources=dict(sorted(self.sources.items())),
            shards=tuple(self.entries),
        )
        path = self.home / MANIFEST
        with disk_errors_named(path):
            _partial(path).write_bytes(
                orjson.dumps(manifest.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
            )
            _partial(path).replace(path)
        return manifest

    def abandon(self) -> None:
        """Closes what an error left open; does nothing after `finish`."""
        if self.shard is not None:
            shard, self.shard = self.shard, None
            shard.close()

    def _open(self) -> _OpenShard:
        number = len(self.entries)
        path = self.home / f"tokens-{number:05d}.bin"
        with disk_errors_named(path):
            return _OpenShard(number, _partial(path).open("wb"), path, self.home / f"spans-{number:05d}.parquet")

    def _close(self) -> None:
        shard, self.shard = self.shard, None
        if shard is None:
            return
        shard.flush()
        shard.close()
        for path in (shard.path, shard.spans_path):
            _partial(path).replace(path)
        self.entries.append(
            ShardEntry(
                tokens_file=shard.path.name,
                spans_file=shard.spans_path.name,
                tokens=shard.tokens,
                documents=shard.documents,
                tokens_sha256=shard.digest.hexdigest(),
                spans_sha256=hash_file(shard.spans_path),
            )
        )


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _clear_unfinished(home: Path) -> None:
    """Removes what an interrupted run left: shard files without a manifest. Refuses any other content."""
    left = list(home.iterdir())
    if (home / MANIFEST).exists() or any(not _OWN_FILES.fullmatch(path.name) for path in left):
        raise ShardError(f"{home} is not empty: write token shards into a new directory")
    for path in left:
        path.unlink()
