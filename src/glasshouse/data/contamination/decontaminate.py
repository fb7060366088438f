"""Decontamination: documents that hold evaluation items are found, reported, and removed or cut.

The output directory is a corpus again (`data/corpus.py`), with `hits-*.parquet`, `contamination.json` and
`contamination.md` beside it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.contamination.index import EvaluationIndex
from glasshouse.data.contamination.judging import FOUND, Decontamination, Judged, judge
from glasshouse.data.contamination.paragraphs import ParagraphIndex
from glasshouse.data.contamination.report import Report, report_of, write_report
from glasshouse.data.curation.judging import REMOVED
from glasshouse.data.document import DOCUMENT, strings, text_size
from glasshouse.data.executor import Executor, Threads, map_shards, share_of
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.resumption import claimed, is_new_or_unfinished, run_resumable, work_key
from glasshouse.data.sources.inputs import InputShard, shards_from
from glasshouse.data.writing import disk_errors_named, parquet_options
from glasshouse.store.configuration import canonical
from glasshouse.store.source_code import code_fingerprint

WORK, SCANNED, QUARANTINE = "work", "scanned", "quarantine.jsonl"
_RESULTS = ("documents-*.parquet", "hits-*.parquet", "removed-*.parquet", QUARANTINE, "contamination.*")


class NotEmptyError(FileExistsError):
    """The output directory holds something already."""


def decontaminate(
    inputs: Sequence[str | Path] | Sequence[InputShard],
    index: EvaluationIndex | ParagraphIndex,
    directory: str | Path,
    settings: Decontamination | None = None,
    *,
    executor: Executor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Scans files of documents or curated corpora, and writes what is left with a report.

    Files are worked on side by side; a killed run goes on with those that are not done. The results are the same for
    any number of workers, on threads or on Ray, and after a kill.

    Args:
        inputs: files, directories, patterns or directories of curated corpora; or shards from `plan_inputs`.
        index: what to look for.
        directory: empty or new, or where a killed run stopped.
        settings: what happens to what is found.
        executor: where the files are scanned; one thread by default.
        progress: called with bytes of text as they are scanned.

    Raises:
        NotEmptyError: `directory` holds something else.
        FileNotFoundError: an input that does not exist.
        BusyDirectoryError, OwnInputError: another run writes there; an input lies there.
        DiskFullError: naming the file.
    """
    settings, executor = settings or Decontamination(), executor or Threads()
    home = Path(directory).resolve()
    work = home / WORK
    shards = shards_from(inputs)
    with claimed(home, work, [shard.path for shard in shards]):
        if not is_new_or_unfinished(home, work, _RESULTS, [SCANNED]):
            raise NotEmptyError(
                f"{home} is not empty, and holds no unfinished run of decontaminate: write into a new directory"
            )
        function = ScanFile(index, settings, *share_of(executor, len(shards), progress))
        what = (index.fingerprint, canonical(settings), code_fingerprint(ScanFile))
        tasks = [(work_key(what, shard.fingerprint()), shard) for shard in shards]
        done = [ShardResult(**said) for said in run_resumable(function, tasks, work / SCANNED, executor)]
        report = report_of(index, settings.model_dump(), done)
        _into_place(home, [work / SCANNED / f"{number:05d}" for number in range(len(shards))], files_of(settings))
        write_report(report, home)
        shutil.rmtree(work)
    return report


def _into_place(home: Path, folders: Sequence[Path], names: Iterable[str]) -> None:
    """Moves what the files gave into the directory; a run that was killed here goes on here."""
    final = set()
    for number, folder in enumerate(folders):
        for name in names:
            target = home / f"{name}-{number:05d}.parquet"
            if (folder / f"{name}.parquet").exists():
                (folder / f"{name}.parquet").rename(target)
            final.add(target)
    for pattern in _RESULTS[:3]:
        for left_over in set(home.glob(pattern)) - final:
            left_over.unlink()  # of a killed run over other files
    path = home / QUARANTINE
    with disk_errors_named(path):
        path.write_bytes(b"".join((folder / QUARANTINE).read_bytes() for folder in folders))


def files_of(settings: Decontamination) -> dict[str, pa.Schema]:
    """The files that one file of input gives, by name."""
    writes = {"hits": FOUND, "removed": REMOVED}
    return writes if settings.action == "report" else writes | {"documents": DOCUMENT}


@dataclass
class ShardResult:
    """What one input file gave: counts, and per set and item the highest overlap, documents and an example."""

    seen: int = 0
    kept: int = 0
    removed: int = 0
    cut: int = 0
    text_bytes: int = 0
    quarantined: int = 0
    items: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch, judged: Judged, cuts: bool) -> None:
        """Counts a batch and what came of it; `cuts`: whether spans may have been cut."""
        self.seen += batch.num_rows
        self.kept += judged.documents.num_rows
        self.removed += batch.num_rows - judged.documents.num_rows
        self.text_bytes += text_size(batch)
        if cuts and judged.documents is not batch:
            before = dict(zip(strings(batch, "id"), strings(batch, "text"), strict=True))
            after = zip(strings(judged.documents, "id"), strings(judged.documents, "text"), strict=True)
            self.cut += sum(before[identifier] != text for identifier, text in after)
        for row in judged.hits.to_pylist():
            found = self.items.setdefault(row["set"], {})
            entry = found.setdefault(row["item"], {"overlap": -1.0, "documents": 0, "short": row["short"]})
            entry["documents"] += row["contaminated"]
            if row["overlap"] > entry["overlap"]:
                names = ("overlap", "item_ngrams", "document_ngrams", "id", "source", "excerpt", "contaminated")
                entry |= {name: row[name] for name in names}


@dataclass(frozen=True)
class ScanFile:
    """Scans one input file into a folder: what runs on the workers, with several threads where files are few."""

    index: EvaluationIndex | ParagraphIndex
    settings: Decontamination
    workers: int
    progress: Callable[[int], None] | None

    def __call__(self, shard: InputShard, folder: Path) -> dict[str, Any]:
        result, cuts = ShardResult(), self.settings.action == "span"
        with (
            Quarantine(folder / QUARANTINE) as quarantine,
            _writers(folder, files_of(self.settings)) as write,
        ):
            numbered = _numbered(shard.batches(quarantine))
            for batch, judged in map_shards(self._judged, numbered, self.workers):
                write(judged)
                result.add(batch, judged, cuts)
                if self.progress is not None:
                    self.progress(text_size(batch))
        result.quarantined = quarantine.rows_quarantined
        return asdict(result)

    def _judged(self, numbered: tuple[int, pa.RecordBatch]) -> tuple[pa.RecordBatch, Judged]:
        first_row, batch = numbered
        return batch, judge(batch, self.index, self.settings, first_row)


def _numbered(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches, each with the number of its first row."""
    first_row = 0
    for batch in batches:
        yield first_row, batch
        first_row += batch.num_rows


@contextlib.contextmanager
def _writers(folder: Path, files: dict[str, pa.Schema]) -> Iterator[Callable[[Judged], None]]:
    """Writes the parts of what was judged, each into its Parquet file."""
    paths = {name: folder / f"{name}.parquet" for name in files}
    writers = {name: pq.ParquetWriter(paths[name], schema, **parquet_options(schema)) for name, schema in files.items()}

    def write(judged: Judged) -> None:
        for name, writer in writers.items():
            rows = getattr(judged, name)
            if rows.num_rows:
                with disk_errors_named(paths[name]):
                    writer.write_table(pa.Table.from_batches([rows]) if name == "documents" else rows)

    try:
        yield write
    finally:
        for name, writer in writers.items():
            with disk_errors_named(paths[name]):
                writer.close()
