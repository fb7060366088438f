"""Constraints on text, compiled for a vocabulary: which tokens may come next.

JSON Schema, regular expressions and Lark grammars, through `llguidance`. What it cannot enforce is refused by name
before anything is generated, never dropped. Types (pydantic models, dataclasses, `Literal`, `Enum`, ...) become one of
the three forms through `answers`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glasshouse.symbolic.answers import constraint_of, specification
from glasshouse.symbolic.call import Constraint
from glasshouse.symbolic.errors import RefusalError
from glasshouse.symbolic.schema_choices import without_exclusive_choices
from glasshouse.symbolic.schema_formats import without_own_formats

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from tokenizers import Tokenizer

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
STRICT = {"lenient": False, "coerce_one_of": False}
"""A schema may carry settings of the compiler (`x-guidance`); these two would drop parts of it, so they stay off."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A constraint made ready for one vocabulary; `start` is copied, never changed."""

    constraint: Constraint
    vocabulary: Vocabulary
    start: LLMatcher = field(repr=False)


class Vocabulary:
    """The tokens of a model, as bytes.

    Args:
        tokenizer: of `tokenizers`; that of `transformers` is its `backend_tokenizer`.
        rows: scores that the model gives, at least one per token; rows without a token are never allowed.
        end: id of the token that ends a text.
    """

    def __init__(self, tokenizer: Tokenizer, rows: int, end: int) -> None:
        import tokenizers
        from llguidance import LLTokenizer

        plain = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        plain.no_padding()
        plain.no_truncation()
        try:
            self.tokens: LLTokenizer = LLTokenizer(plain.to_str(), n_vocab=rows, eos_token=end)
        except ValueError as error:
            raise RefusalError(f"no token masks for this tokenizer: {error}") from None
        self.rows, self.end = rows, end

    @cached_property
    def pieces(self) -> list[bytes]:
        """The bytes of every token; none for tokens that are not text."""
        return [
            b"" if self.tokens.is_special_token(token) else self.tokens.decode_bytes([token])
            for token in range(self.rows)
        ]

    def text(self, tokens: list[int]) -> str:
        """The text of tokens."""
        return self.tokens.decode_bytes(tokens).decode("utf-8")

    def text_so_far(self, tokens: list[int]) -> str:
        """The text of the first tokens of one; it may end in a replacement character for half a character."""
        return self.tokens.decode_bytes(tokens).decode("utf-8", "replace")

    def allowed(self, state: LLMatcher) -> NDArray[np.bool_]:
        """Which tokens may come next; the end token where the text may end."""
        return self.unpack(state.compute_bitmask())

    def unpack(self, mask: bytes) -> NDArray[np.bool_]:
        """A mask of a matcher, one value per token."""
        bits = np.frombuffer(mask, dtype=np.uint8)
        return np.unpackbits(bits, count=self.rows, bitorder="little").view(np.bool_)

    def compile(self, constraint: Constraint) -> Compiled:
        """Ready a constraint. Raises `RefusalError` for what cannot be enforced, with the keyword's name."""
        from llguidance import LLMatcher

        grammar = _grammar(constraint)
        failed, notes = LLMatcher.validate_grammar_with_warnings(grammar, self.tokens)
        if failed or notes:
            raise RefusalError(f"the {constraint.form} cannot be enforced: {'; '.join(notes).strip()}")
        if constraint.form == "json_schema":
            self._check_bounds(json.loads(constraint.text))
        return Compiled(constraint, self, LLMatcher(self.tokens, grammar, log_level=0))

    def accepts(self, compiled: Compiled, text: str) -> bool:
        """Whether the constraint allows the text as a whole."""
        state, tokens = compiled.start.deep_copy(), self.tokens.tokenize_str(text)
        return state.try_consume_tokens(tokens) == len(tokens) and state.is_accepting()

    def _check_bounds(self, schema: Any) -> None:
        """Exclusive bounds are tried out: llguidance 1.9.1 allows 0 above an exclusive 0 and below a fraction."""
        from llguidance import LLMatcher

        for part in _parts(schema):
            for keyword in ("exclusiveMinimum", "exclusiveMaximum"):
                bound = part.get(keyword)
                if isinstance(bound, bool) or not isinstance(bound, int | float):
                    continue
                numbers = {"type": "number"} | {name: part[name] for name in BOUNDS if name in part}
                grammar = LLMatcher.grammar_from_json_schema(json.dumps(numbers))
                small = Compiled(Constraint("json_schema", json.dumps(numbers)), self, LLMatcher(self.tokens, grammar))
                if any(self.accepts(small, text) for text in _written(bound)):
                    raise RefusalError(f"the json_schema cannot be enforced: {keyword} {bound} with these other bounds")


def constraint_for(kind: Any) -> Constraint:
    """The constraint that a type puts on text: see `answers.specification` for the types. Free text has none."""
    constraint = constraint_of(specification(kind))
    if constraint is None:
        raise TypeError(f"{kind!r} is any text: there is nothing to constrain")
    return constraint


def _grammar(constraint: Constraint) -> str:
    from llguidance import LLMatcher

    if constraint.form == "regex":
        return LLMatcher.grammar_from_regex(constraint.text)
    if constraint.form == "lark":
        return LLMatcher.grammar_from_lark(constraint.text)
    try:
        schema = json.loads(constraint.text)
    except ValueError as error:
        raise RefusalError(f"the json_schema is not JSON: {error}") from None
    _check(schema)
    plain = json.dumps(without_own_formats(without_exclusive_choices(schema)))
    return LLMatcher.grammar_from_json_schema(plain, overrides=STRICT)  # type: ignore[arg-type]


def _check(schema: Any) -> None:
    """Raises `RefusalError` for what is no JSON Schema, and where validators do not agree on the meaning."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        raise RefusalError(f"the json_schema is not valid at {place or 'its root'}: {error.message}") from None
    for part in _parts(schema):
        divisor = part.get("multipleOf", 1)
        if isinstance(divisor, float) and not divisor.is_integer():
            raise RefusalError(
                f"the json_schema cannot be enforced: multipleOf {divisor} is no whole number, and validators "
                "that divide binary fractions refuse true multiples of it"
            )


def _written(number: float) -> list[str]:
    """The same number in several ways."""
    texts = [json.dumps(number), *([f"{number:.0f}", f"{number:.1f}"] if float(number).is_integer() else [])]
    return texts if number else [*texts, "-0", "-0.0"]


def _parts(schema: Any) -> list[Mapping[str, Any]]:
    """Every object inside a schema."""
    found, waiting = [], [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            found.append(part)
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return found
