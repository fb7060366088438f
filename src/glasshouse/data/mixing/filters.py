"""Filters: which documents stay. Kept when some `include` holds, or there is none, and no `exclude` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import field_validator

from glasshouse.data.mixing.checking import OPEN, UnknownColumnError, Warning, check
from glasshouse.data.mixing.evaluating import Mask, evaluate
from glasshouse.data.mixing.expression import Expression, columns
from glasshouse.data.mixing.parsing import parse
from glasshouse.data.signals.signal import Signal
from glasshouse.store.configuration import Config


class Filter(Config):
    """Expressions as they are written; refused when they do not parse."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @field_validator("include", "exclude")
    @classmethod
    def _parses(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for rule in rules:
            parse(rule)
        return rules

    @property
    def rules(self) -> tuple[tuple[str, str], ...]:
        """("include" or "exclude", text) of every rule, in order."""
        return tuple(("include", rule) for rule in self.include) + tuple(("exclude", rule) for rule in self.exclude)

    def trees(self) -> list[Expression]:
        """Every rule parsed, in the order of `rules`."""
        return [parse(rule) for _, rule in self.rules]

    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys(name for tree in self.trees() for name in columns(tree)))

    def check(
        self, schema: Mapping[str, Signal], *, open_names: tuple[str, ...] = OPEN, unknown: bool = False
    ) -> list[Warning]:
        """Checks every rule as `checking.check` does; with `unknown` a missing column is a warning, not an error."""
        found: list[Warning] = []
        for _, rule in self.rules:
            try:
                found += check(rule, schema, open_names=open_names)
            except UnknownColumnError as error:
                if not unknown:
                    raise
                found.append(Warning("never_present", rule, str(error)))
        return found


class Decision(NamedTuple):
    """Which rows stay, which some `include` took in, and how many rows each rule matched (in the order of `rules`)."""

    keep: Mask
    included: Mask
    matched: list[int]


def decide(rules: Filter, table: pa.Table | pa.RecordBatch, trees: list[Expression] | None = None) -> Decision:
    """Applies a filter. `trees`: the parsed rules, where there are many batches. A pure function."""
    masks = [evaluate(tree, table) for tree in (rules.trees() if trees is None else trees)]
    count = len(rules.include)
    included = np.logical_or.reduce(masks[:count]) if count else np.ones(table.num_rows, np.bool_)
    keep = included
    for mask in masks[count:]:
        keep = keep & ~mask
    return Decision(keep, included, [int(mask.sum()) for mask in masks])
