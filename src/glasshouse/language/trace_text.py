"""From a piece of text to the training steps: which documents say it word for word, and when the model saw that part.

The text's spans are looked up in the search index of the corpus that the model's shards were made from
(`data/search/matching.py`). The bytes of a match become tokens by tokenising its document again, which is checked
against the tokens in the shard; the tokens lie in rows, and the order says which step saw which row (`trace.py`).
"""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow.compute as pc

from glasshouse.data.search.corpus_index import CorpusIndex
from glasshouse.data.search.matching import Matching, Span, TextMatches, match_text
from glasshouse.data.search.occurrence import Occurrence
from glasshouse.data.steps import Documents, Shards
from glasshouse.data.tokens.encoder import with_special_as_text
from glasshouse.data.tokens.shards import HOLDOUT, TokenShards
from glasshouse.language.model import LanguageModel
from glasshouse.language.trace import Sighting, Trace, trace_of
from glasshouse.store.store import Store, StoreError

if TYPE_CHECKING:
    import pyarrow as pa
    import tokenizers

    from glasshouse.data.search.building import Indexing
    from glasshouse.store.progress import Reporter


class Fate(StrEnum):
    """What became of a part of a document in a training run."""

    SEEN = "seen"
    NOT_REACHED = "never reached"
    """In the training split, but no step of the run read its rows (or it lies in the remainder of a shard)."""
    HELD_OUT = "held out"
    ABSENT = "not in the shards"
    LEFT_OUT = "left out of the run"


@dataclasses.dataclass(frozen=True)
class TracedOccurrence:
    """A place in the corpus where the text stands, and what the model saw of it.

    Attributes:
        fate: whether any step saw it.
        sightings: the steps that saw a token of it, by step; their `tokens` are those of the match inside the row.
        exact: whether `sightings` are those of the very tokens of the match; else the document could not be tokenised
            to what the shard holds, and they are those of the whole document.
    """

    occurrence: Occurrence
    fate: Fate
    sightings: tuple[Sighting, ...]
    exact: bool

    @property
    def steps(self) -> tuple[int, ...]:
        """The updates that saw it, ascending, each once."""
        return tuple(sorted({sighting.step for sighting in self.sightings}))


@dataclasses.dataclass(frozen=True)
class TracedSpan:
    """A span of the text and the places of the corpus where it stands."""

    span: Span
    occurrences: tuple[TracedOccurrence, ...]


@dataclasses.dataclass(frozen=True)
class TracedText:
    """What was found of a text: `matches` as in the corpus, and the same spans with the steps that saw them."""

    matches: TextMatches
    spans: tuple[TracedSpan, ...]


@dataclasses.dataclass(frozen=True)
class TextTrace:
    """Traces text to the steps of one training run.

    Args:
        index: of the corpus that the shards were made from.
        trace: of the run.
        holdout: the held-out split, if there is one.
        tokenizer: the one that made the shards.
    """

    index: CorpusIndex
    trace: Trace
    holdout: TokenShards | None
    tokenizer: tokenizers.Tokenizer

    def of_text(self, text: str, matching: Matching = Matching()) -> TracedText:  # noqa: B008 (frozen)
        """The spans of a text that stand in the corpus, their documents, and the steps that saw them."""
        matches = match_text(self.index, text, matching)
        spans = [
            TracedSpan(span, tuple(self.of_occurrence(occurrence) for occurrence in span.occurrences))
            for span in matches.spans
        ]
        return TracedText(matches, tuple(spans))

    def of_occurrence(self, occurrence: Occurrence) -> TracedOccurrence:
        """What the run saw of one place in the corpus."""
        if occurrence.document in self.trace.without:
            return TracedOccurrence(occurrence, Fate.LEFT_OUT, (), True)
        found = _span_of(self._documents, occurrence)
        if found is None:
            held_out = self.holdout is not None and _is_in(self.holdout, occurrence, self.trace.context)
            return TracedOccurrence(occurrence, Fate.HELD_OUT if held_out else Fate.ABSENT, (), True)
        shard, start, end = found
        part = self._tokens_of(occurrence, shard, start, end)
        sightings = self._sightings(occurrence, shard, *(part or (start, end)))
        fate = Fate.SEEN if sightings else Fate.NOT_REACHED
        return TracedOccurrence(occurrence, fate, tuple(sightings), part is not None)

    def _tokens_of(self, occurrence: Occurrence, shard: int, start: int, end: int) -> tuple[int, int] | None:
        """The tokens of the shard that hold a byte of the match; `None` when they cannot be told."""
        text = self.index.document_text(occurrence.ordinal)
        encoded = self._plain.encode(text, add_special_tokens=False)
        stored = self.trace.shards.document_tokens(shard, start, end)
        # The document's last token is the end of sequence.
        if len(encoded.ids) != end - start - 1 or not np.array_equal(np.array(encoded.ids, np.int64), stored[:-1]):
            return None
        data = text.encode()
        low = len(data[: occurrence.start].decode(errors="ignore"))
        high = len(data[: occurrence.end].decode(errors="ignore"))
        inside = [place for place, (first, last) in enumerate(encoded.offsets) if first < high and last > low]
        return (start + inside[0], start + inside[-1] + 1) if inside else None

    def _sightings(self, occurrence: Occurrence, shard: int, start: int, end: int) -> list[Sighting]:
        """Every time that a row with some of the tokens `[start, end)` of a shard was read, by step."""
        trace, context, found = self.trace, self.trace.context, []
        for row in range(start // context, (end - 1) // context + 1):
            number = self._first_rows[shard] + row
            if number >= self._first_rows[shard + 1]:
                break  # the remainder at the end of a shard is in no row
            tokens = (max(start - row * context, 0), min(end - row * context, context))
            for visit in trace.order.visits_of_row(number, trace.last_step):
                seen = Sighting(
                    visit.step, visit.epoch, visit.rank(trace.world), number, tokens, occurrence.document,
                    occurrence.source, occurrence.file, occurrence.bytes,
                )  # fmt: skip
                found.append((visit.step, visit.place, seen))
        return [seen for _, _, seen in sorted(found, key=lambda item: item[:2])]

    @cached_property
    def _documents(self) -> pa.Table:
        return self.trace.shards.documents().combine_chunks()

    @cached_property
    def _first_rows(self) -> list[int]:
        rows = (entry.tokens // self.trace.context for entry in self.trace.shards.manifest.shards)
        return [0, *accumulate(rows)]

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """The tokenizer as the shards were written with."""
        return with_special_as_text(self.tokenizer)


def text_trace_of(
    model: LanguageModel, store: Store, indexing: Indexing | None = None, reporter: Reporter | None = None
) -> TextTrace:
    """The text trace of a trained model.

    Of a model whose data changed during training, the corpus of the first stage is searched.

    The corpus is indexed on the first call (the step `index_corpus`: some 0.1 s of CPU time per MB of text and 5.4
    bytes of disk per byte) and found in the store from then on.

    Raises:
        StoreError: the shards or the corpus are no longer in the store.
    """
    from glasshouse.data.search.building import Indexing
    from glasshouse.data.steps.search import SearchIndex, index_corpus
    from glasshouse.store.execution import execute

    trace = trace_of(model, store)
    shards = cast(Shards, store.open(model.manifest["inputs"]["shards"]["artifact"]))
    corpus = store.open(shards.manifest["inputs"]["corpus"]["artifact"])
    if not isinstance(corpus, Documents):
        raise StoreError(f"{corpus} is not a corpus of documents, so text cannot be traced to it")
    made = cast(SearchIndex, execute(index_corpus(corpus, indexing or Indexing()), store, reporter))
    holdout = shards.holdout if (shards.path / HOLDOUT).is_dir() else None
    return TextTrace(made.index, trace, holdout, shards.tokenizer)


def _span_of(documents: pa.Table, occurrence: Occurrence) -> tuple[int, int, int] | None:
    """Shard and tokens `[start, end)` of a document among the spans of a split."""
    same = (pc.field("id") == occurrence.document) & (pc.field("source") == occurrence.source)
    rows = documents.filter(same).to_pylist()
    return (rows[0]["shard"], rows[0]["start"], rows[0]["end"]) if rows else None


def _is_in(shards: TokenShards, occurrence: Occurrence, context: int) -> bool:
    try:
        shards.rows_of_document(occurrence.document, context, occurrence.source)
    except KeyError:
        return False
    return True
