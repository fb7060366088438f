"""Steps that bring documents into the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from glasshouse.data.corpus import write_roots
from glasshouse.data.curation.configuration import EmptyCorpusError
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.installed import InstalledText, installed_documents, installed_fingerprint
from glasshouse.data.sources.naming import recorded_roots
from glasshouse.data.sources.reading import fingerprint_files, read_documents
from glasshouse.data.steps.artifacts import Documents
from glasshouse.data.writing import write_documents
from glasshouse.store.progress import Bar
from glasshouse.store.step import Run, step


def files_fingerprint(paths: str | Sequence[str]) -> list[list[str | int]]:
    """Name, size and sha256 of every file behind paths or `fsspec` URLs: what `read_text` depends on."""
    return [list(entry) for entry in fingerprint_files(_listed(paths))]


def _listed(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


@step(observe=files_fingerprint)
def read_text(run: Run, paths: str | Sequence[str]) -> Documents:
    """Read documents from JSON Lines (`.jsonl`, `.gz`, `.zst`) or Parquet; bad rows go to quarantine.

    Paths may hold `*` and be any `fsspec` URL.
    """
    write_roots(run.output, recorded_roots(plan_inputs(_listed(paths))))
    with Quarantine(run.output / "quarantine.jsonl") as quarantine, run.bar("reading", None) as bar:
        found = {"bytes": 0, "documents": 0}
        batches = read_documents(_listed(paths), quarantine)
        write_documents(_counted(batches, found, bar), run.output / "documents-00000.parquet")
    if not found["documents"]:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in quarantine.by_reason.most_common()) or "none"
        raise EmptyCorpusError(f"{', '.join(_listed(paths))} held no readable document (quarantined: {reasons})")
    _measure_reading(run, found, quarantine)
    return Documents(run.output)


def _measure_reading(run: Run, found: dict[str, int], quarantine: Quarantine) -> None:
    put_aside = quarantine.rows_quarantined
    run.measure(**found, seen=found["documents"] + put_aside, quarantined=put_aside)


@step(observe=installed_fingerprint)
def installed_text(run: Run, text: InstalledText = InstalledText()) -> Documents:  # noqa: B008 (frozen)
    """Gather the text that is already on this machine: the interpreter, installed packages, their documentation."""
    path = run.output / "quarantine.jsonl"
    with Quarantine(path) as quarantine, run.bar("reading installed text", text.megabytes * 1e6) as bar:
        found = {"bytes": 0, "documents": 0}
        write_documents(
            _counted(installed_documents(text, quarantine), found, bar), run.output / "documents-00000.parquet"
        )
    _measure_reading(run, found, quarantine)
    return Documents(run.output)


def _counted(batches: Iterator[pa.RecordBatch], found: dict[str, int], bar: Bar) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        size = sum(len(text.as_py().encode()) for text in batch.column("text"))
        found["bytes"] += size
        found["documents"] += batch.num_rows
        bar.advance(size)
        yield batch
