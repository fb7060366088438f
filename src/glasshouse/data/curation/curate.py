"""Curation: documents in; kept documents, all signals, and the reason of every removal out.

The order is Dolma's (arXiv 2402.00159, sections 5 and 6): quality rules, personal information, duplicate documents,
then repeated pieces of documents; a removed document is never anybody's keeper. Three passes:

    judge     each shard by itself: signals, rules, spans, keys                     (judging.py)
    decide    all keys together: what occurred before                               (deciding.py)
    finish    each shard by itself: what stays is written                           (finishing.py)

Judging and finishing run on any executor, and a killed run goes on with the shards that are not done. Texts wait on
disk; in memory are a few batches, and of every document its keys (a column at a time) and some bytes. Equal input gives
equal bytes, whatever the number of workers, the executor, or the kills.

Written into the directory: what `data/corpus.py` lists.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import orjson
import pyarrow as pa

from glasshouse.data.corpus import CorpusDirectory, write_roots
from glasshouse.data.curation.configuration import Curation, EmptyCorpusError
from glasshouse.data.curation.deciding import decide
from glasshouse.data.curation.finishing import SHARD_BYTES, Finish, finish, write_json
from glasshouse.data.curation.judging import Judged, judge, write_judged
from glasshouse.data.curation.summary import CurationSummary, merged, summary_from
from glasshouse.data.executor import Executor, Threads, map_shards, share_of
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.resumption import claimed, run_resumable, work_key
from glasshouse.data.signals.measuring import measured_files, with_signals
from glasshouse.data.signals.pii import masked
from glasshouse.data.sources.inputs import InputShard
from glasshouse.data.sources.naming import recorded_roots
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import Config, canonical
from glasshouse.store.source_code import code_fingerprint

__all__ = ["Curation", "CurationSummary", "EmptyCorpusError", "curate", "kept_documents"]


def curate(
    inputs: Sequence[InputShard] | Iterable[pa.RecordBatch],
    directory: str | Path,
    curation: Curation | None = None,
    *,
    quarantine: Quarantine | None = None,
    executor: Executor | None = None,
    signals: str | Path | None = None,
    work: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[int], None] | None = None,
) -> CurationSummary:
    """Curates documents into an empty or new directory, or goes on where a killed run stopped.

    Args:
        inputs: shards from `sources.inputs.plan_inputs`, which are worked on side by side and survive a kill; or any
            stream of documents (`document.DOCUMENT`), e.g. from `installed_documents`, which is one shard.
        directory: where to write.
        curation: the stages; Dolma's by default.
        quarantine: for a stream: the quarantine its reader writes to, best `Quarantine(directory /
            "quarantine.jsonl")`; its counts enter the summary.
        executor: `Threads(n)` or `RayTasks(n)`; one thread by default.
        signals: a directory that `measure_signals` wrote for the same shards with the same families, so that nothing
            is measured again.
        work: where unfinished work is kept; `directory / "work"` by default, removed at the end.
        shard_bytes: text per file of kept documents, at least one file per shard of input that has any.
        progress: called with bytes of text as they are judged.

    Raises:
        UnknownSignalError, CurationError: before anything is read, when the curation cannot be carried out.
        EmptyCorpusError: when no document comes in or none is left, naming the rules that removed most.
        DiskFullError: naming the file.
        FileExistsError: when the directory holds a finished corpus already.
        BusyDirectoryError, OwnInputError: another run writes there; an input lies there.
    """
    curation = curation or Curation()
    curation.check()
    home = Path(directory).resolve()
    home.mkdir(parents=True, exist_ok=True)
    if (home / "summary.json").exists():
        raise FileExistsError(f"{home} holds a finished corpus already: choose a new directory")
    where = _Where(home, work or home / "work", executor or Threads())
    shards = [shard for shard in inputs if isinstance(shard, InputShard)] if isinstance(inputs, Sequence) else []
    with claimed(home, where.work, [shard.path for shard in shards]):
        if shards:
            measured = None if signals is None else Path(signals)
            receipts = _judge_shards(shards, where, curation, progress, measured)
        else:
            receipts = _judge_stream(cast("Iterable[pa.RecordBatch]", inputs), where, curation, progress, quarantine)
        write_roots(home, recorded_roots(shards))
        listed = [{"file": shard.listed, "bytes": shard.size} for shard in shards]
        return _finish(receipts, where, curation, shard_bytes, listed, quarantine)


@dataclass(frozen=True)
class _Where:
    """Where a curation writes, keeps its work, and runs."""

    home: Path
    work: Path
    executor: Executor


def _finish(
    receipts: list[dict[str, Any]],
    where: _Where,
    curation: Curation,
    shard_bytes: int,
    listed: list[dict[str, Any]],
    quarantine: Quarantine | None,
) -> CurationSummary:
    """Decides and finishes what was judged; what a person needs to see why is there even when nothing is left."""
    folders = [where.work / "judged" / f"{number:05d}" for number in range(len(receipts))]
    books = _finish_shards(folders, receipts, where, curation, shard_bytes)
    summary = _close_books(books, receipts, curation, listed)
    _into_place(where.home, where.work, [said["files"] for said in books])
    _join_quarantines(where.home, where.work, folders, quarantine)
    _check_not_empty(summary, where.home)
    write_json(where.home / "summary.json", asdict(summary))
    shutil.rmtree(where.work)
    return summary


def kept_documents(directory: str | Path) -> Iterator[pa.RecordBatch]:
    """The documents that `curate` left in `directory`, in order. Raises `NotACorpusError` when there are none."""
    return CorpusDirectory(directory).batches()


@dataclass(frozen=True)
class _JudgeShard:
    """Judges one shard of input into a folder, with several threads where there are fewer shards than workers."""

    curation: Curation
    workers: int
    progress: Callable[[int], None] | None

    def __call__(self, task: tuple[InputShard, Path | None], folder: Path) -> dict[str, Any]:
        shard, signals = task
        hide = masked if self.curation.mask else None
        with Quarantine(folder / "quarantine.jsonl", hide) as quarantine:
            batches = shard.batches(quarantine)
            pairs = ((batch, None) for batch in batches) if signals is None else with_signals(batches, signals)
            judged = map_shards(self._judge, pairs, self.workers)
            said = write_judged(judged, folder, self.curation, self.progress)
        return said | _put_aside(quarantine)

    def _judge(self, pair: tuple[pa.RecordBatch, pa.RecordBatch | None]) -> Judged:
        return judge(pair[0], self.curation, pair[1])


def _judge_shards(
    shards: Sequence[InputShard],
    where: _Where,
    curation: Curation,
    progress: Callable[[int], None] | None,
    signals: Path | None,
) -> list[dict[str, Any]]:
    measured = [None] * len(shards) if signals is None else measured_files(signals, shards, curation.measured)
    function = _JudgeShard(curation, *share_of(where.executor, len(shards), progress))
    parts: list[Any] = [*curation.measured, *curation.deduplicate]
    code = [code_fingerprint(cast("type[Config]", type(part))) for part in parts]  # they may come from anywhere
    what = (canonical(curation), code, code_fingerprint(judge))
    tasks = [
        (work_key(what, shard.fingerprint(), shard.called()), (shard, path))
        for shard, path in zip(shards, measured, strict=True)
    ]
    return list(run_resumable(function, tasks, where.work / "judged", where.executor))


def _judge_stream(
    batches: Iterable[pa.RecordBatch],
    where: _Where,
    curation: Curation,
    progress: Callable[[int], None] | None,
    quarantine: Quarantine | None,
) -> list[dict[str, Any]]:
    """A stream is one shard; nothing of it is kept after a kill, because it cannot be asked whether it changed."""
    if where.work.exists():
        shutil.rmtree(where.work)
    folder = where.work / "judged" / "00000"
    folder.mkdir(parents=True)
    said = write_judged(where.executor.map(partial(judge, curation=curation), batches), folder, curation, progress)
    with disk_errors_named(folder):
        (folder / "quarantine.jsonl").touch()
    return [said | _put_aside(quarantine or Quarantine())]


def _put_aside(quarantine: Quarantine) -> dict[str, Any]:
    """What a receipt says of records that did not become documents."""
    counts = {"reasons": quarantine.by_reason, "skipped": quarantine.skipped, "noted": quarantine.noted}
    return {"quarantined": quarantine.rows_quarantined} | {
        name: dict(sorted(of.items())) for name, of in counts.items()
    }


def _finish_shards(
    folders: list[Path],
    receipts: list[dict[str, Any]],
    where: _Where,
    curation: Curation,
    shard_bytes: int,
) -> list[dict[str, Any]]:
    decisions = decide(folders, curation, where.executor)
    what = (canonical(curation), code_fingerprint(finish), shard_bytes, receipts)
    tasks = [
        (work_key(what, decision.digest()), Finish(folder, said, decision, curation, shard_bytes))
        for folder, said, decision in zip(folders, receipts, decisions, strict=True)
    ]
    return list(run_resumable(finish, tasks, where.work / "finished", where.executor))


def _close_books(
    books: list[dict[str, Any]], receipts: list[dict[str, Any]], curation: Curation, listed: list[dict[str, Any]]
) -> CurationSummary:
    summary = merged(summary_from(said["summary"]) for said in books)
    for said in receipts:
        aside = {name: said[name] for name in ("quarantined", "skipped", "noted")}
        summary.merge(CurationSummary(quarantine_reasons=said["reasons"], **aside))
    summary.curation, summary.inputs = canonical(curation), listed
    return summary.close()


def _check_not_empty(summary: CurationSummary, home: Path) -> None:
    if summary.documents.documents == 0:
        ranked = sorted(summary.quarantine_reasons.items(), key=lambda reason: (-reason[1], reason[0]))[:5]
        reasons = ", ".join(f"{reason}: {count}" for reason, count in ranked) or "none"
        raise EmptyCorpusError(
            f"no document reached curation; quarantined records by reason: {reasons}; see {home}/quarantine.jsonl"
        )
    if summary.kept.documents == 0:
        worst = sorted(summary.rules.items(), key=lambda rule: (-rule[1].documents, rule[0]))[:5]
        listed = "; ".join(f"{name} ({tally.documents})" for name, tally in worst)
        raise EmptyCorpusError(
            f"all {summary.documents.documents} documents were removed. Most by: {listed}. "
            f"See {home}/removed-00000.parquet; loosen these rules, or give every source the rule set meant for it"
        )


def _into_place(home: Path, work: Path, files: list[int]) -> None:
    """Moves what the shards left into the corpus; a run that was killed here goes on here."""
    number, final = 0, set()
    for shard, count in enumerate(files):
        folder = work / "finished" / f"{shard:05d}"
        moves = [(f"documents-{part:03d}.parquet", f"documents-{number + part:05d}.parquet") for part in range(count)]
        moves += [(f"{name}.parquet", f"{name}-{shard:05d}.parquet") for name in ("signals", "removed")]
        number += count
        for name, target in moves:
            final.add(target)
            if (folder / name).exists():
                (folder / name).rename(home / target)
    for name in ("documents", "signals", "removed"):
        for left_over in set(home.glob(f"{name}-*.parquet")) - {home / target for target in final}:
            left_over.unlink()  # of a killed run with another configuration


def _join_quarantines(home: Path, work: Path, folders: list[Path], given: Quarantine | None) -> None:
    later = [work / "finished" / folder.name / "quarantine.jsonl" for folder in folders]
    if given is not None:
        for record in (orjson.loads(line) for path in later for line in path.read_bytes().splitlines()):
            given.saw()
            given.add(record["reason"], record["message"], file=record["file"], offset=record["offset"])
        return
    path = home / "quarantine.jsonl"
    with disk_errors_named(path), path.open("wb") as out:
        for part in [*(folder / "quarantine.jsonl" for folder in folders), *later]:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out)
