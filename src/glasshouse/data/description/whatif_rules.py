"""The rules of a finished corpus, and how they are changed for a question: by name, or written as `word_count < 30`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.curation.rules import Rule, RuleSet, SourceRules

_RULE = re.compile(r"\s*([^\W\d]\w*)\s*(>=|<=|==|!=|>|<)\s*([^\s<>=!]+)\s*")
Key = tuple[str, str, float]


class RuleTextError(ValueError):
    """A rule that cannot be read."""


class UnknownRuleError(ValueError):
    """No rule of the corpus has that name."""


class UnknownCurationError(ValueError):
    """A corpus does not say with which rules it was made."""


def key(rule: Rule) -> Key:
    """What makes two rules the same: signal, operator and threshold."""
    return rule.signal, rule.operator, rule.threshold


def parse_rule(text: str) -> Rule:
    """The rule of a text such as `word_count < 30`, which *removes* documents where it holds.

    Raises `RuleTextError` saying what was expected.
    """
    match = _RULE.fullmatch(text)
    try:
        threshold = float(match[3]) if match else None
    except ValueError:
        threshold = None
    if match is None or threshold is None:
        raise RuleTextError(f"cannot read the rule {text!r}: write SIGNAL OPERATOR NUMBER, such as 'word_count < 50'")
    operator = cast(Literal[">", ">=", "<", "<=", "==", "!="], match[2])
    return Rule(signal=match[1], operator=operator, threshold=threshold, reason="asked for")


def rules_of(corpus: CorpusDirectory) -> SourceRules:
    """The rules a corpus was made with, from its `summary.json`.

    Raises `UnknownCurationError` when the summary does not hold the configuration (a corpus of an older version).
    """
    curation = corpus.summary.get("curation")
    if not curation or "keep" not in curation:
        raise UnknownCurationError(f"{corpus.path}/summary.json does not name the rules of the corpus: give a rule set")
    keep = curation["keep"]
    if keep is None:
        return SourceRules(default=RuleSet(name="no rules"))
    plain = _plain(keep)
    return SourceRules(**plain) if "default" in plain else SourceRules(default=RuleSet(**plain))


def changed_rules(
    rules: SourceRules,
    *,
    thresholds: Mapping[str, float] | None = None,
    without: Sequence[str] = (),
    rules_asked: Sequence[Rule | str] = (),
) -> SourceRules:
    """A copy of `rules` with other thresholds, fewer rules or more, in every set that has them.

    Args:
        thresholds: name of a rule -> its new threshold.
        without: names of rules to leave out.
        rules_asked: a rule gets this threshold where a set has exactly one rule on its signal with its operator; a rule
            that no set has is added to every set. A set with several such rules is refused: use `thresholds`.

    Raises:
        UnknownRuleError: for a name no set has, with the nearest.
        RuleTextError: for an unreadable or ambiguous rule.
    """
    new = {_known(rules, name): value for name, value in (thresholds or {}).items()}
    gone = {_known(rules, name) for name in without}
    rules = _each_set(rules, lambda part: tuple(
        rule.but(threshold=new[rule.name]) if rule.name in new else rule for rule in part.rules if rule.name not in gone
    ))  # fmt: skip
    for asked in rules_asked:
        rules = _asked(rules, parse_rule(asked) if isinstance(asked, str) else asked)
    return rules


def all_rules(rules: SourceRules) -> list[Rule]:
    """Every rule once, in the order of the sets."""
    return list({key(rule): rule for part in rules.sets() for rule in part.rules}.values())


def _asked(rules: SourceRules, rule: Rule) -> SourceRules:
    def alike(part: RuleSet) -> list[Rule]:
        return [one for one in part.rules if (one.signal, one.operator) == (rule.signal, rule.operator)]

    most = max((alike(part) for part in rules.sets()), key=len)
    if len(most) > 1:
        names = " and ".join(repr(one.name) for one in most)
        raise RuleTextError(f"{rule.name!r} could change {names}: name the one to change with its new threshold")
    if not most:
        return _each_set(rules, lambda part: (*part.rules, rule))
    return _each_set(rules, lambda part: tuple(
        one.but(threshold=rule.threshold) if (one.signal, one.operator) == (rule.signal, rule.operator) else one
        for one in part.rules
    ))  # fmt: skip


def _each_set(rules: SourceRules, change: Callable[[RuleSet], tuple[Rule, ...]]) -> SourceRules:
    def one(part: RuleSet) -> RuleSet:
        return RuleSet(name=part.name, rules=change(part))

    return SourceRules(default=one(rules.default), by_source={name: one(s) for name, s in rules.by_source.items()})


def _known(rules: SourceRules, text: str) -> str:
    """The full name of a rule; spaces do not matter (`word_count<50`)."""
    names = [rule.name for rule in all_rules(rules)]
    squeezed = {name.replace(" ", ""): name for name in names}
    found = squeezed.get("".join(text.split()))
    if found is None:
        near = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {'; '.join(names) or 'none'}"
        raise UnknownRuleError(f"the corpus has no rule {text!r}; {hint}")
    return found


def _plain(value: Any) -> Any:
    """A configuration without the type names its canonical form carries."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if name != "__type__"}
    return [_plain(item) for item in value] if isinstance(value, list) else value
