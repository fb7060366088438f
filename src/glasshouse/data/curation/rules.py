"""Rules: typed thresholds over signals. A document is removed when any rule of its source's set holds.

Thresholds are those of Dolma's published corpus (arXiv 2402.00159, section 5; datasheet N.4; mixing configuration
`cc-head.yaml`). Dolma's own configuration misspelt the three most-common-n-gram signals, so those rules never fired
there; here a rule on an unknown signal is refused before any data is read.
"""

from __future__ import annotations

import contextlib
import difflib
import operator
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from glasshouse.data.signals.families import FAMILIES, default_families, family, schema_of
from glasshouse.store.configuration import Config

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


class RuleSyntaxError(ValueError):
    """A text that is not a rule, or a name that is no set of rules."""


class UnreachableRuleError(ValueError):
    """A rule that no document can meet, by the bounds of its signal."""


class UnknownSignalError(ValueError):
    """A rule names a signal that is not measured."""


class Rule(Config):
    """Removes a document when `signal operator threshold` holds, e.g. `word_count < 50`."""

    signal: str
    operator: Literal[">", ">=", "<", "<=", "==", "!="]
    threshold: float
    reason: str = ""
    citation: str = ""

    @property
    def name(self) -> str:
        """The rule as it is written in reports: `word_count < 50`."""
        return f"{self.signal} {self.operator} {self.threshold:g}"


class RuleSet(Config):
    """Rules that are applied together."""

    name: str
    rules: tuple[Rule, ...] = ()


class SourceRules(Config):
    """Which rule set applies to which `source`; `default` applies to the sources that are not named."""

    default: RuleSet
    by_source: dict[str, RuleSet] = Field(default_factory=dict)

    def of(self, source: str) -> RuleSet:
        return self.by_source.get(source, self.default)

    def sets(self) -> tuple[RuleSet, ...]:
        return (self.default, *self.by_source.values())


class Failure(NamedTuple):
    """Why one document was removed: the rule, and the measured value against its threshold."""

    rule: str
    value: float
    threshold: float


def rule(text: str) -> Rule:
    """A rule as it is written: `word_count < 50`. Raises `RuleSyntaxError`."""
    found = re.fullmatch(r"\s*(\w+)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*", text)
    try:
        if found is None:
            raise ValueError
        return Rule(signal=found[1], operator=found[2], threshold=float(found[3]))
    except ValueError:
        message = f"{text!r} is not a rule: write SIGNAL OPERATOR NUMBER, e.g. word_count < 50 (one of > >= < <= == !=)"
        raise RuleSyntaxError(message) from None


def check_rules(rules: SourceRules | RuleSet, schema: pa.Schema | None = None) -> None:
    """Raises `UnknownSignalError` for a rule on a signal not in `schema`, with the nearest names that are, and
    `UnreachableRuleError` for one that no value within the signal's bounds can meet.

    Without a schema: what the default families measure.
    """
    schema = schema_of(default_families()) if schema is None else schema
    for rule_set in (rules,) if isinstance(rules, RuleSet) else rules.sets():
        for rule in rule_set.rules:
            if rule.signal not in schema.names:
                raise UnknownSignalError(
                    f"rule {rule.name!r} of {rule_set.name!r} names an unknown signal; {_hint(rule.signal, schema)}"
                )
            if _can_never_hold(rule, schema.field(rule.signal).metadata or {}):
                about = schema.field(rule.signal).metadata or {}
                low, high = (about[bound].decode() or "any" for bound in (b"low", b"high"))
                raise UnreachableRuleError(
                    f"rule {rule.name!r} of {rule_set.name!r} can never remove anything: {rule.signal} lies between "
                    f"{low} and {high} ({about[b'unit'].decode()})"
                )


def _hint(signal: str, schema: pa.Schema) -> str:
    for name in FAMILIES:
        with contextlib.suppress(ValueError, ImportError):  # a family that needs settings or a package
            if signal in {known.name for known in family(name).signals}:
                return f"it is measured by the family {name!r}: add that to the families"
    near = difflib.get_close_matches(signal, schema.names, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(schema.names)}"


def _can_never_hold(rule: Rule, about: dict[bytes, bytes]) -> bool:
    """Whether no value within the signal's bounds meets the rule."""
    low, high = (float(about[bound]) if about.get(bound) else None for bound in (b"low", b"high"))
    above = high is not None and (rule.threshold > high or (rule.threshold == high and rule.operator == ">"))
    below = low is not None and (rule.threshold < low or (rule.threshold == low and rule.operator == "<"))
    return (rule.operator in (">", ">=", "==") and above) or (rule.operator in ("<", "<=", "==") and below)


def failed_rules(signals: pa.RecordBatch, sources: list[str], rules: SourceRules | RuleSet) -> list[list[Failure]]:
    """For every document of a batch, all rules that remove it (empty: it stays). A pure function.

    Args:
        signals: signal columns, one row per document.
        sources: the documents' sources, in the same order.
        rules: one set for all, or one per source.
    """
    failures: list[list[Failure]] = [[] for _ in sources]
    per_source = {source: rules if isinstance(rules, RuleSet) else rules.of(source) for source in set(sources)}
    columns: dict[str, npt.NDArray[np.float64]] = {}
    source_column = np.asarray(sources, dtype=object)
    for source in sorted(per_source):
        rows = np.flatnonzero(source_column == source)
        for rule in per_source[source].rules:
            if rule.signal not in columns:
                columns[rule.signal] = signals.column(rule.signal).to_numpy(zero_copy_only=False).astype(np.float64)
            values = columns[rule.signal][rows]
            for row in rows[OPERATORS[rule.operator](values, rule.threshold)]:
                failures[row].append(Failure(rule.name, float(columns[rule.signal][row]), rule.threshold))
    return failures


_GOPHER = "arXiv 2112.11446 table A1 as in Dolma, arXiv 2402.00159 section 5.2 and datasheet N.4"
_CODE = "RedPajama code rules as in Dolma, arXiv 2402.00159 section 6 and datasheet N.4"
_NO_PUNCTUATION = "C4 (arXiv 1910.10683) as the Dolma datasheet N.4 states it"


def _gopher(signal: str, comparison: Literal[">", "<"], threshold: float, reason: str) -> Rule:
    return Rule(signal=signal, operator=comparison, threshold=threshold, reason=reason, citation=_GOPHER)


def _code(signal: str, comparison: Literal[">", "<"], threshold: float, reason: str) -> Rule:
    return Rule(signal=signal, operator=comparison, threshold=threshold, reason=reason, citation=_CODE)


dolma_web_rules = RuleSet(
    name="dolma_web_rules",
    rules=(
        _gopher("word_count", "<", 50, "too short"),
        _gopher("word_count", ">", 100_000, "too long"),
        _gopher("median_word_length", "<", 3, "words too short for prose"),
        _gopher("median_word_length", ">", 10, "words too long for prose"),
        _gopher("symbol_to_word_ratio", ">", 0.10, "too many # and …"),
        _gopher("fraction_of_words_with_alpha_character", "<", 0.80, "too few words with letters"),
        _gopher("required_word_count", "<", 2, "no English function words"),
        _gopher("fraction_of_lines_starting_with_bullet_point", ">", 0.90, "a list"),
        _gopher("fraction_of_lines_ending_with_ellipsis", ">", 0.30, "cut-off teasers"),
        _gopher("fraction_of_duplicate_lines", ">", 0.30, "repeated lines"),
        _gopher("fraction_of_characters_in_duplicate_lines", ">", 0.30, "repeated lines (Gopher itself: 0.20)"),
        *(
            _gopher(f"fraction_of_characters_in_most_common_{n}grams", ">", threshold, f"one {n}-gram dominates")
            for n, threshold in zip((2, 3, 4), (0.20, 0.18, 0.16), strict=True)
        ),
        *(
            _gopher(f"fraction_of_characters_in_duplicate_{n}grams", ">", threshold, f"repeated {n}-grams")
            for n, threshold in zip(range(5, 11), (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True)
        ),
    ),
)
"""Gopher's rules with Dolma's thresholds, for prose."""

dolma_markup_rules = RuleSet(
    name="dolma_markup_rules",
    rules=tuple(
        rule.but(signal="fraction_of_duplicate_nonempty_lines", reason="repeated lines, blank ones apart")
        if rule.signal == "fraction_of_duplicate_lines"
        else rule
        for rule in dolma_web_rules.rules
    ),
)
"""The web rules for text with blank lines between paragraphs (Markdown, docstrings): duplicate lines as in `gopher_v2`.

Text extracted from web pages has no blank lines; the published rule counts them as duplicates of each other.
"""

no_punctuation_rules = RuleSet(
    name="no_punctuation_rules",
    rules=(
        Rule(
            signal="fraction_of_lines_with_no_ending_punctuation",
            operator=">",
            threshold=0.5,
            reason="more than half of the lines end without punctuation",
            citation=_NO_PUNCTUATION,
        ),
    ),
)
"""C4 "NoPunc" as the datasheet states it, for whole documents. Not in `dolma_rules`: documentation wraps its lines."""

dolma_code_rules = RuleSet(
    name="dolma_code_rules",
    rules=(
        _code("maximum_line_length", ">", 1000, "minified or data"),
        _code("mean_line_length", ">", 100, "minified or data"),
        _code("fraction_of_alphanumeric_characters", "<", 0.25, "hardly any letters or digits"),
        _code("alphabetic_characters_per_token", "<", 1.5, "tables of numbers"),
    ),
)
"""RedPajama's rules with Dolma's thresholds, for source code."""

_STARCODER = "StarCoder rules as in Dolma, arXiv 2402.00159 section 6 and datasheet N.4"


def _starcoder(signal: str, comparison: Literal["==", "<=", ">"], threshold: float, reason: str) -> Rule:
    return Rule(signal=signal, operator=comparison, threshold=threshold, reason=reason, citation=_STARCODER)


dolma_starcoder_rules = RuleSet(
    name="dolma_starcoder_rules",
    rules=(
        *dolma_code_rules.rules,
        _starcoder("has_xml_template", "==", 1, "an XML template"),
        _starcoder("html_text_ratio", "<=", 0.2, "HTML with hardly any text"),
        _starcoder("comment_ratio", "<=", 0.01, "hardly any comments"),
        _starcoder("comment_ratio", ">", 0.8, "nearly all comments"),
    ),
)
"""The code rules with StarCoder's; they need the family `starcoder`."""

CODE_SOURCES = ("stdlib", "packages", "headers", "github", "stack", "starcoder")
MARKUP_SOURCES = ("documentation", "metadata", "docstrings")

dolma_rules = SourceRules(
    default=dolma_web_rules,
    by_source=dict.fromkeys(CODE_SOURCES, dolma_code_rules) | dict.fromkeys(MARKUP_SOURCES, dolma_markup_rules),
)
"""Code sources by the code rules, documentation by the markup rules, every other source by the web rules."""

_FINEWEB = "arXiv 2406.17557, section 3.6; datatrove FineWebQualityFilter"

fineweb_rules = RuleSet(
    name="fineweb_rules",
    rules=tuple(
        rule(f"datatrove_fineweb_{text}").but(reason=reason, citation=_FINEWEB)
        for text, reason in (
            ("line_count == 0", "empty"),
            ("line_punct_ratio < 0.12", "line_punct_ratio"),
            ("short_line_ratio > 0.67", "short_line_ratio"),
            ("char_dup_ratio > 0.01", "char_dup_ratio"),
            ("list_ratio > 0.3", "list_ratio"),
        )
    ),
)
"""FineWeb's own rules; they need the family `datatrove_fineweb`."""

RULES: dict[str, SourceRules | RuleSet] = {
    "dolma": dolma_rules,
    "dolma_web": dolma_web_rules,
    "dolma_markup": dolma_markup_rules,
    "dolma_code": dolma_code_rules,
    "dolma_starcoder": dolma_starcoder_rules,
    "no_punctuation": no_punctuation_rules,
    "fineweb": fineweb_rules,
}
"""The published sets of rules by name."""
