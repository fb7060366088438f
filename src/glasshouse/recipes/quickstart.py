"""Grow a small OLMo from the text that is already on this machine, and follow it back to its documents."""

from __future__ import annotations

from glasshouse.data.curation.rules import dolma_rules
from glasshouse.data.deduplication.methods import exact, minhash
from glasshouse.data.signals.pii import pii
from glasshouse.data.sources.installed import InstalledText
from glasshouse.data.steps import curate, installed_text, tokenize, train_tokenizer
from glasshouse.evaluation.curation import curated
from glasshouse.evaluation.perplexity import perplexity
from glasshouse.evaluation.samples import samples
from glasshouse.evaluation.steps import Evaluation, evaluate
from glasshouse.language.scaling import dial
from glasshouse.language.steps import pretrain
from glasshouse.store.claims import Measures, Verdict, above, below, claim
from glasshouse.store.recipe import recipe

PROMPTS = ("import numpy as np\n\ndef ", "This package provides ", '    """Return ', "## Installation\n\n")


@claim("Curation loses nothing: every document that came in is kept or removed for a recorded reason.", "house (Dolma)")
def every_document_is_accounted_for(measures: Measures) -> Verdict:
    return below(measures["curation/unaccounted"], 1, " documents")


@claim("No two kept documents have the same text.", "house (Dolma)")
def no_exact_duplicates_are_left(measures: Measures) -> Verdict:
    return below(measures["curation/exact_duplicates_left"], 1, " documents")


@claim("No e-mail address, phone number or IP address that the detector knows is left in the corpus.", "house (Dolma)")
def no_personal_spans_are_left(measures: Measures) -> Verdict:
    return below(measures["curation/personal_spans_left"], 1, " spans")


@claim(
    "The model needs fewer bits per held-out byte than a unigram model fitted on the whole training split.",
    "house (OLMo)",
)
def beats_unigram(measures: Measures) -> Verdict:
    return below(measures["bits_per_byte/model/micro"], measures["bits_per_byte/unigram/micro"], " bits/byte")


@claim(
    "The model needs fewer bits per held-out byte than a smoothed trigram model fitted on the whole training split.",
    "house (OLMo)",
)
def beats_trigram(measures: Measures) -> Verdict:
    return below(measures["bits_per_byte/model/micro"], measures["bits_per_byte/trigram/micro"], " bits/byte")


@claim(
    "Its advantage over the trigram model is larger than the spread over documents (95 % paired interval above 0).",
    "house (OLMo)",
)
def beats_trigram_beyond_the_spread(measures: Measures) -> Verdict:
    return above(measures["advantage/trigram/low"], 0, " bits/byte")


@claim("The model compresses every source better than the unigram model, not only their average.", "house (OLMo)")
def beats_unigram_on_every_source(measures: Measures) -> Verdict:
    prefix = "bits_per_byte/model/"
    sources = [name.removeprefix(prefix) for name in measures if name.startswith(prefix)]
    ratios = [measures[f"bits_per_byte/unigram/{s}"] / measures[f"{prefix}{s}"] for s in sources]
    return above(min(ratios), 1, "x on the worst source")


@recipe
def quickstart(depth: int = 4, tokens: int = 2_000_000, seed: int = 0) -> Evaluation:
    """Grow a small OLMo from the text that is already on this machine: gather, curate, tokenise, train, evaluate.

    Args:
        depth: layers of the model; width, heads, feed-forward, learning rate and batch follow from it.
        tokens: training tokens.
        seed: of the training run: initial weights and the order of the data.
    """
    documents = installed_text(InstalledText(megabytes=10))
    corpus = curate(documents, keep=dolma_rules, mask=pii, deduplicate=[exact(), minhash()])
    tokenizer = train_tokenizer(corpus, vocabulary=4096)
    shards = tokenize(corpus, tokenizer, holdout=0.05)
    shape, training = dial(depth, tokens, seed=seed)
    model = pretrain(shards, shape, training.but(checkpoint_every=100, validate_every=200))
    return evaluate(
        model,
        [curated(corpus), perplexity(shards.holdout, against=shards.train), samples(*PROMPTS)],
        claims=[
            every_document_is_accounted_for,
            no_exact_duplicates_are_left,
            no_personal_spans_are_left,
            beats_unigram,
            beats_unigram_on_every_source,
            beats_trigram,
            beats_trigram_beyond_the_spread,
        ],
    )
