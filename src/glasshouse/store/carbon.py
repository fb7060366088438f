"""The carbon of an artifact's whole lineage, and what it would have been elsewhere.

    total = energy x PUE,    CO2e = total x intensity        [OLMo, arXiv 2402.00838, section 4.4 and table 8]

PUE (power usage effectiveness) is what a data centre draws over what its machines draw; intensity is kilograms of CO2
equivalent per kilowatt-hour of the electricity used. Energy comes from the manifests (see `energy`), so nothing has to
run again for another PUE or grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from glasshouse.store.lineage import ancestors
from glasshouse.store.manifest import short
from glasshouse.store.store import Store

PUE = 1.1
"""OLMo's: 10 % overhead, typical of energy-efficient data centres."""
JOULES_PER_KILOWATT_HOUR = 3.6e6
LOWER_BOUND = (
    "A lower bound: making the hardware, runs that led nowhere, searches and debugging are not counted. For the OLMo "
    "models development came to another 50 % of training (arXiv 2503.05804)."
)


class CarbonError(ValueError):
    """A grid or a figure that carbon cannot be computed from."""


@dataclass(frozen=True)
class Grid:
    """The carbon intensity of electricity, in kg CO2e per kWh, and who says so."""

    name: str
    intensity: float
    source: str


GRIDS: dict[str, Grid] = {
    grid.name: grid
    for grid in (
        Grid("australia", 0.610, "national average 2022, Clean Energy Regulator; OLMo, arXiv 2402.00838, section 4.4"),
        Grid("united states", 0.385, "national average; LLaMA, arXiv 2302.13971, section 6"),
        Grid("france", 0.057, "grid of Jean Zay in 2022; BLOOM, arXiv 2211.02001"),
        Grid("hydroelectric", 0.024, "Ubierna et al. 2022, as cited by OLMo, arXiv 2402.00838, section 4.4"),
        Grid("lumi", 0.0, "what LUMI states for itself; OLMo, arXiv 2402.00838, section 4.4"),
    )
}
"""Only intensities with a named source; give your own for any other place."""


def kilograms(kilowatt_hours: float, pue: float, intensity: float) -> float:
    """CO2e in kg. Raises `CarbonError` for a PUE below 1 or a negative figure."""
    if pue < 1:
        raise CarbonError(f"a PUE is at least 1 (what the site draws over what its machines draw), got {pue:g}")
    if kilowatt_hours < 0 or intensity < 0:
        raise CarbonError(
            f"energy and intensity must not be negative, got {kilowatt_hours:g} kWh, {intensity:g} kg/kWh"
        )
    return kilowatt_hours * pue * intensity


def grid_named(name: str) -> Grid:
    """A grid of the table. Raises `CarbonError` with the names there are."""
    found = GRIDS.get(name.lower().replace("-", " ").replace("_", " "))
    if found is None:
        raise CarbonError(
            f"no intensity with a source is known for {name!r}; known are {', '.join(GRIDS)}. Give your own in kg CO2e "
            "per kWh"
        )
    return found


@dataclass(frozen=True)
class StepEnergy:
    """What one step of a lineage drew.

    Attributes:
        joules: of all attempts that are known.
        estimate: whether any of it is an estimate.
        source: how it was measured.
        unknown_attempts: attempts that were killed before they could write down what they drew.
    """

    step: str
    made: str
    id: str
    joules: float
    estimate: bool
    source: str
    unknown_attempts: int


@dataclass(frozen=True)
class Account:
    """The energy of every step behind an artifact, sources first."""

    steps: tuple[StepEnergy, ...]

    @property
    def joules(self) -> float:
        return sum(step.joules for step in self.steps)

    @property
    def kilowatt_hours(self) -> float:
        """Before any PUE."""
        return self.joules / JOULES_PER_KILOWATT_HOUR

    @property
    def estimated_share(self) -> float:
        """Share of the energy (0 to 1) that comes from steps with an estimate in them."""
        return sum(step.joules for step in self.steps if step.estimate) / self.joules if self.joules else 0.0

    @property
    def unknown_attempts(self) -> int:
        return sum(step.unknown_attempts for step in self.steps)

    def kilograms(self, pue: float, intensity: float) -> float:
        """CO2e in kg."""
        return kilograms(self.kilowatt_hours, pue, intensity)


def account(store: Store, reference: str) -> Account:
    """The energy of everything behind an artifact and of the artifact itself."""
    return account_of(ancestors(store, reference).values())


def account_of(manifests: Iterable[Mapping[str, Any]]) -> Account:
    """The same from manifests."""
    return Account(tuple(_steps(manifests)))


def _steps(manifests: Iterable[Mapping[str, Any]]) -> Iterator[StepEnergy]:
    for manifest in manifests:
        used = manifest["resources"]
        known = [attempt["energy"] for attempt in used.get("earlier", [])] + [used["energy"]]
        yield StepEnergy(
            step=manifest["step"],
            made=manifest["type"],
            id=short(manifest["id"]),
            joules=sum(float(energy["joules"]) for energy in known),
            estimate=any(energy["estimate"] for energy in known),
            source=", ".join(dict.fromkeys(energy["source"] for energy in known)),
            unknown_attempts=max(0, used.get("attempts", 1) - len(known)),
        )


def energy_text(joules: float) -> str:
    """Energy with a unit that fits: J, Wh, kWh or MWh."""
    hours = joules / 3600
    for bound, unit in ((1e6, "MWh"), (1e3, "kWh"), (0.01, "Wh")):
        if hours >= bound:
            return f"{hours / (bound if unit != 'Wh' else 1):.3g} {unit}"
    return f"{joules:.3g} J"


def carbon_text(kilograms: float) -> str:
    """CO2e with a unit that fits: mg, g, kg or t."""
    for bound, unit in ((1e3, "t"), (1.0, "kg"), (1e-3, "g")):
        if kilograms >= bound:
            return f"{kilograms / bound:.3g} {unit}"
    return f"{kilograms * 1e6:.3g} mg" if kilograms else "0"
