"""The step of over-optimisation: what learnt rewards do to a policy, with and without LSC, and what rings an alarm."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import isnan
from statistics import fmean
from typing import Any

from glasshouse.alignment.alarm import fallen, lost, outside
from glasshouse.alignment.algebra import Expression, Good, Reward, total
from glasshouse.alignment.hacking import LearntWorld, at_kl, optimise
from glasshouse.alignment.rloo import Rloo
from glasshouse.alignment.worlds.token_hack import PROPERTIES
from glasshouse.store.artifact import Artifact
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.panels import Curves, Panel, Table
from glasshouse.store.step import Run, step

RAW: Expression = total(*(Reward(name) for name in PROPERTIES))
LSC: Expression = Good(PROPERTIES[0]) & Good(PROPERTIES[1])
KLS = (4.0, 8.0, 12.0, 16.0)
Path = list[dict[str, float]]


class Hacking(Artifact):
    """Paths of policies, by rule and seed: `raw`, the sum of learnt rewards, and `lsc`."""

    @cached_property
    def _found(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file("paths.json").read_text(encoding="utf-8"))
        return found

    @property
    def paths(self) -> dict[str, list[Path]]:
        """Rule -> one path per seed; a path is one record per look (`glasshouse.alignment.hacking`)."""
        paths: dict[str, list[Path]] = self._found["paths"]
        return paths

    @property
    def values(self) -> dict[str, float]:
        """Per rule, means over seeds; gains of LSC at equal KL; how alarms did."""
        paths = self.paths
        values: dict[str, float] = {}
        for rule, several in paths.items():
            for name, found in _ends(several).items():
                values[f"{rule}/{name}"] = fmean(found)
        for kl in KLS:
            gains = self.gains(kl)
            values[f"joint gain at KL {kl:g}"] = fmean(gains) if gains else float("nan")
            values[f"seeds that gain at KL {kl:g}"] = float(sum(gain > 0 for gain in gains))
        values["seeds"] = float(len(paths["raw"]))
        return {name: value for name, value in (values | _alarm_values(paths)).items() if not isnan(value)}

    def gains(self, kl: float) -> list[float]:
        """LSC's `joint` less that of the raw sum at one KL, for the seeds where both come so far."""
        pairs = zip(self.paths["lsc"], self.paths["raw"], strict=True)
        found = [at_kl(lsc, kl, "joint") - at_kl(raw, kl, "joint") for lsc, raw in pairs]
        return [gain for gain in found if not isnan(gain)]

    def panels(self) -> list[Panel]:
        """Learnt against true reward, `joint` by KL, and what the alarms did."""
        panels = [_course(self.paths), _by_kl(self.paths), _alarm_table(self.paths)]
        learnt = f"rewards from {self._found['pairs']:,} comparisons"
        return [dataclasses.replace(panel, title=f"{panel.title}: {learnt}") for panel in panels]


@step()
def token_hacking(
    run: Run,
    seeds: int = 5,
    pairs: int = 2000,
    steps: int = 250,
    raw: Rloo = Rloo(gamma=0.05),  # noqa: B008 (frozen)
    lsc: Rloo = Rloo(gamma=0.02),  # noqa: B008
) -> Hacking:
    """Optimise policies of the token world against rewards learnt from pairs, as they are and with LSC.

    Both prices of KL are weak, so that there is something to hack.
    """
    rules: Mapping[str, tuple[Expression, Rloo]] = {"raw": (RAW, raw), "lsc": (LSC, lsc)}
    paths: dict[str, list[Path]] = {rule: [] for rule in rules}
    if seeds < 1:
        raise ConfigurationError(f"token_hacking got {seeds} seeds: it takes 1 or more")
    with run.bar("over-optimising", seeds * len(rules)) as bar:
        for seed in range(seeds):
            learnt = LearntWorld(seed, pairs)
            for rule, (expression, settings) in rules.items():
                home = run.scratch / f"{rule}-{seed}"
                paths[rule].append(optimise(learnt, expression, settings, home, steps=steps))
                bar.advance()
    (run.output / "paths.json").write_text(json.dumps({"pairs": pairs, "paths": paths}) + "\n", encoding="utf-8")
    return Hacking(run.output)


def _ends(paths: Sequence[Path]) -> dict[str, list[float]]:
    """Of every path: where it ends, its best true sum, how far it ends below it, and how near the learnt one's best."""
    return {
        "best true": [max(look["true"] for look in path) for path in paths],
        "true at the end": [path[-1]["true"] for path in paths],
        "true lost": [max(look["true"] for look in path) - path[-1]["true"] for path in paths],
        "learnt at the end": [path[-1]["learnt"] for path in paths],
        "learnt below its best": [max(look["learnt"] for look in path) - path[-1]["learnt"] for path in paths],
        "kl at the end": [path[-1]["kl"] for path in paths],
    }


def alarms(path: Path) -> dict[str, int | None]:
    """The look at which each alarm rings first."""
    return {
        "simulator": fallen(*([look[name] for look in path] for name in ("simulated", "simulated error", "learnt"))),
        "disagreement": outside([look["outside"] for look in path]),
    }


def _alarm_values(paths: Mapping[str, Sequence[Path]]) -> dict[str, float]:
    """Shares of runs: that lose a tenth of their best, warned in time; that lose none, with a false alarm."""
    values: dict[str, float] = {}
    for rule, several in paths.items():
        losses = [lost([look["true"] for look in path]) for path in several]
        values[f"{rule}/runs that lose a tenth"] = float(sum(loss is not None for loss in losses))
        rung = [alarms(path) for path in several]
        for kind in rung[0]:
            told = [(found[kind], loss) for found, loss in zip(rung, losses, strict=True)]
            in_time = [at is not None and at < loss for at, loss in told if loss is not None]
            false = [at is not None for at, loss in told if loss is None]
            values[f"{rule}/{kind} in time"] = fmean(in_time) if in_time else float("nan")
            values[f"{rule}/{kind} false alarms"] = fmean(false) if false else float("nan")
    return values


def _course(paths: Mapping[str, Sequence[Path]]) -> Curves:
    """The learnt and the true sum by update: means over seeds, with the least and the most."""
    series: dict[str, list[tuple[float, float]]] = {}
    bands: dict[str, list[tuple[float, float, float]]] = {}
    for rule, several in paths.items():
        for name in ("learnt", "true"):
            label = f"{rule}, {name}"
            at = [[look[name] for look in looks] for looks in zip(*several, strict=True)]
            steps = [look["step"] for look in several[0]]
            series[label] = [(x, fmean(values)) for x, values in zip(steps, at, strict=True)]
            bands[label] = [(x, min(values), max(values)) for x, values in zip(steps, at, strict=True)]
    note = "Sum of both rewards of the policy's answers, mean over seeds; bands reach from the worst to the best seed."
    return Curves(
        "Learnt and true reward while a policy is optimised", "update", "reward", series, bands=bands, note=note
    )


def _by_kl(paths: Mapping[str, Sequence[Path]]) -> Curves:
    """The chance that both properties are good, at equal KL."""
    series = {rule: list(_mean_at(several, range(1, 25))) for rule, several in paths.items()}
    note = "By the true rewards, mean over seeds, as far as every seed comes."
    return Curves("Both good, by KL to the base policy", "KL, nats", "chance that both are good", series, note=note)


def _mean_at(paths: Sequence[Path], kls: Iterable[float]) -> Iterable[tuple[float, float]]:
    for kl in kls:
        found = [at_kl(path, kl, "joint") for path in paths]
        if not any(isnan(value) for value in found):
            yield float(kl), fmean(found)


def _alarm_table(paths: Mapping[str, Sequence[Path]]) -> Table:
    rows: list[list[Any]] = []
    for rule, several in paths.items():
        for seed, path in enumerate(several):
            loss = lost([look["true"] for look in path])
            rang = [_told(path, at) for at in alarms(path).values()]
            rows.append([rule, seed, None if loss is None else int(path[loss]["step"]), *rang])
    columns = ["rule", "seed", "a tenth of the best is lost at update", "simulator rings", "disagreement rings"]
    note = "Update, and the true sum then as a share of the best so far. No update: it never happens."
    return Table("Alarms", columns, rows, note=note)


def _told(path: Path, at: int | None) -> str:
    if at is None:
        return "never"
    best = max(look["true"] for look in path[: at + 1])
    return f"{path[at]['step']:.0f} ({path[at]['true'] / best:.0%})"
