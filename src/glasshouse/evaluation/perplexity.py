"""Bits per byte of held-out documents, by source, beside count-based baselines.

Bits per byte = nats / (ln 2 x UTF-8 bytes), which compares models with different tokenizers (Paloma, arXiv
2312.10523; used in OLMo, arXiv 2402.00838, section 4.2). As in Paloma, a source is the mean of its domains, each
weighted alike, and `macro` the mean of the sources; `micro` weighs every byte alike.

A document is scored alone: the end-of-sequence token stands before it, and text longer than the context is cut into
windows that follow each other (the first token of a window is still predicted from the token before it).

Paloma takes documents with its paragraphs out of the training data. Where the model is trained already, the held-out
documents that share a paragraph with the training documents are told, or left out (`seen`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from glasshouse.evaluation.encoding import Encoded
from glasshouse.evaluation.held_out import (
    HeldOut,
    HeldOutError,
    TextFiles,
    read_held_out,
    texts_of_shards,
    trained_on,
)
from glasshouse.evaluation.intervals import Floats, Interval, bootstrap
from glasshouse.evaluation.likelihood import likelihood_batches
from glasshouse.evaluation.ngram import NGram
from glasshouse.store.panels import Bars, Panel, Table
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.data.tokens.shards import TokenShards
    from glasshouse.language.measures import CausalModel

NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}


def document_nats(
    model: nn.Module,
    documents: Sequence[npt.NDArray[np.int64]],
    *,
    end_of_sequence: int,
    context: int,
    batch: int = 16,
    advance: Callable[[int], object] = lambda _: None,
) -> npt.NDArray[np.float64]:
    """-ln p of every document under a causal language model.

    Args:
        model: token ids `[batch, seq]` -> an object with `.logits` `[batch, seq, vocabulary]` (ours or Hugging Face's).
        documents: token ids of each document, without end-of-sequence tokens.
        context: longest window, in tokens.
        batch: windows per forward pass.
        advance: told the number of tokens scored, for a progress bar.

    Returns:
        One sum per document, in nats (float64).

    Raises:
        ScoringError: the model gives a number that is not finite.
    """
    windows: list[Encoded] = []
    owners: list[int] = []
    for index, document in enumerate(documents):
        ids = [end_of_sequence, *document.tolist()]
        for start in range(0, len(document), context):
            windows.append(Encoded((ids[start],), tuple(ids[start + 1 : start + 1 + context])))
            owners.append(index)
    nats = np.zeros(len(documents))
    for numbers, found in likelihood_batches(
        model, windows, context=context, batch_tokens=batch * context, share=False
    ):
        np.subtract.at(nats, [owners[number] for number in numbers], found.log_likelihood)
        advance(sum(len(windows[number].continuation) for number in numbers))
    return nats


def bits_per_byte(nats: npt.ArrayLike, size: npt.ArrayLike) -> float:
    """Bits per byte of documents together: sum of nats / (ln 2 x sum of bytes)."""
    return float(np.sum(nats) / (math.log(2) * np.sum(size)))


def bootstrap_interval(nats: Floats, size: Floats, seed: int) -> Interval:
    """95 % percentile interval of bits per byte over resampled documents."""
    return bootstrap(lambda chosen: bits_per_byte(nats[chosen], size[chosen]), len(nats), seed)


@dataclasses.dataclass(frozen=True)
class Perplexity:
    """The measure: bits per byte of a model and of its baselines on held-out documents.

    Attributes:
        held_out: documents nobody trained on.
        against: the training tokens that the baselines are fitted on (all of them, so at least what the model saw), and
            in which paragraphs of held-out documents are looked for.
        orders: n of the n-gram baselines.
        per_domain: a seeded sample of at most this many documents of every domain; all of them by default.
        seen: what happens to held-out documents with a long paragraph that is in `against`: nothing is looked for,
            they are reported, or they are excluded.
    """

    held_out: TokenShards | TextFiles
    against: TokenShards | None = None
    orders: tuple[int, ...] = (1, 3)
    seed: int = 0
    per_domain: int | None = None
    seen: Literal["ignore", "report", "exclude"] = "ignore"

    def measure(self, model: CausalModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """Values `bits_per_byte/<model>/<source>` (and `…/<source>/<domain>` where it has several) with `micro` and
        `macro`, and a record of sizes and intervals.

        `advantage/<baseline>/low` and `high` are the 95 % interval, paired by document, of how many bits per byte fewer
        the model needs than the baseline. `seen/documents` counts documents that were trained on.
        """
        found = read_held_out(self.held_out, model, per_domain=self.per_domain, seed=self.seed)
        seen = self._seen(found, model)
        if self.seen == "exclude" and seen:
            found = found.without(seen)
        total = float(sum(map(len, found.tokens)))
        scores: dict[str, npt.NDArray[np.float64]] = {}
        with bar("scoring held-out documents", total) as shown:
            scores["model"] = document_nats(
                model.transformer,
                found.tokens,
                end_of_sequence=model.end_of_sequence,
                context=model.context,
                advance=shown.advance,
            )
        if self.against is not None:
            stream = _stream(self.against)
            for order in self.orders:
                fitted = NGram(stream, self.against.vocabulary, order)
                name = NAMES.get(order, f"{order}-gram")
                scores[name] = np.array([fitted.nats(ids, model.end_of_sequence).sum() for ids in found.tokens])
        outcome = self._summary(scores, found)
        if self.seen != "ignore":
            outcome["values"]["seen/documents"] = float(len(seen))
        if self.seen == "report" and seen:
            chosen = np.isin(np.arange(len(found.tokens)), list(seen))
            for name, which in (("seen", chosen), ("unseen", ~chosen)):
                if which.any():
                    bits = bits_per_byte(scores["model"][which], found.size[which])
                    outcome["values"][f"seen/bits_per_byte/{name}"] = bits
        return outcome

    def _seen(self, found: HeldOut, model: CausalModel) -> set[int]:
        if self.seen == "ignore":
            return set()
        if self.against is None:
            raise HeldOutError("to find documents that were trained on, the training tokens are needed: give `against`")
        return trained_on(found.texts, texts_of_shards(self.against, model.tokenizer))

    def _summary(self, scores: Mapping[str, npt.NDArray[np.float64]], found: HeldOut) -> dict[str, Any]:
        values: dict[str, float] = {}
        intervals: dict[str, tuple[float, float]] = {}
        places: dict[str, dict[str, list[int]]] = {}
        for index, (source, domain) in enumerate(zip(found.sources, found.domains, strict=True)):
            places.setdefault(source, {}).setdefault(domain, []).append(index)
        places = {source: dict(sorted(domains.items())) for source, domains in sorted(places.items())}
        size, tokens = found.size, sum(map(len, found.tokens))
        for model, nats in scores.items():
            prefix = f"bits_per_byte/{model}"
            each = []
            for source, domains in places.items():
                bits = {domain: bits_per_byte(nats[chosen], size[chosen]) for domain, chosen in domains.items()}
                if len(bits) > 1:
                    values |= {f"{prefix}/{source}/{domain}": value for domain, value in bits.items()}
                values[f"{prefix}/{source}"] = float(np.mean(list(bits.values())))
                each.append(values[f"{prefix}/{source}"])
            values[f"{prefix}/micro"] = bits_per_byte(nats, size)
            values[f"{prefix}/macro"] = float(np.mean(each))
            values[f"nats_per_token/{model}"] = float(nats.sum() / tokens)
            intervals[model] = bootstrap_interval(nats, size, self.seed)
            if model != "model":
                low, high = bootstrap_interval(nats - scores["model"], size, self.seed)
                values |= {f"advantage/{model}/low": low, f"advantage/{model}/high": high}
        counts = {}
        for source, domains in places.items():
            chosen = [index for members in domains.values() for index in members]
            counts[source] = [len(chosen), int(size[chosen].sum()), len(domains)]
        curve = {
            "title": "Held-out bits per byte in the loop",
            "y": "bits per byte",
            "series": {name: f"bits_per_byte/model/{name}" for name in ("macro", "micro", *list(places)[:4])},
        }
        return {"values": values, "intervals": intervals, "sources": counts, "tokens": tokens, "curves": [curve]}

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """A table and bars by source."""
        values, counts = outcome["values"], outcome["sources"]
        models = list(outcome["intervals"])
        rows: list[list[str | float | int | None]] = []
        for source, (documents, size, domains) in counts.items():
            rows.append([source, domains, documents, size, *(values[f"bits_per_byte/{m}/{source}"] for m in models)])
        every = [sum(count[index] for count in counts.values()) for index in (2, 0, 1)]
        rows.append(["all (micro)", *every, *(values[f"bits_per_byte/{m}/micro"] for m in models)])
        rows.append(["sources (macro)", None, None, None, *(values[f"bits_per_byte/{m}/macro"] for m in models)])
        spread = "; ".join(f"{m} {low:.3f} to {high:.3f}" for m, (low, high) in outcome["intervals"].items())
        compared = [name for name in models if name != "model"]
        gains = "; ".join(
            f"{m} {values[f'advantage/{m}/low']:.3f} to {values[f'advantage/{m}/high']:.3f}" for m in compared
        )
        note = "Bits per byte of documents nobody trained on, lower is better; a source is the mean of its domains. "
        note += f"95 % intervals over documents: {spread}."
        note += f" Bits per byte saved by the model, paired by document: {gains}." if gains else ""
        if (seen := values.get("seen/documents")) is not None:
            note += f" Documents that share a long paragraph with the training documents: {seen:.0f}."
        groups = {source: {m: values[f"bits_per_byte/{m}/{source}"] for m in models} for source in counts}
        table = Table("Held-out bits per byte", ["source", "domains", "documents", "bytes", *models], rows, note=note)
        return [table, Bars("Bits per byte by source", "bits/byte", groups)]


def _stream(shards: TokenShards) -> npt.NDArray[np.int64]:
    """All tokens of a split in order, end-of-sequence tokens included."""
    counts = [entry.tokens for entry in shards.manifest.shards]
    return np.concatenate([shards.document_tokens(shard, 0, count) for shard, count in enumerate(counts)])


def perplexity(
    held_out: TokenShards | TextFiles,
    against: TokenShards | None = None,
    orders: Iterable[int] = (1, 3),
    *,
    per_domain: int | None = None,
    seed: int = 0,
    seen: Literal["ignore", "report", "exclude"] = "ignore",
) -> Perplexity:
    """Measure bits per byte on `held_out`, beside n-gram baselines fitted on `against`."""
    return Perplexity(held_out, against, tuple(orders), seed, per_domain, seen)
