"""Spans of a text replaced: personal information masked, repeated paragraphs cut.

Where spans overlap, one that begins inside an earlier one is left out; of two that begin together the one of the rule
that comes first, then the first in its list, counts. So a replaced text never depends on the order of reading.

Deliberate differences from Dolma's mixer, each a bug of Dolma 1.2.1: an empty span inserts its replacement (Dolma loses
the next character, ignores all later spans and writes the rest of the text twice); a span that begins at or behind the
end of the text is left out (Dolma appends its replacement, and for `{}` text that is there already); a replacement read
from the row is put in as it is (Dolma replaces a `{}` in it). What is replaced and left out is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

from pydantic import model_validator

from glasshouse.store.configuration import Config

OLD_TEXT = "{}"


class SpanReplacement(Config):
    """Replaces the spans of a column whose score is in [`minimum_score`, `maximum_score`).

    Attributes:
        spans: the column or attribute.
        replacement: the new text; `{}` stands for the old one.
        replacement_field: instead, the field, attribute or `metadata.…` of the document whose text is put in.
        minimum_score, maximum_score: no bound when `None`.
    """

    spans: str
    replacement: str = ""
    replacement_field: str | None = None
    minimum_score: float | None = None
    maximum_score: float | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        low, high = self.minimum_score, self.maximum_score
        if low is not None and high is not None and low >= high:
            raise ValueError(f"no score is at least {low:g} and below {high:g}: nothing would ever be replaced")
        if self.replacement and self.replacement_field is not None:
            raise ValueError("give a replacement or the field it is read from, not both")
        return self

    def takes(self, score: float) -> bool:
        """Whether a span of this score is replaced."""
        above = self.minimum_score is None or score >= self.minimum_score
        return above and (self.maximum_score is None or score < self.maximum_score)


class Replacement(NamedTuple):
    """Characters `[start, end)` and what comes in their place; `literal`: `{}` in it stands for itself."""

    start: int
    end: int
    replacement: str
    literal: bool = False


class Replaced(NamedTuple):
    """The new text, how many spans were replaced, and how many were left out because they overlap another."""

    text: str
    replaced: int
    overlapping: int


def replace_spans(text: str, replacements: Iterable[Replacement]) -> Replaced:
    """`text` with spans replaced. A span that reaches beyond the text ends with it; one that begins beyond is left out.

    Args:
        replacements: in the order of the rules, then of their lists.
    """
    parts, at, replaced, left_out = [], 0, 0, 0
    before = -1
    for start, end, replacement, literal in sorted(replacements, key=lambda span: span.start):
        if start < at or start == before or start > len(text) or (start == len(text) and end > start):
            left_out += 1
            continue
        end = min(end, len(text))
        old = text[start:end]
        parts += [text[at:start], replacement if literal else replacement.replace(OLD_TEXT, old)]
        at, before = end, start
        replaced += 1
    return Replaced("".join([*parts, text[at:]]), replaced, left_out)
