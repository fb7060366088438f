"""The cost ledger against sums done by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from glasshouse.store.panels import Curves, Table
from glasshouse.vision.mesh.amortisation import costs, mean_of, panels
from glasshouse.vision.mesh.ledger import Account, Ledger

TOGETHER = Account("all", 50, 1000, 100.0, 0.0, ((500.0, 0.4), (1000.0, 0.9)))
FIRST = Account("a", 1, 400, 8.0, 0.0, ((100.0, 0.2), (200.0, 0.6), (300.0, 1.0), (400.0, 0.7)))
SECOND = Account("b", 1, 400, 6.0, 0.0, ((100.0, 0.8), (200.0, 0.8), (300.0, 0.8), (400.0, 0.9)))


def test_the_way_to_a_quality_is_read_in_a_straight_line_and_once_is_enough() -> None:
    assert FIRST.images_to(0.8) == pytest.approx(250)
    assert FIRST.images_to(0.1) == pytest.approx(50)
    assert SECOND.images_to(0.8) == pytest.approx(100)
    assert TOGETHER.images_to(0.8) == pytest.approx(900)
    assert TOGETHER.images_to(0.95) is None
    assert FIRST.cpu_seconds_to(0.8) == pytest.approx(5)
    assert Account("none", 1, 10, 1.0, 0.0).images_to(0.1) is None


def test_prompts_alone_reach_a_quality_when_their_mean_does() -> None:
    mean = mean_of([FIRST, SECOND])
    assert mean.reached == ((100.0, 0.5), (200.0, pytest.approx(0.7)), (300.0, 0.9), (400.0, pytest.approx(0.8)))
    assert (mean.images, mean.cpu_seconds) == (400, 7.0)
    values = costs(Ledger([TOGETHER], [FIRST, SECOND]), 0.8)
    assert values["images/per prompt"] == pytest.approx(250)
    assert values["images/amortised"] == pytest.approx(18)
    assert values["images/ratio"] == pytest.approx(250 / 18)
    assert values["images/first"] == pytest.approx((250 + 100) / 2)
    assert values["cpu_seconds/ratio"] == pytest.approx(250 / 400 * 7 / (90 / 50))
    with pytest.raises(ValueError, match="after the same numbers of pictures"):
        mean_of([FIRST, TOGETHER])


def test_what_was_never_reached_has_no_ratio() -> None:
    assert "images/ratio" not in costs(Ledger([TOGETHER], [FIRST, SECOND]), 0.95)
    assert costs(Ledger([TOGETHER], []), 0.5) == {}


def test_panels_show_every_run_and_the_amortisation_curve() -> None:
    table, course, curve = panels(Ledger([TOGETHER], [FIRST, SECOND]), 0.8)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["all", "a", "b"]
    assert table.rows[0][-1] == 18
    assert isinstance(course, Curves)
    assert course.series["all"] == [(10.0, 0.4), (20.0, 0.9)]
    assert isinstance(curve, Curves)
    assert curve.series["one by one"][-1] == (50.0, pytest.approx(50 * 250))
    assert {y for _, y in curve.series["amortised"]} == {900.0}


def test_a_ledger_goes_through_a_file(tmp_path: Path) -> None:
    ledger = Ledger((TOGETHER,), (FIRST, SECOND))
    ledger.write(tmp_path / "ledger.json")
    assert Ledger.read(tmp_path / "ledger.json") == ledger
