"""What a jq filter of Dolma's keeps, where a path may yield nothing at all.

Measured on Dolma 1.2.1 (jaq): `.a` of a missing `a` is `null`, but a place of it (`.a[0][2]`), or a name below it
(`.a.b`), is an error. With `?` the error becomes nothing, and then the whole filter yields nothing and neither
includes nor excludes: also `… or .id == "1"`. Without `?` Dolma gives up the file at the first such document; here it
is read as if the `?` were there.

So an expression holds, does not hold, or yields nothing. `or` looks at its right side only where the left does not
hold, `and` only where it does.
"""

from __future__ import annotations

from glasshouse.data.mixing.expression import (
    OPPOSITE,
    And,
    Comparison,
    Constant,
    Expression,
    Flag,
    Measure,
    Membership,
    Not,
    Or,
    Presence,
)  # fmt: skip

MOST_PATHS = 16


class TooManyPathsError(ValueError):
    """So many paths of one filter may yield nothing that it cannot be written out."""


def truth(expression: Expression) -> Expression:
    """The expression that holds where the jq filter yields `true`: neither `false` nor nothing.

    Raises `TooManyPathsError` where more than `MOST_PATHS` conditions would have to be written out.
    """
    if isinstance(expression, And):
        return _all([truth(part) for part in expression.parts])
    if isinstance(expression, Or):
        return _folded(expression)[0]
    if isinstance(expression, Not):
        body = expression.body
        if isinstance(body, Comparison) and body.left.function:
            return Comparison(body.left, OPPOSITE[body.operator], body.right)
        return _all([*_yields(body), Not(truth(body))])
    return _all([*_yields(expression), expression])


def _folded(expression: And | Or) -> tuple[Expression, list[Expression]]:
    """The truth of parts that are looked at from left to right, and the conditions under which they yield something."""
    either = isinstance(expression, Or)
    done: list[Expression] = []
    conditions: list[Expression] = []
    for part in expression.parts:
        more = [one for one in _yields(part) if one not in conditions]
        holds = truth(part)
        if more and done:
            decided = (Or(tuple(done)) if len(done) > 1 else done[0]) if either else Not(_all(done))
            conditions.append(Or((decided, _all(more))))
        else:
            conditions += more
        if len(conditions) > MOST_PATHS:
            raise TooManyPathsError(f"more than {MOST_PATHS} paths in it may yield nothing")
        before = conditions[:-1] if more and done else conditions
        done.append(_all([*before, holds]) if either else holds)
    return Or(tuple(done)) if either else _all(done), conditions


def _yields(expression: Expression) -> list[Expression]:
    """The conditions, all together, under which an expression yields something; none where it always does."""
    if isinstance(expression, Not):
        return _yields(expression.body)
    if isinstance(expression, And | Or):
        return _folded(expression)[1]
    if isinstance(expression, Comparison | Membership) and expression.left.function:
        return [Comparison(Measure(expression.left.column, "count"), ">", Constant(0.0))]
    column = expression.column if isinstance(expression, Presence | Flag) else expression.left.column
    above = column.rpartition(".")[0]
    return [Presence(above, missing=False)] if above else []


def _all(parts: list[Expression]) -> Expression:
    flat = [one for part in parts for one in (part.parts if isinstance(part, And) else (part,))]
    unique = tuple(dict.fromkeys(flat))
    return unique[0] if len(unique) == 1 else And(unique)
