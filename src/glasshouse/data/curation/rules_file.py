"""Rules by name or from a file: one rule per line, or YAML or TOML with a section for every source.

    default: dolma_web                  # sources that are not named
    stdlib: dolma_code                  # a published set
    chat: none                          # no rules
    forum:                              # a published set, changed
      rules: dolma_web
      without: ["word_count < 50"]
      remove: ["word_count < 10", "pii_count > 2"]
    books: ["word_count < 25"]          # rules of one's own

A mistake is refused with the file, the line (of YAML) and the key.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glasshouse.data.curation.rules import RULES, Rule, RuleSet, RuleSyntaxError, SourceRules, rule

DEFAULT = "default"
_SECTIONS = (".yaml", ".yml", ".toml")
_KEYS = ("rules", "without", "remove")
_DEEPEST = 3
"""Source, key, position in a list."""


def rules_named(name: str, more: Sequence[str] = ()) -> SourceRules | RuleSet | None:
    """A published set of rules, or those of a file; `none` is no rules.

    Args:
        name: one of `RULES`, "none", a file with a rule per line (`#` begins a comment), or one with a section for
            every source (.yaml, .toml).
        more: rules to add to every set.

    Raises:
        RuleSyntaxError: naming what is not a rule and where it stands, or the sets there are.
    """
    added = tuple(rule(text) for text in more)
    if name in RULES:
        return with_rules(RULES[name], added)
    if name == "none":
        return RuleSet(name="given", rules=added) if added else None
    path = Path(name)
    if not path.is_file():
        raise RuleSyntaxError(f"no rules are called {name!r}: {_near(name, (*RULES, 'none'))}, or give a file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RuleSyntaxError(f"{path} is not a text file of rules: {error}") from None
    if path.suffix in _SECTIONS:
        return with_rules(_sections(path, text), added)
    return RuleSet(name=path.stem, rules=(*_lines(path, text), *added))


def with_rules(rules: SourceRules | RuleSet, added: tuple[Rule, ...]) -> SourceRules | RuleSet:
    """`rules` with more of them in every set."""
    if not added:
        return rules
    if isinstance(rules, RuleSet):
        return RuleSet(name=f"{rules.name} and given", rules=rules.rules + added)
    by_source = {source: with_rules(rule_set, added) for source, rule_set in rules.by_source.items()}
    return SourceRules(default=with_rules(rules.default, added), by_source=by_source)


def _lines(path: Path, text: str) -> list[Rule]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        written = line.partition("#")[0].strip()
        try:
            found += [rule(written)] if written else []
        except RuleSyntaxError as error:
            raise RuleSyntaxError(f"{path} line {number}: {error}") from None
    return found


def _sections(path: Path, text: str) -> SourceRules:
    values, lines = _toml(path, text) if path.suffix == ".toml" else _yaml(path, text)
    file = _File(path, lines)
    if not isinstance(values, dict):
        raise file.wrong((), "write 'default:' and a section for every source")
    if DEFAULT not in values:
        raise file.wrong((), f"it has no {DEFAULT!r}, the rules of sources that are not named; 'none' is no rules")
    sets = {source: _section(file, source, value) for source, value in values.items()}
    return SourceRules(default=sets.pop(DEFAULT), by_source=sets)


class _File:
    """Says where in a file something is wrong."""

    def __init__(self, path: Path, lines: dict[tuple[Any, ...], int]) -> None:
        self.path, self.lines = path, lines

    def wrong(self, place: tuple[Any, ...], message: str) -> RuleSyntaxError:
        """The error about a value, by the keys that lead to it."""
        line = f" line {self.lines[place]}" if place in self.lines else ""
        keys = f", {'.'.join(map(str, place))}" if place else ""
        return RuleSyntaxError(f"{self.path}{line}{keys}: {message}")


def _section(file: _File, source: str, value: Any) -> RuleSet:
    """The rules of one source."""
    name = f"{file.path.stem}: {source}"
    if not isinstance(value, dict):
        return RuleSet(name=name, rules=_rules(file, (source,), value))
    for key in value:
        if key not in _KEYS:
            raise file.wrong((source, key), f"there is no such key: {_near(str(key), _KEYS)}")
    kept = _rules(file, (source, "rules"), value.get("rules", []))
    for position, dropped in enumerate(_listed(file, (source, "without"), value.get("without", []))):
        if dropped.name not in [one.name for one in kept]:
            known = _near(dropped.name, [one.name for one in kept])
            raise file.wrong((source, "without", position), f"the rules have no {dropped.name!r}: {known}")
        kept = tuple(one for one in kept if one.name != dropped.name)
    return RuleSet(name=name, rules=(*kept, *_listed(file, (source, "remove"), value.get("remove", []))))


def _rules(file: _File, place: tuple[Any, ...], value: Any) -> tuple[Rule, ...]:
    """The rules of a published set, or those of a list."""
    if not isinstance(value, str):
        return _listed(file, place, value)
    sets = [name for name, rules in RULES.items() if isinstance(rules, RuleSet)]
    found = RULES.get(value)
    if value == "none":
        return ()
    if not isinstance(found, RuleSet):
        raise file.wrong(place, f"no rules for one source are called {value!r}: {_near(value, (*sets, 'none'))}")
    return found.rules


def _listed(file: _File, place: tuple[Any, ...], value: Any) -> tuple[Rule, ...]:
    if not isinstance(value, list):
        raise file.wrong(place, f"write a list of rules such as ['word_count < 50'], got {value!r}")
    found = []
    for position, text in enumerate(value):
        if not isinstance(text, str):
            raise file.wrong((*place, position), f"write a rule in quotes, such as 'word_count < 50', got {text!r}")
        try:
            found.append(rule(text))
        except RuleSyntaxError as error:
            raise file.wrong((*place, position), str(error)) from None
    return tuple(found)


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"{f'did you mean {near[0]}? ' if near else ''}there are {', '.join(known) or 'none'}"


def _toml(path: Path, text: str) -> tuple[Any, dict[tuple[Any, ...], int]]:
    import tomllib

    try:
        return tomllib.loads(text), {}
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RuleSyntaxError(f"{path} is not TOML: {error}") from None


def _yaml(path: Path, text: str) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """The values, and the line of each by the keys that lead to it."""
    import yaml

    lines: dict[tuple[Any, ...], int] = {}
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        return (None if root is None else _plain(path, root, (), lines)), lines
    except (yaml.YAMLError, RecursionError) as error:
        raise RuleSyntaxError(f"{path} is not YAML: {error}") from None


def _plain(path: Path, node: Any, place: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> Any:
    """A node of YAML as texts, lists and objects: a number or a truth is a text too, for all here are names or rules.

    `yaml.safe_load` would take the last of two sections of one name without a word.
    """
    lines[place] = node.start_mark.line + 1
    if len(place) > _DEEPEST:  # an alias inside its own anchor has no end
        raise RuleSyntaxError(f"{path} line {lines[place]}: nested too deep for rules")
    if node.id == "sequence":
        return [_plain(path, one, (*place, position), lines) for position, one in enumerate(node.value)]
    if node.id == "scalar":
        return node.value
    found: dict[str, Any] = {}
    for key, value in node.value:
        if key.id != "scalar" or key.value in found:
            said = f"{key.value!r} is there twice" if key.id == "scalar" else "a key must be a name"
            raise RuleSyntaxError(f"{path} line {key.start_mark.line + 1}: {said}")
        found[key.value] = _plain(path, value, (*place, key.value), lines)
        lines[(*place, key.value)] = key.start_mark.line + 1
    return found
