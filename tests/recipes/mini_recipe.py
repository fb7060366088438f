"""A recipe of the real steps on a corpus of a hundred and fifty documents: seconds instead of minutes."""

from __future__ import annotations

import json
import random
from pathlib import Path

from glasshouse.data.curation.rules import Rule, RuleSet
from glasshouse.data.deduplication.methods import exact, minhash
from glasshouse.data.signals.pii import pii
from glasshouse.data.steps import curate, read_text, tokenize, train_tokenizer
from glasshouse.evaluation.perplexity import perplexity
from glasshouse.evaluation.samples import samples
from glasshouse.evaluation.steps import Evaluation, evaluate
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import olmo
from glasshouse.store.claims import Measures, Verdict, above, claim
from glasshouse.store.recipe import recipe
from glasshouse.training.configuration import Training

DOCUMENTS = 150
WORDS = (  # noqa: SIM905 (a list of forty strings is no easier to read)
    "the glass house keeps warm air and light for plants that grow in rows of clay pots while rain falls on clear "
    "panes and a gardener writes down what was sown when it was watered and which leaf came first in spring"
).split()


@claim("The model is far from certain about text it has hardly trained on.")
def costs_bits(measures: Measures) -> Verdict:
    return above(measures["bits_per_byte/model/micro"], 0.01, " bits/byte")


@claim("The loss of the first update is that of a model that knows nothing.")
def starts_ignorant(measures: Measures) -> Verdict:
    return above(measures["training/first_loss"], 3.0, " nats")


def document(number: int) -> dict[str, object]:
    """One document in Dolma's form; the text is a function of its number."""
    draw = random.Random(number)
    sentences = [" ".join(draw.choices(WORDS, k=draw.randint(6, 14))).capitalize() + "." for _ in range(10)]
    source = "almanac" if number % 3 else "ledger"
    text = f"Entry {number}. " + " ".join(sentences)
    return {"id": f"doc-{number:03d}", "text": text, "source": source, "metadata": {"page": number}}


def write_corpus(path: Path, documents: int = DOCUMENTS) -> Path:
    """Documents as JSON Lines, the last of them an exact copy of the first."""
    rows = [document(number) for number in range(documents - 1)]
    rows.append({**rows[0], "id": "doc-copy"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@recipe
def mini(corpus: str, depth: int = 1, tokens: int = 4096, seed: int = 0, shortest: int = 10) -> Evaluation:
    """Everything quickstart does, on one small file.

    Args:
        corpus: JSON Lines file of documents.
        depth: layers of the model.
        tokens: training tokens.
        seed: of the training run.
        shortest: characters a document needs to be kept.
    """
    documents = read_text([corpus])
    rules = RuleSet(name="length", rules=(Rule(signal="character_count", operator="<", threshold=shortest),))
    kept = curate(documents, keep=rules, mask=pii, deduplicate=[exact(), minhash()])
    tokenizer = train_tokenizer(kept, vocabulary=300)
    shards = tokenize(kept, tokenizer, holdout=0.1)
    training = Training(tokens=tokens, batch_size=8, seed=seed, checkpoint_every=2, log_every=1, precision="fp32")
    model = pretrain(shards, olmo(depth=depth).but(context=32), training)
    measures = [perplexity(shards.holdout, against=shards.train), samples("The glass house ", tokens=8)]
    return evaluate(model, measures, claims=[costs_bits, starts_ignorant])
