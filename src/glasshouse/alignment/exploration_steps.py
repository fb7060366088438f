"""Steps of exploration: an agent asks and learns in a world, seed by seed; what rules came to, side by side."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.alignment import online, win_rates
from glasshouse.alignment.exact_agent import LaplaceAgent
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.interaction import Curve, Interaction, interact
from glasshouse.alignment.ledger import Ledger
from glasshouse.alignment.online import NeuralAgent
from glasshouse.alignment.worlds.linear import Linear
from glasshouse.alignment.worlds.modes import Modes
from glasshouse.alignment.worlds.sparse import Sparse
from glasshouse.nn.threads import one_thread
from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Panel
from glasshouse.store.progress import SilentBar
from glasshouse.store.step import Run, step

CURVES, QUERIES = "curves.json", "queries.parquet"
T = TypeVar("T")
ExactWorld = Literal["modes", "linear"]
NeuralWorld = Literal["modes", "sparse"]
WORLDS: dict[ExactWorld, Callable[[int], Modes | Linear]] = {"modes": Modes, "linear": Linear}
NEURAL_WORLDS: dict[NeuralWorld, Callable[[int], Modes | Sparse]] = {
    "modes": partial(Modes, view="embedding"),
    "sparse": Sparse,
}


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


class RuleComparison(Artifact):
    """What several rules came to in one world."""

    @cached_property
    def compared(self) -> Mapping[str, Any]:
        """`world`, the curves of `runs` by name and seed, and what was counted in their `ledgers`."""
        kept: dict[str, Any] = json.loads(self.file(CURVES).read_text(encoding="utf-8"))
        runs = {
            name: {int(seed): Curve(**curve) for seed, curve in curves.items()} for name, curves in kept["runs"].items()
        }
        return kept | {"runs": runs}

    @property
    def values(self) -> dict[str, float]:
        """See `glasshouse.alignment.win_rates.values`; of the ledgers, `untraced` counts incomplete rows."""
        ledgers: dict[str, float] = self.compared["ledgers"]
        return win_rates.values(self.compared["runs"]) | ledgers

    def panels(self) -> list[Panel]:
        """The figures of the comparison."""
        return win_rates.panels(self.compared["world"], self.compared["runs"])


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
        return interact(drawn, agent, rule, interaction.but(seed=seed), _home(run, seed), advance=advance)

    return explored(run, f"{rule.name}, {world}", one, range(interaction.seed, interaction.seed + seeds), interaction)


@step()
def explore_with_a_network(
    run: Run,
    world: NeuralWorld,
    rule: Rule,
    interaction: Interaction,
    agent: NeuralAgent = NeuralAgent(),  # noqa: B008 (frozen)
    seeds: int = 4,
) -> Explored:
    """Let a neural agent ask by a rule in a world it sees as embeddings, otherwise as `explore`."""

    def one(seed: int, advance: Callable[[int], object]) -> Curve:
        told = _Epochs(agent.updates, advance)
        return online.explore(
            NEURAL_WORLDS[world](seed), rule, interaction.but(seed=seed), agent, _home(run, seed), progress=told
        )

    title = f"{rule.name}, {agent.head.kind}, {world}"
    return explored(run, title, one, range(interaction.seed, interaction.seed + seeds), interaction)


class _Epochs(SilentBar):
    """Counts epochs where the trainer counts updates."""

    def __init__(self, updates: int, advance: Callable[[int], object]) -> None:
        self.updates, self.tell, self.done = updates, advance, 0

    def advance(self, amount: float = 1) -> None:
        before, self.done = self.done // self.updates, self.done + int(amount)
        if self.done // self.updates > before:
            self.tell(self.done // self.updates - before)


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
    tables = [Ledger(_home(run, seed) / "queries.jsonl").table() for seed in seeds]
    pq.write_table(pa.concat_tables(tables), run.output / QUERIES, compression="zstd")
    run.measure(queries=sum(len(table) for table in tables), **win_rates.values({"win rate": curves}))
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

    with one_thread(), ThreadPoolExecutor(min(os.cpu_count() or 1, len(seeds))) as pool:
        futures = [pool.submit(one, seed, advanced) for seed in seeds]
        try:
            return {seed: future.result() for seed, future in zip(seeds, futures, strict=True)}
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise


def _home(run: Run, seed: int) -> Path:
    return run.scratch / f"seed-{seed}"


@step()
def compare_rules(run: Run, world: str, runs: Mapping[str, Explored]) -> RuleComparison:
    """Put the curves of several rules side by side; `world` is how the figures call where they were measured."""
    kept = {
        name: {seed: dataclasses.asdict(curve) for seed, curve in item.curves.items()} for name, item in runs.items()
    }
    ledgers = {f"{name}/{key}": value for name, item in runs.items() for key, value in _traced(item.queries()).items()}
    content = {"world": world, "runs": kept, "ledgers": ledgers}
    (run.output / CURVES).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    comparison = RuleComparison(run.output)
    run.measure(**comparison.values)
    return comparison


def _traced(queries: pa.Table) -> dict[str, float]:
    """How many queries were asked, and how many of them lack anything that says what, why and by whom."""
    untraced = sum(
        not (row["prompt_id"] and row["first"] and row["second"] and row["rule"] and row["why"] and row["answered_by"])
        or row["answer"] is None
        for row in queries.to_pylist()
    )
    return {"queries": float(len(queries)), "untraced": float(untraced)}
