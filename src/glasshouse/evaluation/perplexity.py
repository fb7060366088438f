"""Bits per byte of held-out documents, by source, beside count-based baselines.

Bits per byte = nats / (ln 2 x UTF-8 bytes), which compares models with different tokenizers (Paloma, arXiv
2312.10523; used in OLMo, arXiv 2402.00838, section 4.2). `micro` weighs every byte alike, `macro` every source.

A document is scored alone: the end-of-sequence token stands before it, and text longer than the context is cut into
windows that follow each other (the first token of a window is still predicted from the token before it).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from glasshouse.evaluation.ngram import NGram
from glasshouse.nn.threads import one_thread
from glasshouse.store.configuration import named_seed
from glasshouse.store.panels import Bars, Panel, Table
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.data.tokens.shards import TokenShards
    from glasshouse.language.model import LoadedModel

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
    """
    windows: list[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for index, document in enumerate(documents):
        inputs = np.concatenate([[end_of_sequence], document[:-1]])
        for start in range(0, len(document), context):
            windows.append((index, inputs[start : start + context], document[start : start + context]))
    windows.sort(key=lambda window: -len(window[1]))
    device = next(model.parameters()).device
    nats = np.zeros(len(documents))
    with torch.inference_mode(), one_thread():
        for first in range(0, len(windows), batch):
            chosen = windows[first : first + batch]
            longest = len(chosen[0][1])
            given = _padded([window[1] for window in chosen], longest, end_of_sequence, device)
            targets = _padded([window[2] for window in chosen], longest, -100, device)
            logits = model(given).logits.float()
            losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            sums = losses.view_as(targets).double().sum(dim=1).cpu().numpy()
            np.add.at(nats, [window[0] for window in chosen], sums)
            advance(int(sum(len(window[1]) for window in chosen)))
    return nats


def _padded(rows: Sequence[npt.NDArray[np.int64]], length: int, fill: int, device: torch.device) -> torch.Tensor:
    padded = np.full((len(rows), length), fill, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return torch.from_numpy(padded).to(device)


def bits_per_byte(nats: npt.ArrayLike, size: npt.ArrayLike) -> float:
    """Bits per byte of documents together: sum of nats / (ln 2 x sum of bytes)."""
    return float(np.sum(nats) / (math.log(2) * np.sum(size)))


def bootstrap_interval(
    nats: npt.NDArray[np.float64], size: npt.NDArray[np.float64], seed: int, draws: int = 500
) -> tuple[float, float]:
    """95 % percentile interval of bits per byte over resampled documents."""
    generator = np.random.default_rng(named_seed(seed, "bootstrap"))
    chosen = generator.integers(0, len(nats), size=(draws, len(nats)))
    values = nats[chosen].sum(axis=1) / (math.log(2) * size[chosen].sum(axis=1))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Perplexity:
    """The measure: bits per byte of a model and of its baselines on held-out documents.

    Attributes:
        held_out: documents nobody trained on.
        against: the training tokens that the baselines are fitted on (all of them, so at least what the model saw).
        orders: n of the n-gram baselines.
    """

    held_out: TokenShards
    against: TokenShards | None = None
    orders: tuple[int, ...] = (1, 3)
    seed: int = 0

    def measure(self, model: LoadedModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """Values `bits_per_byte/<model>/<source>` with `micro` and `macro`, and a record of sizes and intervals.

        `advantage/<baseline>/low` and `high` are the 95 % interval, paired by document, of how many bits per byte fewer
        the model needs than the baseline.
        """
        tokens, sources = documents_of(self.held_out)
        size = np.array(
            [len(model.tokenizer.decode(ids.tolist(), skip_special_tokens=False).encode()) for ids in tokens]
        )
        total = float(sum(map(len, tokens)))
        scores: dict[str, npt.NDArray[np.float64]] = {}
        with bar("scoring held-out documents", total) as shown:
            scores["model"] = document_nats(
                model.transformer,
                tokens,
                end_of_sequence=model.end_of_sequence,
                context=model.context,
                advance=shown.advance,
            )
        for order in self.orders if self.against is not None else ():
            assert self.against is not None  # noqa: S101
            fitted = NGram(_stream(self.against), self.held_out.vocabulary, order)
            name = NAMES.get(order, f"{order}-gram")
            scores[name] = np.array([fitted.nats(ids, model.end_of_sequence).sum() for ids in tokens])
        return self._summary(scores, size.astype(np.float64), sources, total)

    def _summary(
        self,
        scores: Mapping[str, npt.NDArray[np.float64]],
        size: npt.NDArray[np.float64],
        sources: npt.NDArray[np.str_],
        total: float,
    ) -> dict[str, Any]:
        values: dict[str, float] = {}
        intervals: dict[str, tuple[float, float]] = {}
        names = sorted(set(sources.tolist()))
        for model, nats in scores.items():
            each = {source: bits_per_byte(nats[sources == source], size[sources == source]) for source in names}
            for source, value in each.items():
                values[f"bits_per_byte/{model}/{source}"] = value
            values[f"bits_per_byte/{model}/micro"] = bits_per_byte(nats, size)
            values[f"bits_per_byte/{model}/macro"] = float(np.mean(list(each.values())))
            values[f"nats_per_token/{model}"] = float(nats.sum() / total)
            intervals[model] = bootstrap_interval(nats, size, self.seed)
            if model != "model":
                low, high = bootstrap_interval(nats - scores["model"], size, self.seed)
                values |= {f"advantage/{model}/low": low, f"advantage/{model}/high": high}
        counts = {source: [int((sources == source).sum()), int(size[sources == source].sum())] for source in names}
        return {"values": values, "intervals": intervals, "sources": counts, "tokens": int(total)}

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """A table and bars by source."""
        values, counts = outcome["values"], outcome["sources"]
        models = list(outcome["intervals"])
        rows: list[list[str | float | int | None]] = []
        for source, (documents, size) in counts.items():
            rows.append([source, documents, size, *(values[f"bits_per_byte/{m}/{source}"] for m in models)])
        every = [sum(count[index] for count in counts.values()) for index in (0, 1)]
        rows.append(["all (micro)", *every, *(values[f"bits_per_byte/{m}/micro"] for m in models)])
        rows.append(["sources (macro)", None, None, *(values[f"bits_per_byte/{m}/macro"] for m in models)])
        spread = "; ".join(f"{m} {low:.3f} to {high:.3f}" for m, (low, high) in outcome["intervals"].items())
        compared = [name for name in models if name != "model"]
        gains = "; ".join(
            f"{m} {values[f'advantage/{m}/low']:.3f} to {values[f'advantage/{m}/high']:.3f}" for m in compared
        )
        note = "Bits per byte of documents nobody trained on, lower is better. "
        note += f"95 % intervals over documents: {spread}."
        note += f" Bits per byte saved by the model, paired by document: {gains}." if gains else ""
        groups = {source: {m: values[f"bits_per_byte/{m}/{source}"] for m in models} for source in counts}
        table = Table("Held-out bits per byte", ["source", "documents", "bytes", *models], rows, note=note)
        return [table, Bars("Bits per byte by source", "bits/byte", groups)]


def documents_of(shards: TokenShards) -> tuple[list[npt.NDArray[np.int64]], npt.NDArray[np.str_]]:
    """Token ids of every document without its end-of-sequence token, and its source; empty documents are left out."""
    table = shards.documents()
    tokens, sources = [], []
    columns = (table.column(name).to_pylist() for name in ("shard", "start", "end", "source"))
    for shard, start, end, source in zip(*columns, strict=True):
        if end - start > 1:
            tokens.append(shards.document_tokens(shard, start, end - 1))
            sources.append(source)
    return tokens, np.array(sources)


def _stream(shards: TokenShards) -> npt.NDArray[np.int64]:
    """All tokens of a split in order, end-of-sequence tokens included."""
    counts = [entry.tokens for entry in shards.manifest.shards]
    return np.concatenate([shards.document_tokens(shard, 0, count) for shard, count in enumerate(counts)])


def perplexity(held_out: TokenShards, against: TokenShards | None = None, orders: Iterable[int] = (1, 3)) -> Perplexity:
    """Measure bits per byte on `held_out`, beside n-gram baselines fitted on `against`."""
    return Perplexity(held_out, against, tuple(orders))
