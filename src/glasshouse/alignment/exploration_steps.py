"""The step of exploration: the exact agent asks and learns in a world, seed by seed."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.alignment.exact_agent import LaplaceAgent
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.interaction import Curve, Interaction, interact
from glasshouse.alignment.ledger import Ledger
from glasshouse.alignment.worlds.linear import Linear
from glasshouse.alignment.worlds.modes import Modes
from glasshouse.nn.threads import one_thread
from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.step import Run, step

CURVES, QUERIES = "curves.json", "queries.parquet"
T = TypeVar("T")
ExactWorld = Literal["modes", "linear"]
WORLDS: dict[ExactWorld, Callable[[int], Modes | Linear]] = {"modes": Modes, "linear": Linear}


class Explored(Artifact):
    """Win rates of one rule in one world, seed by seed, and every query that was asked (`queries.parquet`)."""

    @cached_property
    def curves(self) -> dict[int, Curve]:
        """The curve of every seed."""
        kept = json.loads(self.file(CURVES).read_text(encoding="utf-8"))
        return {int(seed): Curve(**curve) for seed, curve in kept.items()}

    def queries(self) -> pa.Table:
        """The ledgers of all seeds, one after the other."""
        return pq.read_table(self.file(QUERIES))


@step()
def explore(
    run: Run, world: ExactWorld, rule: Rule, interaction: Interaction, seeds: int = 10, precision_scale: float = 1.0
) -> Explored:
    """Let the exact agent ask by a rule in a world, for seeds 0, 1, …; a killed step goes on from its last epochs.

    Args:
        interaction: its `seed` is added to every seed.
        precision_scale: multiplies the precision of the agent's prior, which is otherwise that of the world.
    """

    def one(seed: int, advance: Callable[[int], object]) -> Curve:
        drawn = WORLDS[world](seed)
        agent = LaplaceAgent(drawn.precision * precision_scale)
        return interact(drawn, agent, rule, interaction.but(seed=seed), home(run, seed), advance=advance)

    return explored(run, f"{rule.name}, {world}", one, range(interaction.seed, interaction.seed + seeds), interaction)


def explored(
    run: Run,
    title: str,
    one: Callable[[int, Callable[[int], object]], Curve],
    seeds: range,
    interaction: Interaction,
) -> Explored:
    """Run `one(seed, advance)` for every seed, side by side, and keep the curves and ledgers of all."""
    with run.bar(title, len(seeds) * interaction.epochs) as shown:
        curves = side_by_side(one, seeds, shown.advance)
    kept = {seed: dataclasses.asdict(curve) for seed, curve in curves.items()}
    (run.output / CURVES).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    tables = [Ledger(home(run, seed) / "queries.jsonl").table() for seed in seeds]
    pq.write_table(pa.concat_tables(tables), run.output / QUERIES, compression="zstd")
    run.measure(queries=sum(len(table) for table in tables))
    return Explored(run.output)


def side_by_side(
    one: Callable[[int, Callable[[int], object]], T], seeds: range, advance: Callable[[int], object]
) -> dict[int, T]:
    """Seeds in threads, one arithmetic thread each; the order in which they run changes no number.

    When one fails, or Ctrl-C is pressed, the others end at their next epoch.
    """
    stopped = threading.Event()

    def advanced(count: int) -> None:
        if stopped.is_set():
            raise InterruptedError("another seed failed or the run was interrupted")
        advance(count)

    if not seeds:
        raise ConfigurationError("there are no seeds: a comparison takes 1 or more")
    with one_thread(), ThreadPoolExecutor(min(os.cpu_count() or 1, len(seeds))) as pool:
        futures = [pool.submit(one, seed, advanced) for seed in seeds]
        try:
            return {seed: future.result() for seed, future in zip(seeds, futures, strict=True)}
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise


def home(run: Run, seed: int) -> Path:
    """Where a seed keeps its state and its ledger."""
    return run.scratch / f"seed-{seed}"
