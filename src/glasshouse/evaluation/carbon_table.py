"""The carbon of published training runs, computed again from their energy (OLMo, arXiv 2402.00838, table 8)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from glasshouse.store.carbon import kilograms
from glasshouse.store.panels import Panel, Table
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.language.model import LoadedModel


class PublishedRun(NamedTuple):
    """A row of the table: energy in MWh, PUE, kg CO2e per kWh, and the tonnes CO2e that it states."""

    name: str
    megawatt_hours: float
    pue: float
    intensity: float
    tonnes: float


TABLE_8 = (
    PublishedRun("Gopher-280B", 1066, 1.08, 0.330, 380),
    PublishedRun("BLOOM-176B", 433, 1.2, 0.057, 30),
    PublishedRun("OPT-175B", 324, 1.1, 0.231, 82),
    PublishedRun("T5-11B", 77, 1.12, 0.545, 47),
    PublishedRun("LLaMA-7B", 33, 1.1, 0.385, 14),
    PublishedRun("LLaMA2-7B", 74, 1.1, 0.385, 31),
    PublishedRun("OLMo-7B, MI250X", 135, 1.1, 0.0, 0),
    PublishedRun("OLMo-7B, A100", 104, 1.1, 0.610, 70),
)


@dataclasses.dataclass(frozen=True)
class CarbonTable:
    """The measure: how far the computed tonnes are from the stated ones. It does not depend on the model."""

    def measure(self, model: LoadedModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """The value `carbon/largest_difference`, in tonnes CO2e, and the rows."""
        computed = [kilograms(1000 * run.megawatt_hours, run.pue, run.intensity) / 1000 for run in TABLE_8]
        largest = max(abs(tonnes - run.tonnes) for run, tonnes in zip(TABLE_8, computed, strict=True))
        rows = [[*run, tonnes] for run, tonnes in zip(TABLE_8, computed, strict=True)]
        return {"values": {"carbon/largest_difference": largest}, "rows": rows}

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """The table, stated beside computed."""
        columns = ["run", "MWh", "PUE", "kg CO2e/kWh", "t CO2e stated", "t CO2e computed"]
        return [Table("Carbon of published runs", columns, outcome["rows"])]
