"""The context benchmark in recipes: texts of the generated tasks to learn from, and tasks that are made when needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import Field

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.steps import Documents
from glasshouse.data.writing import write_documents
from glasshouse.evaluation.context.generated.names import Difficulty
from glasshouse.evaluation.context.generated.suite import GENERATED, TrainingTexts
from glasshouse.evaluation.context.sources import DataError
from glasshouse.evaluation.context.suite import ContextTask, named, open_sets
from glasshouse.store.configuration import Config, named_seed
from glasshouse.store.step import Run, step


class ContextTasks(Config):
    """Tasks of the benchmark, as a value; the tasks themselves hold all of their items.

    Attributes:
        names: as of `evaluation.context.suite.names()`.
        limit: items of each, at most.
        shots: examples before an item; None: as many as the task has by itself.
        brief: the form for small models: no instructions, and examples only where `shots` says so (generated tasks).
        distractors, distance: the difficulty of generated tasks.
        data: where data sets are, in a folder each.
    """

    names: tuple[str, ...] = GENERATED
    limit: int | None = Field(default=None, ge=1)
    seed: int = 0
    shots: int | None = Field(default=None, ge=0)
    brief: bool = False
    distractors: int = 1
    distance: int = 1
    data: str = ""

    def made(self) -> list[ContextTask]:
        """The tasks. Raises as `named` does."""
        return [self._made(name) for name in self.names]

    def _made(self, name: str) -> ContextTask:
        settings: dict[str, Any] = {}
        if self.shots is not None and name not in ("winograd", "wsc273"):  # the schemas have no examples
            settings["shots"] = self.shots
        if name not in GENERATED:
            return named(name, seed=self.seed, limit=self.limit, folder=self.data or None, **settings)
        if self.brief and name != "winograd":
            settings["brief"] = True
        return named(
            name, seed=self.seed, limit=self.limit, distractors=self.distractors, distance=self.distance, **settings
        )


def readable_sets(data: str) -> tuple[str, ...]:
    """The open data sets that are in a folder, by the names of their tasks."""
    found = []
    for name in open_sets():
        try:
            named(name, folder=data, limit=1)
        except DataError:
            continue
        found.append(name)
    return tuple(found)


@step()
def context_texts(
    run: Run, items: int = 20_000, most: int = 4, seed: int = 0, distractors: int = 1, distance: int = 1
) -> Documents:
    """Items of the generated tasks with their answers, to pre-train on; none shares a name with an evaluated one.

    A document has one to `most` items of one kind, so that examples before an item look familiar. The kinds take turns
    by chance, and have as many items each, about.
    """
    found = list(documents(items, most, seed, Difficulty(distractors, distance)))
    write_documents(batches(found), run.output / "documents-00000.parquet")
    (run.output / "quarantine.jsonl").touch()
    size = sum(len(document.text.encode()) for document in found)
    run.measure(documents=len(found), bytes=size, seen=len(found), quarantined=0)
    return Documents(run.output)


def documents(items: int, most: int, seed: int, difficulty: Difficulty) -> Iterator[Document]:
    """The documents of `context_texts`."""
    draw = np.random.default_rng(named_seed(seed, "context texts"))
    texts = {kind: TrainingTexts(kinds=(kind,), seed=seed, difficulty=difficulty) for kind in GENERATED}
    used = dict.fromkeys(GENERATED, 0)
    while (left := items - sum(used.values())) > 0:
        kind, count = GENERATED[draw.integers(len(GENERATED))], min(left, int(draw.integers(1, most + 1)))
        text = "".join(texts[kind].text(used[kind] + place) for place in range(count))
        yield Document(f"{kind}-{used[kind]}", text, f"context {kind}", Origin("context", 0, len(text)))
        used[kind] += count
