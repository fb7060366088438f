"""A mixture held against its inputs before anything is read in earnest: every rule, every span column, every stream."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import pyarrow.parquet as pq

from glasshouse.data.corpus import signal_files
from glasshouse.data.mixing.checking import ANY, UnknownColumnError, Warning, signals_of_schema
from glasshouse.data.mixing.fields import usage_of_columns
from glasshouse.data.mixing.mixture import Mixture, MixtureError, Stream
from glasshouse.data.mixing.rows import InputFile
from glasshouse.data.signals.signal import Signal
from glasshouse.data.sources.attributes import column_name, read_attributes

PEEKED_ROWS = 1000
_NOT_RULES = ("id", "source", "added", "created")


def check_mixture(mixture: Mixture, plans: Sequence[Sequence[InputFile]]) -> list[Warning]:
    """Checks all streams; returns warnings. Raises what `checking.check` raises, with the stream's name."""
    found: list[Warning] = []
    for stream, files in zip(mixture.streams, plans, strict=True):
        schema = columns_of(stream, files)
        try:
            usage_of_columns(stream.filter.trees(), [rule.spans for rule in stream.replace])
            found += stream.filter.check(schema, unknown=stream.unknown == "warning")
        except ValueError as error:
            raise type(error)(f"stream {stream.name!r}: {error}") from None
        for rule in stream.replace:
            known = rule.spans in schema or rule.spans.startswith("metadata.")
            if not known and stream.unknown == "error":
                raise UnknownColumnError(f"stream {stream.name!r}: there are no spans {rule.spans!r} to replace")
        if mixture.weigh_by not in ("bytes", "documents") and mixture.weigh_by not in schema:
            raise MixtureError(f"stream {stream.name!r} has no column {mixture.weigh_by!r} to weigh by")
    return found


def columns_of(stream: Stream, files: Sequence[InputFile]) -> dict[str, Signal]:
    """What a rule of the stream may name: measured signals with units and bounds, and the attributes of the first rows.

    An attribute of a Dolma tagger that measures what one of our signals does has that signal's unit and bounds.
    """
    found: dict[str, Signal] = {}
    for file in files[:1]:
        for path in file.attributes:
            for row in islice(read_attributes(path), PEEKED_ROWS):
                for key, value in row.attributes.items():
                    _add_attribute(found, key, value)
        for path in _signal_files(file):
            found |= signals_of_schema(pq.read_schema(path))
    return {name: signal for name, signal in (found | _measured(stream)).items() if name not in _NOT_RULES}


def _signal_files(file: InputFile) -> list[str]:
    if file.signals is not None:
        return [file.signals]
    return [] if file.corpus is None else [str(path) for path in signal_files(file.corpus)[:1]]


def _measured(stream: Stream) -> dict[str, Signal]:
    if not stream.measure:
        return {}
    from glasshouse.data.signals.families import family, signals_of

    return signals_of([family(name) for name in stream.measure])


def _add_attribute(found: dict[str, Signal], key: str, value: object) -> None:
    if isinstance(value, dict):
        for below, inner in value.items():
            _add_attribute(found, f"{key}.{below}", inner)
    if key not in found:
        found[key] = _attribute(key)


def _attribute(key: str) -> Signal:
    from glasshouse.data.signals.families import default_families, signals_of

    signal = signals_of(default_families()).get(column_name(key) or "")
    if signal is None or signal.unit == "flag":
        return Signal(key, ANY, "", "", "number", low=None)
    return Signal(key, ANY, signal.doc, signal.citation, signal.unit, signal.low, signal.high)
