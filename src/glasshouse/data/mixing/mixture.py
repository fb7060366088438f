"""A mixture, as one configuration: streams of documents with their filters, and in which shares they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from glasshouse.data.mixing.filters import Filter
from glasshouse.data.mixing.spans import SpanReplacement
from glasshouse.data.settings_file import SettingsFileError, read_settings_file
from glasshouse.store.configuration import Config, fingerprint

Form = Literal["jsonl.gz", "jsonl.zst", "jsonl", "parquet"]


MOST_REPEATS = 1000


class MixtureError(ValueError):
    """A mixture that cannot be mixed as it is written; the message says where and what to do."""


class Stream(Config):
    """Documents of one kind, and what becomes of them.

    Attributes:
        name: names the output files; unique in the mixture.
        documents: files, directories, patterns or URLs of documents, or the directory of a curated corpus.
        attributes: Dolma's attribute sets: names under `attributes/` beside `documents/`, or directories.
        signals: a directory made by `glasshouse signals` from the same documents.
        measure: families of signals to measure while mixing (`glasshouse signals --list`).
        filter: which documents stay.
        replace: spans to replace in the texts that stay.
        repeat: how often every document comes: 0.25 takes a quarter of them, 2.5 takes all twice and half once more.
            Which ones is fixed by their ids.
        minimum_text_bytes: a document with fewer bytes of text left, white space at its ends apart, is dropped.
        unknown: what a rule on a column that is not there is: an "error" before the run, or a "warning".
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    documents: tuple[str, ...] = Field(min_length=1)
    attributes: tuple[str, ...] = ()
    signals: str | None = None
    measure: tuple[str, ...] = ()
    filter: Filter = Filter()
    replace: tuple[SpanReplacement, ...] = ()
    repeat: float = Field(default=1.0, ge=0, le=MOST_REPEATS)
    minimum_text_bytes: int = Field(default=0, ge=0)
    unknown: Literal["error", "warning"] = "error"


class Mixture(Config):
    """Streams, and how they are put together.

    Attributes:
        streams: in the order of the output.
        seed: of every choice of documents.
        weights: share of every stream in the result, by `weigh_by`; they set the streams' `repeat`.
        weigh_by: "bytes" of UTF-8 text, "documents", or a column of numbers, such as `token_count`.
        total: what the result shall hold, in `weigh_by`; without it, as much as needs no document twice.
        form: of the output files.
        maximum_shard_bytes: most bytes of text in an output file (one document may have more).
        keep_attributes: also write the attributes into the rows (not into Parquet).
        discard: top-level fields to leave out of the rows.
    """

    streams: tuple[Stream, ...] = Field(min_length=1)
    seed: int = 0
    weights: dict[str, float] = Field(default_factory=dict)
    weigh_by: str = "bytes"
    total: float | None = Field(default=None, gt=0)
    form: Form = "jsonl.zst"
    maximum_shard_bytes: int = Field(default=256 << 20, ge=1)
    keep_attributes: bool = False
    discard: tuple[str, ...] = ()

    @field_validator("discard")
    @classmethod
    def _documents_stay_documents(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name in ("id", "text"):
                raise ValueError(f"{name!r} cannot be left out: a document is none without it")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [stream.name for stream in self.streams]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two streams are called {name!r}: every stream needs a name of its own")
        if self.total is not None and not self.weights:
            raise ValueError("a total needs weights: without them every stream comes as often as its repeat says")
        if self.weights:
            if set(self.weights) != set(names):
                raise ValueError(f"weights are for {sorted(self.weights)}, the streams are {sorted(names)}")
            if min(self.weights.values()) <= 0:
                raise ValueError("every weight must be above 0: leave a stream out instead")
            if any(stream.repeat != 1 for stream in self.streams):
                raise ValueError("give weights for the mixture or repeats for its streams, not both")
        return self

    def fingerprint(self) -> str:
        """sha256 of the configuration, wherever the inputs lie: of their paths only the last part counts."""
        named = []
        for stream in self.streams:
            documents, attributes = map(_last, stream.documents), map(_last, stream.attributes)
            signals = stream.signals and _last(stream.signals)
            named.append(stream.but(documents=tuple(documents), attributes=tuple(attributes), signals=signals))
        return fingerprint(self.but(streams=tuple(named)))


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def read_mixture(path: str | Path) -> Mixture:
    """A mixture from a YAML, JSON or TOML file; relative paths in it are taken from where the command runs.

    Raises:
        MixtureError: the file is not readable as what its suffix says.
        ConfigurationError: naming a field that is unknown, missing or out of range.
    """
    return Mixture(**read_settings(path))


def read_settings(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML, JSON or TOML file. Raises `MixtureError`."""
    try:
        found = read_settings_file(path)
    except SettingsFileError as error:
        raise MixtureError(str(error)) from None
    if not isinstance(found, dict):
        raise MixtureError(f"{path} holds {type(found).__name__}, a mixture is a mapping with 'streams'")
    return {str(key): value for key, value in found.items()}
