"""Unlearning on digits: the recipe with two splits of classes and several seeds.

    python benchmarks/unlearning.py --store .unlearning               about 8 CPU minutes
    python benchmarks/unlearning.py --store .unlearning --seeds 1 --updates 20 --steps 4

Models of one seed are shared by its splits, and a run that was stopped goes on from the store. The result goes to
benchmarks/results/unlearning.json: for every run what the claims came to and the figures behind them, and over runs how
often each claim holds and the medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image
from turns import machine

from glasshouse.evaluation.steps import Evaluation
from glasshouse.recipes import unlearning as room
from glasshouse.store.drawing import curves_file
from glasshouse.store.panels import Curves
from glasshouse.store.recipe import run_recipe
from glasshouse.store.store import Store

RESULTS = Path(__file__).parent / "results"
SPLITS = {
    "A": {"forget": "1,3,8", "retain": "0,4,6,7", "proxy": "2,5,9"},
    "B": {"forget": "0,5,9", "retain": "1,2,3,4", "proxy": "6,7,8"},
}
MODELS = (room.OURS, room.PROXY, *room.BASELINES, room.RETRAINED)


def figures(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What is told of every model of a run."""
    found = {}
    for name in MODELS:
        told = {
            f"{part} {what}": values[f"compared/{name}/{part}/{room.CENTRE}/{what}"]
            for part in ("forget", "retain")
            for what in ("mse ratio", "frechet", "cosine", "nearest")
        }
        told |= {
            what: values[f"audit/{name}/{what}"]
            for what in ("probe", "membership", "passes")
            if f"audit/{name}/{what}" in values
        }
        recovered = [value for key, value in values.items() if key.startswith(f"audit/{name}/recovered/")]
        told |= {"flops": values[f"compared/{name}/flops"], **({"recovered": max(recovered)} if recovered else {})}
        found[name] = told
    return found


def cpu_seconds(store: Store, result: Evaluation) -> dict[str, float]:
    """CPU seconds of retraining and of unlearning, from the manifests behind a run."""
    inputs = store.open(result.manifest["inputs"]["parts.compared"]["artifact"]).manifest["inputs"]
    names = {room.RETRAINED: f"models.{room.RETRAINED}", room.OURS: f"models.{room.OURS}"}
    return {
        name: store.open(inputs[role]["artifact"]).manifest["measurements"]["cpu_seconds"]
        for name, role in names.items()
    }


def summary(runs: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """The runs, how often each claim holds, and medians."""
    return {
        "machine": machine(),
        "splits": SPLITS,
        "updates": options.updates,
        "steps": options.steps,
        "runs": runs,
        "held": {
            name: f"{sum(run['claims'][name][0] == 'holds' for run in runs)} of {len(runs)}"
            for name in runs[0]["claims"]
        },
        "medians": {
            name: {
                key: median(run["models"][name][key] for run in runs if key in run["models"][name])
                for key in runs[0]["models"][name]
            }
            for name in MODELS
        },
    }


def write_pictures(store: Store, folder: Path) -> None:
    """Grids and curves of the run with the first split and seed, which the recipe makes by default."""
    made = run_recipe(room.unlearning, store)
    compared = store.open(made.manifest["inputs"]["parts.compared"]["artifact"])
    for part in ("forget", "retain"):
        with Image.open(compared.file(f"{part}, {room.CENTRE}.png")) as grid:
            larger = grid.resize((2 * grid.width, 2 * grid.height), Image.Resampling.NEAREST)
            larger.save(folder / f"unlearning_{part}.png", optimize=True)
    against = next(panel for panel in compared.panels() if panel.title.startswith("Forgetting against"))
    audit = store.open(made.manifest["inputs"]["parts.audit"]["artifact"])
    relearning = next(panel for panel in audit.panels() if isinstance(panel, Curves))
    shown = {name: relearning.series[name] for name in ("original", room.OURS, "retain label", room.RETRAINED)}
    for name, panel in (
        ("against", against),
        ("relearning", dataclasses.replace(relearning, series=shown, log_y=False)),
    ):
        (folder / f"unlearning_{name}.svg").write_text(curves_file(panel), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=1600, help="of completion models")
    parser.add_argument("--steps", type=int, default=400, help="of unlearning")
    parser.add_argument("--pictures", type=Path, help="write grids and curves of the first run there")
    parser.add_argument("--output", type=Path, default=RESULTS / "unlearning.json")
    options = parser.parse_args()
    store, runs = Store(options.store), []
    for seed in range(options.seeds):
        for split, classes in SPLITS.items():
            made = run_recipe(
                room.unlearning, store, seed=seed, updates=options.updates, steps=options.steps, **classes
            )
            assert isinstance(made, Evaluation)
            claims = {item["name"]: [item["status"], item["measured"]] for item in made.claims}
            seconds = cpu_seconds(store, made)
            runs.append(
                {"seed": seed, "split": split, "claims": claims, "models": figures(made.values), "cpu_seconds": seconds}
            )
            print(seed, split, {name: status for name, (status, _) in claims.items()}, seconds, flush=True)
            # Written after every run, so that one that is stopped leaves its part.
            text = json.dumps(summary(runs, options), indent=1)
            options.output.write_text(text + "\n", encoding="utf-8")
    if options.pictures:
        write_pictures(store, options.pictures)


if __name__ == "__main__":
    main()
