"""Types of answers: what an engine's text must be, how it is constrained, and how it is read.

A type is written as data, since it is part of a node: `"boolean"`, `{"choice": [...]}`, `{"schema": {...}}`,
`{"regex": "..."}`, `{"lark": "..."}`. `specification` makes that of Python types. Reading is strict: a text that is not
exactly a value of the type is an `AnswerError`, which the runtime turns into another attempt. ("o" is not True.)
"""

from __future__ import annotations

import enum
import json
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glasshouse.symbolic.call import Constraint
from glasshouse.symbolic.errors import AnswerError, RefusalError

MATCHING_SECONDS = 2.0
WORDS = {"true": True, "yes": True, "false": False, "no": False}
STRINGS = {"type": "array", "items": {"type": "string"}}
OBJECT = {"type": "object"}
SCHEMAS: Mapping[str, Mapping[str, Any]] = {"strings": STRINGS, "mapping": OBJECT}
NAMED: Mapping[str, tuple[str, Constraint | None]] = {
    "text": ("a text", None),
    "data": ("data", None),
    "boolean": ("true or false", Constraint("regex", "(true|false)")),
    "integer": ("a whole number in digits", Constraint("regex", "-?(0|[1-9][0-9]{0,17})")),
    "number": ("a number in digits", Constraint("regex", r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")),
    "strings": ("a JSON list of strings", Constraint("json_schema", json.dumps(STRINGS))),
    "mapping": ("a JSON object", Constraint("json_schema", json.dumps(OBJECT))),
}
_PYTHON: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "text"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these texts."""

    cases: Sequence[str]


@dataclass(frozen=True, slots=True)
class Regex:
    """A text that the regular expression matches as a whole."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """A text of the language of a Lark grammar."""

    lark: str


def specification(kind: Any) -> Any:
    """The written form of a type: a name of `NAMED`, bool, int, float, str, Choice, Regex, Grammar, Literal, an Enum,
    a JSON Schema as a dictionary, or anything pydantic makes a schema of (models, dataclasses, TypedDicts, list[int]).

    Raises `TypeError` for what is none of those.
    """
    if isinstance(kind, str) and kind in NAMED:
        return kind
    if isinstance(kind, Choice):
        if not kind.cases:
            raise TypeError("Choice takes at least one case, got none")
        return {"choice": list(kind.cases)}
    if isinstance(kind, Regex):
        _compiled(kind.pattern)
        return {"regex": kind.pattern}
    if isinstance(kind, Grammar):
        return {"lark": kind.lark}
    if isinstance(kind, dict):
        return {"schema": _checked(kind)}
    if isinstance(kind, type) and kind in _PYTHON:
        return _PYTHON[kind]
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and all(isinstance(one.value, str) for one in kind):
        return {"choice": [one.value for one in kind]}
    if typing.get_origin(kind) is typing.Literal and all(isinstance(one, str) for one in typing.get_args(kind)):
        return {"choice": list(typing.get_args(kind))}
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return {"schema": TypeAdapter(kind).json_schema()}
    except (PydanticUserError, NameError) as error:
        raise TypeError(f"{kind!r} is no type of answer ({error}); known names: {', '.join(NAMED)}") from None


def constraint_of(answer: Any) -> Constraint | None:
    """What a text engine that can decode under a constraint should keep to."""
    if isinstance(answer, str):
        return NAMED[answer][1]
    form, content = next(iter(answer.items()))
    if form == "choice":
        return Constraint("regex", "(" + "|".join(_escaped(case) for case in content) + ")")
    if form == "schema":
        return Constraint("json_schema", json.dumps(content))
    return Constraint(form, content)


def described(answer: Any) -> str:
    """The type in the words of a prompt."""
    if isinstance(answer, str):
        return NAMED[answer][0]
    form, content = next(iter(answer.items()))
    if form == "choice":
        return "exactly one of: " + ", ".join(content)
    named = {
        "schema": "JSON that this schema accepts:",
        "regex": "a text that matches",
        "lark": "a text of this grammar:",
    }
    return f"{named[form]} {json.dumps(content) if form == 'schema' else content}"


def read(answer: Any, text: str) -> Any:
    """The value that `text` writes. Raises `AnswerError` when it writes none of the type."""
    content: Any
    form, content = (answer, "") if isinstance(answer, str) else next(iter(answer.items()))
    bare = _unfenced(text.strip())
    if form == "text":
        return bare
    if form == "boolean" and (word := bare.rstrip(".").lower()) in WORDS:
        return WORDS[word]
    if form == "integer" and re.fullmatch(r"[+-]?[0-9]{1,1000}", bare):
        return int(bare)
    if form == "number" and re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", bare):
        return float(bare)
    if form == "choice" and bare in content:
        return bare
    if form == "regex" and _matches(content, bare):
        return bare
    if form == "lark":
        return _parsed(content, bare)
    if form in ("strings", "mapping", "schema"):
        return _from_json(SCHEMAS.get(form, content), bare)
    raise AnswerError(f"{bare!r:.200} is not {described(answer)}", text)


def _compiled(pattern: str) -> Any:
    import regex  # type: ignore[import-untyped]

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise TypeError(f"{pattern!r} is no regular expression: {error}") from None


def _matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches the whole text; one that tries too many ways is given up."""
    try:
        return bool(_compiled(pattern).fullmatch(text, timeout=MATCHING_SECONDS))
    except TimeoutError:
        raise AnswerError(f"matching {pattern!r:.100} took over {MATCHING_SECONDS} s", text) from None


def _checked(schema: dict[str, Any]) -> dict[str, Any]:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise TypeError(f"not a JSON Schema: {error.message:.300}") from None
    return schema


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[Any]:
    """The keyword `pattern` with the same bound on time."""
    from jsonschema import ValidationError

    if isinstance(instance, str) and not _compiled(pattern).search(instance, timeout=MATCHING_SECONDS):
        yield ValidationError(f"{instance!r:.100} does not match {pattern!r:.100}")


def _from_json(schema: Mapping[str, Any], text: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import extend
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    value: Any
    try:
        value = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"{text!r:.200} is not JSON: {error}", text) from None
    try:
        # A registry of its own: the default one would fetch schemas that a `$ref` names from the network.
        validator = extend(Draft202012Validator, {"pattern": _pattern})(schema, registry=Registry())
        problem = best_match(validator.iter_errors(value))
    except Unresolvable as error:
        raise RefusalError(f"the schema refers to what is not in it: {error}") from None
    except TimeoutError:
        raise AnswerError(f"matching a pattern of the schema took over {MATCHING_SECONDS} s", text) from None
    if problem is not None:
        place = "/".join(str(part) for part in problem.absolute_path) or "the whole"
        raise AnswerError(f"the schema does not accept {place}: {problem.message:.300}", text)
    return value


def _parsed(grammar: str, text: str) -> str:
    import lark

    try:
        lark.Lark(grammar, start="start").parse(text)
    except lark.exceptions.LarkError as error:
        raise AnswerError(f"{text!r:.200} is not a text of the grammar: {str(error).splitlines()[0]}", text) from None
    return text


def _not_json(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _unfenced(text: str) -> str:
    """The inside of one code fence around the whole text."""
    found = re.fullmatch(r"```[a-zA-Z0-9]*\n(.*?)\n?```", text, re.DOTALL)
    return found.group(1).strip() if found else text


def _escaped(text: str) -> str:
    return re.sub(r"[\\.^$*+?()\[\]{}|/-]", r"\\\g<0>", text)
