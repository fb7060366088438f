"""Profanity by `alt-profanity-check`: a linear model over words (a signal, not a verdict).

It finds insults and threats in English, and also flags harmless lines ("shoot the basketball", 0.67) and misses other
languages; use it to look, or with a high threshold, never alone to remove. The package unpickles its own weights out of
its own wheel (joblib) when it is imported: choosing this family means trusting that package. Nothing else in this
house is ever unpickled, and nothing imports the package unless this family is chosen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.document import strings
from glasshouse.data.signals.signal import Signal, measure
from glasshouse.store.configuration import Config

_CITATION = "alt-profanity-check"


class Profanity(Config):
    """The score of the whole text, and the highest of its lines; both 0 where there is no text."""

    name: Literal["profanity"] = "profanity"

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (
            measure("profanity_score", "score", "score of the text: a signal, not a verdict", _CITATION),
            measure("profanity_line_maximum", "score", "highest score of a line: a signal, not a verdict", _CITATION),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        texts = strings(batch, "text")
        filled = [row for row, text in enumerate(texts) if text.strip()]
        score, highest = np.zeros(len(texts)), np.zeros(len(texts))
        owners = [row for row in filled for line in texts[row].split("\n") if line.strip()]
        lines = [line for row in filled for line in texts[row].split("\n") if line.strip()]
        if filled:
            score[filled] = _predict()([texts[row] for row in filled])
            np.maximum.at(highest, owners, _predict()(lines))
        return [pa.array(score), pa.array(highest)]


@functools.cache
def _predict() -> Callable[[list[str]], npt.NDArray[np.float64]]:
    try:
        from profanity_check import predict_prob  # type: ignore[import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        message = "alt-profanity-check is not installed: pip install 'glasshouse[toxicity]'"
        raise ModuleNotFoundError(message) from error

    def predict(texts: list[str]) -> npt.NDArray[np.float64]:
        return np.asarray(predict_prob(texts), dtype=np.float64)

    return predict
