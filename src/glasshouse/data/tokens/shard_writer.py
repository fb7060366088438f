"""Documents to token shards (`shard_reader.py`), split by a hash of the document's id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.document import check_batch, document_hashes, strings
from glasshouse.data.executor import map_shards
from glasshouse.data.tokens.shard_reader import MANIFEST, SPANS, ShardEntry, ShardError, ShardManifest
from glasshouse.data.tokens.tokenizer import check_end_of_sequence, end_of_sequence_id
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.files import hash_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRAIN, HOLDOUT = "train", "holdout"
SHARD_TOKENS = 1 << 28


class _Encoded(NamedTuple):
    batch: pa.RecordBatch
    tokens: list[npt.NDArray[np.uint32]]
    held_out: npt.NDArray[np.bool_]
    hashes: npt.NDArray[np.uint64]
    sizes: list[int]


def write_shards(
    batches: Iterable[pa.RecordBatch],
    tokenizer: Tokenizer,
    directory: str | Path,
    *,
    holdout: float = 0.0,
    seed: int = 0,
    eos_id: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, ShardManifest]:
    """Tokenises documents into `directory/train` and, for `holdout > 0`, `directory/holdout`.

    Special tokens that occur in a text (`<|endoftext|>` in a source file) are tokenised as ordinary characters, so only
    the end of a document is the end-of-sequence token. The files are the same for any number of workers.

    Args:
        batches: documents (`document.DOCUMENT`); their order is the order of the tokens.
        tokenizer: a Hugging Face tokenizer.
        directory: empty or new.
        holdout: share of the documents to hold out, chosen by a keyed hash of the id: adding documents moves no other.
        seed: of that choice.
        eos_id: checked against the tokenizer when given.
        shard_tokens: a shard is closed by the document that reaches this many tokens.
        workers: threads of the tokenizer.
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
    eos = end_of_sequence_id(tokenizer) if eos_id is None else eos_id
    check_end_of_sequence(tokenizer, eos)
    plain = _with_special_as_text(tokenizer)

    def encode(batch: pa.RecordBatch) -> _Encoded:
        check_batch(batch)
        texts, ids = strings(batch, "text"), strings(batch, "id")
        encodings = plain.encode_batch_fast(texts, add_special_tokens=False)
        tokens = [np.array([*encoding.ids, eos], dtype=np.uint32) for encoding in encodings]
        chosen = document_hashes(ids, seed, "holdout").astype(np.float64) < holdout * 2.0**64
        return _Encoded(batch, tokens, chosen, document_hashes(ids), [len(text.encode()) for text in texts])

    vocabulary = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    names = (TRAIN, HOLDOUT) if holdout > 0 else (TRAIN,)
    splits = {name: _Split(Path(directory) / name, name, vocabulary, eos, shard_tokens) for name in names}
    try:
        for encoded in map_shards(encode, batches, workers):
            for row, tokens in enumerate(encoded.tokens):
                splits[HOLDOUT if encoded.held_out[row] else TRAIN].add(encoded, row, tokens)
            if progress is not None:
                progress(sum(encoded.sizes))
        return {name: split.finish() for name, split in splits.items()}
    finally:
        for split in splits.values():
            split.abandon()


def _with_special_as_text(tokenizer: Tokenizer) -> Tokenizer:
    copy = type(tokenizer).from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    copy.no_truncation()
    copy.no_padding()
    return copy


@dataclass
class _OpenShard:
    file: IO[bytes]
    path: Path
    spans: dict[str, list[object]]
    digest: hashlib._Hash
    tokens: int = 0


class _Split:
    """Writes the shards of one split."""

    def __init__(self, home: Path, name: str, vocabulary: int, eos_id: int, shard_tokens: int) -> None:
        self.home, self.name, self.vocabulary, self.eos_id, self.shard_tokens = (
            home,
            name,
            vocabulary,
            eos_id,
            shard_tokens,
        )
        self.dtype = "<u2" if vocabulary <= 1 << 16 else "<u4"
        self.entries: list[ShardEntry] = []
        self.sources: dict[str, int] = {}
        self.text_bytes = 0
        self.shard: _OpenShard | None = None
        home.mkdir(parents=True, exist_ok=True)
        if any(home.iterdir()):
            raise ShardError(f"{home} is not empty: write token shards into a new directory")

    def add(self, encoded: _Encoded, row: int, tokens: npt.NDArray[np.uint32]) -> None:
        shard = self.shard = self.shard or self._open()
        content = tokens.astype(self.dtype).tobytes()
        with disk_errors_named(shard.path):
            shard.file.write(content)
        shard.digest.update(content)
        column = encoded.batch.column
        source: Any = column("source")[row].as_py()
        origin: Any = column("origin")[row].as_py()
        values = (shard.tokens, shard.tokens + len(tokens), column("id")[row].as_py(), source, origin["file"],
                  origin["start"], origin["end"], int(encoded.hashes[row]))  # fmt: skip
        for name, value in zip(SPANS.names, values, strict=True):
            shard.spans[name].append(value)
        shard.tokens += len(tokens)
        self.sources[source] = self.sources.get(source, 0) + 1
        self.text_bytes += encoded.sizes[row]
        if shard.tokens >= self.shard_tokens:
            self._close()

    def finish(self) -> ShardManifest:
        """Writes the manifest. Raises `ShardError` when there is nothing in this split."""
        if self.shard is not None:
            self._close()
        if not self.entries:
            hint = "give more documents or a larger holdout" if self.name == HOLDOUT else "no documents were given"
            raise ShardError(f"the split {self.name!r} in {self.home} would be empty: {hint}")
        manifest = ShardManifest(
            split=self.name,
            dtype={"<u2": "uint16", "<u4": "uint32"}[self.dtype],
            vocabulary=self.vocabulary,
            eos_id=self.eos_id,
            text_bytes=self.text_bytes,
            sources=dict(sorted(self.sources.items())),
            shards=tuple(self.entries),
        )
        with disk_errors_named(self.home / MANIFEST):
            (self.home / MANIFEST).write_bytes(
                orjson.dumps(manifest.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
            )
        return manifest

    def abandon(self) -> None:
        """Closes what an error left open; does nothing after `finish`."""
        if self.shard is not None:
            self.shard.file.close()
            self.shard = None

    def _open(self) -> _OpenShard:
        path = self.home / f"tokens-{len(self.entries):05d}.bin"
        with disk_errors_named(path):
            return _OpenShard(path.open("wb"), path, {name: [] for name in SPANS.names}, hashlib.sha256())

    def _close(self) -> None:
        shard, self.shard = self.shard, None
        if shard is None:
            return
        with disk_errors_named(shard.path):
            shard.file.close()
        spans = self.home / f"spans-{len(self.entries):05d}.parquet"
        with disk_errors_named(spans):
            pq.write_table(pa.table(shard.spans, schema=SPANS), spans, compression="zstd")
        self.entries.append(
            ShardEntry(
                tokens_file=shard.path.name,
                spans_file=spans.name,
                tokens=shard.tokens,
                documents=len(shard.spans["id"]),
                tokens_sha256=shard.digest.hexdigest(),
                spans_sha256=hash_file(spans),
            )
        )
