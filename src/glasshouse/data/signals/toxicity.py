"""Signals of a trained text classifier: toxicity by document and by sentence, or any other quality one can label.

Dolma (arXiv 2402.00159, section 5.3) scores sentences with fastText classifiers trained on Jigsaw and removes those
above 0.4 ("High") or 0.0004 ("Low"). Its weights are not shipped; train your own with `glasshouse train-classifier`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.classifier import ClassifierError, cached_classifier, classifier_hash
from glasshouse.data.signals.signal import Signal, count, measure, spans
from glasshouse.data.signals.span_columns import span_column
from glasshouse.store.configuration import Config

HIGH, LOW = 0.4, 0.0004
"""Dolma's two thresholds on the score of a sentence."""

_CITATION = "arXiv 1607.01759; arXiv 2402.00159, section 5.3"


class Classified(Config):
    """Scores of one label of a classifier.

    Attributes:
        name: what the columns are called: `<name>_score`, `<name>_sentences`, `<name>_sentence_count`.
        model: directory of the classifier.
        weights: sha256 of its weights; filled in when left empty, so that the configuration names the exact model.
        label: the label whose score counts.
        sentences: whether sentences are scored too.
        threshold: `<name>_sentences` holds the sentences whose score is above it.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    model: str
    weights: str = ""
    label: str
    sentences: bool = False
    threshold: float = Field(default=HIGH, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _pin(cls, values: dict[str, Any]) -> dict[str, Any]:
        if isinstance(values.get("model"), str | Path):
            values = values | {"model": str(Path(values["model"]).resolve())}
            if not values.get("weights"):
                values["weights"] = classifier_hash(values["model"])
        return values

    @model_validator(mode="after")
    def _has_label(self) -> Classified:
        cached_classifier(self.model, self.weights).column(self.label)
        return self

    @property
    def signals(self) -> tuple[Signal, ...]:
        found = [measure(f"{self.name}_score", "score", f"score of the label {self.label!r}", _CITATION)]
        if self.sentences:
            about = f"sentences whose score of {self.label!r} is above {self.threshold:g}"
            found += [
                spans(f"{self.name}_sentences", about, _CITATION),
                count(f"{self.name}_sentence_count", "sentences", about, _CITATION),
                measure(f"{self.name}_sentence_maximum", "score", "the highest score of a sentence", _CITATION),
            ]
        return tuple(found)

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        model = cached_classifier(self.model, self.weights)
        column = model.column(self.label)
        offsets, data = text_buffers(batch)
        columns: list[pa.Array[Any]] = [pa.array(model.score_ranges(data, offsets[:-1], offsets[1:])[:, column])]
        if not self.sentences:
            return columns
        from glasshouse.data.signals.sentences import sentence_ranges

        ranges = sentence_ranges(offsets, data)
        scored = model.score_ranges(data, ranges[:, 1], ranges[:, 2])[:, column]
        highest = np.zeros(batch.num_rows)
        np.maximum.at(highest, ranges[:, 0], scored)
        above = scored > self.threshold
        bad = ranges[above]
        return [
            *columns,
            span_column(batch.num_rows, bad[:, 0], bad[:, 3], bad[:, 4], scored[above]),
            pa.array(np.bincount(bad[:, 0], minlength=batch.num_rows).astype(np.int64)),
            pa.array(highest),
        ]


class Toxicity(Classified):
    """Toxicity by document and by sentence."""

    name: Literal["toxicity"] = "toxicity"
    label: str = "toxic"
    sentences: bool = True


class Quality(Classified):
    """Quality by document, as DCLM and Dolma 1.7 use classifiers (arXiv 2406.11794, section 4.4)."""

    name: Literal["quality"] = "quality"
    label: str = "good"


__all__ = ["HIGH", "LOW", "Classified", "ClassifierError", "Quality", "Toxicity"]
