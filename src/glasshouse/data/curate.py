"""Curation: documents in; kept documents, all signals, and the reason of every removal out.

The order is Dolma's (arXiv 2402.00159, sections 5 and 6): quality rules, personal information, then duplicates; a
removed document is never anybody's keeper. Two passes: the first is a pure function per batch (signals, rules, spans,
signatures), the second writes what the global duplicate step left. Only signals and signatures are held in memory
(about 1 kB per document); texts wait in a temporary Arrow file.

Written into the directory: `documents-00000.parquet` … (kept, masked), `signals-00000.parquet` (every document, with
its verdict), `removed.parquet` (one row per failed rule), `quarantine.jsonl`, `summary.json`. Equal input gives equal
bytes, whatever the number of workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.deduplicate import Exact, MinHash, exact, minhash
from glasshouse.data.document import DOCUMENT, check_batch, strings
from glasshouse.data.executor import map_shards
from glasshouse.data.pii import PiiMasking, Span, mask, pii, spans_of_batch
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.removals import Removal, Removals
from glasshouse.data.rules import RuleSet, SourceRules, check_rules, dolma_rules, failed_rules
from glasshouse.data.signals import SIGNAL_SCHEMA, compute_signals
from glasshouse.data.writing import disk_errors_named, write_documents, write_parquet
from glasshouse.store.configuration import Config

KEPT = "kept"
VERDICT_SCHEMA: pa.Schema = pa.schema(
    [pa.field("id", pa.string()), pa.field("source", pa.string()), *SIGNAL_SCHEMA, pa.field("verdict", pa.string())]
)
"""Columns of `signals-*.parquet`; `verdict` is "kept" or the stage that removed the document: rules, pii, exact,
minhash.
"""


class EmptyCorpusError(ValueError):
    """No document reached curation, or none was left by it."""


class Curation(Config):
    """What is kept, masked and de-duplicated. `None` (or no de-duplication) leaves a stage out."""

    keep: SourceRules | RuleSet | None = dolma_rules
    mask: PiiMasking | None = pii
    deduplicate: tuple[Exact | MinHash, ...] = (exact(), minhash())
    seed: int = 0


@dataclass
class Tally:
    """Documents and bytes of UTF-8 text before masking."""

    documents: int = 0
    bytes: int = 0

    def count(self, size: int) -> None:
        self.documents += 1
        self.bytes += size


@dataclass
class CurationSummary:
    """What curation did; `summary.json` holds the same. `input == kept.documents + removed.documents + quarantined`."""

    input: int = 0
    quarantined: int = 0
    documents: Tally = field(default_factory=Tally)
    kept: Tally = field(default_factory=Tally)
    removed: Tally = field(default_factory=Tally)
    stages: dict[str, Tally] = field(default_factory=dict)
    rules: dict[str, Tally] = field(default_factory=dict)
    sources: dict[str, dict[str, Tally]] = field(default_factory=dict)
    masked_spans: dict[str, int] = field(default_factory=dict)
    masked_documents: int = 0
    quarantine_reasons: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class _Judged(NamedTuple):
    """One batch after the first pass. `survivors` are row numbers; `texts` their masked documents."""

    batch: pa.RecordBatch
    signals: pa.RecordBatch
    sizes: npt.NDArray[np.int64]
    removals: list[tuple[int, Removal]]
    survivors: npt.NDArray[np.int64]
    texts: pa.RecordBatch
    signatures: list[npt.NDArray[Any]]
    masked: Counter[str]
    masked_documents: int


class _Survivor(NamedTuple):
    id: str
    source: str
    size: int
    row: int


def curate(
    batches: Iterable[pa.RecordBatch],
    directory: str | Path,
    curation: Curation | None = None,
    *,
    quarantine: Quarantine | None = None,
    workers: int = 1,
    shard_bytes: int = 256 << 20,
    progress: Callable[[int], None] | None = None,
) -> CurationSummary:
    """Curates a stream of documents into an empty or new directory.

    Args:
        batches: documents (`document.DOCUMENT`), e.g. from `read_documents` or `installed_documents`.
        directory: where to write.
        curation: the stages; Dolma's by default.
        quarantine: the quarantine the reader writes to, best `Quarantine(directory / "quarantine.jsonl")`; its counts
            enter the summary. Without one an empty file is written.
        workers: threads of the first pass.
        shard_bytes: text per file of kept documents.
        progress: called with the bytes of text of every batch that was judged.

    Raises:
        UnknownSignalError: before anything is read, when a rule names a signal that is not measured.
        EmptyCorpusError: when no document comes in or none is left, naming the rules that removed most.
        DiskFullError: naming the file.
        FileExistsError: when the directory holds curated documents already.
    """
    curation = curation or Curation()
    if curation.keep is not None:
        check_rules(curation.keep)
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    if any(home.glob("documents-*.parquet")):
        raise FileExistsError(f"{home} holds curated documents already: choose a new directory")
    if quarantine is None:
        quarantine = Quarantine(home / "quarantine.jsonl")
        quarantine.close()
    summary = CurationSummary()
    spool = home / "survivors.arrow"
    try:
        with Removals(home / "removed.parquet") as removals:
            signals, verdicts, survivors, signatures = _first_pass(
                map_shards(partial(_judge, curation=curation), batches, workers), spool, removals, summary, progress
            )
            alive = _deduplicate(curation, survivors, signatures, removals, verdicts, summary, spool)
        _close_books(summary, quarantine, removals)
        _write_kept(home, spool, alive, shard_bytes)
    finally:
        spool.unlink(missing_ok=True)
    _write_signals(home / "signals-00000.parquet", signals, verdicts)
    with disk_errors_named(home / "summary.json"):
        (home / "summary.json").write_bytes(
            orjson.dumps(asdict(summary), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        )
    return summary


def kept_documents(directory: str | Path) -> Iterator[pa.RecordBatch]:
    """The documents that `curate` left in `directory`, in order. Raises `FileNotFoundError` when there are none."""
    files = sorted(Path(directory).glob("documents-*.parquet"))
    if not files:
        raise FileNotFoundError(f"{directory} holds no documents-*.parquet: curate documents into it first")
    for file in files:
        with pq.ParquetFile(file) as table:
            for group in range(table.num_row_groups):
                yield from table.read_row_group(group).to_batches()


def _judge(batch: pa.RecordBatch, curation: Curation) -> _Judged:
    """Everything about one batch that does not need the others: a pure function."""
    check_batch(batch)
    signals = compute_signals(batch, curation.seed)
    sources = strings(batch, "source")
    failures = failed_rules(signals, sources, curation.keep) if curation.keep else [[] for _ in sources]
    spans = spans_of_batch(batch) if curation.mask else [[] for _ in sources]
    removals: list[tuple[int, Removal]] = []
    staying = []
    for row, (failed, found) in enumerate(zip(failures, spans, strict=True)):
        if failed:
            shown = _excerpt(batch, row, found)
            removals += [(row, Removal("rules", f.rule, f.value, f.threshold, None, shown)) for f in failed]
        elif curation.mask and len(found) > curation.mask.most_masked:
            most = curation.mask.most_masked
            rule = f"spans of personal information > {most}"
            removals.append((row, Removal("pii", rule, len(found), most, None, _excerpt(batch, row, found))))
        else:
            staying.append(row)
    survivors = np.array(staying, dtype=np.int64)
    original = batch.take(survivors)
    kept_spans = [spans[row] for row in staying]
    return _Judged(
        batch=batch.select(["id", "source"]),
        signals=signals,
        sizes=signals.column("byte_count").to_numpy(),
        removals=removals,
        survivors=survivors,
        texts=_masked(original, kept_spans),
        signatures=[method.sign(original) for method in curation.deduplicate],
        masked=Counter(span.kind for found in kept_spans for span in found),
        masked_documents=sum(bool(found) for found in kept_spans),
    )


def _excerpt(batch: pa.RecordBatch, row: int, spans: list[Span]) -> str:
    return mask(cast(str, batch.column("text")[row].as_py()), spans)[:200]


def _masked(batch: pa.RecordBatch, spans: list[list[Span]]) -> pa.RecordBatch:
    if not any(spans):
        return batch
    texts = strings(batch, "text")
    column = pa.array([mask(text, found) for text, found in zip(texts, spans, strict=True)], pa.large_string())
    return batch.set_column(DOCUMENT.get_field_index("text"), DOCUMENT.field("text"), column)


def _first_pass(
    judged: Iterable[_Judged],
    spool: Path,
    removals: Removals,
    summary: CurationSummary,
    progress: Callable[[int], None] | None,
) -> tuple[list[pa.RecordBatch], list[str], list[_Survivor], list[list[npt.NDArray[Any]]]]:
    signals: list[pa.RecordBatch] = []
    verdicts: list[str] = []
    survivors: list[_Survivor] = []
    signatures: list[list[npt.NDArray[Any]]] = []
    masked: Counter[str] = Counter()
    with disk_errors_named(spool), spool.open("wb") as file, pa.ipc.new_stream(file, DOCUMENT) as writer:
        for one in judged:
            start = len(verdicts)
            ids, sources = strings(one.batch, "id"), strings(one.batch, "source")
            verdicts += [KEPT] * len(ids)
            for row, size in enumerate(one.sizes.tolist()):
                summary.documents.count(size)
                _tally(summary.sources.setdefault(sources[row], {}), "input", size)
            for row, removal in one.removals:
                verdicts[start + row] = removal.stage
                removals.add(ids[row], sources[row], int(one.sizes[row]), removal)
            removals.flush()
            for row in one.survivors.tolist():
                survivors.append(_Survivor(ids[row], sources[row], int(one.sizes[row]), start + row))
            writer.write_batch(one.texts)
            signals.append(pa.RecordBatch.from_arrays(
                [*one.batch.columns, *one.signals.columns], schema=pa.schema(list(VERDICT_SCHEMA)[:-1])
            ))  # fmt: skip
            signatures.append(one.signatures)
            masked += one.masked
            summary.masked_documents += one.masked_documents
            if progress is not None:
                progress(int(one.sizes.sum()))
    summary.masked_spans = dict(sorted(masked.items()))
    return signals, verdicts, survivors, signatures


def _tally(tallies: dict[str, Tally], name: str, size: int) -> None:
    tallies.setdefault(name, Tally()).count(size)


def _deduplicate(
    curation: Curation,
    survivors: list[_Survivor],
    signatures: list[list[npt.NDArray[Any]]],
    removals: Removals,
    verdicts: list[str],
    summary: CurationSummary,
    spool: Path,
) -> npt.NDArray[np.bool_]:
    """Which survivors stay. Every method sees what the one before it left."""
    alive = np.ones(len(survivors), dtype=bool)
    duplicates: dict[int, tuple[str, str]] = {}
    for position, method in enumerate(curation.deduplicate if survivors else ()):
        rows = np.flatnonzero(alive)
        signed = np.concatenate([batch[position] for batch in signatures])[rows]
        keepers = rows[method.keepers(signed)]
        for row, keeper in zip(rows.tolist(), keepers.tolist(), strict=True):
            if row != keeper:
                alive[row] = False
                duplicates[row] = (method.name, survivors[keeper].id)
    for row, text in _texts(spool, set(duplicates)):
        survivor, (stage, keeper_id) = survivors[row], duplicates[row]
        verdicts[survivor.row] = stage
        rule = f"{stage} duplicate"
        removals.add(
            survivor.id, survivor.source, survivor.size, Removal(stage, rule, None, None, keeper_id, text[:200])
        )
    removals.flush()
    for row in np.flatnonzero(alive).tolist():
        summary.kept.count(survivors[row].size)
        _tally(summary.sources[survivors[row].source], KEPT, survivors[row].size)
    return alive


def _spooled(spool: Path) -> Iterator[pa.RecordBatch]:
    with spool.open("rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def _texts(spool: Path, rows: set[int]) -> Iterator[tuple[int, str]]:
    at = 0
    for batch in _spooled(spool) if rows else ():
        yield from ((at + row, batch.column("text")[row].as_py()) for row in range(batch.num_rows) if at + row in rows)
        at += batch.num_rows


def _close_books(summary: CurationSummary, quarantine: Quarantine, removals: Removals) -> None:
    summary.quarantined = quarantine.rows_quarantined
    summary.quarantine_reasons = dict(sorted(quarantine.by_reason.items()))
    summary.input = summary.documents.documents + summary.quarantined
    summary.removed = Tally(*removals.total)
    summary.stages = {name: Tally(*counts) for name, counts in sorted(removals.stages.items())}
    summary.rules = {name: Tally(*counts) for name, counts in sorted(removals.rules.items())}
    summary.examples = dict(sorted(removals.examples.items()))
    for (source, stage), counts in sorted(removals.sources.items()):
        summary.sources[source][stage] = Tally(*counts)
    if summary.documents.documents == 0:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in quarantine.by_reason.most_common(5)) or "none"
        raise EmptyCorpusError(f"no document reached curation; quarantined records by reason: {reasons}")
    if summary.kept.documents == 0:
        worst = sorted(removals.rules.items(), key=lambda rule: (-rule[1][0], rule[0]))[:5]
        listed = "; ".join(f"{name} ({counts[0]})" for name, counts in worst)
        raise EmptyCorpusError(
            f"all {summary.documents.documents} documents were removed. Most by: {listed}. "
            "Loosen these rules, or check that every source has the rule set meant for it"
        )
    if summary.input != summary.kept.documents + summary.removed.documents + summary.quarantined:
        raise AssertionError(f"the counts of curation do not add up: {summary}")


def _write_kept(home: Path, spool: Path, alive: npt.NDArray[np.bool_], shard_bytes: int) -> None:
    shard: list[pa.RecordBatch] = []
    held = at = number = 0
    for batch in _spooled(spool):
        kept = batch.filter(pa.array(alive[at : at + batch.num_rows]))
        at += batch.num_rows
        if kept.num_rows:
            shard.append(kept)
            held += kept.nbytes
        if held >= shard_bytes:
            write_documents(shard, home / f"documents-{number:05d}.parquet")
            shard, held, number = [], 0, number + 1
    if shard:
        write_documents(shard, home / f"documents-{number:05d}.parquet")


def _write_signals(path: Path, signals: list[pa.RecordBatch], verdicts: list[str]) -> None:
    def judged() -> Iterator[pa.RecordBatch]:
        at = 0
        for batch in signals:
            column = pa.array(verdicts[at : at + batch.num_rows], pa.string())
            at += batch.num_rows
            yield pa.RecordBatch.from_arrays([*batch.columns, column], schema=VERDICT_SCHEMA)

    with disk_errors_named(path), path.open("wb") as file:
        write_parquet(judged(), file, VERDICT_SCHEMA)
