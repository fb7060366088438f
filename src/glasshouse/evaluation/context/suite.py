"""The tasks of the benchmark by name: generated, of open data sets, of closed ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from glasshouse.evaluation.context.coreference.conll import read_ontogum, read_ontonotes
from glasshouse.evaluation.context.coreference.task import Coreference
from glasshouse.evaluation.context.coreference.winograd import Winograd, read_winograd
from glasshouse.evaluation.context.dialogue_state.camrest import read_camrest
from glasshouse.evaluation.context.dialogue_state.schema_guided import read_schema_guided
from glasshouse.evaluation.context.dialogue_state.task import DialogueState
from glasshouse.evaluation.context.discourse.disrpt import read_disrpt
from glasshouse.evaluation.context.discourse.pdtb import read_pdtb
from glasshouse.evaluation.context.discourse.task import Discourse
from glasshouse.evaluation.context.generated.names import Difficulty
from glasshouse.evaluation.context.generated.suite import GENERATED, TASKS, GeneratedTask, generated_task
from glasshouse.evaluation.context.rewriting.canard import read_canard, read_qrecc
from glasshouse.evaluation.context.rewriting.gecor import read_gecor
from glasshouse.evaluation.context.rewriting.kvret import read_cqr_kvret
from glasshouse.evaluation.context.rewriting.mudoco import read_mudoco
from glasshouse.evaluation.context.rewriting.task import Rewriting
from glasshouse.evaluation.context.sources import SOURCES, missing
from glasshouse.store.configuration import named_seed

ContextTask = GeneratedTask
PREFIX = "context/"
SETTINGS = (
    "shots", "form", "earlier", "window", "none_first", "shuffle", "prompt", "scoring", "previous", "tokens",
)  # fmt: skip
"""Fields of tasks that may be set by name."""
Items = Sequence[Any]


class DataSet(NamedTuple):
    """A data set as a task.

    Attributes:
        source: its name in `sources`, and that of its folder.
        task: makes the task of a name and items.
        read: the items of a folder.
        pool: items for examples, where a set has a part for training; otherwise they come from the items.
        shots: examples before an item, as in the paper; for discourse, of each class.
    """

    source: str
    task: Callable[..., ContextTask]
    read: Callable[[Path], Items]
    pool: Callable[[Path], Items] | None = None
    shots: int | None = None


def _part(folder: Path, name: str) -> Path:
    """The folder of a part where a set has one for each, else the set's own."""
    return folder / name if (folder / name).is_dir() else folder


def _schema_guided(source: str) -> DataSet:
    def pool(folder: Path) -> Items:
        return read_schema_guided(folder / "train", source) if (folder / "train").is_dir() else ()

    return DataSet(
        source, DialogueState, lambda folder: read_schema_guided(_part(folder, "test"), source), pool, shots=5
    )


SETS: Mapping[str, DataSet] = {
    "wsc273": DataSet("winograd", Winograd, read_winograd),
    "ontogum": DataSet("ontogum", Coreference, read_ontogum, lambda folder: read_ontogum(folder, "train"), shots=1),
    "ontonotes": DataSet("ontonotes", Coreference, lambda folder: read_ontonotes(_part(folder, "test")), shots=1),
    "sgd": _schema_guided("sgd"),
    "multiwoz": _schema_guided("multiwoz"),
    "camrest": DataSet("gecor", DialogueState, read_camrest, shots=5),
    "gdtb": DataSet("gdtb", Discourse, read_disrpt, shots=2),
    "pdtb": DataSet("pdtb", Discourse, read_pdtb, shots=2),
    "canard": DataSet("canard", Rewriting, read_canard, shots=5),
    "cqr_kvret": DataSet(
        "cqr_kvret", Rewriting, read_cqr_kvret, lambda folder: read_cqr_kvret(folder, "dev"), shots=10
    ),
    "gecor": DataSet("gecor", Rewriting, read_gecor, shots=10),
    "mudoco_qr": DataSet("mudoco_qr", Rewriting, lambda folder: read_mudoco(folder, only_needed=True), shots=10),
    "qrecc": DataSet("qrecc", Rewriting, read_qrecc, shots=5),
}


def names() -> list[str]:
    """All tasks: the generated ones, then those of data sets."""
    return [*GENERATED, *SETS]


def open_sets() -> list[str]:
    """The tasks of data sets that anybody may have and use."""
    return [name for name, one in SETS.items() if SOURCES[one.source].open]


def named(
    name: str,
    *,
    seed: int = 0,
    limit: int | None = None,
    folder: str | Path | None = None,
    **settings: Any,
) -> ContextTask:
    """A task by name.

    Args:
        name: one of `names()`, with settings behind it where there are any: `dialogue_state?previous=gold&shots=0`.
        limit: items at most (documents, dialogues, relations, queries, schemas): of a data set a seeded sample, in its
            own order; of a generated task how many are made.
        folder: where data sets are, in a folder each; or the folder of this one.
        settings: fields of the task, such as `shots`, `form`, `previous`, `prompt`; of a generated task also
            `distractors`, `distance` and `brief`.

    Raises:
        ValueError: there is no such task, or it has no such setting.
        DataError: its data is not there; the message says where it is to be had and under which licence.
    """
    kind, _, stated = name.partition("?")
    if kind not in names():
        raise ValueError(f"there is no task {kind!r} of understanding context; there are {', '.join(names())}")
    settings |= _stated(stated)
    _check(kind, settings)
    called = PREFIX + re.sub(r"[^\w./-]+", "-", "/".join([kind, *filter(None, stated.split("&"))]))
    if kind in GENERATED:
        usual = Difficulty()
        dial = Difficulty(
            settings.pop("distractors", usual.distractors) or 0, settings.pop("distance", usual.distance) or 0
        )
        return generated_task(kind, count=limit, seed=seed, difficulty=dial, name=called, **settings)
    found = SETS[kind]
    if folder is None:
        raise missing(found.source, "a folder, since none was given")
    home = _part(Path(folder), found.source)
    every = tuple(found.read(home))
    items = _sample(every, limit, seed, kind)
    given: dict[str, Any] = {} if found.shots is None else {"shots": found.shots, "seed": seed}
    if found.shots is not None and settings.get("shots", found.shots):
        given["pool"] = tuple(found.pool(home) if found.pool is not None else ()) or every
    return found.task(called, items, **(given | settings))


def _stated(text: str) -> dict[str, Any]:
    """Settings as they are written: numbers, true, false, null, and else text."""
    found = {}
    for part in filter(None, text.split("&")):
        key, _, value = part.partition("=")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def _check(kind: str, settings: Mapping[str, Any]) -> None:
    """Raises `ValueError` naming a setting that the task has not, or a value that it does not take."""
    made = TASKS[kind] if kind in GENERATED else SETS[kind].task
    hints = get_type_hints(made)
    taken = {key: hints[key] for key in hints if key in SETTINGS}
    taken |= {"distractors": int, "distance": int, "brief": bool} if kind in GENERATED else {}
    for key, value in settings.items():
        if key not in taken:
            raise ValueError(f"the task {kind} has no setting {key!r}; it has {', '.join(sorted(taken))}")
        try:
            TypeAdapter(taken[key]).validate_python(value, strict=True)
        except ValidationError as error:
            raise ValueError(f"the setting {key}={value!r} of {kind}: {error.errors()[0]['msg']}") from None


def _sample(items: Items, limit: int | None, seed: int, name: str) -> tuple[Any, ...]:
    if limit is None or limit >= len(items):
        return tuple(items)
    order = np.random.default_rng(named_seed(seed, "context", "sample", name)).permutation(len(items))
    return tuple(items[index] for index in sorted(order[:limit].tolist()))
