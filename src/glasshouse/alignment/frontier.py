"""Which win rates can be had at which KL, before anything is trained.

Over cached samples of the base policy the KL-regularised optimum of any utility is exact (`tilt`), and so is best of k.
A frontier is what several utilities reach at the same KL:

    win/p           chance that a response of the policy beats one of the base policy on property p, by Bradley and
                    Terry's rule on the judge's reward: E sigma(r(y) - r(y')), a mean of chances, not of coin flips
    joint           E prod_p sigma(r_p - q_p), all properties good at once; q_p: the prompt's 85th percentile
    worst           E min_p (r_p - q_p)
    improvement/p   per prompt E_pi r - E_base r: mean, standard deviation and 10th percentile over prompts

The judge's rewards are true ones where a world or a larger model knows them; where only the scores that are optimised
are at hand, the picture is an optimist's, and says so. Bands are a bootstrap over prompts, with every draw interpolated
to its own KL; gains over the first utility are paired. No policy over n samples is further than ln n from them; points
that rest on fewer than a handful of effective samples are left out and named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from glasshouse.alignment.best_of import best_of
from glasshouse.alignment.tilt import Reweighted, log_base, reachable_kl, tilt, trusted_kl
from glasshouse.alignment.transforms import PerPrompt, RewardError, Rewards, centred, quantile
from glasshouse.store.configuration import Config, named_seed

AGREEMENT_SAMPLES = 64
"""Samples of a prompt whose pairs are compared for the agreement of scores with a judge."""

NOTHING = 1e-6


class Preview(Config):
    """Where a frontier is looked at."""

    kl: tuple[Annotated[float, Field(gt=0)], ...] = (0.25, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5)
    best_of: tuple[Annotated[int, Field(ge=1)], ...] = (2, 4, 8, 16, 32, 64)
    level: float = Field(0.85, gt=0, lt=1, description="quantile of the judge's base rewards that counts as good")
    resamples: int = Field(400, ge=20, description="draws of the bootstrap over prompts")
    coverage: float = Field(0.95, gt=0, lt=1, description="of the bands")
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Point:
    """One policy: its measures, their bands and its paired gains over the first utility, as (value, low, high)."""

    utility: str
    policy: str
    kl: float
    gamma: float | None
    measures: Mapping[str, tuple[float, float, float]]
    gains: Mapping[str, tuple[float, float, float]]


@dataclasses.dataclass(frozen=True)
class Frontier:
    """Points of every utility, in the order they were given; `left_out` says which were not and why.

    `accuracy` of the reward models by property: their agreement with the judge on pairs of samples, or what was given.
    `own_judge`: properties whose scores were judged by themselves.
    """

    points: tuple[Point, ...]
    left_out: tuple[str, ...]
    accuracy: Mapping[str, float]
    own_judge: tuple[str, ...]
    prompts: int
    samples: int
    trusted_kl: float

    def as_json(self) -> dict[str, Any]:
        """Plain data, as written into reports."""
        return dataclasses.asdict(self)


Statistic = tuple[str, str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]
"""Name of a measure, the array per prompt that it is taken from, and how (over the last axis)."""


def frontier(
    utilities: Mapping[str, Rewards],
    judge: Mapping[str, Rewards],
    settings: Preview | None = None,
    *,
    scores: Mapping[str, Rewards] | None = None,
    accuracy: Mapping[str, float] | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> Frontier:
    """What policies over the base samples reach.

    Args:
        utilities: by name, [prompts, samples] each; the first is what the others are compared with. A sample that one
            of them has dropped (-inf) is left out for all.
        judge: rewards of every property that the policies are judged by.
        scores: the rewards that the utilities were made from, for every property that has another judge.
        accuracy: of the reward models on held-out comparisons; measured as agreement with the judge by default.
        advance: told 1 after every utility.

    Raises `RewardError` for shapes that differ, judges that are not finite, and utilities without any point.
    """
    chosen = settings or Preview()
    kept = _kept(utilities, judge)
    values = _values(judge, kept, chosen.level)
    statistics = _statistics(judge)
    limit = trusted_kl(int(kept.sum(1).min()))
    found: dict[str, list[tuple[str, Reweighted]]] = {}
    left_out: list[str] = []
    for name, utility in utilities.items():
        found[name] = _policies(name, utility.masked_fill(~kept, -torch.inf), chosen, limit, left_out)
        advance(1)
    points = _points(found, values, statistics, chosen)
    own = tuple(name for name in judge if name not in (scores or {}))
    agreed = {p: agreement(scores[p], judge[p], kept) for p in judge if p in scores} if scores is not None else {}
    return Frontier(
        tuple(points), tuple(left_out), dict(accuracy or agreed), own, len(kept), kept.shape[1], limit
    )  # fmt: skip


def win_chances(rewards: Rewards, kept: Tensor) -> Rewards:
    """E over base samples y' of sigma(r(y) - r(y')), for every sample y."""
    rows = []
    for row, mask in zip(rewards.float(), kept, strict=True):
        rows.append(torch.sigmoid(row[:, None] - row[mask][None, :]).mean(1))
    return torch.stack(rows).double()


def agreement(scores: Rewards, judge: Rewards, kept: Tensor) -> float:
    """Share of pairs of samples of a prompt that scores and judge order alike; a tie of the scores counts half."""
    alike = compared = 0.0
    for row, true, mask in zip(scores.double(), judge.double(), kept, strict=True):
        a, b = (values[mask][:AGREEMENT_SAMPLES] for values in (row, true))
        differ = (b[:, None] != b[None, :]).double()
        product = torch.sign(a[:, None] - a[None, :]) * torch.sign(b[:, None] - b[None, :])
        alike += float(((1 + product) / 2 * differ).sum())
        compared += float(differ.sum())
    return alike / compared if compared else 0.5


def _kept(utilities: Mapping[str, Rewards], judge: Mapping[str, Rewards]) -> Tensor:
    if not utilities or not judge:
        raise RewardError("a frontier takes one utility and one judged property at least")
    everything = {**utilities, **{f"judge of {name}": value for name, value in judge.items()}}
    shapes = {name: tuple(value.shape) for name, value in everything.items()}
    if len(set(shapes.values())) > 1:
        raise RewardError(f"utilities and judges differ in shape: {shapes}")
    kept = torch.stack([log_base(utility).isfinite() for utility in utilities.values()]).all(0)
    if (few := (kept.sum(1) < 2).nonzero()).numel():
        raise RewardError(f"prompt {int(few[0])} has fewer than 2 samples that every utility keeps")
    for name, value in judge.items():
        if bool((~value.isfinite() & kept).any()):
            prompt, sample = (~value.isfinite() & kept).nonzero()[0].tolist()
            raise RewardError(f"the judge's reward {name!r} of sample {sample} of prompt {prompt} is not finite")
    return kept


def _values(judge: Mapping[str, Rewards], kept: Tensor, level: float) -> dict[str, Rewards]:
    """Values of every sample whose expectations are the measures."""
    known = {name: value.double().masked_fill(~kept, torch.nan) for name, value in judge.items()}
    distance = torch.stack([centred(value, quantile(value, level)) for value in known.values()])
    values = {f"win/{name}": win_chances(value, kept) for name, value in known.items()}
    values |= {"joint": torch.sigmoid(distance).prod(0), "worst": distance.amin(0)}
    values |= {f"improvement/{name}": centred(value, value.nanmean(1)) for name, value in known.items()}
    return {name: value.nan_to_num(nan=0.0) for name, value in values.items()}


def _statistics(judge: Mapping[str, Rewards]) -> list[Statistic]:
    means = [*(f"win/{name}" for name in judge), "joint", "worst", "kl"]
    found: list[Statistic] = [(name, name, lambda x: x.mean(-1)) for name in means]
    for name in (f"improvement/{name}" for name in judge):
        found.append((f"{name}/mean", name, lambda x: x.mean(-1)))
        found.append((f"{name}/sd", name, lambda x: x.std(-1)))
        found.append((f"{name}/p10", name, lambda x: np.quantile(x, 0.1, axis=-1)))
    return found


def _policies(
    name: str, utility: Rewards, settings: Preview, limit: float, left_out: list[str]
) -> list[tuple[str, Reweighted]]:
    """The policies of a utility that its samples carry, by what they are called."""
    reachable = reachable_kl(utility)
    if reachable < NOTHING:
        raise RewardError(f"{name!r} is the same for all samples of every prompt: it has nothing to choose")
    found: list[tuple[str, Reweighted]] = []
    for kl in sorted(settings.kl):
        if kl > limit:
            left_out.append(f"{name}, KL {kl:g}: too few effective samples beyond {limit:.2f}")
        elif kl >= reachable:
            left_out.append(f"{name}, KL {kl:g}: its best samples are tied, it reaches {reachable:.2f}")
        else:
            found.append(("tilt", tilt(utility, kl=kl)))
    for k in settings.best_of:
        policy = best_of(utility, k)
        if float(policy.kl.mean()) <= limit:
            found.append((f"best of {k}", policy))
        else:
            left_out.append(f"{name}, best of {k}: too few effective samples beyond KL {limit:.2f}")
    if not found:
        raise RewardError(f"no point of {name!r} rests on enough samples: {'; '.join(left_out)}. Draw more per prompt")
    return found


def _points(
    found: Mapping[str, list[tuple[str, Reweighted]]],
    values: Mapping[str, Rewards],
    statistics: list[Statistic],
    settings: Preview,
) -> list[Point]:
    prompts = len(next(iter(values.values())))
    random = np.random.default_rng(named_seed(settings.seed, "bootstrap"))
    rows = np.concatenate([np.arange(prompts)[None], random.integers(0, prompts, (settings.resamples, prompts))])
    draws = {  # utility -> measure -> [draws, policies]; the first draw is the prompts as they are
        name: _draws([policy for _, policy in policies], values, statistics, rows) for name, policies in found.items()
    }
    first = next(iter(draws))
    points = []
    for name, policies in found.items():
        tilted = [index for index, (kind, _) in enumerate(policies) if kind == "tilt"]
        for index, (kind, policy) in enumerate(policies):
            kl = float(draws[name]["kl"][0, index])
            along = tilted if kind == "tilt" else [index]
            own = {m: _at(draws[name], m, along, index, kl) for m in draws[name] if m != "kl"}
            other = {} if name == first else _same_kl(draws[first], found[first], kl)
            gains = {m: own[m] - value for m, value in other.items()}
            points.append(
                Point(
                    name, kind, kl, policy.gamma,
                    {m: _band(value, settings.coverage) for m, value in own.items()},
                    {m: _band(value, settings.coverage) for m, value in gains.items()},
                )
            )  # fmt: skip
    return points


def _draws(
    policies: list[Reweighted], values: Mapping[str, Rewards], statistics: list[Statistic], rows: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    expected: dict[str, PerPrompt] = {}
    for name, value in values.items():
        expected[name] = torch.stack([policy.mean(value) for policy in policies], 1)
    expected["kl"] = torch.stack([policy.kl for policy in policies], 1)
    return {name: reduce(expected[of].numpy().T[:, rows]).T for name, of, reduce in statistics}


def _at(
    draws: Mapping[str, NDArray[np.float64]], measure: str, along: list[int], index: int, kl: float
) -> NDArray[np.float64]:
    """A measure at a KL in every draw, interpolated along the utility's own curve; alone, as it is."""
    if len(along) < 2:
        return draws[measure][:, index]
    return _interpolated(kl, draws["kl"][:, along], draws[measure][:, along])


def _same_kl(
    draws: Mapping[str, NDArray[np.float64]], policies: list[tuple[str, Reweighted]], kl: float
) -> dict[str, NDArray[np.float64]]:
    """The first utility's measures at a KL in every draw; none where its curve does not reach so far."""
    along = [index for index, (kind, _) in enumerate(policies) if kind == "tilt"]
    whole = draws["kl"][0, along]
    if len(along) < 2 or not whole[0] - 1e-6 <= kl <= whole[-1] + 1e-6:
        return {}
    return {measure: _at(draws, measure, along, along[0], kl) for measure in draws if measure != "kl"}


def _interpolated(kl: float, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row by row, linear between the two nearest points, and on from them at the ends."""
    after = (x < kl).sum(1, keepdims=True).clip(1, x.shape[1] - 1)
    (x0, y0), (x1, y1) = ([np.take_along_axis(z, at, 1)[:, 0] for z in (x, y)] for at in (after - 1, after))
    found: NDArray[np.float64] = y0 + (y1 - y0) * (kl - x0) / np.maximum(x1 - x0, 1e-12)
    return found


def _band(draws: NDArray[np.float64], coverage: float) -> tuple[float, float, float]:
    low, high = np.quantile(draws[1:], [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(draws[0]), float(low), float(high)
