"""Provenance of a training run: which documents a model saw at a step, and at which steps it saw a document.

Nothing is looked up in an index of the run: the order is a pure function of the manifest (`DataOrder`), rows are
consecutive tokens of a shard, and the shards know which bytes of which file their tokens came from.
"""

from __future__ import annotations

import dataclasses
import difflib

from glasshouse.data.tokens.shards import DocumentSpan, TokenShards
from glasshouse.language.joined import JoinedShards
from glasshouse.language.model import LanguageModel
from glasshouse.language.pretraining_run import inputs_of
from glasshouse.store.store import Store, StoreError
from glasshouse.training.stages import Order


@dataclasses.dataclass(frozen=True)
class Sighting:
    """A part of a document inside one row of one step's batch.

    Attributes:
        step: the update, counted from 1.
        epoch: pass over the data, from 0.
        rank: the process that saw it, of those that shared the batch.
        row: number of the row of tokens.
        tokens: first and last-but-one token of the part, inside the row.
        file, bytes: the whole document's place in the file it was read from.
    """

    step: int
    epoch: int
    rank: int
    row: int
    tokens: tuple[int, int]
    document: str
    source: str
    file: str
    bytes: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Trace:
    """The order and the data of one training run.

    Args:
        order: what was seen when.
        shards: the training split, or those of all data stages.
        context: tokens per row.
        last_step: updates that were made.
        world: processes that shared every batch.
        without: documents that were blanked out, so that no update saw them.
    """

    order: Order
    shards: TokenShards | JoinedShards
    context: int
    last_step: int
    world: int = 1
    without: frozenset[str] = frozenset()

    def at_step(self, step: int) -> list[Sighting]:
        """Everything seen at an update, rank by rank in the order of its batch.

        Raises:
            StoreError: the run made no such update.
        """
        if not 1 <= step <= self.last_step:
            raise StoreError(f"the run made updates 1 to {self.last_step}; there is no update {step}")
        found = []
        for rank in range(self.world):
            for row, visit in self.order.visits_at_step(step, rank, self.world):
                spans = self.shards.spans_of_row(row, self.context)
                found += [
                    self._sighting(step, visit.epoch, rank, row, span)
                    for span in spans
                    if span.document_id not in self.without
                ]
        return found

    def of_document(self, document: str) -> list[Sighting]:
        """Every time a part of a document was seen, by step.

        Raises:
            StoreError: no document of that id was trained on; the message names close ones.
        """
        if document in self.without:
            raise StoreError(f"document {document!r} was left out of this run: it was retrained without it")
        try:
            rows = self.shards.rows_of_document(document, self.context)
        except KeyError:
            raise StoreError(self._unknown(document)) from None
        parts = {
            row: [span for span in self.shards.spans_of_row(row, self.context) if span.document_id == document]
            for row in rows
        }
        visits = [(visit, row) for row in rows for visit in self.order.visits_of_row(row, self.last_step)]
        return [
            self._sighting(visit.step, visit.epoch, visit.rank(self.world), row, span)
            for visit, row in sorted(visits, key=lambda pair: (pair[0].step, pair[0].place))
            for span in parts[row]
        ]

    def _sighting(self, step: int, epoch: int, rank: int, row: int, span: DocumentSpan) -> Sighting:
        tokens, place = (span.row_start, span.row_end), (span.byte_start, span.byte_end)
        return Sighting(step, epoch, rank, row, tokens, span.document_id, span.source, span.file, place)

    def _unknown(self, document: str) -> str:
        hint = close_ones(self.shards, document)
        return f"no document {document!r} in the training split (it may be held out or removed){hint}"


def close_ones(shards: TokenShards | JoinedShards, document: str) -> str:
    """The end of an error about an unknown id: those that are like it, if there are any."""
    ids = [str(name) for name in shards.documents().column("id").to_pylist()]
    close = difflib.get_close_matches(document, ids, n=3, cutoff=0.5)
    return f"; close ones: {', '.join(close)}" if close else ""


def trace_of(model: LanguageModel, store: Store) -> Trace:
    """The trace of a trained model: its recorded order over the shards it was trained on.

    Raises:
        StoreError: the shards are no longer in the store, or are not those of the recorded run.
    """
    parts = [shards.train for shards in inputs_of(model, store)]
    shards = parts[0] if len(parts) == 1 else JoinedShards(tuple(parts))
    outcome, context = model.training["outcome"], int(model.training["context"])
    without = frozenset(model.training.get("run", {}).get("without", ()))
    return Trace(model.order(), shards, context, int(outcome["steps"]), int(outcome["processes"]), without)
