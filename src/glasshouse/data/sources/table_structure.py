"""Whether the layout of Arrow columns is sound.

Arrow believes what a file says about its own layout, and a wrong offset can end the process when it is followed. Bytes
that are no UTF-8 are no matter here: they cost their row alone.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def check_structure(batch: pa.RecordBatch) -> None:
    """Raises `pa.ArrowInvalid` for a batch whose offsets or indices lead out of its bytes, naming the column."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            _as_bytes(column).validate(full=True)
        except pa.ArrowException as error:
            raise pa.ArrowInvalid(f"column {name!r} is damaged: {error}") from None


def _as_bytes(column: Any) -> Any:
    """The same column, in which texts are bytes, so that Arrow's validation does not look at their encoding."""
    if isinstance(column, pa.DictionaryArray):
        return pa.DictionaryArray.from_buffers(
            pa.dictionary(column.type.index_type, _bytes_type(column.type.value_type), column.type.ordered),
            len(column), column.indices.buffers(), _as_bytes(column.dictionary), offset=column.offset,
        )  # fmt: skip
    kind = _bytes_type(column.type)
    return column if kind == column.type else column.view(kind)


def _bytes_type(kind: Any) -> Any:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}.get(kind, pa.binary_view())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_bytes_type(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_bytes_type(field.type)) for field in kind])
    return kind
