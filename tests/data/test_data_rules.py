"""Rules: checked before reading, explained afterwards."""

import pytest

from glasshouse.data.curation.rules import (
    Rule,
    RuleSet,
    SourceRules,
    UnknownSignalError,
    check_rules,
    dolma_code_rules,
    dolma_rules,
    dolma_web_rules,
    failed_rules,
    no_punctuation_rules,
)  # fmt: skip
from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.families import compute_signals
from glasshouse.store.configuration import ConfigurationError, fingerprint


def failures(text, source, rules=dolma_rules):
    batch = to_batch([Document("d", text, source, Origin("f", 0, 0))])
    return failed_rules(compute_signals(batch), [source], rules)[0]


def test_the_misspelling_of_the_published_configuration_is_refused():
    bad = Rule(signal="fraction_of_characters_in_most_common_2gram", operator=">", threshold=0.2)
    with pytest.raises(UnknownSignalError, match="fraction_of_characters_in_most_common_2grams"):
        check_rules(SourceRules(default=dolma_web_rules, by_source={"x": RuleSet(name="mine", rules=(bad,))}))
    check_rules(dolma_rules)
    check_rules(no_punctuation_rules)
    with pytest.raises(ConfigurationError, match="operator"):
        Rule(signal="word_count", operator="~", threshold=1)


def test_every_failure_says_value_and_threshold():
    found = {failure.rule: failure for failure in failures("one two three", "web")}
    assert found["word_count < 50"][1:] == (3.0, 50.0)
    assert found["required_word_count < 2"].value == 0.0


def test_sources_have_their_own_rules():
    code = "".join(f"def function_{i}(argument):\n    return argument * {i}\n\n" for i in range(3))
    assert failures(code, "packages") == []
    assert "word_count < 50" in {failure.rule for failure in failures(code, "web")}
    assert {failure.rule for failure in failures("1, 2\n" * 5, "packages")} == {"alphabetic_characters_per_token < 1.5"}
    long = failures("x = " + "abc " * 300, "stdlib")
    assert {failure.rule for failure in long} == {"maximum_line_length > 1000", "mean_line_length > 100"}


def test_blank_lines_are_duplicates_on_the_web_only():
    words = [f"word{i}" for i in "abcdefghij"]
    text = "\n\n".join(f"the {a} of {b} is what we have here" for a in words for b in words[:2] if a != b)
    assert {failure.rule for failure in failures(text, "web")} >= {"fraction_of_duplicate_lines > 0.3"}
    assert not {failure.rule for failure in failures(text, "metadata")} & {"fraction_of_duplicate_nonempty_lines > 0.3"}


def test_rules_are_fingerprinted_configuration():
    other = RuleSet(name="dolma_code_rules", rules=dolma_code_rules.rules[1:])
    assert fingerprint(dolma_code_rules) != fingerprint(other)
    assert len(dolma_web_rules.rules) == 20
