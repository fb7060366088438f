"""Results on the disk, in the form of lm-evaluation-harness, with what Glasshouse adds under a key of its own.

    results.json          results, configs, versions, n-shot, higher_is_better, n-samples, config; under `glasshouse`
                          every score with its baselines, and the hashes of model, data, prompts and code
    samples_<task>.jsonl  a row per item: doc_id, doc, target, arguments, resps, filtered_resps, and three hashes
    answers/<task>.jsonl  the journal (see `journal`): a run that was killed goes on from it

Nothing in them depends on the time, so the same evaluation writes the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import torch

from glasshouse.data.resumption import claimed
from glasshouse.evaluation.journal import Journal
from glasshouse.evaluation.records import Record
from glasshouse.evaluation.requests import Answer, LogLikelihood, Request, Written
from glasshouse.evaluation.running import Task, run
from glasshouse.evaluation.scoreboard import Scored, TaskNameError, scored
from glasshouse.evaluation.scorers import Scorer
from glasshouse.store.configuration import fingerprint
from glasshouse.store.environment import code_version
from glasshouse.store.files import write_json
from glasshouse.store.progress import Bar
from glasshouse.store.source_code import code_fingerprint

RESULTS = "results.json"


def evaluate_into(
    folder: Path,
    tasks: Sequence[Task],
    scorer: Scorer,
    *,
    model: str,
    seed: int = 0,
    bar: Callable[[str, float | None], Bar],
) -> dict[str, Scored]:
    """Run tasks and write their results into a folder; what is there already of the same evaluation is not run again.

    Args:
        model: what the model is called in the results; it is told apart by its hash.
        seed: of intervals.

    Raises:
        JournalError: the folder holds another evaluation.
        BusyDirectoryError: another run writes into it.
    """
    found, proofs = dict[str, Scored](), dict[str, dict[str, str]]()
    files = {task.name: file_name(task.name) for task in tasks}
    if len(set(files.values())) < len(tasks):
        raise TaskNameError(f"tasks of different names are needed, got {', '.join(task.name for task in tasks)}")
    with claimed(folder, folder / "answers" / "work"):
        for task in tasks:
            proofs[task.name] = provenance(task, scorer)
            journal = Journal(
                folder / "answers" / f"{files[task.name]}.jsonl", {"task": task.name, **proofs[task.name]}
            )
            with bar(f"answering {task.name}", None) as shown:
                found[task.name] = scored(task, run(task, scorer, shown.advance, journal), seed)
        for name, done in found.items():
            rows = [_sample(number, record) for number, record in enumerate(done.records)]
            path = folder / f"samples_{files[name]}.jsonl"
            path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n" for row in rows))
        write_json(folder / RESULTS, results_of(found, proofs, model=model, seed=seed))
    return found


def file_name(task: str) -> str:
    """A task's name as part of a file's."""
    return re.sub(r"[^\w.-]", "_", task)


def provenance(task: Task, scorer: Scorer) -> dict[str, str]:
    """Everything that the numbers of a task depend on, as hashes where it is large."""
    code = fingerprint([code_fingerprint(type(part)) for part in (task, scorer)])
    return {
        "model": scorer.identity, "setting": scorer.setting, **task.hashes, "code": code, "torch": torch.__version__
    }  # fmt: skip


def results_of(
    found: Mapping[str, Scored], proofs: Mapping[str, Mapping[str, str]], *, model: str, seed: int
) -> dict[str, Any]:
    """The content of `results.json`."""
    shots = {name: int(getattr(done.task, "shots", 0)) for name, done in found.items()}
    return {
        "results": {name: _harness_scores(name, done) for name, done in found.items()},
        "group_subtasks": {name: [] for name in found},
        "configs": {
            name: {"task": name, "num_fewshot": shots[name], "metadata": {"version": proofs[name].get("data", "")[:12]}}
            for name in found
        },
        "versions": {name: proofs[name].get("data", "")[:12] for name in found},
        "n-shot": shots,
        "higher_is_better": {
            name: {metric: _rises(score.best, score.baselines) for metric, score in done.scores.items()}
            for name, done in found.items()
        },
        "n-samples": {
            name: dict.fromkeys(("original", "effective"), len(done.records)) for name, done in found.items()
        },
        "config": {"model": "glasshouse", "model_args": {"model": model}, "random_seed": seed},
        "model_source": "glasshouse",
        "model_name": model,
        "git_hash": code_version()["commit"],
        "glasshouse": {
            "code": dict(code_version()),
            "provenance": {name: dict(proof) for name, proof in proofs.items()},
            "scores": {
                name: {metric: dataclasses.asdict(score) for metric, score in done.scores.items()}
                for name, done in found.items()
            },
            "cut": {name: done.cut for name, done in found.items()},
        },
    }


def _rises(best: float | None, baselines: Mapping[str, float]) -> bool | None:
    return None if best is None else all(value <= best for value in baselines.values()) and best > 0


def _harness_scores(name: str, done: Scored) -> dict[str, Any]:
    found: dict[str, Any] = {"alias": name, "name": name, "sample_len": len(done.records)}
    for metric, reached in done.scores.items():
        own, _, kind = metric.partition(",")  # a task of the harness may have filters: exact_match,strict-match
        found[f"{own},{kind or 'none'}"] = reached.value
        single = done.task.metrics[metric].score
        values = [record.scores[single] for record in done.records if single in record.scores] if single else []
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else "N/A"
        found[f"{own}_stderr,{kind or 'none'}"] = error
    return found


def _sample(number: int, record: Record) -> dict[str, Any]:
    """A record as a row of samples."""
    arguments = [_arguments(request) for request, _ in record.asked]
    responses = [_response(answer) for _, answer in record.asked]
    doc = record.extras.get("doc", {"id": record.id})
    return {
        "doc_id": number,
        "doc": doc,
        "target": str(record.target),
        "arguments": {f"gen_args_{place}": {"arg_0": one, "arg_1": two} for place, (one, two) in enumerate(arguments)},
        "resps": [[response] for response in responses],
        "filtered_resps": responses,
        "filter": "none",
        "metrics": list(record.scores),
        "doc_hash": _hash(orjson.dumps(doc, option=orjson.OPT_INDENT_2).decode()),
        "prompt_hash": _hash(arguments[0][0] if arguments else record.prompt),
        "target_hash": _hash(str(record.target)),
        **record.scores,
        "glasshouse": {
            "id": record.id, "group": record.group, "target": record.target, "response": record.response,
            "extras": {name: value for name, value in record.extras.items() if name != "doc"}, "cut": record.cut,
        },
    }  # fmt: skip


def _arguments(request: Request) -> tuple[str, Any]:
    if isinstance(request, LogLikelihood):
        return request.context, request.continuation
    return request.prompt, {"until": list(request.stop), "max_gen_toks": request.tokens, "do_sample": False}


def _response(answer: Answer) -> Any:
    return answer.text if isinstance(answer, Written) else [str(answer.nats), str(answer.greedy)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
