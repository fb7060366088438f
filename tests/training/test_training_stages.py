"""Data that changes during a run: order in both directions, the loader, and the trainer, against laying it out."""

import json
from collections import defaultdict

import numpy as np
import pytest
import torch
from training_standins import Distillation, config, points

from glasshouse.training.checkpoint import ResumeRefusedError
from glasshouse.training.data import DataError, TensorRows
from glasshouse.training.identity import order_of_run, training_order
from glasshouse.training.loader import Loader
from glasshouse.training.order import BatchPlan, KeyedOrder, OlmoOrder
from glasshouse.training.stages import DataStages, StagedOrder, stage_seed
from glasshouse.training.trainer import train

STEPS = 30
PLAN = BatchPlan(((1, 4), (6, 8), (15, 16)))


def numbered(rows, start):
    return TensorRows({"x": torch.arange(start, start + rows)}, [f"row {start + row}" for row in range(rows)])


def laid_out(kind, stages, plan, seed):
    """Rows of every step and their epochs: every stage's epochs one after another, cut into the plan's batches."""
    found, offset = {}, 0
    for index, (first, rows) in enumerate(stages):
        last = stages[index + 1][0] - 1 if index + 1 < len(stages) else STEPS
        shuffle, position = kind(rows, stage_seed(seed, index)), 0
        stream = [(offset + int(row), epoch) for epoch in range(200) for row in shuffle.row_at(epoch, np.arange(rows))]
        for step in range(first, last + 1):
            size = len(plan.positions(step))
            found[step] = stream[position : position + size]
            position += size
        offset += rows
    return found


@pytest.mark.parametrize("kind", [KeyedOrder, OlmoOrder])
@pytest.mark.parametrize("plan", [BatchPlan.constant(8), PLAN])
@pytest.mark.parametrize("stages", [((1, 13),), ((1, 13), (10, 37)), ((1, 3), (2, 5), (15, 101), (16, 4))])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_both_directions_equal_the_layout(kind, plan, stages, world):
    order = StagedOrder(tuple((f, kind(rows, stage_seed(5, i))) for i, (f, rows) in enumerate(stages)), plan)
    expected = laid_out(kind, stages, plan, 5)
    seen = defaultdict(list)
    for step in range(1, STEPS + 1):
        for rank in range(world):
            mine = expected[step][rank::world]
            assert order.rows_at_step(step, rank, world).tolist() == [row for row, _ in mine]
            visits = order.visits_at_step(step, rank, world)
            assert [(row, visit.epoch) for row, visit in visits] == mine
            for row, visit in visits:
                assert visit.rank(world) == rank
                seen[row].append((step, visit.epoch, visit.place))
    for row in range(sum(rows for _, rows in stages)):
        back = [(visit.step, visit.epoch, visit.place) for visit in order.visits_of_row(row, STEPS)]
        assert sorted(back) == sorted(seen[row])
        assert order.steps_of_row(row, 12) == sorted(step for step, _, _ in seen[row] if step <= 12)
    with pytest.raises(IndexError, match="steps count from 1"):
        order.rows_at_step(0)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("prefetch", [0, 3])
def test_ranks_and_prefetch_read_what_the_order_says(world, prefetch):
    data = DataStages(((1, numbered(13, 0)), (10, numbered(37, 13))))
    stages = [{"batch_size": 8, "steps": 4}]
    settings = config(steps=STEPS, batch_size=16, batch_warmup=stages, micro_batch_size=2)
    order = training_order(settings, data)
    for rank in range(world):
        place = {"rank": rank, "world": world, "micro_batch": 2, "prefetch": prefetch}
        with Loader(data, order, first=1, last=STEPS, **place) as loader:
            for prepared in loader:
                read = torch.cat([batch["x"] for batch in prepared.batches]).tolist()
                assert read == prepared.rows.tolist() == order.rows_at_step(prepared.step, rank, world).tolist()
                assert all((row >= 13) == (prepared.step >= 10) for row in read)
    assert data.describe(np.array([0, 12, 13, 49])) == ["row 0", "row 12", "row 13", "row 49"]


def test_runs_that_part_at_an_update_are_the_same_until_then(tmp_path):
    web, other = points(), points(rows=40, seed=9)
    data = DataStages(((1, web), (11, other)))
    staged = train(Distillation(), data, config(), tmp_path / "staged", stop=lambda step: step == 10)
    plain = train(Distillation(), web, config(), tmp_path / "plain", stop=lambda step: step == 10)
    assert staged.weights_hash == plain.weights_hash
    with pytest.raises(ResumeRefusedError, match=r"data.fingerprint was"):
        train(Distillation(), DataStages(((1, web), (12, other))), config(), tmp_path / "staged")
    whole = train(Distillation(), DataStages(((1, web), (11, other))), config(), tmp_path / "whole")
    resumed = train(Distillation(), DataStages(((1, web), (11, other))), config(), tmp_path / "staged")
    assert (resumed.resumed_from, resumed.weights_hash) == (10, whole.weights_hash)
    order = order_of_run(json.loads((tmp_path / "whole/run.json").read_text()))
    assert order == training_order(config(), data)
    assert set(order.rows_at_step(10)) <= set(range(64))
    assert set(order.rows_at_step(11)) <= set(range(64, 104))


def test_stages_that_cannot_be_are_refused():
    data = numbered(5, 0)
    for stages in ((), ((2, data),), ((1, data), (1, data)), ((1, data), (9, data), (4, data))):
        with pytest.raises(DataError, match="begin at update 1"):
            DataStages(stages)
    with pytest.raises(DataError, match="20 updates; data that begins at update 21 would never be seen"):
        training_order(config(), DataStages(((1, data), (21, data))))
    with pytest.raises(DataError, match=r"data stages \[0, 1\] cannot be in one batch"):
        DataStages(((1, data), (4, data))).batch(np.array([4, 5]))

    class Tokens(TensorRows):
        @property
        def tokens_per_row(self):
            return self.tensors["x"].shape[1]

    short, long = Tokens({"x": torch.zeros(4, 8)}), Tokens({"x": torch.zeros(4, 16)})
    with pytest.raises(DataError, match="same number of tokens"):
        DataStages(((1, short), (2, long)))
    assert DataStages(((1, short), (2, short))).tokens_per_row == 8
    assert DataStages(((1, data),)).tokens_per_row is None
    recorded = {"order": {"stages": [[1, "keyed:00", 5]], "batches": [[1, 2]]}, "configuration": {"seed": 3}}
    with pytest.raises(ValueError, match="seed 3 gives order"):
        order_of_run(recorded)
