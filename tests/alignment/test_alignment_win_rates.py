"""Numbers, figures and tables of win rates, on curves that can be read off."""

import math

import pytest

from glasshouse.alignment.interaction import Curve
from glasshouse.alignment.win_rates import labels_figure, panels, queries_to, values

ASKED = [0, 10, 20, 30, 40]


def curve(*rates: float) -> Curve:
    return Curve(ASKED, [0.5, *rates], oracle=0.9)


FAST = {0: curve(0.8, 0.845, 0.86, 0.86), 1: curve(0.6, 0.85, 0.87, 0.9)}
SLOW = {0: curve(0.6, 0.7, 0.75, 0.8), 1: curve(0.5, 0.6, 0.8, 0.86)}
NEVER = {0: curve(0.5, 0.5, 0.5, 0.5), 1: curve(0.6, 0.6, 0.6, 0.74)}


def test_values_of_all_seeds_and_of_each():
    found = values({"fast": FAST, "slow": SLOW})
    assert found["fast/mean/seed 0"] == pytest.approx(0.84125)
    assert found["fast/mean"] == pytest.approx((0.84125 + 0.805) / 2)
    assert (found["slow/end"], found["slow/end/seed 1"]) == (pytest.approx(0.83), 0.86)
    assert found["slow/last quarter/seed 0"] == 0.8
    assert found["fast/queries to 60%"] == pytest.approx((10 + 20) / 2)
    assert found["fast/queries to 85%"] == pytest.approx((20 + 20) / 2)


def test_a_seed_that_never_came_there_counts_as_more_than_any():
    assert queries_to(SLOW, 0.85) == math.inf
    assert queries_to({0: SLOW[0], 1: SLOW[1], 2: FAST[0]}, 0.85) == 40
    found = values({"never": NEVER})
    assert "never/queries to 85%" not in found


def test_the_figures_say_what_the_curves_say():
    rates, labels, table = panels("World", {"fast": FAST, "slow": SLOW, "never": NEVER})
    assert rates.series["fast"][0] == (10, pytest.approx(0.7))
    assert rates.bands["fast"][0] == (10, pytest.approx(0.6), pytest.approx(0.8))  # 0.8 and 0.6: sd 0.141, error 0.1
    assert rates.levels == {"oracle": pytest.approx(0.9)}
    assert dict(labels.series["fast"])[60.0] == 15
    assert max(share for share, _ in labels.series["slow"]) < 85
    by_rule = {row[0]: row[-1] for row in table.rows}
    assert by_rule == {"fast": "20", "slow": "never", "never": "never"}
    assert "never" not in labels_figure("World", {"never": {0: curve(0.5, 0.5, 0.5, 0.5)}}).series
