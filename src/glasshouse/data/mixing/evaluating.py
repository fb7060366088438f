"""An expression over a table: whole columns at a time, a missing value never meets a comparison."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glasshouse.data.mixing.expression import (
    And,
    Comparison,
    Expression,
    Flag,
    Measure,
    Membership,
    Not,
    Presence,
    Value,
    render_measure,
)  # fmt: skip

Mask = npt.NDArray[np.bool_]
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


class EvaluationError(ValueError):
    """A table lacks a column an expression reads, or holds another type in it: `check` tells before the run."""


class _Values(NamedTuple):
    """The values of a measure: numbers (numpy) or anything else (Arrow), and which are there."""

    values: Any
    present: Mask


def evaluate(expression: Expression, table: pa.Table | pa.RecordBatch) -> Mask:
    """Whether the expression holds, for every row. A pure function.

    A missing value, or a number that is NaN, makes a comparison false whatever its operator. Scores and numbers kept
    in single precision are compared with the value in single precision, so that 0.4 is not greater than 0.4.

    Raises:
        EvaluationError: a column is not there, or not of the type the comparison needs.
    """
    return _Evaluation(table).mask(expression)


class _Evaluation:
    def __init__(self, table: pa.Table | pa.RecordBatch) -> None:
        self.table = table
        self.measured: dict[Measure, _Values] = {}

    def mask(self, expression: Expression) -> Mask:
        if isinstance(expression, Not):
            return ~self.mask(expression.body)
        if isinstance(expression, Comparison):
            return self.compare(expression.left, expression.operator, expression.right.value)
        if isinstance(expression, Membership):
            found = np.zeros(self.table.num_rows, np.bool_)
            for value in expression.values:
                found |= self.compare(expression.left, "==", value.value)
            return self.of(expression.left).present & ~found if expression.negated else found
        if isinstance(expression, Presence):
            null = np.asarray(self.column(expression.column).is_null().to_numpy(zero_copy_only=False), np.bool_)
            return null if expression.missing else ~null
        if isinstance(expression, Flag):
            return self.compare(Measure(expression.column), "==", True)
        parts = [self.mask(part) for part in expression.parts]
        join = np.logical_and if isinstance(expression, And) else np.logical_or
        return np.asarray(join.reduce(parts), np.bool_)

    def column(self, name: str) -> pa.Array[Any]:
        if name not in self.table.schema.names:
            raise EvaluationError(f"the table has no column {name!r}; it has: {', '.join(self.table.schema.names)}")
        column: Any = self.table.column(name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
            if isinstance(column, pa.ChunkedArray):
                column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        return cast("pa.Array[Any]", column)

    def of(self, measure: Measure) -> _Values:
        if measure not in self.measured:
            column = self.column(measure.column)
            self.measured[measure] = _spans(column, measure) if measure.function else _plain(column)
        return self.measured[measure]

    def compare(self, measure: Measure, comparison: str, value: Value) -> Mask:
        values, present = self.of(measure)
        if pa.types.is_null(self.table.schema.field(measure.column).type):
            return np.zeros(self.table.num_rows, np.bool_)
        if isinstance(values, np.ndarray):
            if isinstance(value, str) or isinstance(value, bool) != (values.dtype == np.bool_):
                self.mistyped(measure, value)
            if isinstance(value, float) and values.dtype == np.int64:
                return _whole(values, comparison, value) & present
            threshold = values.dtype.type(value) if values.dtype == np.float32 else value
            return np.asarray(_COMPARE[comparison](values, threshold), np.bool_) & present
        if not isinstance(value, str) or comparison not in ("==", "!="):
            self.mistyped(measure, value)
        equal: Any = pc.equal(values, pa.scalar(value, values.type))
        same = np.asarray(equal.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)
        return present & (same if comparison == "==" else ~same)

    def mistyped(self, measure: Measure, value: Value) -> None:
        kind = self.table.schema.field(measure.column).type
        raise EvaluationError(f"{render_measure(measure)} cannot be compared with {value!r}: the column is {kind}")


def _whole(values: npt.NDArray[np.int64], comparison: str, value: float) -> Mask:
    """Whole numbers against any number, exact beyond 2^53 too."""
    if value.is_integer() and abs(value) < 2.0**63:
        return np.asarray(_COMPARE[comparison](values, int(value)), np.bool_)
    return np.asarray(_COMPARE[comparison](values.astype(np.float64), value), np.bool_)


def _plain(column: Any) -> _Values:
    present = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    kind = column.type
    if pa.types.is_boolean(kind):
        return _Values(column.fill_null(False).to_numpy(zero_copy_only=False), present)
    if pa.types.is_integer(kind):
        filled = column.fill_null(0) if column.null_count else column
        return _Values(filled.to_numpy(zero_copy_only=False).astype(np.int64, copy=False), present)
    if pa.types.is_floating(kind):
        values = column.to_numpy(zero_copy_only=False)
        return _Values(values, present & ~np.isnan(values))
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
    return _Values(column, present)


def _spans(column: pa.Array[Any], measure: Measure) -> _Values:
    """A number per row from lists of spans: how many, or a score (missing where there is no span)."""
    if pa.types.is_null(column.type):
        return _Values(np.zeros(len(column)), np.zeros(len(column), np.bool_))
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise EvaluationError(f"{render_measure(measure)} needs a column of spans, {column.type} is none")
    present = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    if measure.function == "count":
        return _Values(lengths, present)
    scores = pc.struct_field(column.flatten(), "score").to_numpy(zero_copy_only=False)  # type: ignore[attr-defined]
    filled = lengths > 0
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1][filled]
    found = np.zeros(len(column), scores.dtype)
    if len(starts):
        if measure.function == "first_score":
            found[filled] = scores[starts]
        else:
            reduce = np.maximum if measure.function == "max_score" else np.minimum
            found[filled] = reduce.reduceat(scores, starts)
    return _Values(found, present & filled & ~np.isnan(found))
