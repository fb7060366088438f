"""Curation checked from outside, as a measure: do the counts add up, and did masking and de-duplication do their work?

The corpus is read again and looked at with independent means where there are any: exact duplicates by comparing texts,
personal information by the detector itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from glasshouse.data.document import strings
from glasshouse.data.signals.pii import find_spans
from glasshouse.store.panels import Panel, Table
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.data.steps import Corpus
    from glasshouse.language.model import LoadedModel


@dataclasses.dataclass(frozen=True)
class CuratedCorpus:
    """The measure: what is left in a curated corpus that should not be, and whether its books balance."""

    corpus: Corpus

    def measure(self, model: LoadedModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """Values `curation/…`: documents in, kept, removed, unaccounted, duplicates and spans left."""
        summary = self.corpus.summary
        seen, kept, removed = (summary[name]["documents"] for name in ("documents", "kept", "removed"))
        texts: set[bytes] = set()
        documents = spans = 0
        with bar("checking the corpus", kept) as shown:
            for batch in self.corpus.batches():
                for text in strings(batch, "text"):
                    texts.add(hashlib.sha256(text.encode()).digest())
                    documents += 1
                    spans += len(find_spans(text))
                shown.advance(batch.num_rows)
        values = {
            "curation/documents": float(seen),
            "curation/kept": float(documents),
            "curation/removed": float(removed),
            "curation/unaccounted": float(abs(seen - documents - removed) + abs(documents - kept)),
            "curation/exact_duplicates_left": float(documents - len(texts)),
            "curation/personal_spans_left": float(spans),
        }
        return {"values": values}

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """The counts."""
        rows = [(name.removeprefix("curation/").replace("_", " "), int(v)) for name, v in outcome["values"].items()]
        return [Table("Curation, checked again", ["what", "documents or spans"], rows)]


def curated(corpus: Corpus) -> CuratedCorpus:
    """Check a curated corpus from outside."""
    return CuratedCorpus(corpus)
