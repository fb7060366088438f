"""Configurations are checked when built and have one canonical form; code fingerprints ignore what does not matter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from glasshouse.store.configuration import (
    Config,
    ConfigurationError,
    canonical,
    canonical_json,
    fingerprint,
    named_seed,
)
from glasshouse.store.source_code import _imports, _meaning, _source, _tree, code_fingerprint, reachable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Oven(Config):
    degrees: int = Field(180, ge=0, le=300)
    fan: bool = False


def test_errors_name_the_field_what_it_got_and_what_it_takes() -> None:
    with pytest.raises(ConfigurationError, match=r"Oven has no field 'heat' \(got 3\); it takes: degrees, fan"):
        Oven(heat=3)
    with pytest.raises(ConfigurationError, match=r"Oven.degrees got 999: input should be less than or equal to 300"):
        Oven(degrees=999)
    with pytest.raises(ConfigurationError, match=r"Oven.degrees got nan"):
        Oven(degrees=float("nan"))
    with pytest.raises(ConfigurationError, match="less than or equal to 300"):
        Oven().but(degrees=301)
    with pytest.raises(Exception, match="frozen"):
        Oven().degrees = 3


@given(VALUES)
def test_canonical_json_round_trips_and_does_not_depend_on_order(value: object) -> None:
    import json

    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


def test_canonical_refuses_what_has_no_written_form() -> None:
    assert canonical({"b": (1, Path("x")), "a": {2, 1}}) == {"b": [1, "x"], "a": [1, 2]}
    assert canonical(Oven()) == {"__type__": "Oven", "degrees": 180, "fan": False}
    for bad in (float("nan"), lambda: 0, b"x", object()):
        with pytest.raises(TypeError):
            canonical(bad)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_named_seeds_differ_by_name_and_are_stable() -> None:
    assert named_seed(0, "a") != named_seed(0, "b") != named_seed(1, "b")
    assert named_seed(7, "step", 3) == 1825947944158770574
    assert 0 <= named_seed(0, "x") < 2**63


def test_code_fingerprint_follows_imports_and_ignores_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "greenhouse"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "soil.py").write_text("DEPTH = 3\n")
    (package / "unused.py").write_text("X = 1\n")
    (package / "grow.py").write_text(
        '"""Doc."""\n\ndef grow(run):\n    """Doc."""\n    from greenhouse import soil\n    return soil.DEPTH\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def current() -> str:
        for cached in (code_fingerprint, reachable, _source, _tree, _meaning):
            cached.cache_clear()
        sys.modules.pop("greenhouse.grow", None)
        from greenhouse.grow import grow  # type: ignore[import-not-found]

        return code_fingerprint(grow)

    before = current()
    assert reachable("greenhouse.grow") == {"greenhouse", "greenhouse.grow", "greenhouse.soil"}
    assert "greenhouse.soil" in _imports("greenhouse.grow")
    text = (package / "grow.py").read_text()
    (package / "grow.py").write_text(text.replace("Doc.", "Another.") + "\n# a comment\n")
    (package / "unused.py").write_text("X = 2\n")
    assert current() == before
    (package / "soil.py").write_text("DEPTH = 4\n")
    assert current() != before
