"""Data that changes during a run: pre-training on one set of rows, then annealing on another.

    data = DataStages(((1, web), (9001, curated)))        # updates 1 to 9000 see `web`, the rest see `curated`

Rows are numbered through the stages. Every stage has an order of its own, which begins anew with the stage; the first
one's is that of a run without the others, so two runs that part at an update are the same until then.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from typing import Any

import numpy as np

from glasshouse.store.configuration import fingerprint, named_seed
from glasshouse.training.data import DataError, TrainingData
from glasshouse.training.objective import Batch
from glasshouse.training.order import BatchPlan, DataOrder, Permutation, Rows, Visit


@dataclass(frozen=True)
class DataStages:
    """Several sets of rows in one run, each from an update on; `stages` are (first update, rows) from update 1 on."""

    stages: tuple[tuple[int, TrainingData], ...]

    def __post_init__(self) -> None:
        firsts = [first for first, _ in self.stages]
        if not firsts or firsts[0] != 1 or firsts != sorted(set(firsts)):
            raise DataError(f"data stages begin at update 1 and then later and later, got {firsts}")
        lengths = {getattr(data, "tokens_per_row", None) for _, data in self.stages}
        if len(lengths) > 1:
            raise DataError(f"the rows of all data stages need the same number of tokens, got {lengths}")

    @property
    def rows(self) -> int:
        return self.first_rows[-1]

    @cached_property
    def first_rows(self) -> list[int]:
        """Number of the first row of every stage, and of all rows at the end."""
        return [0, *accumulate(data.rows for _, data in self.stages)]

    @property
    def tokens_per_row(self) -> int | None:
        found: int | None = getattr(self.stages[0][1], "tokens_per_row", None)
        return found

    @property
    def fingerprint(self) -> str:
        return fingerprint([[first, data.fingerprint] for first, data in self.stages])

    def batch(self, indices: Rows) -> Batch:
        """Rows of one stage, which is all that an update ever asks for."""
        parts = {self._stage(row) for row in indices.tolist()}
        if len(parts) != 1:
            raise DataError(f"rows of the data stages {sorted(parts)} cannot be in one batch")
        stage = parts.pop()
        return self.stages[stage][1].batch(indices - self.first_rows[stage])

    def describe(self, indices: Rows) -> Sequence[str]:
        names: list[str] = []
        for stage, rows in groupby(indices.tolist(), self._stage):
            inside = np.array([row - self.first_rows[stage] for row in rows], dtype=np.int64)
            names += self.stages[stage][1].describe(inside)
        return names

    def _stage(self, row: int) -> int:
        return bisect.bisect_right(self.first_rows, row) - 1


@dataclass(frozen=True)
class StagedOrder:
    """What the model sees at each step when data changes: `stages` are (first update, shuffle of the stage's rows)."""

    stages: tuple[tuple[int, Permutation], ...]
    plan: BatchPlan

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "stages": [[first, permutation.key, permutation.rows] for first, permutation in self.stages],
            "batches": [list(stage) for stage in self.plan.stages],
        }

    def rows_at_step(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Rows that `rank` of `world` sees at update `step` (counted from 1), in the order of its batch."""
        stage = self._stage(step)
        rows: Rows = self._orders[stage].rows_at_step(step - self.stages[stage][0] + 1, rank, world)
        return rows + self._first_rows[stage]

    def visits_at_step(self, step: int, rank: int = 0, world: int = 1) -> list[tuple[int, Visit]]:
        """The same with epochs (of the stage) and places."""
        stage = self._stage(step)
        first, offset = self.stages[stage][0], self._first_rows[stage]
        found = self._orders[stage].visits_at_step(step - first + 1, rank, world)
        return [(row + offset, Visit(step, visit.epoch, visit.place)) for row, visit in found]

    def visits_of_row(self, row: int, last_step: int) -> list[Visit]:
        """Every time that `row` is seen up to and including update `last_step`."""
        stage = bisect.bisect_right(self._first_rows, row) - 1
        first, last = self.stages[stage][0], last_step
        if stage + 1 < len(self.stages):
            last = min(last, self.stages[stage + 1][0] - 1)
        visits = self._orders[stage].visits_of_row(row - self._first_rows[stage], last - first + 1)
        return [Visit(visit.step + first - 1, visit.epoch, visit.place) for visit in visits]

    def steps_of_row(self, row: int, last_step: int) -> list[int]:
        """The updates up to `last_step` that see `row`, ascending."""
        return [visit.step for visit in self.visits_of_row(row, last_step)]

    def _stage(self, step: int) -> int:
        if step < 1:
            raise IndexError(f"steps count from 1, got {step}")
        return bisect.bisect_right(self.stages, step, key=lambda item: item[0]) - 1

    @cached_property
    def _orders(self) -> list[DataOrder]:
        return [DataOrder(permutation, self.plan.since(first)) for first, permutation in self.stages]

    @cached_property
    def _first_rows(self) -> list[int]:
        return [0, *accumulate(permutation.rows for _, permutation in self.stages)][:-1]


Order = DataOrder | StagedOrder


def stage_seed(seed: int, stage: int) -> int:
    """Seed of a stage's shuffle; the first one's is the run's."""
    return seed if stage == 0 else named_seed(seed, "data stage", stage)
