"""Forgetting documents by training again, from the last checkpoint that none of them had reached.

A run *never had* a document when every token of it is blanked out: an end-of-sequence id as input, no target
(`BlankedRows`). Rows keep their number, order and place, so all other rows are seen at the same updates, and nothing
the run computes depends on what the document said; what remains of it is how many tokens it had, and what the
tokenizer, which is kept, may have learnt from it. Copies of its text under other ids are other documents.

Until the first update that saw a part of a document, the run without it is the run with it, bit for bit. So the last
kept checkpoint before that update is one of both, and training goes on from there on the blanked rows: exact
unlearning by retraining from the last unaffected checkpoint, as SISA does per slice of data (Bourtoule et al.,
arXiv 1912.03817, section 4). Deviations from SISA: there is one shard, so the model itself is forgotten from and not a
member of an ensemble; slices are the updates between checkpoints; the order of updates, which SISA has to choose to
suit, is the run's own. The certificate is the run without the documents from the seed on, executed and compared
receipt by receipt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from glasshouse.data.steps import Shards
from glasshouse.data.tokens.shards import HOLDOUT
from glasshouse.language.joined import JoinedShards
from glasshouse.language.model import LanguageModel
from glasshouse.language.pretraining_run import (
    KEEP_ALL,
    PretrainingRun,
    inputs_of,
    same_number_of_processes,
    start_from,
)
from glasshouse.language.reexecution import Reexecution, reexecute
from glasshouse.language.steps import write_model
from glasshouse.language.trace import close_ones
from glasshouse.store.execution import execute
from glasshouse.store.files import StoreError
from glasshouse.store.progress import Bar, Reporter
from glasshouse.store.step import Run, step
from glasshouse.store.store import Store


@dataclass(frozen=True)
class Forgetting:
    """What has to be done to forget documents.

    Attributes:
        documents: those that the run saw.
        untouched: (document, reason) of those that it never saw, which need nothing.
        first: the first update that saw a part of one of `documents`; 0 when there are none.
        start: update of the checkpoint to start from; 0 is the seed.
        last: the run's last update.
    """

    documents: tuple[str, ...]
    untouched: tuple[tuple[str, str], ...]
    first: int
    start: int
    last: int


def plan_forgetting(model: LanguageModel, inputs: Sequence[Shards], documents: Sequence[str]) -> Forgetting:
    """Which update first saw one of `documents`, and which kept checkpoint is the last before it.

    `inputs` are the shards of the model's data stages. Raises `StoreError` for an id that is in none of them.
    """
    last = int(model.training["outcome"]["steps"])
    steps, untouched = {}, []
    for document in dict.fromkeys(documents):
        found = _first_update(model, inputs, document, last)
        if isinstance(found, int):
            steps[document] = found
        else:
            untouched.append((document, found))
    first = min(steps.values(), default=0)
    start = last_checkpoint_before(model, first) if steps else last
    return Forgetting(tuple(steps), tuple(untouched), first, start, last)


def last_checkpoint_before(model: LanguageModel, update: int) -> int:
    """The last kept checkpoint that an update had not changed yet; 0 (the seed) when there is none."""
    return max((kept for kept in (0, *model.checkpoints) if kept < update), default=0)


def _first_update(model: LanguageModel, inputs: Sequence[Shards], document: str, last: int) -> int | str:
    """The first update that saw a document, or why there is none."""
    if document in model.training["run"]["without"]:
        return "was left out of this run already"
    context, order = int(model.training["context"]), model.order()
    shards = JoinedShards(tuple(part.train for part in inputs))
    try:
        rows = shards.rows_of_document(document, context)
    except KeyError:
        if any(_holds(part, document, context) for part in inputs):
            return "is held out: it was never trained on"
        raise StoreError(f"no document {document!r} in the data of {model}{close_ones(shards, document)}") from None
    updates = [update for row in rows for update in order.steps_of_row(row, last)]
    return min(updates) if updates else f"was not seen in any of the {last} updates"


def _holds(part: Shards, document: str, context: int) -> bool:
    if not (part.path / HOLDOUT).is_dir():
        return False
    try:
        part.holdout.rows_of_document(document, context)
    except KeyError:
        return False
    return True


@step(name="retrain")
def retrain_step(
    run: Run,
    model: LanguageModel,
    shards: Shards,
    without: Sequence[str],
    later: Sequence[tuple[int, Shards]] = (),
) -> LanguageModel:
    """Train a model again without some documents, from the last kept checkpoint that none of them had reached.

    `shards` and `later` are those that the model was trained on. Records, receipts and checkpoints until then are the
    model's own, so the artifact holds what a run without the documents from the seed on would hold. Measures in the
    loop are not taken again.
    """
    inputs = [shards, *(part for _, part in later)]
    plan = plan_forgetting(model, inputs, without)
    if not plan.documents:
        raise StoreError("; ".join(f"document {name!r} {reason}" for name, reason in plan.untouched))
    before = PretrainingRun.of(model, inputs)
    keeps = bool(model.checkpoints)
    training = before.training.but(keep=KEEP_ALL) if keeps else before.training
    made = replace(before, training=training, without=tuple(sorted({*before.without, *plan.documents})))
    home = run.scratch / "run"
    if plan.start and not home.exists():
        start_from(model, plan.start, home, data_fingerprint=made.data_fingerprint)
    transformer = made.transformer()
    with run.bar("training again", plan.last) as bar:
        result = made.train(transformer, home, validation=made.validation, progress=bar)
    forgotten = {
        "original": model.id,
        "without": sorted(plan.documents),
        "first_update": plan.first,
        "started_from": plan.start,
        "updates_made": plan.last - plan.start,
        "updates_saved": plan.start,
    }
    run.measure(**forgotten)
    return write_model(run, made, result, keep_checkpoints=keeps, more={"retraining": forgotten})


def retrain(
    model: LanguageModel, store: Store, without: Sequence[str], reporter: Reporter | None = None
) -> LanguageModel:
    """The model without documents, as a new artifact in the store.

    Raises `StoreError` when the model saw none of them, an id is unknown, or the model cannot be made again here.
    """
    inputs = inputs_of(model, store)
    same_number_of_processes(model)
    later = PretrainingRun.of(model, inputs).later
    made = retrain_step(model, inputs[0], sorted(set(without)), list(later))
    return cast(LanguageModel, execute(made, store, reporter))


def certify(model: LanguageModel, store: Store, *, progress: Bar | None = None) -> Reexecution:
    """Run a retrained model's training from the seed, always without its documents, and compare every receipt.

    Raises `NotReproducedError` when one differs: then the model is not what training without them gives.
    """
    return reexecute(model, store, model.receipts[-1].step, start=0, progress=progress)
