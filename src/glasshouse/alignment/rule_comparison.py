"""What several rules of exploration came to in one world, side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa

from glasshouse.alignment import win_rates
from glasshouse.alignment.exploration_steps import CURVES, Explored
from glasshouse.alignment.interaction import Curve
from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Panel
from glasshouse.store.step import Run, step


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
    named = ("prompt_id", "first", "second", "rule", "why", "answered_by")
    rows = queries.to_pylist()
    untraced = sum(not all(row[name] for name in named) or row["answer"] is None for row in rows)
    return {"queries": float(len(rows)), "untraced": float(untraced)}
