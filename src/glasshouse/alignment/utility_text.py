"""Utilities as they are written on a command line: `helpful & harmless`, `raw(helpful) + 0.5 * raw(harmless)`.

    helpful                       the event that the score beats the 85th percentile of the prompt's samples
    good(helpful, 0.9)            ... that it beats another quantile, or a column: good(harmless, refusal)
    a & b    a | b    ~a          all, at least one, not (events)
    raw(a)                        the score as it is
    log_sigmoid(a)  sigmoid(a)    without centring; from the median, or from another reference: sigmoid(a, 0.8)
    z_score(a)  clip(a, -1, 2)    over the prompt's samples; between bounds
    after_sum(a, b)               the transform of the plain sum
    worst(u, v)  u + v  0.5 * u   the least of utilities, weighted sums

Names of columns that are no names of Python are put in quotes. The text is parsed, never evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from glasshouse.alignment.algebra import AfterSum, Event, Expression, Good, Not, Reward, Weighted, Worst
from glasshouse.alignment.transforms import (
    AS_IT_IS,
    PERCENTILE_85,
    Clip,
    Column,
    LogSigmoid,
    Quantile,
    Reference,
    RewardError,
    Sigmoid,
    ZScore,
)

MOST_CHARACTERS = 2000
MEDIAN = Quantile(0.5)


def parse_utility(text: str) -> Expression:
    """The utility that a text says; `RewardError` with the place for anything else."""
    if len(text) > MOST_CHARACTERS:
        raise RewardError(f"a utility of {len(text)} characters: write one of at most {MOST_CHARACTERS}")
    try:
        return _utility(ast.parse(text.strip(), mode="eval").body, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, RewardError):
            raise
        raise RewardError(f"{text!r} is not a utility ({error}): write such as 'helpful & harmless'") from None


def _utility(node: ast.expr, text: str) -> Expression:
    match node:
        case ast.Name() | ast.Constant(value=str()):
            return Good(_name(node, text))
        case ast.UnaryOp(ast.Invert(), part):
            return Not(_event(part, text))
        case ast.BinOp(left, ast.BitAnd(), right):
            return _event(left, text) & _event(right, text)
        case ast.BinOp(left, ast.BitOr(), right):
            return _event(left, text) | _event(right, text)
        case ast.BinOp(_, ast.Add() | ast.Sub() | ast.Mult(), _):
            return Weighted(tuple(_terms(node, text)))
        case ast.Call(ast.Name(function), arguments, []) if function in CALLS and arguments:
            return CALLS[function](arguments, text)
    known = ", ".join(f"{name}(…)" for name in CALLS)
    raise RewardError(f"{_part(node, text)} in {text!r} means nothing here: there are names, & | ~ + *, and {known}")


def _event(node: ast.expr, text: str) -> Event:
    found = _utility(node, text)
    if not isinstance(found, Event):
        raise RewardError(
            f"{_part(node, text)} in {text!r} has no probability: & | ~ take names, good(…) and what is made of them"
        )
    return found


def _terms(node: ast.expr, text: str) -> list[tuple[float, Expression]]:
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return _terms(left, text) + _terms(right, text)
        case ast.BinOp(left, ast.Sub(), right):
            return _terms(left, text) + [(-weight, part) for weight, part in _terms(right, text)]
        case ast.BinOp(left, ast.Mult(), right):
            number, other = (left, right) if _is_number(left) else (right, left)
            if not _is_number(number):
                raise RewardError(f"{_part(node, text)} in {text!r}: one side of * is a number")
            return [(_number(number, text) * weight, part) for weight, part in _terms(other, text)]
    return [(1.0, _utility(node, text))]


def _good(arguments: Sequence[ast.expr], text: str) -> Expression:
    return Good(_name(arguments[0], text), _reference(arguments, text, PERCENTILE_85))


def _raw(arguments: Sequence[ast.expr], text: str) -> Expression:
    return Reward(_only(arguments, text), AS_IT_IS)


def _log_sigmoid(arguments: Sequence[ast.expr], text: str) -> Expression:
    return Reward(_only(arguments, text), LogSigmoid(None))


def _sigmoid(arguments: Sequence[ast.expr], text: str) -> Expression:
    return Reward(_name(arguments[0], text), Sigmoid(_reference(arguments, text, MEDIAN)))


def _z_score(arguments: Sequence[ast.expr], text: str) -> Expression:
    return Reward(_only(arguments, text), ZScore())


def _clip(arguments: Sequence[ast.expr], text: str) -> Expression:
    if len(arguments) != 3:
        raise RewardError(f"clip in {text!r} takes a name and two bounds: clip(helpful, -1, 2)")
    low, high = (_number(bound, text) for bound in arguments[1:])
    return Reward(_name(arguments[0], text), Clip(low, high))


def _after_sum(arguments: Sequence[ast.expr], text: str) -> Expression:
    return AfterSum(tuple(_name(argument, text) for argument in arguments))


def _worst(arguments: Sequence[ast.expr], text: str) -> Expression:
    return Worst(tuple(_utility(argument, text) for argument in arguments))


CALLS: dict[str, Callable[[Sequence[ast.expr], str], Expression]] = {
    "good": _good, "raw": _raw, "log_sigmoid": _log_sigmoid, "sigmoid": _sigmoid, "z_score": _z_score, "clip": _clip,
    "after_sum": _after_sum, "worst": _worst,
}  # fmt: skip


def _only(arguments: Sequence[ast.expr], text: str) -> str:
    if len(arguments) != 1:
        raise RewardError(f"{text!r}: raw, log_sigmoid and z_score take one name")
    return _name(arguments[0], text)


def _reference(arguments: Sequence[ast.expr], text: str, usual: Reference) -> Reference:
    match arguments[1:]:
        case []:
            return usual
        case [ast.Name() | ast.Constant(value=str()) as column]:
            return Column(_name(column, text))
        case [level]:
            return Quantile(_number(level, text))
    raise RewardError(
        f"{text!r}: a reference is one quantile or one column: good(helpful, 0.9), good(harmless, refusal)"
    )


def _name(node: ast.expr, text: str) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Constant(value=str() as name):
            return name
    raise RewardError(f"{_part(node, text)} in {text!r} should be the name of a column of scores")


def _is_number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node
    return isinstance(inner, ast.Constant) and type(inner.value) in (int, float)


def _number(node: ast.expr, text: str) -> float:
    if not _is_number(node):
        raise RewardError(f"{_part(node, text)} in {text!r} should be a number")
    return float(ast.literal_eval(node))


def _part(node: ast.expr, text: str) -> str:
    return repr(ast.get_source_segment(text.strip(), node) or ast.unparse(node))
