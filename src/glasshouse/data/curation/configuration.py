"""What curation does, as one configuration."""

from __future__ import annotations

from typing import Any, cast

import pyarrow as pa
from pydantic import Field, SerializeAsAny

from glasshouse.data.curation.rules import RuleSet, SourceRules, check_rules, dolma_rules
from glasshouse.data.deduplication.keys import DocumentMethod, PieceMethod
from glasshouse.data.deduplication.methods import exact, minhash
from glasshouse.data.document import ORIGIN
from glasshouse.data.signals.families import default_families, schema_of
from glasshouse.data.signals.pii import PiiMasking, pii
from glasshouse.data.signals.signal import SPANS, Family
from glasshouse.store.configuration import Config

KEPT = "kept"
RESERVED = ("id", "source", "origin", "masked_spans", "verdict")


class EmptyCorpusError(ValueError):
    """No document reached curation, or none was left by it."""


class CurationError(ValueError):
    """A curation that cannot be carried out as it is written."""


class CutSpans(Config):
    """Cuts spans out of the texts that stay, e.g. C4's lines without ending punctuation, or toxic sentences.

    Attributes:
        signal: a measured column of spans.
        minimum_score: spans with a lower score stay.
    """

    signal: str
    minimum_score: float = 0.5


class Curation(Config):
    """What is measured, kept, masked and de-duplicated. `None` (or no de-duplication) leaves a stage out.

    Attributes:
        keep: rules that remove documents.
        mask: what to do about personal information.
        cut: spans to cut out of what is kept; a document of which nothing is left is removed.
        deduplicate: methods in their order, those for whole documents before those for pieces of documents.
        families: families of signals to measure; the default ones when empty.
        seed: of the signal `random`, where the default families are measured.
    """

    keep: SourceRules | RuleSet | None = dolma_rules
    mask: PiiMasking | None = pii
    cut: tuple[CutSpans, ...] = ()
    deduplicate: tuple[SerializeAsAny[Config], ...] = (exact(), minhash())
    families: tuple[SerializeAsAny[Config], ...] = Field(default=())
    seed: int = 0

    @property
    def measured(self) -> tuple[Family, ...]:
        """The families of signals that are measured."""
        return cast("tuple[Family, ...]", self.families) or default_families(self.seed)

    @property
    def document_methods(self) -> tuple[DocumentMethod, ...]:
        """The methods that remove whole documents."""
        return cast("tuple[DocumentMethod, ...]", tuple(m for m in self.deduplicate if hasattr(m, "keepers")))

    @property
    def piece_methods(self) -> tuple[PieceMethod, ...]:
        """The methods that cut pieces out of documents."""
        return cast("tuple[PieceMethod, ...]", tuple(m for m in self.deduplicate if hasattr(m, "repeated")))

    @property
    def table_schema(self) -> pa.Schema:
        """Columns of `signals-*.parquet`: where a document came from, its signals, how many spans are masked in it, and
        its verdict: "kept" or the stage that removed it (rules, pii, cut, or the name of a method).
        """
        ends = [pa.field("masked_spans", pa.int32()), pa.field("verdict", pa.string())]
        starts = [pa.field("id", pa.string()), pa.field("source", pa.string()), pa.field("origin", ORIGIN)]
        return pa.schema([*starts, *self.signals, *ends])

    @property
    def signals(self) -> pa.Schema:
        """The columns of the signals alone."""
        return schema_of(self.measured)

    def check(self) -> None:
        """Raises what is wrong before any data is read.

        Raises:
            UnknownSignalError: a rule names a signal that is not measured.
            CurationError: what is cut is not measured, a method is none or comes twice, or pieces are cut before
                documents are compared.
        """
        if self.keep is not None:
            check_rules(self.keep, self.signals)
        for cut in self.cut:
            if cut.signal not in self.signals.names or self.signals.field(cut.signal).type != SPANS:
                known = [field.name for field in self.signals if field.type == SPANS]
                raise CurationError(
                    f"cut names {cut.signal!r}, which is not a measured column of spans; measured are: "
                    f"{', '.join(known) or 'none, add a family that has some'}"
                )
        for reserved in RESERVED:
            if reserved in self.signals.names:
                raise CurationError(f"a signal must not be called {reserved!r}: curation has a column of that name")
        kinds = [hasattr(method, "keepers") for method in self.deduplicate]
        for method, is_document in zip(self.deduplicate, kinds, strict=True):
            if not (is_document or hasattr(method, "repeated")):
                raise CurationError(f"{type(method).__name__} is not a method of de-duplication")
        if kinds != sorted(kinds, reverse=True):
            raise CurationError("methods that cut pieces come after those that remove documents: reorder deduplicate")
        for pieces in self.piece_methods:
            saved = getattr(getattr(pieces, "filter", None), "file", None)
            if saved is not None and not saved.is_file():
                raise CurationError(f"{pieces.name} looks up in the Bloom filter {saved}, which is no file")
        names = [cast(Any, method).name for method in self.deduplicate]
        if len(set(names)) < len(names):
            raise CurationError(f"two methods of de-duplication have the same name: {', '.join(names)}")
