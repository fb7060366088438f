"""Curate text as Dolma was curated, and find out what each filter and each source is worth (arXiv 2402.00159).

The paper trains 1.2-billion-parameter models on 150 billion tokens for every choice of data; here every choice gets a
transformer of 0.4 million parameters, a million tokens and several seeds, and the text is what every machine with
Python has: prose (docstrings, manuals, READMEs) with pages of stray code among it for the web, source code, and
reference documentation. What is compared is the order of the choices, not the paper's numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import orjson
import pyarrow as pa

from glasshouse.data.curation.configuration import CutSpans
from glasshouse.data.curation.rules import RuleSet, dolma_code_rules, dolma_web_rules
from glasshouse.data.deduplication.keys import DocumentMethod, PieceMethod
from glasshouse.data.deduplication.methods import exact, minhash, paragraphs, url
from glasshouse.data.document import DOCUMENT, document_hash, is_selected
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.signals.families import family
from glasshouse.data.sources.installed import InstalledText
from glasshouse.data.sources.paragraphs import unwrap
from glasshouse.data.sources.topics import TOPICS_FILE
from glasshouse.data.steps import Corpus, Documents, Tokenizer, curate, installed_text, mix, tokenize, train_tokenizer
from glasshouse.data.writing import write_documents
from glasshouse.evaluation.comparison import Comparison
from glasshouse.evaluation.steps import Evaluation, evaluate
from glasshouse.language.model import LanguageModel
from glasshouse.language.steps import pretrain
from glasshouse.nn.configuration import olmo
from glasshouse.store.claims import Measures, Verdict, above, claim
from glasshouse.store.recipe import recipe
from glasshouse.store.step import Run, step
from glasshouse.training.configuration import Training

Part = Literal["web", "code", "reference", "held out prose", "held out web", "held out code", "held out reference"]
HELD_OUT = 0.1
HELD_OUT_REFERENCE = 0.3
"""There is little reference text, so more of it is set aside."""
STRAY_CODE = 0.4
"""Share of the packages' source files that stand among the web pages; the others are the source `code`."""
LEAST_WORDS = 12
BYTES_PER_TOKEN = 3.6
"""Text that gives a token at least, so that a mixture of `tokens * BYTES_PER_TOKEN` bytes is about one pass."""
MIXTURES: dict[str, dict[str, float]] = {
    "web only": {"web": 1.0},
    "code only": {"code": 1.0},
    "reference only": {"reference": 1.0},
    "naive": {"web": 0.835, "code": 0.138, "reference": 0.027},
    "reference+": {"web": 0.812, "code": 0.135, "reference": 0.053},
    "Gopher-like": {"web": 0.684, "code": 0.054, "reference": 0.262},
}
"""Shares of the paper's mixtures, its books counted with the reference; single sources beside them."""


@step()
def part_of(run: Run, documents: Documents, part: Part) -> Documents:
    """One source of the mixture, or texts that no model is trained on.

    Held out prose is the running text of the interpreter's reference manual; no part of the manual is trained on.
    """
    found = {"documents": 0, "bytes": 0}

    def rows() -> list[pa.RecordBatch]:
        chosen = []
        for batch in documents.batches():
            kept = [row for row in map(_row_of(part), batch.to_pylist()) if row is not None and row["text"].strip()]
            kept = [visit for row in kept for visit in (visits(row) if part == "web" else [row])]
            found["documents"] += len(kept)
            found["bytes"] += sum(len(row["text"].encode()) for row in kept)
            chosen.append(pa.RecordBatch.from_pylist(kept, schema=DOCUMENT))
        return [batch for batch in chosen if batch.num_rows]

    write_documents(rows(), run.output / "documents-00000.parquet")
    Quarantine(run.output / "quarantine.jsonl").close()
    run.measure(**found, seen=found["documents"], quarantined=0)
    return Documents(run.output)


def _row_of(part: Part) -> Callable[[dict[str, str]], dict[str, str] | None]:
    def choose(row: dict[str, str]) -> dict[str, str] | None:
        source, text = row["source"], row["text"]
        manual = TOPICS_FILE in str(row["origin"])
        is_code = source in ("packages", "stdlib")
        stray = source == "packages" and is_selected(row["id"], STRAY_CODE, use="stray code")
        share = HELD_OUT_REFERENCE if part.endswith("reference") else HELD_OUT
        aside = is_selected(row["id"], share, use="held out of the mixture")
        if manual or part == "held out prose":
            return row | {"text": running_text(unwrap(text))} if manual and part == "held out prose" else None
        if part.endswith("web") and (stray or source == "docstrings") and aside == part.startswith("held"):
            return row | {"text": text if stray else unwrap(text), "source": "web"}
        if part.endswith("code") and is_code and not stray and aside == part.startswith("held"):
            return row | {"source": "code"}
        if part.endswith("reference") and source in ("documentation", "metadata") and aside == part.startswith("held"):
            return row | {"text": unwrap(text), "source": "reference"}
        return None

    return choose


def visits(row: dict[str, str]) -> list[dict[str, str]]:
    """A page as often as a crawl came by: half of the pages once, a third up to four times, the others up to a dozen.

    Common Crawl holds most pages more than once (53 % of Dolma's web documents went as repeated addresses).
    """
    share = document_hash(row["id"], use="visits") / 2.0**64
    count = 1
    if share >= 0.85:
        count = 5 + int((share - 0.85) / 0.15 * 8)
    elif share >= 0.5:
        count = 2 + int((share - 0.5) / 0.35 * 3)
    url = f"https://pages.example/{row['id']}"
    return [
        row | {"id": f"{row['id']}?visit={visit}", "metadata": orjson.dumps({"url": url}).decode()}
        for visit in range(count)
    ]


def running_text(text: str) -> str:
    """The lines that are sentences of some length."""
    return "\n".join(line for line in text.split("\n") if len(line.split()) >= LEAST_WORDS and line.endswith("."))


@recipe
def dolma(tokens: int = 1_000_000, seeds: int = 3, megabytes: float = 60) -> Evaluation:
    """Curate text as Dolma was curated, and find out what each filter and each source is worth.

    Args:
        tokens: training tokens of every model.
        seeds: models per choice of filters.
        megabytes: text to start from.
    """
    everything = installed_text(InstalledText(megabytes=megabytes))
    web = part_of(everything, "web")
    gopher, no_punctuation = dolma_web_rules, (CutSpans(signal="c4_lines_with_no_ending_punctuation"),)
    duplicates = (url(), exact(), minhash(), paragraphs())
    filtered = {
        "raw": choice(web),
        "raw + dedup": choice(web, deduplicate=duplicates),
        "Gopher": choice(web, gopher),
        "NoPunc": choice(web, cut=no_punctuation),
        "Gopher + NoPunc": choice(web, gopher, no_punctuation),
        "Gopher + NoPunc + dedup": choice(web, gopher, no_punctuation, duplicates),
    }
    tokenizer = train_tokenizer(filtered["raw"], vocabulary=4096)
    arms = {name: [grown(made, tokenizer, tokens, seed) for seed in range(seeds)] for name, made in filtered.items()}
    prose = tokenize(part_of(everything, "held out prose"), tokenizer, holdout=0)

    sources = {
        "web": filtered["Gopher + NoPunc + dedup"],
        "code": curate(part_of(everything, "code"), keep=dolma_code_rules),
        "reference": curate(part_of(everything, "reference"), keep=None),
    }
    aside = {
        "web": choice(part_of(everything, "held out web"), gopher, no_punctuation, duplicates),
        "code": curate(part_of(everything, "held out code"), keep=dolma_code_rules),
        "reference": curate(part_of(everything, "held out reference"), keep=None),
    }
    held_out = {name: tokenize(corpus, tokenizer, holdout=0).train for name, corpus in aside.items()}
    total = tokens * BYTES_PER_TOKEN
    mixed = {name: mix(chosen(sources, weights), weights, total=total) for name, weights in MIXTURES.items()}
    mixtures = {name: [grown(documents, tokenizer, tokens, seed=0)] for name, documents in mixed.items()}
    return evaluate(
        arms["Gopher + NoPunc + dedup"][0],
        [Comparison("filters", arms, {"prose": prose.train}), Comparison("mixtures", mixtures, held_out)],
        claims=[
            filters_compound,
            every_filter_helps,
            deduplication_helps,
            every_source_serves_itself,
            code_must_be_in_the_mixture,
            many_sources_beat_one,
            a_little_reference_goes_a_long_way,
        ],
    )


def chosen(sources: dict[str, Corpus], weights: dict[str, float]) -> dict[str, Corpus]:
    """The sources a mixture has."""
    return {name: sources[name] for name in weights}


def choice(
    web: Documents,
    keep: RuleSet | None = None,
    cut: Sequence[CutSpans] = (),
    deduplicate: Sequence[DocumentMethod | PieceMethod] = (),
) -> Corpus:
    """One choice of filters."""
    families = (family("core"), family("random"), family("c4_lines"))
    return curate(web, keep=keep, mask=None, cut=cut, deduplicate=deduplicate, families=families)


def grown(corpus: Documents, tokenizer: Tokenizer, tokens: int, seed: int) -> LanguageModel:
    """A small model trained on a corpus: the same settings for every choice of data."""
    shards = tokenize(corpus, tokenizer, holdout=0.02)
    training = Training(
        tokens=tokens, batch_size=8, micro_batch_size=4, seed=seed, learning_rate=8e-3, warmup=0.05, final_fraction=0,
        compile=False, checkpoint_every=1000, validate_every=1000,
    )  # fmt: skip
    return pretrain(shards, olmo(depth=2), training)


@claim(
    "Quality filters compound: raw text, Gopher's rules, C4's punctuation rule, both, and both with de-duplication are "
    "each better than the one before, for every seed.",
    "2402.00159, ablations of filters",
)
def filters_compound(measures: Measures) -> Verdict:
    chain = ("raw", "Gopher", "NoPunc", "Gopher + NoPunc", "Gopher + NoPunc + dedup")
    seeds = itertools.takewhile(lambda seed: f"filters/raw/prose/seed {seed}" in measures, itertools.count())
    saved = [
        measures[f"filters/{a}/prose/seed {seed}"] - measures[f"filters/{b}/prose/seed {seed}"]
        for seed in seeds
        for a, b in itertools.pairwise(chain)
    ]
    return above(min(saved), 0, " bits/byte")


@claim(
    "Every quality filter beats unfiltered text by more than the spread over seeds.", "2402.00159, ablations of filters"
)
def every_filter_helps(measures: Measures) -> Verdict:
    gains = [measures["filters/raw/prose"] - measures[f"filters/{name}/prose"] for name in ("Gopher", "NoPunc")]
    spread = max(measures[f"filters/{name}/prose/spread"] for name in ("raw", "Gopher", "NoPunc"))
    return above(min(gains), spread, " bits/byte")


@claim(
    "De-duplication improves both raw and filtered text, on the average over seeds.",
    "2402.00159, ablations of de-duplication",
)
def deduplication_helps(measures: Measures) -> Verdict:
    gains = [
        measures[f"filters/{name}/prose"] - measures[f"filters/{name} + dedup/prose"]
        for name in ("raw", "Gopher + NoPunc")
    ]
    return above(min(gains), 0, " bits/byte")


@claim(
    "A model trained on one source is the best of the single-source models on that source.",
    "house (Dolma)",
)
def every_source_serves_itself(measures: Measures) -> Verdict:
    singles = ("web", "code", "reference")
    margins = [
        measures[f"mixtures/{other} only/{source}"] - measures[f"mixtures/{source} only/{source}"]
        for source, other in itertools.permutations(singles, 2)
    ]
    return above(min(margins), 0, " bits/byte")


@claim(
    "Without code in the mixture the perplexity of code is at least 1.5 times as high.",
    "2402.00159, ablations of the mixture",
)
def code_must_be_in_the_mixture(measures: Measures) -> Verdict:
    ratio = measures["mixtures/web only/code/perplexity"] / measures["mixtures/naive/code/perplexity"]
    return above(ratio, 1.5, "x")


@claim(
    "A mixture of sources beats every single source on the average over sources.",
    "2402.00159, ablations of the mixture",
)
def many_sources_beat_one(measures: Measures) -> Verdict:
    singles = [measures[f"mixtures/{name} only/macro"] for name in ("web", "code", "reference")]
    return above(min(singles) - measures["mixtures/naive/macro"], 0, " bits/byte")


@claim(
    "A few per cent of reference text do for reference what a quarter of the mixture does: more than half of the gain.",
    "2402.00159, ablations of the mixture",
)
def a_little_reference_goes_a_long_way(measures: Measures) -> Verdict:
    none, little, much = (measures[f"mixtures/{name}/reference"] for name in ("web only", "reference+", "Gopher-like"))
    return above((none - little) / (none - much), 0.5, " of the gain")
