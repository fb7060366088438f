"""Results that were written, read again: ours or those of lm-evaluation-harness, to compare two runs item by item."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from glasshouse.evaluation.intervals import Paired
from glasshouse.evaluation.records import Metric, Record, mean_of
from glasshouse.evaluation.results import file_name
from glasshouse.evaluation.scores import compare_records


class RunError(ValueError):
    """A folder holds no results that can be compared."""


@dataclasses.dataclass(frozen=True)
class ReadRun:
    """A run's records by task."""

    folder: Path
    results: Mapping[str, Any]
    records: Mapping[str, list[Record]]


def read_run(folder: str | Path) -> ReadRun:
    """The results in a folder: written by `glasshouse evaluate --output`, or by `lm_eval --log_samples` (its newest).

    Raises:
        RunError: what is missing.
    """
    home = Path(folder)
    files = sorted(home.rglob("results*.json"))
    if not files:
        raise RunError(f"{home} holds no results.json: give the folder of `glasshouse evaluate --output`")
    results: dict[str, Any] = orjson.loads(files[-1].read_bytes())
    stamp = files[-1].stem.removeprefix("results")  # "" of ours, _<date> of the harness
    records = {}
    for task in results["results"]:
        path = files[-1].with_name(f"samples_{file_name(task)}{stamp}.jsonl")
        if path.is_file():
            records[task] = _records([orjson.loads(line) for line in path.read_bytes().splitlines()])
    if not records:
        raise RunError(f"{home} holds no samples: with lm_eval, give --log_samples")
    return ReadRun(home, results, records)


def _records(rows: Sequence[Mapping[str, Any]]) -> list[Record]:
    """A record per item; the harness writes a row for every filter, whose scores are then called `<score>,<filter>`."""
    filters = {row["filter"] for row in rows}
    found: dict[str, Record] = {}
    for row in rows:
        one = _record(row, "" if len(filters) < 2 else f",{row['filter']}")
        before = found.get(one.id)
        found[one.id] = one if before is None else before.but(scores={**before.scores, **one.scores})
    return list(found.values())


def _record(row: Mapping[str, Any], kind: str) -> Record:
    ours = row.get("glasshouse", {})
    scores = {f"{name}{kind}": float(row[name]) for name in row["metrics"] if isinstance(row.get(name), int | float)}
    prompt = str(next(iter(row["arguments"].values()))["arg_0"]) if row["arguments"] else ""
    target, response = ours.get("target", row["target"]), ours.get("response", row["filtered_resps"])
    identifier, group = ours.get("id", str(row["doc_id"])), ours.get("group", "")
    return Record(identifier, prompt, target, response, scores, ours.get("extras", {}), group)


def compare_runs(
    first: ReadRun,
    second: ReadRun,
    metrics: Mapping[str, Mapping[str, Metric]] = MappingProxyType({}),
    *,
    seed: int = 0,
) -> dict[str, dict[str, Paired]]:
    """Every task that both runs have.

    Args:
        metrics: by task, its metrics; of a task that is not among them, the mean of every score that its items have.

    Raises:
        RunError: no task is in both.
        ValueError: naming a task whose items differ.
    """
    shared = [task for task in first.records if task in second.records]
    if not shared:
        raise RunError(
            f"{first.folder} ({', '.join(first.records)}) and {second.folder} ({', '.join(second.records)}) have no "
            "task in common"
        )
    found: dict[str, dict[str, Paired]] = {}
    for task in shared:
        one, other = first.records[task], second.records[task]
        names = dict.fromkeys(name for record in one for name in record.scores)
        known = metrics.get(task) or {name: mean_of(name) for name in names}
        try:
            found[task] = {name: compare_records(metric, one, other, seed=seed) for name, metric in known.items()}
        except ValueError as error:
            raise RunError(f"{task}: {error}") from None
    return found
