"""Steps about utilities made from rewards: what they reach in worlds where everything is exact."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from statistics import fmean
from typing import Any

from glasshouse.alignment.algebra import Expression, properties
from glasshouse.alignment.combination import references_from, utility
from glasshouse.alignment.frontier import Frontier, Point, Preview, frontier
from glasshouse.alignment.frontier_panels import averaged, panels
from glasshouse.alignment.worlds.two_properties import Judged, TwoProperties, judged_samples
from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.panels import Panel, Table
from glasshouse.store.step import Run, step


class RewardFrontiers(Artifact):
    """Frontiers of the same utilities in worlds of several seeds."""

    @cached_property
    def content(self) -> dict[str, Any]:
        """`world`, `frontiers`, one per seed, and the `attainable` accuracy of their reward models."""
        found: dict[str, Any] = json.loads(self.file("frontiers.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def frontiers(self) -> list[Frontier]:
        """One per seed."""
        return [of_json(found) for found in self.content["frontiers"]]

    @property
    def values(self) -> dict[str, float]:
        """`UTILITY/kl K/MEASURE` as the mean over seeds; gains over the first utility, also the `least` and `most`."""
        found: dict[str, float] = {"seeds": float(len(self.frontiers))}
        for (name, policy, kl), (measures, gains) in averaged(self.frontiers).items():
            if policy != "tilt" or kl != int(kl):
                continue
            found |= {f"{name}/kl {kl:g}/{measure}": value for measure, (value, _, _) in measures.items()}
            for measure, gain in gains.items():
                where = f"gain/{name}/kl {kl:g}/{measure}"
                found |= dict(zip((where, f"{where}/least", f"{where}/most"), gain, strict=True))
        for name in self.frontiers[0].accuracy:
            shares = [one.accuracy[name] for one in self.frontiers]
            found[f"accuracy/{name}"] = fmean(shares)
        return found

    def panels(self) -> list[Panel]:
        """The curves, and how good the reward models are beside what could be had."""
        pairs, best = self.content["world"]["pairs"], self.content["attainable"]
        rows = []
        for name in self.frontiers[0].accuracy:
            shares = [one.accuracy[name] for one in self.frontiers]
            rows.append((name, fmean(shares), min(shares), max(shares), fmean(one[name] for one in best)))
        note = f"Learnt from {pairs:,} comparisons. Answers are drawn, so the true reward is not always right either."
        columns = ["right on held-out comparisons", "mean of worlds", "least", "most", "the true reward"]
        beside = Table("Reward models", columns, rows, note=note)
        models = f"{len(rows)} reward model{'s' if len(rows) > 1 else ''} from {pairs:,} comparisons"
        return [dataclasses.replace(panel, title=f"{panel.title} ({models})") for panel in panels(self.frontiers)] + [
            beside
        ]


def of_json(found: Mapping[str, Any]) -> Frontier:
    """What `Frontier.as_json` gave."""

    def restored(point: Mapping[str, Any]) -> Point:
        values = {part: {name: tuple(value) for name, value in point[part].items()} for part in ("measures", "gains")}
        return Point(**{**point, **values})

    points = tuple(restored(point) for point in found["points"])
    return Frontier(
        **{**found, "points": points, "left_out": tuple(found["left_out"]), "own_judge": tuple(found["own_judge"])}
    )


def preview(judged: Judged, utilities: Mapping[str, Expression], settings: Preview) -> Frontier:
    """The frontier of utilities over judged samples, on the properties that they are about."""
    about = list(dict.fromkeys(name for expression in utilities.values() for name in properties(expression)))
    scores = {name: judged.scores[name] for name in about}
    made = {
        name: utility(expression, scores, references_from(expression, scores)) for name, expression in utilities.items()
    }
    accuracy = {name: judged.accuracy[name] for name in about}
    return frontier(made, {name: judged.truth[name] for name in about}, settings, scores=scores, accuracy=accuracy)


@step()
def preview_worlds(
    run: Run,
    world: TwoProperties,
    utilities: Mapping[str, Expression],
    settings: Preview,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
) -> RewardFrontiers:
    """What utilities reach at the same KL in the world of two properties, for several seeds of everything in it."""
    frontiers, attainable = [], []
    if not seeds:
        raise ConfigurationError("there are no seeds: a frontier takes 1 world or more")
    with run.bar("frontiers", len(seeds)) as shown:
        for seed in seeds:
            judged = judged_samples(world.but(seed=seed))
            frontiers.append(preview(judged, utilities, settings).as_json())
            attainable.append(dict(judged.attainable_accuracy))
            shown.advance()
    content = {"world": world.model_dump(), "frontiers": frontiers, "attainable": attainable}
    (run.output / "frontiers.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    return RewardFrontiers(run.output)
