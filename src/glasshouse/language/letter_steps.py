"""The world of letters (`glasshouse.language.letters`) as artifacts: prose, instructions, preferences."""

from __future__ import annotations

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.steps import Documents
from glasshouse.data.writing import write_documents
from glasshouse.language import letters
from glasshouse.language.adaptation import Conversations, Preferences, write_splits
from glasshouse.store.step import Run, step


@step()
def letter_prose(run: Run, documents: int = 20_000, seed: int = 0) -> Documents:
    """Plain sentences about letters and houses, to pre-train on."""
    texts = letters.prose(documents, seed=seed)
    found = [Document(f"prose-{n}", text, "letters", Origin("letters", 0, len(text))) for n, text in enumerate(texts)]
    write_documents(batches(found), run.output / "documents-00000.parquet")
    (run.output / "quarantine.jsonl").touch()
    size = sum(len(text.encode()) for text in texts)
    run.measure(documents=len(found), bytes=size, seen=len(found), quarantined=0)
    return Documents(run.output)


@step()
def letter_conversations(
    run: Run, train: int = 1500, holdout: int = 200, seed: int = 0, shuffled: bool = False
) -> Conversations:
    """Instructions with answers. `shuffled` gives each the answer of another: a control."""
    made = letters.conversations(train, seed=seed, shuffled=shuffled)
    write_splits(run, made, letters.conversations(holdout, split="holdout"))
    return Conversations(run.output)


@step()
def letter_preferences(
    run: Run, train: int = 400, holdout: int = 200, seed: int = 0, random_labels: bool = False
) -> Preferences:
    """Pairs of answers under the hidden rule. `random_labels` leaves the rule out of the training pairs: a control."""
    made = letters.preferences(train, seed=seed, random_labels=random_labels)
    write_splits(run, made, letters.preferences(holdout, split="holdout"))
    return Preferences(run.output)
