"""The global step of curation: which survivors of all shards stay, looking at their keys together.

Only keys are in memory, a column at a time, and a few bytes per document. Rows are numbered through the shards, so the
smallest row is the smallest (shard, row) and decisions do not depend on workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.curation.configuration import KEPT, Curation
from glasshouse.data.deduplication.keys import Keys
from glasshouse.data.executor import Executor

STAYS = -1


@dataclass(frozen=True)
class Decision:
    """What was decided about the survivors of one shard.

    Attributes:
        repeated_ids: rows of the shard (of all its documents) whose id was seen before.
        stage: for every survivor the number of the method that removed it, or `STAYS`.
        keeper: for every survivor its keeper as a number in `keepers`, or -1.
        keepers: (id, source) of the keepers that are named.
        repeated_pieces: for every method on pieces, for every piece of every survivor: whether it occurred before.
    """

    repeated_ids: npt.NDArray[np.int64]
    stage: npt.NDArray[np.int16]
    keeper: npt.NDArray[np.int64]
    keepers: list[tuple[str, str]]
    repeated_pieces: list[npt.NDArray[np.bool_]] = field(default_factory=list)

    def digest(self) -> str:
        """Says whether two decisions are the same: a saved Bloom filter can change between a kill and the next run."""
        found = hashlib.blake2b(repr(self.keepers).encode(), digest_size=16)
        for numbers in (self.repeated_ids, self.stage, self.keeper, *self.repeated_pieces):
            found.update(np.ascontiguousarray(numbers).tobytes())
        return found.hexdigest()


def decide(folders: Sequence[Path], curation: Curation, executor: Executor) -> list[Decision]:
    """Decisions about all shards that were judged into `folders`."""
    repeated_ids = _repeated_ids(folders)
    survivors = [_survivor_rows(folder) for folder in folders]
    first = np.concatenate([[0], np.cumsum([len(rows) for rows in survivors])]).astype(np.int64)
    stage = np.full(first[-1], STAYS, np.int16)
    keeper = np.full(first[-1], -1, np.int64)
    alive = np.concatenate(
        [~np.isin(rows, repeated) for rows, repeated in zip(survivors, repeated_ids, strict=True)]
        or [np.zeros(0, bool)]
    )
    methods = curation.document_methods
    for number, method in enumerate(methods):
        rows = np.flatnonzero(alive)
        if not len(rows):
            break
        keys = Keys([_numbers(folder, f"keys-{number}.u64", method.width) for folder in folders], alive)
        keepers = rows[method.keepers(keys, executor)]
        gone = rows != keepers
        stage[rows[gone]], keeper[rows[gone]] = number, keepers[gone]
        alive[rows[gone]] = False
    pieces = [_repeated_pieces(folders, curation, len(methods) + n, first, alive, executor)
              for n in range(len(curation.piece_methods))]  # fmt: skip
    names = _ids(folders, survivors, first, np.unique(keeper[keeper >= 0]))
    decisions = []
    for shard in range(len(folders)):
        part = slice(int(first[shard]), int(first[shard + 1]))
        wanted, places = np.unique(keeper[part], return_inverse=True)
        known = [names.get(int(row), ("", "")) for row in wanted]
        local = np.where(keeper[part] >= 0, places.reshape(-1), -1)
        decisions.append(Decision(repeated_ids[shard], stage[part], local, known, [flags[shard] for flags in pieces]))
    return decisions


def _repeated_ids(folders: Sequence[Path]) -> list[npt.NDArray[np.int64]]:
    """Rows whose (source, id) an earlier row has, per shard."""
    parts = [_numbers(folder, "ids.u64", 2) for folder in folders]
    whole = np.concatenate(parts) if parts else np.zeros((0, 2), np.uint64)
    order = np.lexsort((whole[:, 1], whole[:, 0]))  # stable: equal ids stay in the order of their rows
    ranked = whole[order]
    later = np.zeros(len(whole), bool)
    later[order[1:]] = (ranked[1:] == ranked[:-1]).all(axis=1)
    bounds = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return [np.flatnonzero(later[bounds[i] : bounds[i + 1]]) for i in range(len(parts))]


def _repeated_pieces(
    folders: Sequence[Path],
    curation: Curation,
    number: int,
    first: npt.NDArray[np.int64],
    alive: npt.NDArray[np.bool_],
    executor: Executor,
) -> list[npt.NDArray[np.bool_]]:
    """Flags of all pieces per shard; only pieces of documents that stay are compared."""
    method = curation.piece_methods[number - len(curation.document_methods)]
    living, shown = [], []
    for shard, folder in enumerate(folders):
        path = folder / f"counts-{number}.i64"
        counts = np.fromfile(path, np.int64) if path.exists() else np.zeros(0, np.int64)
        living.append(np.repeat(alive[first[shard] : first[shard + 1]], counts))
        shown.append(_numbers(folder, f"keys-{number}.u64", 1).reshape(-1)[living[-1]])
    flags = method.repeated(shown, executor)
    found, at = [], 0
    for mask, keys in zip(living, shown, strict=True):
        whole = np.zeros(len(mask), bool)
        whole[mask] = flags[at : at + len(keys)]
        at += len(keys)
        found.append(whole)
    return found


def _survivor_rows(folder: Path) -> npt.NDArray[np.int64]:
    """Rows of the shard that are still in after the first pass."""
    verdicts = [
        batch.column("verdict").to_numpy(zero_copy_only=False) == KEPT for batch in stream(folder / "rows.arrow")
    ]
    return np.flatnonzero(np.concatenate(verdicts)) if verdicts else np.zeros(0, np.int64)


def _ids(
    folders: Sequence[Path],
    survivors: list[npt.NDArray[np.int64]],
    first: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
) -> dict[int, tuple[str, str]]:
    """(id, source) of survivors, by their number through the shards."""
    found: dict[int, tuple[str, str]] = {}
    for shard, folder in enumerate(folders):
        low, high = np.searchsorted(wanted, first[shard]), np.searchsorted(wanted, first[shard + 1])
        here = wanted[low:high]
        if len(here):
            rows = survivors[shard][here - first[shard]]
            batches = (batch.select(["id", "source"]) for batch in stream(folder / "rows.arrow"))
            named = pa.Table.from_batches(batches).take(pa.array(rows)).to_pylist()
            found |= {row: (name["id"], name["source"]) for row, name in zip(here.tolist(), named, strict=True)}
    return found


def _numbers(folder: Path, name: str, width: int) -> npt.NDArray[Any]:
    path = folder / name
    if path.stat().st_size == 0:
        return np.zeros((0, width), np.uint64)
    return np.memmap(path, np.uint64, "r").reshape(-1, width)


def stream(path: Path) -> Any:
    """The record batches of an Arrow IPC stream."""
    with path.open("rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader
