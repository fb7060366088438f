"""The recipe `rewards`: the whole of it at a small size, its claims on made-up values, and at the size of the bars."""

from __future__ import annotations

import pytest

from glasshouse.alignment.rewards_steps import RewardFrontiers
from glasshouse.evaluation.steps import Evaluation, conclude
from glasshouse.recipes import rewards as room
from glasshouse.store.claims import check_claims
from glasshouse.store.execution import execute
from glasshouse.store.report import write_report
from glasshouse.store.step import order
from glasshouse.store.store import Store

BAR = [
    room.transform_before_the_sum, room.no_property_pays, room.worst_property_gains, room.centring_is_needed,
    room.after_the_sum_is_too_late, room.z_scores_do_not_replace_it,
]  # fmt: skip


def made(store: Store, **sizes: int) -> RewardFrontiers:
    (first, *_) = [n for n in order(room.rewards(**sizes)) if n._definition.name == "preview_worlds"]
    found = execute(first, store)
    assert isinstance(found, RewardFrontiers)
    return found


def test_the_frontiers_of_worlds_are_values_and_panels(tmp_path) -> None:
    found = made(Store(tmp_path), seeds=2, pairs=200, prompts=12, samples=128)
    seeds = [{(p.utility, round(p.kl, 3)): p for p in one.points if p.policy == "tilt"} for one in found.frontiers]
    joint = [points["LSC", 2.0].measures["joint"][0] for points in seeds]
    assert found.values["LSC/kl 2/joint"] == pytest.approx(sum(joint) / 2)
    gains = [points["LSC", 2.0].gains["joint"][0] for points in seeds]
    raw = [points["raw", 2.0].measures["joint"][0] for points in seeds]
    assert gains == pytest.approx([a - b for a, b in zip(joint, raw, strict=True)])
    assert found.values["gain/LSC/kl 2/joint/least"] == pytest.approx(min(gains))
    assert not any("kl 4" in name for name in found.values)  # 128 samples do not carry it
    titles = [panel.title for panel in found.panels()]
    assert "All properties good, at the same KL (2 reward models from 200 comparisons)" in titles
    assert any(title.startswith("Points that are not shown") for title in titles)


def test_the_conclusion_shows_claims_and_the_parts_show_themselves(tmp_path) -> None:
    store = Store(tmp_path)
    (first, *_) = [
        n for n in order(room.rewards(seeds=2, pairs=200, prompts=12, samples=128))
        if n._definition.name == "preview_worlds"
    ]  # fmt: skip
    found = execute(conclude({"two properties": first}, claims=[room.sigmoid_is_as_good, *BAR]), store)
    assert isinstance(found, Evaluation)
    assert {item["status"] for item in found.claims} == {"not measured"}  # KL 4 is beyond these samples
    assert found.panels() == []
    page = write_report(store, found.id, "rewards", "").read_text()
    assert "All properties good, at the same KL" in page
    assert "two properties/LSC/kl 2" not in page


def decided(claim, values: dict[str, float]) -> str:
    return str(check_claims([claim], values)[0]["status"])


def test_a_gain_is_asked_of_every_world() -> None:
    values = {
        f"two properties/gain/LSC/kl {kl}/joint/least": least for kl, least in {2: 0.011, 3: 0.021, 4: 0.031}.items()
    }
    assert decided(room.transform_before_the_sum, values) == "holds"
    values["two properties/gain/LSC/kl 3/joint/least"] = 0.019
    assert decided(room.transform_before_the_sum, values) == "does not hold"


def test_a_hacked_reward_has_to_look_its_best() -> None:
    values = {"training/raw/true lost": 5.0, "training/raw/learnt at the end": 10.0}
    assert decided(room.raw_rewards_are_hacked, values | {"training/raw/learnt below its best": 0.05}) == "holds"
    assert decided(room.raw_rewards_are_hacked, values | {"training/raw/learnt below its best": 1.0}) == "does not hold"


@pytest.mark.slow
def test_the_frontier_in_five_worlds(tmp_path) -> None:
    found = made(Store(tmp_path), seeds=5)
    values = {f"two properties/{name}": value for name, value in found.values.items()}
    assert {item["name"]: item["status"] for item in check_claims(BAR, values)} == {item.name: "holds" for item in BAR}
