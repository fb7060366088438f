"""Files of settings: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from glasshouse.data.settings_file import SettingsFileError, read_settings_file

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


def _read(path: Path, content: str | bytes) -> object:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_settings_file(path)


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    wanted = {"a": {"b": [1, "é"]}}
    assert _read(tmp_path / "x.yaml", "a: &one {b: [1, é]}\n") == wanted
    assert _read(tmp_path / "x.json", '{"a": {"b": [1, "é"]}}') == wanted
    assert _read(tmp_path / "x.toml", 'a = {b = [1, "é"]}') == wanted
    assert _read(tmp_path / "x.yml", "rules: &r [1, 2]\nsame: *r\n") == {"rules": [1, 2], "same": [1, 2]}
    assert _read(tmp_path / "x.yaml", "") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, "spreads into more than 100,000 values"),
        ("&a\nstreams: *a\n", "an alias stands inside its own anchor"),
        ("x: [&b [*b]]", "line 1: an alias stands inside its own anchor"),
        ("a: 1\nb: 2\na: 3\n", "line 1: the key 'a' is there twice"),
        ("x: " + "[" * 5000, "nested too deep"),
        ("x: " + "[" * 150 + "]" * 150, "nested more than 100 deep"),
        ("published: 2026-13-45\n", "month must be in 1..12"),
        ("x: [", "line 1: expected the node content"),
        ("x: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("? [a]\n: 1\n", "line 1: found unhashable key"),
        (b"x: \x00", "special characters are not allowed"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(SettingsFileError) as told:
        _read(tmp_path / "x.yaml", content)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_other_forms_are_refused_likewise(tmp_path: Path) -> None:
    for name, content in {"x.json": "[" * 9999, "x.toml": "a = [", "y.toml": b"\xff", "x.ini": "a=1"}.items():
        with pytest.raises(SettingsFileError) as told:
            _read(tmp_path / name, content)
        assert "\n" not in str(told.value)
