"""What a signal is: a named, typed, documented and versioned column; and what a family of signals must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa

Unit = Literal[
    "bytes", "characters", "words", "lines", "paragraphs", "sentences", "tokens", "occurrences", "spans",
    "share", "ratio", "score", "number", "flag", "label",
]  # fmt: skip
"""What a value counts. `share` and `score` lie in [0, 1]; a `ratio` may exceed 1; `flag` is boolean, `label` text."""

SPANS: pa.DataType = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("score", pa.float32())]))
"""Type of a column of spans: characters `[start, end)` of the text, with a score, as in Dolma's attributes."""

_BOUNDED = ("share", "score", "flag")


@dataclass(frozen=True)
class Signal:
    """A named column.

    Attributes:
        name: name of the column.
        dtype: Arrow type: int64, float64, bool, string, or `SPANS`.
        doc: what it measures, in a phrase.
        citation: where the definition comes from.
        unit: what a value counts.
        low, high: bounds of the values; `None` where there is none.
        version: a changed definition gets a new version, so that an old corpus stays explainable.
    """

    name: str
    dtype: pa.DataType
    doc: str
    citation: str
    unit: Unit
    low: float | None = 0.0
    high: float | None = None
    version: int = 1

    @property
    def field(self) -> pa.Field[Any]:
        """The Arrow field, with the documentation as its metadata."""
        bounds = "" if self.low is None else f"{self.low:g}", "" if self.high is None else f"{self.high:g}"
        about = {"doc": self.doc, "citation": self.citation, "unit": self.unit, "version": str(self.version)}
        return pa.field(self.name, self.dtype, metadata=about | {"low": bounds[0], "high": bounds[1]})


def count(name: str, unit: Unit, doc: str, citation: str, version: int = 1) -> Signal:
    """A whole number of something, from 0 on."""
    return Signal(name, pa.int64(), doc, citation, unit, version=version)


def measure(name: str, unit: Unit, doc: str, citation: str, version: int = 1) -> Signal:
    """A real number: a share or score in [0, 1], or a ratio, mean or median from 0 on."""
    return Signal(name, pa.float64(), doc, citation, unit, high=1.0 if unit in _BOUNDED else None, version=version)


def flag(name: str, doc: str, citation: str, version: int = 1) -> Signal:
    """Yes or no."""
    return Signal(name, pa.bool_(), doc, citation, "flag", high=1.0, version=version)


def label(name: str, doc: str, citation: str, version: int = 1) -> Signal:
    """A word, such as a language code."""
    return Signal(name, pa.string(), doc, citation, "label", low=None, version=version)


def spans(name: str, doc: str, citation: str, version: int = 1) -> Signal:
    """Spans of characters with scores."""
    return Signal(name, SPANS, doc, citation, "spans", low=None, version=version)


class Family(Protocol):
    """Signals that are measured together. Families are frozen configurations (`store.configuration.Config`): they can
    be pickled, compared and written into a manifest.
    """

    @property
    def name(self) -> str:
        """The family's name in the registry (`families.py`)."""

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The columns it makes, in order."""

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        """One array per signal, one value per document of the batch: a pure function."""
