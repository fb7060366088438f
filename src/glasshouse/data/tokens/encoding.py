"""Documents to ids, a batch at a time, or a file at a time into a folder that survives a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.document import check_batch, document_hashes, strings
from glasshouse.data.executor import map_shards
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import InputShard
from glasshouse.data.tokens.encoder import Encoder, Ids
from glasshouse.data.tokens.fertility import Counts, add_counts, counts_of
from glasshouse.data.tokens.shard_reader import SPANS
from glasshouse.data.writing import disk_errors_named

IDS, ROWS, QUARANTINE = "ids.bin", "rows.arrow", "quarantine.jsonl"
ABOUT: pa.Schema = pa.schema([SPANS.field(name) for name in SPANS.names[2:]])
"""The columns of `SPANS` behind `start` and `end`."""
_ROWS = (
    ABOUT.append(pa.field("tokens", pa.int64()))
    .append(pa.field("held_out", pa.bool_()))
    .append(pa.field("size", pa.int64()))
)


class Encoded(NamedTuple):
    """A batch of documents as ids: `ABOUT` them, ids with their end, whether each is held out, and bytes of text."""

    spans: pa.RecordBatch
    tokens: list[Ids]
    held_out: npt.NDArray[np.bool_]
    sizes: list[int]


@dataclass(frozen=True)
class Encode:
    """Encodes a batch: a pure function, which runs on the workers."""

    encoder: Encoder
    eos_id: int
    holdout: float
    seed: int

    def __call__(self, batch: pa.RecordBatch) -> Encoded:
        check_batch(batch)
        texts, ids = strings(batch, "text"), strings(batch, "id")
        end = np.array([self.eos_id], dtype=np.uint32)
        tokens = [np.concatenate([part, end]) for part in self.encoder.encode_batch(texts)]
        chosen = document_hashes(ids, self.seed, "holdout").astype(np.float64) < self.holdout * 2.0**64
        origin: Any = batch.column("origin")
        about: list[Any] = [batch.column("id"), batch.column("source"), *origin.flatten(),
                            pa.array(document_hashes(ids), pa.uint64())]  # fmt: skip
        spans = pa.RecordBatch.from_arrays(about, names=ABOUT.names)
        return Encoded(spans, tokens, chosen, [len(text.encode()) for text in texts])


@dataclass(frozen=True)
class EncodeFile:
    """Encodes one input into a folder: all ids in `ids.bin`, a row per document in `rows.arrow`.

    Attributes:
        encode: what is done to a batch.
        dtype: of the ids.
        workers: threads.
        fertility: whether the receipt also has `fertility.Counts`.
        progress: called with the bytes of text of every batch.
    """

    encode: Encode
    dtype: str
    workers: int = 1
    fertility: bool = False
    progress: Callable[[int], None] | None = None

    def __call__(self, shard: InputShard, folder: Path) -> dict[str, Any]:
        counts: Counts = {}
        with (
            disk_errors_named(folder / IDS),
            Quarantine(folder / QUARANTINE) as quarantine,
            (folder / IDS).open("wb") as ids,
            pa.OSFile(str(folder / ROWS), "wb") as file,
            pa.ipc.new_stream(file, _ROWS, options=pa.ipc.IpcWriteOptions(compression="lz4")) as rows,
        ):
            for encoded, counted in map_shards(self._encoded, shard.batches(quarantine), self.workers):
                for tokens in encoded.tokens:
                    ids.write(tokens.astype(self.dtype).data)
                rows.write_batch(_with_sizes(encoded))
                add_counts(counts, counted)
                if self.progress is not None:
                    self.progress(sum(encoded.sizes))
        return {"quarantined": quarantine.rows_quarantined, "counts": counts}

    def _encoded(self, batch: pa.RecordBatch) -> tuple[Encoded, Counts]:
        encoded = self.encode(batch)
        # The token that ends a document does not count.
        counted = counts_of(batch, [len(tokens) - 1 for tokens in encoded.tokens]) if self.fertility else {}
        return encoded, counted


def read_encoded(folder: Path, dtype: str) -> Iterator[Encoded]:
    """The batches that `EncodeFile` wrote, in order."""
    path, kind = folder / IDS, np.dtype(dtype)
    ids = np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)
    at = 0
    with pa.OSFile(str(folder / ROWS), "rb") as file, pa.ipc.open_stream(file) as rows:
        for batch in rows:
            ends = at + np.cumsum(batch.column("tokens").to_numpy())
            tokens = [ids[start:end] for start, end in zip([at, *ends[:-1]], ends, strict=True)]
            held_out = batch.column("held_out").to_numpy(zero_copy_only=False)
            sizes: list[Any] = batch.column("size").to_pylist()
            yield Encoded(batch.select(ABOUT.names), tokens, held_out, sizes)
            at = int(ends[-1])


def _with_sizes(encoded: Encoded) -> pa.RecordBatch:
    counts = pa.array([len(tokens) for tokens in encoded.tokens], pa.int64())
    more: list[Any] = [counts, pa.array(encoded.held_out, pa.bool_()), pa.array(encoded.sizes, pa.int64())]
    return pa.RecordBatch.from_arrays([*encoded.spans.columns, *more], names=_ROWS.names).cast(_ROWS)
