"""Dolma's own decontamination (arXiv 2402.00159, appendix; `dolma dedupe` with a seeded, read-only filter): a document
with a paragraph of more than 13 words that an evaluation set has too is removed.

Deliberate deviations: an exact set in place of a Bloom filter, so there are no false alarms; words are runs of letters,
digits and marks (`words.py`) in place of UAX #29's, which differ at apostrophes and points inside words.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from glasshouse.data.contamination.evaluation_sets import EvaluationSet, EvaluationSetError
from glasshouse.data.contamination.scanning import HITS
from glasshouse.data.document import strings
from glasshouse.data.resumption import work_key
from glasshouse.store.configuration import Config


class ParagraphRule(Config):
    """Paragraphs (separated by newlines) of more than `words` words are compared, as they are."""

    words: int = Field(default=13, ge=0)


class ParagraphIndex:
    """The long paragraphs of evaluation sets; never changed by a scan. Its hits have the form of `scanning.HITS`.

    Raises:
        EvaluationSetError: when no set has a paragraph that is long enough.
    """

    def __init__(self, sets: Sequence[EvaluationSet], rule: ParagraphRule | None = None) -> None:
        self.matching = rule or ParagraphRule()
        self.sets = tuple(one.name for one in sets)
        items = [(number, item) for number, one in enumerate(sets) for item in one.items]
        self.item_set = np.array([number for number, _ in items], np.int32)
        self.item_ids = tuple(item.id for _, item in items)
        self.item_words = np.zeros(len(items), np.int64)
        self.item_short = np.zeros(len(items), np.bool_)
        self._items: dict[str, list[int]] = {}
        for number, (_, item) in enumerate(items):
            for line in {line for passage in item.passages for line in passage.split("\n")}:
                if (count := _word_count(line)) > self.matching.words:
                    self._items.setdefault(line, []).append(number)
                    self.item_words[number] += count
        if not self._items:
            raise EvaluationSetError(
                f"no paragraph of {', '.join(self.sets) or 'no sets'} has more than {self.matching.words} words"
            )

    @property
    def searched_for(self) -> str:
        """What is looked for, in words."""
        return f"whole paragraphs of more than {self.matching.words} words"

    @functools.cached_property
    def fingerprint(self) -> str:
        """Says what is looked for: equal for equal indexes."""
        return work_key(self.matching.words, self.sets, self.item_ids, self.item_set.tolist(), self._items)

    def scan(self, batch: pa.RecordBatch) -> pa.Table:
        """One row per document and item with a common paragraph; every overlap is 1, as any such document goes."""
        ids, sources = strings(batch, "id"), strings(batch, "source")
        rows: list[dict[str, Any]] = []
        for row, text in enumerate(strings(batch, "text")):
            found: dict[int, list[dict[str, float]]] = {}
            for start, line in _paragraphs(text):
                for item in self._items.get(line, ()):
                    found.setdefault(item, []).append({"start": start, "end": start + len(line), "score": 1.0})
            for item in sorted(found):
                share = sum(span["end"] - span["start"] for span in found[item]) / len(text)
                rows.append({
                    "row": row, "id": ids[row], "source": sources[row], "set": self.sets[self.item_set[item]],
                    "item": self.item_ids[item], "short": False, "overlap": 1.0, "item_ngrams": 1.0,
                    "document_ngrams": share, "spans": found[item],
                })  # fmt: skip
        return pa.Table.from_pylist(rows, HITS)


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.split("\n"):
        yield at, line
        at += len(line) + 1


def _word_count(text: str) -> int:
    from glasshouse.data.contamination import words

    data = np.frombuffer(text.encode(), np.uint8)
    room = len(data) // 2 + 1
    empty = np.empty(room, np.int64)
    return words.split_words(data, 0, len(data), words.folding(), np.empty(room, np.uint64), empty, empty.copy())
