"""Measures of other models than the one evaluated, so that one evaluation can compare the stages of a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from glasshouse.language.measures import Measure
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.language.model import LanguageModel, LoadedModel


@dataclasses.dataclass(frozen=True)
class Of:
    """The measure: what another measure finds of `model`, its values under `<stage>/`.

    Attributes:
        stage: prefix of the values, such as `sft` or `dpo/seed 1`.
        model: the model that is measured in place of the one evaluated.
        inner: what is measured.
    """

    stage: str
    model: LanguageModel
    inner: Measure

    def measure(self, model: LoadedModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """The inner measure's record, whose values have the stage before their names."""
        found = self.inner.measure(self.model.load(), bar)
        values = {f"{self.stage}/{name}": value for name, value in found["values"].items()}
        return {"values": values, "stage": self.stage, "inner": type(self.inner).__name__, "found": found}
