"""Repeated token sequences, as Dolma's `tokenizer_repetitions_v2r2` measures them.

A repetition is a sequence of 1 to 13 tokens that comes three times or more in a row; v1.6 of Dolma drops documents with
one that comes 100 times or more. A text is looked at in pieces of 100,000 characters, like there. Repetitions inside
the one before (in order of start, then longest) do not count. Deviations: a document without repetitions has zeros
(Dolma writes nothing), and special tokens in a text are ordinary characters.

Ids come from the fast encoder; only texts in which something repeats are tokenised again, with character offsets.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from glasshouse.data.document import strings
from glasshouse.data.signals.signal import Signal, count, measure, spans
from glasshouse.data.signals.span_columns import span_column
from glasshouse.data.tokens.tokenizer import TokenizerFileError
from glasshouse.store.configuration import Config

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from glasshouse.data.tokens.encoder import Encoder

_CITATION = "Dolma tokenizer_repetitions_v2r2"
PIECE_CHARACTERS = 100_000


class Repeated(NamedTuple):
    """Characters `[start, end)` in which something repeats `times` times."""

    start: int
    end: int
    times: int


class Repetition(Config):
    """Token repetitions.

    Attributes:
        tokenizer: a `tokenizer.json` of Hugging Face `tokenizers`.
        sha256: of that file; filled in when left empty.
        least_period, most_period: lengths in tokens of the sequences looked for.
    """

    name: Literal["repetition"] = "repetition"
    tokenizer: str
    sha256: str = ""
    least_period: int = Field(default=1, ge=1)
    most_period: int = Field(default=13, ge=1, le=1000)

    @model_validator(mode="before")
    @classmethod
    def _pin(cls, values: dict[str, Any]) -> dict[str, Any]:
        if isinstance(values.get("tokenizer"), str | Path):
            values = values | {"tokenizer": str(Path(values["tokenizer"]).resolve())}
            if not values.get("sha256"):
                values["sha256"] = _file_hash(values["tokenizer"])
        return values

    @property
    def signals(self) -> tuple[Signal, ...]:
        about = f"of a sequence of {self.least_period} to {self.most_period} tokens three or more times in a row"
        return (
            count("token_repetition_maximum", "occurrences", f"most repeats {about}; 0 where none", _CITATION),
            count("token_repetition_longest", "characters", f"longest repetition {about}", _CITATION),
            measure("token_repetition_fraction", "ratio", f"characters of repetitions {about} / all", _CITATION),
            spans("token_repetition_spans", f"repetitions {about}; the score is the number of repeats", _CITATION),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        texts = strings(batch, "text")
        found = [self.repetitions(text) for text in texts]
        owners = np.array([row for row, of in enumerate(found) for _ in of], np.int64)
        flat = np.array([item for of in found for item in of], np.int64).reshape(-1, 3)
        covered = [
            sum(item.end - item.start for item in of) / max(len(text), 1) for text, of in zip(texts, found, strict=True)
        ]
        return [
            pa.array([max((item.times for item in of), default=0) for of in found], pa.int64()),
            pa.array([max((item.end - item.start for item in of), default=0) for of in found], pa.int64()),
            pa.array(covered, pa.float64()),
            span_column(batch.num_rows, owners, flat[:, 0], flat[:, 1], flat[:, 2].astype(np.float64)),
        ]

    def repetitions(self, text: str) -> list[Repeated]:
        """The repetitions of one text, in order."""
        tokenizer, encoder = _opened(self.tokenizer, self.sha256)
        found: list[Repeated] = []
        for start in range(0, len(text), PIECE_CHARACTERS):
            piece = text[start : start + PIECE_CHARACTERS]
            if len(self._runs(encoder.encode_batch([piece])[0].astype(np.int64))):
                found += [Repeated(r.start + start, r.end + start, r.times) for r in self._located(piece, tokenizer)]
        return found

    def _runs(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        from glasshouse.data.signals.kernels import all_rows
        from glasshouse.data.signals.repetition_kernel import periodic_sequences

        return all_rows(lambda found: periodic_sequences(ids, self.least_period, self.most_period, found), 3, 256)

    def _located(self, piece: str, tokenizer: Tokenizer) -> Iterator[Repeated]:
        encoding = tokenizer.encode(piece, add_special_tokens=False)
        offsets = encoding.offsets
        runs = self._runs(np.array(encoding.ids, np.int64)).tolist()
        placed = [Repeated(offsets[first][0], offsets[end - 1][1], times) for first, end, times in runs]
        before_start = before_end = -1
        for item in sorted(placed, key=lambda item: (item.start, -item.end, -item.times)):
            if item.start >= before_start and item.end <= before_end:
                continue
            before_start, before_end = item.start, item.end
            yield item


def _file_hash(path: str) -> str:
    if not Path(path).is_file():
        raise TokenizerFileError(f"{path} is not a file: give a tokenizer.json")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@functools.lru_cache(maxsize=4)
def _opened(path: str, sha256: str) -> tuple[Tokenizer, Encoder]:
    from tokenizers import Tokenizer

    from glasshouse.data.tokens.encoder import encoder_of, with_special_as_text

    if _file_hash(path) != sha256:
        raise TokenizerFileError(f"{path} has changed since it was configured (sha256 {sha256})")
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the library raises a bare Exception
        raise TokenizerFileError(f"{path} is no tokenizer.json of `tokenizers`: {error}") from None
    return with_special_as_text(tokenizer), encoder_of(tokenizer)
