"""What a run's numbers depend on: `run.json` and every checkpoint hold it, and resuming is refused when it changes."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from glasshouse.store.configuration import canonical, fingerprint
from glasshouse.training.checkpoint import weights_hash
from glasshouse.training.configuration import FREE_TO_CHANGE, Training
from glasshouse.training.data import DataError, TrainingData
from glasshouse.training.objective import Objective
from glasshouse.training.order import (
    BatchPlan,
    DataOrder,
    KeyedOrder,
    OlmoOrder,
)
from glasshouse.training.schedules import RateSchedule
from glasshouse.training.stages import DataStages, Order, StagedOrder, stage_seed


def training_order(config: Training, data: TrainingData) -> Order:
    """The order of data that a configuration asks for.

    Raises `DataError` for a data stage that begins after the run's last update.
    """
    kind = OlmoOrder if config.order == "olmo" else KeyedOrder
    tokens_per_row = getattr(data, "tokens_per_row", None)
    plan = config.batch_plan(tokens_per_row)
    if not isinstance(data, DataStages):
        return DataOrder(kind(data.rows, config.seed), plan)
    steps = config.total_steps(tokens_per_row)
    if (late := data.stages[-1][0]) > steps:
        raise DataError(f"the run has {steps} updates; data that begins at update {late} would never be seen")
    shuffles = [(first, kind(part.rows, stage_seed(config.seed, i))) for i, (first, part) in enumerate(data.stages)]
    return StagedOrder(tuple(shuffles), plan)


def rate_schedule(config: Training, plan: BatchPlan, steps: int) -> RateSchedule:
    """The learning rates that a configuration asks for."""
    return RateSchedule(
        plan,
        steps,
        peak=config.learning_rate,
        warmup=config.warmup_steps(steps),
        schedule=config.schedule,
        final=config.final_fraction,
        decay=config.decay_fraction,
        anneal=config.anneal_steps,
    )


def run_identity(
    objective: Objective, data: TrainingData, config: Training, order: Order, steps: int
) -> dict[str, Any]:
    """The identity as plain JSON data: objective, data, order, configuration, teachers, shapes."""
    written = canonical(config)
    identity = {
        "objective": {
            "name": type(objective).__qualname__,
            "configuration": canonical(getattr(objective, "configuration", None)),
        },
        "data": {"fingerprint": data.fingerprint, "rows": data.rows},
        "order": order.identity,
        "steps": steps,
        "configuration": written,
        "fingerprint": fingerprint({name: value for name, value in written.items() if name not in FREE_TO_CHANGE}),
        "frozen": {name: weights_hash(module) for name, module in objective.frozen.items()},
        "learns": {name: _shapes(module) for name, module in objective.learns.items()},
        "initial weights": {
            name: weights_hash(module) for name, module in {**objective.learns, **objective.carries}.items()
        },
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


def order_of_run(identity: dict[str, Any]) -> Order:
    """The order that a finished or interrupted run recorded in its `run.json`.

    Raises `ValueError` when the recorded seed does not give the recorded order.
    """
    order, seed = identity["order"], int(identity["configuration"]["seed"])
    if "stages" not in order:
        return order_from_identity(order, seed)
    shuffles = [
        (int(first), permutation_from_key(key, int(rows), stage_seed(seed, index)))
        for index, (first, key, rows) in enumerate(order["stages"])
    ]
    return StagedOrder(tuple(shuffles), BatchPlan.recorded(order["batches"]))


def order_from_identity(identity: dict[str, Any], seed: int) -> DataOrder:
    """The order that a run recorded; raises `ValueError` when the seed does not give the recorded key."""
    permutation = permutation_from_key(identity["order"], int(identity["rows"]), seed)
    return DataOrder(permutation, BatchPlan.recorded(identity["batches"]))


def permutation_from_key(key: str, rows: int, seed: int) -> KeyedOrder | OlmoOrder:
    """The shuffle that a run recorded; raises `ValueError` when the seed does not give the recorded key."""
    kind = key.partition(":")[0]
    kinds: dict[str, type[KeyedOrder] | type[OlmoOrder]] = {"keyed": KeyedOrder, "olmo": OlmoOrder}
    if kind not in kinds:
        raise ValueError(f"unknown order {key!r}; known: {', '.join(kinds)}")
    permutation = kinds[kind](rows, seed)
    if permutation.key != key:
        raise ValueError(f"seed {seed} gives order {permutation.key}, the run recorded {key}")
    return permutation


def _shapes(module: nn.Module) -> str:
    shapes = {name: [str(tensor.dtype), *tensor.shape] for name, tensor in module.state_dict().items()}
    return f"{sum(p.numel() for p in module.parameters())} parameters, shapes {fingerprint(shapes)[:16]}"
