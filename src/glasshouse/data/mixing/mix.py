"""Mixing: streams of documents filtered, their spans replaced, sampled by weight and written into new shards.

One task reads some consecutive input files of a stream and writes their part of the output; a second run does only
what is not done. Whether a document is taken, and how often, is fixed by its id and the mixture's seed, so the result
has the same bytes with any number of workers.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from glasshouse.data.executor import Executor, Threads
from glasshouse.data.mixing.job import Task, mix_files
from glasshouse.data.mixing.mixture import MOST_REPEATS, Mixture, MixtureError
from glasshouse.data.mixing.rows import InputFile, plan_stream
from glasshouse.data.mixing.sampling import Sampling, sampling_of_amounts, sampling_of_repeat
from glasshouse.data.mixing.summary import MixSummary, summarise
from glasshouse.data.mixing.validation import check_mixture
from glasshouse.data.resumption import run_resumable
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import canonical, fingerprint

SUMMARY, WORK = "summary.json", "work"


def mix(
    mixture: Mixture,
    directory: str | Path,
    executor: Executor | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> MixSummary:
    """Mixes into a directory, or goes on where a killed run stopped.

    documents/<stream>-00000.jsonl.zst …   the documents (`documents-00000.parquet` … in the form "parquet")
    mixture.json, summary.json             the configuration, and what happened, with warnings
    quarantine.jsonl                       records that could not become documents

    `metadata.provenance` of every document says where it comes from: file and row, sha256 of the file, the mixture's
    fingerprint, the stream, and `copy` from the second copy on (whose ids end in `#2`, `#3`, …). Copies stand together.

    Args:
        mixture: what to mix.
        directory: empty, new, or of a run that was killed.
        executor: `Threads(n)` or `RayTasks(n)`; one thread by default.
        progress: called with bytes of text as tasks are done.

    Raises:
        FileExistsError: the directory holds a finished mixture.
        MisalignedError, AttributesError: attributes that are not those of the documents.
        UnknownColumnError, ColumnTypeError, UnitMismatchError, UnreachableRuleError: a rule that makes no sense.
        MixtureError: nothing to give a weight to.
    """
    home = Path(directory).resolve()
    if (home / SUMMARY).exists():
        raise FileExistsError(f"{home} holds a finished mixture or corpus already: choose a new directory")
    for path in (Path(path) for stream in mixture.streams for path in stream.documents):
        if path.is_dir() and home.is_relative_to(path.resolve()):
            raise MixtureError(f"{home} lies in the input {path}: choose a directory outside it for the result")
    plans = [plan_stream(stream) for stream in mixture.streams]
    warnings = check_mixture(mixture, plans)
    _claim(home, mixture)
    executor = executor or Threads()
    samplings = [sampling_of_repeat(stream.repeat) for stream in mixture.streams]
    if mixture.weights:
        samplings = _weighed(mixture, plans, home / WORK / "amounts", executor)
    tasks = [
        Task(mixture, number, tuple(group), samplings[number], True)
        for number, plan in enumerate(plans)
        for group in _groups(plan, mixture.maximum_shard_bytes)
    ]
    receipts = []
    for said in _run(tasks, home / WORK / "shards", executor):
        receipts.append(said)
        if progress is not None:
            progress(said["bytes_seen"])
    files = _collect(home, mixture, tasks, receipts)
    summary = summarise(mixture, [sampling.repeat for sampling in samplings], tasks, receipts, files, warnings)
    _write_json(home / "mixture.json", canonical(mixture))
    _write_json(home / SUMMARY, summary.as_json())
    shutil.rmtree(home / WORK)
    return summary


def _claim(home: Path, mixture: Mixture) -> None:
    """Marks a directory as that of a mixture, so that files of two mixtures never stand beside each other."""
    marker = home / WORK / "mixture"
    if home.exists() and any(home.iterdir()):
        if not marker.is_file() or marker.read_text() != fingerprint(mixture):
            raise FileExistsError(f"{home} is not empty and holds no unfinished run of this mixture: choose another")
        return
    marker.parent.mkdir(parents=True)
    marker.write_text(fingerprint(mixture))


def _run(tasks: list[Task], home: Path, executor: Executor) -> Iterator[dict[str, Any]]:
    return run_resumable(mix_files, [(task.key(), task) for task in tasks], home, executor)


def _groups(files: list[InputFile], maximum: int) -> Iterator[list[InputFile]]:
    """Consecutive files up to `maximum` bytes as they lie on the disk: a task each, fixed by the inputs alone."""
    group: list[InputFile] = []
    size = 0
    for file in files:
        if group and size + file.shard.size > maximum:
            yield group
            group, size = [], 0
        group.append(file)
        size += file.shard.size
    if group:
        yield group


def _weighed(mixture: Mixture, plans: list[list[InputFile]], home: Path, executor: Executor) -> list[Sampling]:
    """How every stream is sampled for the shares that are wanted: one pass over all that is filtered."""
    tasks = [
        Task(mixture, number, tuple(group), Sampling(), False)
        for number, plan in enumerate(plans)
        for group in _groups(plan, mixture.maximum_shard_bytes)
    ]
    list(_run(tasks, home, executor))
    hashes, amounts = [], []
    for number, stream in enumerate(mixture.streams):
        folders = [home / f"{place:05d}" for place, task in enumerate(tasks) if task.number == number]
        hashes.append(np.concatenate([np.load(folder / "hashes.npy", allow_pickle=False) for folder in folders]))
        amounts.append(np.concatenate([np.load(folder / "amounts.npy", allow_pickle=False) for folder in folders]))
        if not amounts[-1].sum() > 0:
            raise MixtureError(
                f"stream {stream.name!r} has a weight, and nothing is left of it to weigh (0 {mixture.weigh_by})"
            )
    total = sum(mixture.weights.values())
    shares = [mixture.weights[stream.name] / total for stream in mixture.streams]
    held = [float(amount.sum()) for amount in amounts]
    whole = mixture.total or min(amount / share for amount, share in zip(held, shares, strict=True))
    for stream, amount, share in zip(mixture.streams, held, shares, strict=True):
        if share * whole > MOST_REPEATS * amount:
            raise MixtureError(
                f"stream {stream.name!r} would come {share * whole / amount:,.0f} times, at most {MOST_REPEATS:,} are "
                f"written: the total of {whole:,.0f} {mixture.weigh_by} is too much for it"
            )
    return [
        sampling_of_amounts(one, amount, share * whole)
        for one, amount, share in zip(hashes, amounts, shares, strict=True)
    ]


def _collect(home: Path, mixture: Mixture, tasks: list[Task], receipts: list[dict[str, Any]]) -> list[str]:
    """Gives the finished shards their names, stream by stream, and joins the quarantines."""
    numbers: Counter[str] = Counter()
    files = []
    with disk_errors_named(home / "quarantine.jsonl"), (home / "quarantine.jsonl").open("wb") as out:
        for place, (task, said) in enumerate(zip(tasks, receipts, strict=True)):
            folder = home / WORK / "shards" / f"{place:05d}"
            out.write((folder / "quarantine.jsonl").read_bytes())
            for number in range(said["files"]):
                parquet = mixture.form == "parquet"
                prefix = "documents" if parquet else f"documents/{task.stream.name}"
                name = f"{prefix}-{numbers[prefix]:05d}.{mixture.form}"
                numbers[prefix] += 1
                (home / name).parent.mkdir(exist_ok=True)
                source = folder / f"{number:05d}.{mixture.form}"
                if source.exists():  # moved already when a run was killed right here
                    source.replace(home / name)
                files.append(name)
    return files


def _write_json(path: Path, value: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    with disk_errors_named(partial):
        partial.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        partial.replace(path)
