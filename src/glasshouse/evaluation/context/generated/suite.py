"""The generated tasks by name, and texts to learn them from.

A held-out task and the texts of the same seed share no names, and so no item. `brief` takes prompts without
instructions, no examples and answers as texts: the form in which a model of a million parameters can learn a task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from glasshouse.evaluation.context.coreference.task import Coreference
from glasshouse.evaluation.context.coreference.winograd import Winograd
from glasshouse.evaluation.context.dialogue_state.task import DialogueState
from glasshouse.evaluation.context.discourse.task import Discourse
from glasshouse.evaluation.context.generated.coreference import draw_document, generate_documents
from glasshouse.evaluation.context.generated.dialogue_state import draw_dialogue, generate_dialogues
from glasshouse.evaluation.context.generated.discourse import draw_relation, generate_relations
from glasshouse.evaluation.context.generated.names import Difficulty, Split
from glasshouse.evaluation.context.generated.rewriting import draw_query, generate_queries
from glasshouse.evaluation.context.generated.winograd import draw_twins, generate_schemas
from glasshouse.evaluation.context.rewriting.task import Rewriting

GeneratedTask = Coreference | Winograd | DialogueState | Discourse | Rewriting
POOL = 40
"""Items of the training part that examples before an item are drawn from."""
COUNTS = {"coreference": 30, "winograd": 200, "dialogue_state": 40, "discourse": 200, "rewriting": 200}
"""Items of a task where nothing else is said: documents, schemas, dialogues, relations, queries."""
GENERATED = tuple(COUNTS)
SHOTS = {"coreference": 4, "dialogue_state": 5, "discourse": 2, "rewriting": 5}


def generated_task(
    kind: str,
    *,
    count: int | None = None,
    seed: int = 0,
    difficulty: Difficulty | None = None,
    brief: bool = False,
    name: str | None = None,
    **settings: Any,
) -> GeneratedTask:
    """A task of the testing part.

    Args:
        kind: one of `GENERATED`.
        count: its items; `COUNTS` by default.
        brief: the form for small models, see the module.
        settings: fields of the task, such as `shots`, `form`, `previous`.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in COUNTS:
        raise ValueError(f"there is no generated task {kind!r}; there are {', '.join(GENERATED)}")
    size, called = count or COUNTS[kind], name or f"context/{kind}"
    if kind == "winograd":
        return Winograd(called, generate_schemas(size, "test", difficulty, seed), **settings)
    task, generate = TASKS[kind], _GENERATE[kind]
    given = {"shots": SHOTS[kind], "seed": seed, **(_brief(kind) if brief else {}), **settings}
    pool = generate(POOL, "train", difficulty, seed) if given["shots"] else ()
    return task(called, generate(size, "test", difficulty, seed), pool, **given)


TASKS: dict[str, Callable[..., GeneratedTask]] = {
    "coreference": Coreference,
    "winograd": Winograd,
    "dialogue_state": DialogueState,
    "discourse": Discourse,
    "rewriting": Rewriting,
}
_GENERATE: dict[str, Callable[[int, Split, Difficulty | None, int], Any]] = {
    "coreference": generate_documents,
    "dialogue_state": generate_dialogues,
    "discourse": generate_relations,
    "rewriting": generate_queries,
}


def _brief(kind: str) -> dict[str, Any]:
    written = {"tokens": 40} if kind in ("dialogue_state", "rewriting") else {"form": "text"}
    return {"shots": 0, "prompt": f"{kind}_brief", **written}


@dataclasses.dataclass(frozen=True)
class TrainingTexts:
    """Items of the training part with their answers, in the form of a task; `text(n)` is a function of n.

    Attributes:
        kinds: whose items take turns.
        difficulty: of the items; those of a held-out task may be harder.
        brief: as of `generated_task`.
    """

    kinds: tuple[str, ...] = GENERATED
    seed: int = 0
    difficulty: Difficulty = dataclasses.field(default_factory=Difficulty)
    brief: bool = True

    def text(self, number: int) -> str:
        """The n-th text: an item with its answer and an empty line behind it."""
        kind, place = self.kinds[number % len(self.kinds)], number // len(self.kinds)
        return _WRITERS[kind](self, place)

    def _task(self, kind: str) -> dict[str, Any]:
        return _brief(kind) if self.brief else {}


def _coreference(texts: TrainingTexts, number: int) -> str:
    document = draw_document(number, "train", texts.difficulty, texts.seed)
    return Coreference("", (), **texts._task("coreference")).example(document, number)


def _winograd(texts: TrainingTexts, number: int) -> str:
    return Winograd.example(draw_twins(number // 2, "train", texts.difficulty, texts.seed)[number % 2])


def _dialogue_state(texts: TrainingTexts, number: int) -> str:
    dialogue = draw_dialogue(number, "train", texts.difficulty, texts.seed)
    return DialogueState("", (), **texts._task("dialogue_state")).example(dialogue, number)


def _discourse(texts: TrainingTexts, number: int) -> str:
    return Discourse("", (), **texts._task("discourse")).example(
        draw_relation(number, "train", texts.difficulty, texts.seed)
    )


def _rewriting(texts: TrainingTexts, number: int) -> str:
    query = draw_query(number, "train", texts.difficulty, texts.seed)
    return Rewriting("", (), **texts._task("rewriting")).example(query)


_WRITERS: dict[str, Callable[[TrainingTexts, int], str]] = {
    "coreference": _coreference,
    "winograd": _winograd,
    "dialogue_state": _dialogue_state,
    "discourse": _discourse,
    "rewriting": _rewriting,
}
