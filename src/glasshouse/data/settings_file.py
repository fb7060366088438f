"""Files of settings that a person wrote in YAML, JSON or TOML, as plain values.

YAML is read as data and nothing else, and more strictly than it allows: a key that is there twice, an alias inside its
own anchor, and aliases that spread into more than `MOST_VALUES` values are refused.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson

MOST_VALUES = 100_000
DEEPEST = 100
SUFFIXES = (".yaml", ".yml", ".json", ".toml")


class SettingsFileError(ValueError):
    """A file of settings that cannot be read; the message says where and why."""


def read_settings_file(path: str | Path) -> Any:
    """The values in a file, by its suffix; `None` for an empty YAML file.

    Raises `SettingsFileError`, in one line.
    """
    import tomllib

    file = Path(path)
    content = file.read_bytes()
    try:
        if file.suffix == ".toml":
            return tomllib.loads(content.decode())
        if file.suffix == ".json":
            return orjson.loads(content)
        if file.suffix in (".yaml", ".yml"):
            return _yaml(content)
    except RecursionError:
        raise SettingsFileError(f"{path} is not readable: nested too deep") from None
    except ValueError as error:  # of the three readers, and of text that is not UTF-8
        raise SettingsFileError(f"{path} is not readable: {' '.join(str(error).split())}") from None
    raise SettingsFileError(f"{path}: settings are written in {', '.join(SUFFIXES)}")


def _yaml(content: bytes) -> Any:
    import yaml

    loader: Any = None
    try:
        loader = yaml.SafeLoader(content)
        root = loader.get_single_node()
        if root is None:
            return None
        _count(root, {}, 0)
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SettingsFileError(f"line {mark.line + 1}: {error.problem}" if mark else str(error.problem)) from None
    except yaml.YAMLError as error:
        raise SettingsFileError(str(error)) from None
    finally:
        if loader is not None:
            loader.dispose()


def _count(node: Any, counts: dict[int, int], depth: int) -> int:
    """How many values a node is, its aliases written out; 0 in `counts` marks a node that is being counted."""
    line = f"line {node.start_mark.line + 1}"
    if counts.get(id(node)) == 0:
        raise SettingsFileError(f"{line}: an alias stands inside its own anchor")
    if depth > DEEPEST:
        raise SettingsFileError(f"{line}: nested more than {DEEPEST} deep")
    if id(node) not in counts:
        counts[id(node)] = 0
        counts[id(node)] = 1 + sum(_count(below, counts, depth + 1) for below in _below(node))
        if counts[id(node)] > MOST_VALUES:
            raise SettingsFileError(f"{line}: spreads into more than {MOST_VALUES:,} values")
    return counts[id(node)]


def _below(node: Any) -> list[Any]:
    if node.id == "sequence":
        return list(node.value)
    if node.id == "scalar":
        return []
    for key, count in Counter(key.value for key, _ in node.value if key.id == "scalar").items():
        if count > 1:
            raise SettingsFileError(f"line {node.start_mark.line + 1}: the key {key!r} is there twice")
    return [one for pair in node.value for one in pair]
