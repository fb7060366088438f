"""The step that compares what reward heads know of their own doubt, in a world or on real preferences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from statistics import fmean, pstdev
from typing import Any

from glasshouse.alignment.doubt import HeadTraining, head_quality, worded_pairs, world_pairs
from glasshouse.alignment.exploration_steps import side_by_side
from glasshouse.alignment.online_steps import NEURAL_WORLDS, NeuralWorld
from glasshouse.language.adaptation import Preferences
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Bars, Panel, Table
from glasshouse.store.step import Run, step

MEASURES = {
    "accuracy": "share right",
    "marginal_nll": "log-loss of one label, nats",
    "dyadic_nll": "log-loss of ten labels of two pairs, as seen, nats",
    "redrawn_nll": "the same, labels drawn anew, nats",
}


class HeadComparison(Artifact):
    """Accuracy and log-losses of several heads, seed by seed."""

    @cached_property
    def found(self) -> list[dict[str, Any]]:
        """One record per head and seed."""
        records: list[dict[str, Any]] = json.loads(self.file("heads.json").read_text(encoding="utf-8"))
        return records

    @property
    def values(self) -> dict[str, float]:
        """`<head>/<measure>` over seeds and `<head>/<measure>/seed <n>`."""
        values = {}
        for record in self.found:
            for name, value in record["measured"].items():
                values[f"{record['head']}/{name}/seed {record['seed']}"] = value
                values[f"{record['head']}/{name}"] = fmean(self._seeds(record["head"], name))
        return values

    def _seeds(self, head: str, name: str) -> list[float]:
        return [item["measured"][name] for item in self.found if item["head"] == head]

    def panels(self) -> list[Panel]:
        """A table, and the joint log-loss with its spread."""
        heads = list(dict.fromkeys(record["head"] for record in self.found))
        shown = [name for name in MEASURES if name in self.found[0]["measured"]]
        rows = []
        for head in heads:
            cells = [(fmean(self._seeds(head, name)), pstdev(self._seeds(head, name))) for name in shown]
            rows.append((head, *(f"{mean:.3f} ± {spread:.3f}" for mean, spread in cells)))
        intervals = {}
        for head in heads:
            values = self._seeds(head, "dyadic_nll")
            intervals[head] = {"dyadic": (fmean(values) - pstdev(values), fmean(values) + pstdev(values))}
        groups = {head: {"dyadic": fmean(self._seeds(head, "dyadic_nll"))} for head in heads}
        seeds = len(self._seeds(heads[0], "accuracy"))
        return [
            Table(
                "What heads know of their doubt", ["head", *(MEASURES[name] for name in shown)], rows,
                note=f"Means and standard deviations over {seeds} seeds, on pairs that were not learnt.",
            ),
            Bars(
                "Joint log-loss of ten labels", unit="nats", groups=groups, intervals=intervals,
                levels=dict.fromkeys(heads, 10 * math.log(2)), note="Lower is better; the line is a coin's.",
            ),
        ]  # fmt: skip


@step()
def compare_heads(
    run: Run,
    heads: Mapping[str, EpistemicConfig],
    settings: HeadTraining,
    seeds: int = 10,
    world: NeuralWorld = "modes",
    pairs: int = 1000,
    held_out: int = 2000,
    preferences: Preferences | None = None,
) -> HeadComparison:
    """Train every head on the same pairs, for seeds 0, 1, …, and measure it on others.

    Args:
        pairs, held_out: of a world, drawn anew for every seed.
        preferences: real ones in place of a world: hashed words of their answers. Seeds then differ in the heads only.
    """

    def one(seed: int, advance: Callable[[int], object]) -> list[dict[str, Any]]:
        if preferences is None:
            made = NEURAL_WORLDS[world](seed)
            rows = world_pairs(made, pairs, seed, "learnt"), world_pairs(made, held_out, seed, "held out")
        else:
            rows = worded_pairs(preferences.train), worded_pairs(preferences.holdout)
        records = []
        for name, head in heads.items():
            measured = head_quality(head, settings, *rows, run.scratch / f"{name}-{seed}", seed=seed)
            records.append({"head": name, "seed": seed, "measured": measured})
            advance(1)
        return records

    with run.bar("reward heads", len(heads) * seeds) as shown:
        by_seed = side_by_side(one, range(seeds), shown.advance)
    found = [record for records in by_seed.values() for record in records]
    (run.output / "heads.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    comparison = HeadComparison(run.output)
    run.measure(**comparison.values)
    return comparison
