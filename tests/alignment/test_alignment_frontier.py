"""The frontier: measures against enumeration, bands against resampling with new policies, what is left out and why."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from glasshouse.alignment.algebra import AfterSum, Good, Reward, total
from glasshouse.alignment.combination import references_from, utility
from glasshouse.alignment.frontier import Frontier, Preview, agreement, frontier
from glasshouse.alignment.tilt import tilt
from glasshouse.alignment.transforms import LogSigmoid, RewardError, ZScore
from glasshouse.alignment.worlds.two_properties import (
    COSINE,
    PROPERTIES,
    TwoProperties,
    judged_samples,
    make_world,
    responses,
)

EXPRESSIONS = {
    "raw": total(Reward("helpful"), Reward("harmless")),
    "LSC": Good("helpful") & Good("harmless"),
    "z": total(Reward("helpful", ZScore()), Reward("harmless", ZScore())),
    "uncentred": total(Reward("helpful", LogSigmoid(None)), Reward("harmless", LogSigmoid(None))),
    "after": AfterSum(PROPERTIES),
}


def rewards(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def at(found: Frontier, name: str, kl: float) -> dict[str, float]:
    (point,) = [p for p in found.points if p.utility == name and p.policy == "tilt" and abs(p.kl - kl) < 1e-4]
    return {measure: value[0] for measure, value in point.measures.items()}


def test_measures_are_what_enumerating_pairs_gives() -> None:
    a, b = rewards(0, 3, 12), rewards(1, 3, 12)
    found = frontier({"sum": a + b}, {"a": a, "b": b}, Preview(kl=(0.5,), best_of=(), resamples=20))
    weights = tilt(a + b, kl=0.5).probabilities.numpy()
    wins, joint, worst, improvement = [], [], [], []
    for x in range(3):
        rows = [values[x].numpy() for values in (a, b)]
        q = [np.quantile(row, 0.85) for row in rows]
        for i in range(12):
            w = weights[x, i]
            wins.append(w * np.mean([1 / (1 + math.exp(rows[0][j] - rows[0][i])) for j in range(12)]))
            joint.append(w * np.prod([1 / (1 + math.exp(c - row[i])) for row, c in zip(rows, q, strict=True)]))
            worst.append(w * min(row[i] - c for row, c in zip(rows, q, strict=True)))
        improvement.append(float(weights[x] @ rows[1] - rows[1].mean()))
    measures = at(found, "sum", 0.5)
    assert measures["win/a"] == pytest.approx(sum(wins) / 3, abs=1e-6)
    assert measures["joint"] == pytest.approx(sum(joint) / 3, abs=1e-9)
    assert measures["worst"] == pytest.approx(sum(worst) / 3, abs=1e-9)
    assert measures["improvement/b/mean"] == pytest.approx(np.mean(improvement), abs=1e-9)
    assert measures["improvement/b/sd"] == pytest.approx(np.std(improvement), abs=1e-9)
    assert measures["improvement/b/p10"] == pytest.approx(np.quantile(improvement, 0.1), abs=1e-9)


def test_bands_are_those_of_tilting_anew_in_every_draw_of_prompts() -> None:
    a = rewards(0, 60, 64) * torch.linspace(0.3, 2, 60, dtype=torch.float64)[:, None]
    found = frontier({"a": a}, {"a": a}, Preview(kl=(0.75, 1, 1.25), best_of=(), resamples=400))
    (point,) = [p for p in found.points if abs(p.kl - 1) < 1e-4]
    random = np.random.default_rng(5)
    draws = []
    for _ in range(400):
        chosen = torch.from_numpy(random.integers(0, 60, 60))
        draws.append(float(tilt(a[chosen], kl=1.0).mean(a[chosen] - a[chosen].mean(1, keepdim=True)).mean()))
    value, low, high = point.measures["improvement/a/mean"]
    expected = np.quantile(draws, [0.025, 0.975])
    width = expected[1] - expected[0]
    assert value == pytest.approx(np.mean(draws), abs=0.1 * width)
    assert (low, high) == (pytest.approx(expected[0], abs=0.2 * width), pytest.approx(expected[1], abs=0.2 * width))


def test_a_utility_gains_nothing_over_itself_and_best_of_k_nothing_over_the_optimum() -> None:
    a = rewards(0, 30, 256)
    found = frontier({"a": a, "again": 3 * a}, {"a": a}, Preview(kl=(0.5, 1, 2, 3), best_of=(2, 8), resamples=40))
    for point in found.points:
        assert point.gains == {} or point.utility == "again"
        for measure, (gain, low, high) in point.gains.items():
            assert low - 1e-12 <= gain <= high + 1e-12
            if point.policy == "tilt":
                assert gain == pytest.approx(0, abs=1e-9)
            elif measure == "improvement/a/mean":  # linear interpolation of a concave curve lies a little below it
                assert gain < 0.02


def test_points_beyond_what_samples_carry_are_named_not_shown() -> None:
    a = rewards(0, 10, 64)
    found = frontier({"a": a}, {"a": a}, Preview(kl=(1, 2, 3, 4), best_of=(4, 64), resamples=20))
    assert found.trusted_kl == pytest.approx(math.log(64 / 5))
    assert max(point.kl for point in found.points) <= found.trusted_kl
    assert [text.split(":")[0] for text in found.left_out] == ["a, KL 3", "a, KL 4", "a, best of 64"]
    flat = frontier({"a": a, "coarse": (a > 1).double()}, {"a": a}, Preview(kl=(1, 2.5), best_of=(2,), resamples=20))
    assert any("coarse, KL 2.5: its best samples are tied" in text for text in flat.left_out)


def test_the_scores_of_a_judge_and_of_itself() -> None:
    a = rewards(0, 10, 64)
    settings = Preview(kl=(1,), best_of=(), resamples=20)
    assert frontier({"a": a}, {"a": a}, settings).own_judge == ("a",)
    noisy = a + rewards(1, 10, 64)
    found = frontier({"a": noisy}, {"a": a}, settings, scores={"a": noisy})
    assert found.own_judge == ()
    pairs = [
        (float(noisy[x, i] - noisy[x, j]) > 0) == (float(a[x, i] - a[x, j]) > 0)
        for x in range(10) for i in range(64) for j in range(i)
    ]  # fmt: skip
    assert found.accuracy["a"] == pytest.approx(np.mean(pairs))
    assert agreement(torch.zeros(10, 64), a, torch.ones(10, 64, dtype=torch.bool)) == 0.5
    assert frontier({"a": noisy}, {"a": a}, settings, scores={"a": noisy}, accuracy={"a": 0.7}).accuracy == {"a": 0.7}
    json.dumps(found.as_json(), allow_nan=False)


def test_dropped_samples_are_left_out_of_every_utility_and_of_the_base() -> None:
    a = rewards(0, 6, 40)
    settings = Preview(kl=(0.5, 1), best_of=(2,), resamples=20)
    holes = torch.cat([a, torch.full((6, 3), -torch.inf)], 1)
    judge = torch.cat([a, torch.full((6, 3), torch.nan)], 1)
    whole = frontier({"a": a, "b": -a}, {"a": a}, settings)
    found = frontier({"a": holes, "b": torch.cat([-a, torch.ones(6, 3)], 1)}, {"a": judge}, settings)
    for one, other in zip(whole.points, found.points, strict=True):
        assert one.measures == pytest.approx({m: pytest.approx(v) for m, v in other.measures.items()})


def test_what_gives_no_frontier_is_refused() -> None:
    a, settings = rewards(0, 4, 32), Preview(kl=(1,), best_of=(), resamples=20)
    with pytest.raises(RewardError, match="one utility and one judged property"):
        frontier({}, {"a": a}, settings)
    with pytest.raises(RewardError, match="differ in shape"):
        frontier({"a": a}, {"a": a[:, :5]}, settings)
    bad = a.clone()
    bad[2, 3] = math.nan
    with pytest.raises(RewardError, match="reward 'a' of sample 3 of prompt 2 is not finite"):
        frontier({"a": a}, {"a": bad}, settings)
    with pytest.raises(RewardError, match="nothing to choose"):
        frontier({"a": torch.ones(4, 32)}, {"a": a}, settings)
    with pytest.raises(RewardError, match=r"no point of 'a' .* too few effective samples"):
        frontier({"a": a[:, :6]}, {"a": a[:, :6]}, settings)


def test_the_world_is_the_one_of_its_equations() -> None:
    world = make_world(3)
    w = [world.weights[name] for name in PROPERTIES]
    assert float(w[0] @ w[1]) == pytest.approx(COSINE)
    assert [float(v.norm()) for v in w] == pytest.approx([1, 1])
    features = torch.zeros(13, dtype=torch.float64)
    features[12] = 2.5
    assert float(world.reward("helpful", features)) == pytest.approx(0.8 * 2.5 - 0.48 * 4)
    features[:12] = w[0]
    assert float(world.reward("harmless", features)) == pytest.approx(1.5 * COSINE + 0.08)
    drawn = responses(3, "x", 400, 300)
    between = drawn[..., :12].mean(1)
    assert float(between.var()) == pytest.approx(0.49, abs=0.03)
    assert float((drawn[..., :12] - between[:, None]).var()) == pytest.approx(1, abs=0.03)


def world(**changes: int) -> tuple[Frontier, dict[str, float]]:
    judged = judged_samples(TwoProperties(**changes))
    utilities = {
        name: utility(item, judged.scores, references_from(item, judged.scores)) for name, item in EXPRESSIONS.items()
    }
    settings = Preview(kl=(1, 2, 3, 4), best_of=(), resamples=20)
    return frontier(utilities, judged.truth, settings, scores=judged.scores), dict(judged.accuracy)


def test_lsc_reaches_more_than_the_raw_sum_at_the_same_kl() -> None:
    found, accuracy = world(seed=11, prompts=60)
    assert all(0.74 < value < 0.84 for value in accuracy.values())
    for kl, gain in {2: 0.01, 3: 0.02, 4: 0.03}.items():
        raw, lsc, z = (at(found, name, kl) for name in ("raw", "LSC", "z"))
        assert lsc["joint"] - raw["joint"] >= gain
        assert sum(lsc[f"win/{name}"] - raw[f"win/{name}"] for name in PROPERTIES) > 0.01
        assert all(at(found, name, kl)["joint"] < lsc["joint"] for name in ("uncentred", "after"))
        assert abs(z["joint"] - raw["joint"]) <= 0.005


def test_a_world_is_a_function_of_its_seed() -> None:
    small = {"prompts": 8, "samples": 32, "pairs": 50, "held_out_pairs": 50}
    one, two, other = (judged_samples(TwoProperties(seed=seed, **small)) for seed in (1, 1, 2))
    assert torch.equal(one.scores["helpful"], two.scores["helpful"])
    assert one.accuracy == two.accuracy
    assert not torch.equal(one.truth["helpful"], other.truth["helpful"])
