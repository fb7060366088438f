"""Several trained models on the same held-out texts: data ablations and mixtures, with the spread over seeds.

Dolma's ablations (arXiv 2402.00159, section 4) train one small model per choice of data and compare them on texts that
none of them saw. Here every choice is trained with several seeds, a seed being the same order of documents and the same
initial weights for every choice, so that differences are taken seed by seed.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glasshouse.evaluation.held_out import documents_of
from glasshouse.evaluation.perplexity import bits_per_byte, document_nats
from glasshouse.store.panels import Bars, Panel, Table
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.data.tokens.shards import TokenShards
    from glasshouse.language.model import LanguageModel, LoadedModel


class Score(NamedTuple):
    """Bits per byte, and perplexity per token, of one model on one set."""

    bits: float
    perplexity: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The measure: bits per byte of every choice on every held-out set.

    Attributes:
        name: prefix of the values.
        models: choice -> its models, one per seed, in the order of the seeds.
        held_out: set -> documents that no model was trained on, in the models' tokens.
        most_tokens: of every set, the first documents up to this many tokens are scored.
    """

    name: str
    models: Mapping[str, Sequence[LanguageModel]]
    held_out: Mapping[str, TokenShards]
    most_tokens: int = 100_000

    def measure(self, model: LoadedModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """Values `<name>/<choice>/<set>` (bits per byte, mean over seeds), `…/spread` (standard deviation), `…/seed N`,
        `…/perplexity` (per token) and `<name>/<choice>/macro` (mean over sets).
        """
        values: dict[str, float] = {}
        for (choice, held_out), found in self._scores(bar).items():
            bits = [score.bits for score in found]
            key = f"{self.name}/{choice}/{held_out}"
            values[key] = statistics.fmean(bits)
            values[f"{key}/spread"] = statistics.stdev(bits) if len(bits) > 1 else 0.0
            values[f"{key}/perplexity"] = statistics.fmean(score.perplexity for score in found)
            values |= {f"{key}/seed {seed}": value for seed, value in enumerate(bits)}
        for choice in self.models:
            each = [values[f"{self.name}/{choice}/{held_out}"] for held_out in self.held_out]
            values[f"{self.name}/{choice}/macro"] = statistics.fmean(each)
        seeds = {choice: len(models) for choice, models in self.models.items()}
        return {"name": self.name, "values": values, "choices": seeds, "sets": list(self.held_out)}

    def _scores(self, bar: Callable[[str, float | None], Bar]) -> dict[tuple[str, str], list[Score]]:
        texts = {name: _up_to(self.most_tokens, documents_of(shards)) for name, shards in self.held_out.items()}
        total = sum(len(models) for models in self.models.values())
        found: dict[tuple[str, str], list[Score]] = {(c, s): [] for c in self.models for s in self.held_out}
        with bar(f"comparing {self.name}", total) as shown:
            for choice, models in self.models.items():
                for artifact in models:
                    loaded = artifact.load()
                    for name, tokens in texts.items():
                        found[choice, name].append(_score(loaded, tokens))
                    shown.advance()
        return found

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """A table with the spread over seeds, and bars."""
        values, name, sets = outcome["values"], outcome["name"], outcome["sets"]
        rows: list[list[str | float | int | None]] = []
        for choice, seeds in outcome["choices"].items():
            cells: list[float] = []
            for held_out in sets:
                key = f"{name}/{choice}/{held_out}"
                cells += [values[key], values[f"{key}/spread"]]
            rows.append([choice, seeds, *cells])
        columns = ["choice", "seeds", *(part for held_out in sets for part in (held_out, "± over seeds"))]
        note = (
            "Bits per byte of texts nobody trained on; lower is better. The order of documents and the initial weights "
        )
        note += "are the same for every choice of one seed."
        groups = {held_out: {c: values[f"{name}/{c}/{held_out}"] for c in outcome["choices"]} for held_out in sets}
        title = f"Comparison: {name}"
        return [Table(title, columns, rows, note=note), Bars(f"{title} (bits per byte)", "bits/byte", groups)]


def _score(model: LoadedModel, tokens: list[npt.NDArray[np.int64]]) -> Score:
    size = [len(model.tokenizer.decode(ids.tolist(), skip_special_tokens=False).encode()) for ids in tokens]
    nats = document_nats(model.transformer, tokens, end_of_sequence=model.end_of_sequence, context=model.context)
    return Score(bits_per_byte(nats, size), math.exp(float(nats.sum()) / sum(map(len, tokens))))


def _up_to(most: int, documents: Iterable[tuple[npt.NDArray[np.int64], str]]) -> list[npt.NDArray[np.int64]]:
    chosen, held = [], 0
    for tokens, _ in documents:
        if held >= most:
            break
        chosen.append(tokens[: most - held])
        held += len(chosen[-1])
    return chosen
