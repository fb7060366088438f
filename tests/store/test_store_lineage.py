"""Lineage, differences, reports and claims of a small graph."""

from __future__ import annotations

import io
import json
from pathlib import Path

import prov.model
import pytest

from glasshouse.store.artifact import Artifact
from glasshouse.store.claims import Measures, Verdict, above, below, check_claims, claim
from glasshouse.store.execution import execute
from glasshouse.store.lineage import difference, mermaid, tree  # fmt: skip
from glasshouse.store.lineage import prov as prov_json
from glasshouse.store.panels import PNG, Bars, Curves, Numbers, Panel, Pictures, Samples, Table
from glasshouse.store.report import write_report
from glasshouse.store.step import Run, step
from glasshouse.store.store import Store


class Leaf(Artifact):
    def panels(self) -> list[Panel]:
        hostile = "<script>alert(1)</script>"
        return [
            Numbers("Figures", {"size": hostile}),
            Table("Rows", ["name", "n"], [[hostile, 3], ["b", 4]], details={0: [("example", hostile)]}, note=hostile),
            Curves("Loss", "step", "nats", {"train": [(0, 3.0), (10, 2.0)], hostile: [(0, 3.1), (10, 2.2)]}),
            Curves("Nothing", "step", "nats", {}),
            Curves("One point", "step", "nats", {"a": [(1, 1.0)]}, log_y=True),
            Bars("Bits", "bits", {"docs": {"model": 1.5, "unigram": 3.0}}),
            Samples("Text", [(hostile, hostile)]),
            Pictures("Seen", [(hostile, PNG + b"rest"), ("moving", b"GIF89a")]),
        ]


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="'a page' starts with b'<svg"):
        Pictures("Seen", [("a page", b"<svg onload='alert(1)'/>")])


@claim("two is below three", source="house")
def two_below_three(measures: Measures) -> Verdict:
    return below(measures["two"], 3, " bits")


@claim("two is above three")
def two_above_three(measures: Measures) -> Verdict:
    return above(measures["two"], 3)


@claim("four is below three")
def four_below_three(measures: Measures) -> Verdict:
    return below(measures["four"], 3)


@step()
def leaf(run: Run, text: str) -> Leaf:
    (run.output / "text").write_text(text)
    return Leaf(run.output)


@step()
def join(run: Run, left: Leaf, right: Leaf, by: str = " ", claims: list[object] | None = None) -> Leaf:
    (run.output / "text").write_text((left.path / "text").read_text() + by + (right.path / "text").read_text())
    (run.output / "claims.json").write_text(json.dumps(check_claims(claims or [], {"two": 2.0})))  # type: ignore[arg-type]
    return Leaf(run.output)


CLAIMS = [two_below_three, two_above_three, four_below_three]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_claims_hold_fail_or_were_not_measured() -> None:
    decided = check_claims(CLAIMS, {"two": 2.0})
    assert [item["status"] for item in decided] == ["holds", "does not hold", "not measured"]
    assert decided[0]["measured"] == "2 bits"
    assert decided[0]["expected"] == "< 3 bits"
    assert decided[2]["measured"] == "no value for four"


def test_tree_and_mermaid(store: Store) -> None:
    a = leaf("a")
    made = execute(join(join(a, leaf("b")), a), store)
    lines = list(tree(store, made.path.name))
    assert len(lines) == 5
    assert lines[0].startswith("Leaf ")
    assert lines[-1].startswith("└─ right: Leaf")
    assert lines[-1].endswith("(see above)")
    assert mermaid(store, made.path.name).count("-->|join|") == 4


def test_prov_is_read_by_the_reference_library(store: Store) -> None:
    made = execute(join(leaf("a"), leaf("b")), store)
    document = prov_json(store, made.path.name)
    read = prov.model.ProvDocument.deserialize(io.StringIO(json.dumps(document)), format="json")
    kinds = [type(record).__name__ for record in read.get_records()]
    assert kinds.count("ProvEntity") == 3
    assert kinds.count("ProvActivity") == 3
    assert kinds.count("ProvDerivation") == 2
    assert kinds.count("ProvUsage") == 2
    assert kinds.count("ProvGeneration") == 3


def test_difference_is_followed_to_its_cause(store: Store) -> None:
    one = execute(join(leaf("a"), leaf("b")), store)
    two = execute(join(leaf("a"), leaf("c")), store)
    lines = difference(store, one.path.name, two.path.name)
    assert "  configuration.text: 'b' → 'c'" in lines
    assert difference(store, one.path.name, one.path.name) == []


def test_report_is_one_safe_page(store: Store) -> None:
    made = execute(join(leaf("a"), leaf("b"), claims=CLAIMS), store)
    page = write_report(store, made.path.name, "trial", "A trial.", {"arguments": {"by": "x"}}).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("class='mark") == 3
    assert page.count("<img src='data:image/png;base64,") == page.count("<img src='data:image/gif;base64,") == 3
    for outside in ("http://", "https://", "src=", "@import"):
        assert outside not in page.replace("http-equiv", "").replace("src='data:image/", "")
    assert "glasshouse run trial --by x" in page
    assert "{{" not in page


def test_a_missing_input_is_told_not_hidden(store: Store) -> None:
    made = execute(join(leaf("a"), leaf("b")), store)
    gone = made.manifest["inputs"]["left"]["artifact"]
    (store.root / "artifacts" / gone / "manifest.json").unlink()
    assert store.verify(made.path.name) == [f"its input left ({gone}) is not in the store"]
    assert any("no longer in the store" in line for line in tree(store, made.path.name))


def test_changed_check_of_a_claim_runs_the_step_again(store: Store) -> None:
    first = execute(join(leaf("a"), leaf("b"), claims=[two_below_three]), store)
    second = execute(join(leaf("a"), leaf("b"), claims=[two_above_three]), store)
    assert first.id != second.id
