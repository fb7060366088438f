"""The registry: every family of signals by name, imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa

from glasshouse.data.signals.signal import Family, Signal
from glasshouse.store.configuration import Config

_HERE = "glasshouse.data.signals"

FAMILIES: dict[str, str] = {
    "core": f"{_HERE}.core:Core",
    "random": f"{_HERE}.sampling:Random",
    "pii": f"{_HERE}.pii:Pii",
    "pii_dolma": f"{_HERE}.pii_dolma:PiiDolma",
    "language": f"{_HERE}.language:Language",
    "language_paragraphs": f"{_HERE}.language:LanguageParagraphs",
    "classified": f"{_HERE}.toxicity:Classified",
    "toxicity": f"{_HERE}.toxicity:Toxicity",
    "quality": f"{_HERE}.toxicity:Quality",
    "profanity": f"{_HERE}.profanity:Profanity",
    "repetition": f"{_HERE}.repetition:Repetition",
    "url": f"{_HERE}.url:Url",
    "licence": f"{_HERE}.licence:Licence",
    "length": f"{_HERE}.length:Length",
    "starcoder": f"{_HERE}.starcoder:StarCoder",
    "gopher_v2": f"{_HERE}.gopher:GopherSecond",
    "c4_v2": f"{_HERE}.c4:C4Second",
    "c4_lines": f"{_HERE}.c4:C4Lines",
    "datatrove_gopher_quality": f"{_HERE}.datatrove_quality:DatatroveGopherQuality",
    "datatrove_gopher_repetition": f"{_HERE}.datatrove_repetition:DatatroveGopherRepetition",
    "datatrove_c4": f"{_HERE}.datatrove_c4:DatatroveC4",
    "datatrove_fineweb": f"{_HERE}.datatrove_fineweb:DatatroveFineWeb",
}
"""Name of a family -> module and class."""

DEFAULT_FAMILIES = ("core", "random")


class UnknownFamilyError(ValueError):
    """No family of signals has that name."""


class ColumnClashError(ValueError):
    """Two families make a column of the same name."""


def family(name: str, **settings: Any) -> Family:
    """The family called `name` with its default settings, or those given. Raises as `family_type`."""
    return cast("Family", family_type(name)(**settings))


def family_type(name: str) -> type[Config]:
    """The configuration of the family called `name`.

    Raises:
        UnknownFamilyError: with the nearest names.
        ModuleNotFoundError: a package the family needs is not installed; the message says which extra has it.
    """
    if name not in FAMILIES:
        near = difflib.get_close_matches(name, FAMILIES, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(FAMILIES))}"
        raise UnknownFamilyError(f"no family of signals is called {name!r}; {hint}")
    module, _, kind = FAMILIES[name].partition(":")
    return cast("type[Config]", getattr(importlib.import_module(module), kind))


def default_families(seed: int = 0) -> tuple[Family, ...]:
    """What is measured unless other families are named: Gopher, C4, repetition and code in one pass, and `random`."""
    # Imported by name, unlike the others, so that a change of their code is a change of every step that uses them.
    from glasshouse.data.signals.core import Core
    from glasshouse.data.signals.sampling import Random

    return Core(), Random(seed=seed)


def signals_of(families: Sequence[Family]) -> dict[str, Signal]:
    """All signals of several families by name. Raises `ColumnClashError` when a name comes twice."""
    found: dict[str, Signal] = {}
    owner: dict[str, str] = {}
    for member in families:
        for signal in member.signals:
            if signal.name in found:
                raise ColumnClashError(
                    f"families {owner[signal.name]!r} and {member.name!r} both make a column {signal.name!r}"
                )
            found[signal.name], owner[signal.name] = signal, member.name
    return found


def schema_of(families: Sequence[Family]) -> pa.Schema:
    """The Arrow schema of the columns, with their documentation."""
    return pa.schema([signal.field for signal in signals_of(families).values()])


def compute_signals(batch: pa.RecordBatch, families: Sequence[Family] | None = None) -> pa.RecordBatch:
    """All signals of a batch of documents: a pure function, one row per document, in the schema `schema_of(families)`.

    Args:
        batch: documents (`document.DOCUMENT`).
        families: what to measure; `default_families()` by default.
    """
    chosen = default_families() if families is None else families
    columns = [column for member in chosen for column in member.compute(batch)]
    return pa.RecordBatch.from_arrays(columns, schema=schema_of(chosen))
