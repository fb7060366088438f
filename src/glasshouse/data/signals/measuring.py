"""Signals measured once and kept: a directory of columns beside the documents, from which thresholds are chosen later.

signals-00000.parquet …   one file per shard of input: id, source and the columns, a row group per batch read
signals.json              the families with their settings, the shards, and the counts
quarantine.jsonl          records that could not become documents
record/                   where the inputs lay, and when each was written: to notice that they have changed since
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.corpus import write_roots
from glasshouse.data.document import text_size
from glasshouse.data.executor import Executor, Threads, map_shards, share_of
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.resumption import claimed, run_resumable, work_key
from glasshouse.data.signals.families import compute_signals, default_families, schema_of, signals_of
from glasshouse.data.signals.signal import Family
from glasshouse.data.sources.inputs import InputShard
from glasshouse.data.sources.naming import recorded_roots
from glasshouse.data.writing import disk_errors_named, write_parquet
from glasshouse.store.configuration import canonical
from glasshouse.store.source_code import code_fingerprint

ABOUT = "signals.json"
FINGERPRINTS = "record/fingerprints.json"


class SignalsMismatchError(ValueError):
    """A directory of signals was not measured from these documents with these families."""


def measure_signals(
    shards: Sequence[InputShard],
    directory: str | Path,
    families: Sequence[Family] | None = None,
    *,
    executor: Executor | None = None,
    work: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Measures all documents of `shards` into a directory, or goes on where a killed run stopped.

    Args:
        shards: from `sources.inputs.plan_inputs`.
        directory: empty, new, or of a run that was killed.
        families: what to measure; the default families otherwise.
        executor: `Threads(n)` or `RayTasks(n)`; one thread by default.
        work: where unfinished work is kept; `directory / "work"` by default, removed at the end.
        progress: called with bytes of text as they are measured.

    Returns:
        What `signals.json` says.

    Raises:
        FileExistsError: when the directory holds finished signals already.
        DiskFullError: naming the file.
    """
    chosen = tuple(families or default_families())
    executor = executor or Threads()
    home = Path(directory).resolve()
    home.mkdir(parents=True, exist_ok=True)
    if (home / ABOUT).exists():
        raise FileExistsError(f"{home} holds finished signals already: choose a new directory")
    work = work or home / "work"
    function = _MeasureShard(chosen, *share_of(executor, len(shards), progress))
    what = (canonical(list(chosen)), [code_fingerprint(type(member)) for member in chosen], code_fingerprint(_measured))
    tasks = [(work_key(what, shard.fingerprint(), shard.called()), shard) for shard in shards]
    with claimed(home, work, [shard.path for shard in shards]):
        return _measure(tasks, function, home, work, executor, chosen, shards)


def _measure(
    tasks: Sequence[tuple[str, InputShard]],
    function: _MeasureShard,
    home: Path,
    work: Path,
    executor: Executor,
    chosen: tuple[Family, ...],
    shards: Sequence[InputShard],
) -> dict[str, Any]:
    receipts = list(run_resumable(function, tasks, work, executor))
    with disk_errors_named(home / "quarantine.jsonl"), (home / "quarantine.jsonl").open("wb") as out:
        for number in range(len(receipts)):
            folder = work / f"{number:05d}"
            out.write((folder / "quarantine.jsonl").read_bytes())
            if (folder / "signals.parquet").exists():
                (folder / "signals.parquet").rename(home / f"signals-{number:05d}.parquet")
    write_roots(home, recorded_roots(shards))
    with disk_errors_named(home / FINGERPRINTS):
        (home / FINGERPRINTS).parent.mkdir(exist_ok=True)  # no roots are recorded of shards that nobody planned
        (home / FINGERPRINTS).write_bytes(orjson.dumps(_fingerprints(shards)))
    about = _about(chosen, shards, receipts)
    with disk_errors_named(home / ABOUT):
        (home / ABOUT).write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    shutil.rmtree(work)
    return about


def measured_files(directory: Path, shards: Sequence[InputShard], families: Sequence[Family]) -> list[Path]:
    """The file of every shard in a directory of signals.

    Raises:
        SignalsMismatchError: other families or settings, other files, or files that have changed since.
    """
    path = directory / ABOUT
    if not path.is_file():
        raise SignalsMismatchError(f"{directory} holds no {ABOUT}: measure signals into it first")
    about = orjson.loads(path.read_bytes())
    wanted = canonical(list(families))
    if about["families"] != wanted:
        names = ", ".join(entry["name"] for entry in about["families"])
        raise SignalsMismatchError(f"{directory} was measured with {names} and their settings, not with {wanted}")
    written = directory / FINGERPRINTS
    if not written.is_file() or orjson.loads(written.read_bytes()) != _fingerprints(shards):
        raise SignalsMismatchError(f"{directory} was measured from other files, or they have changed: measure again")
    return [directory / f"signals-{number:05d}.parquet" for number in range(len(shards))]


def _fingerprints(shards: Sequence[InputShard]) -> list[str]:
    return [work_key(shard.fingerprint()) for shard in shards]


def with_signals(
    batches: Iterable[pa.RecordBatch], path: Path
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch | None]]:
    """Batches of documents, each with its measured signals.

    Raises:
        SignalsMismatchError: when the ids are not those that were measured.
    """
    with pq.ParquetFile(path) as table:
        for group, batch in enumerate(batches):
            measured = table.read_row_group(group) if group < table.num_row_groups else None
            if measured is None or measured.column("id").to_pylist() != batch.column("id").to_pylist():
                raise SignalsMismatchError(f"{path} does not line up with the documents from batch {group} on")
            columns = measured.drop_columns(["id", "source"]).combine_chunks()
            yield batch, columns.to_batches()[0]


@dataclass(frozen=True)
class _MeasureShard:
    families: tuple[Family, ...]
    workers: int
    progress: Callable[[int], None] | None

    def __call__(self, shard: InputShard, folder: Path) -> dict[str, Any]:
        schema = pa.schema([pa.field("id", pa.string()), pa.field("source", pa.string()), *schema_of(self.families)])
        counts = {"documents": 0, "bytes": 0}

        def rows() -> Iterator[pa.RecordBatch]:
            for batch, signals in map_shards(partial(_measured, families=self.families), read, self.workers):
                size = text_size(batch)
                counts["documents"] += batch.num_rows
                counts["bytes"] += size
                yield pa.RecordBatch.from_arrays(
                    [batch.column("id"), batch.column("source"), *signals.columns], schema=schema
                )
                if self.progress is not None:
                    self.progress(size)

        path = folder / "signals.parquet"
        with Quarantine(folder / "quarantine.jsonl") as quarantine, disk_errors_named(path), path.open("wb") as file:
            read = shard.batches(quarantine)
            write_parquet(rows(), file, schema)
        return counts | {
            "quarantined": quarantine.rows_quarantined,
            "reasons": dict(sorted(quarantine.by_reason.items())),
        }


def _measured(batch: pa.RecordBatch, families: tuple[Family, ...]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    return batch, compute_signals(batch, families)


def _about(
    families: tuple[Family, ...], shards: Sequence[InputShard], receipts: list[dict[str, Any]]
) -> dict[str, Any]:
    files = [{"file": shard.name, "bytes": shard.size} | said for shard, said in zip(shards, receipts, strict=True)]
    totals = {name: sum(said[name] for said in receipts) for name in ("documents", "bytes", "quarantined")}
    columns = {
        name: {"unit": signal.unit, "doc": signal.doc, "citation": signal.citation, "version": signal.version}
        for name, signal in signals_of(families).items()
    }
    return {"families": canonical(list(families)), "columns": columns, "shards": files} | totals
