"""The command carbon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.options import READS, open_store

if TYPE_CHECKING:
    from glasshouse.store.carbon import Account, Grid


@click.command()
@click.argument("reference")
@click.option("--pue", "pues", multiple=True, type=float, help="Power usage effectiveness of the site; 1.1 by default.")
@click.option("--intensity", "intensities", multiple=True, type=float, metavar="KG", help="Kg CO2e per kWh of a grid.")
@click.option("--grid", "grids", multiple=True, metavar="NAME", help="A grid whose intensity has a named source.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@READS
def carbon(
    reference: str, pues: tuple[float, ...], intensities: tuple[float, ...], grids: tuple[str, ...], as_json: bool,
    location: str,
) -> None:  # fmt: skip
    """Energy and carbon of everything behind an artifact, step by step, under one or several PUEs and grids.

    REFERENCE: an id, a pin or a recipe's name. Without --intensity or --grid all grids of the table are shown; what
    it was on yours, only you can say.
    """
    from glasshouse.publishing.evaluations import bits_saved
    from glasshouse.store.carbon import GRIDS, PUE, Grid, account, grid_named

    places = [grid_named(name) for name in grids]
    places += [Grid(f"{value:g}", value, "as given") for value in intensities]
    places = places or list(GRIDS.values())
    store = open_store(location)
    found = account(store, reference)
    cells = [(pue, grid, found.kilograms(pue, grid.intensity)) for pue in pues or (PUE,) for grid in places]
    points = bits_saved(store, reference)
    if as_json:
        click.echo(json.dumps(_document(found, cells, points), indent=2, ensure_ascii=False))
        return
    _print(found, cells, points)


def _document(found: Account, cells: list[tuple[float, Grid, float]], points: list[Any]) -> dict[str, Any]:
    from dataclasses import asdict

    from glasshouse.store.carbon import LOWER_BOUND

    return {
        "joules": found.joules,
        "estimated_share": found.estimated_share,
        "unknown_attempts": found.unknown_attempts,
        "steps": [asdict(step) for step in found.steps],
        "carbon": [{"pue": pue, "grid": asdict(grid), "kg_co2e": mass} for pue, grid, mass in cells],
        "bits_per_byte": [
            {**asdict(point), "joules_per_bit_per_byte": found.joules / point.saved}
            for point in points
            if point.saved > 0
        ],
        "note": LOWER_BOUND,
    }


def _print(found: Account, cells: list[tuple[float, Grid, float]], points: list[Any]) -> None:
    from glasshouse.store.carbon import LOWER_BOUND, carbon_text, energy_text

    click.echo(f"{'step':<18} {'made':<16} {'id':<12} {'energy':>10}  how it is known")
    for step in found.steps:
        word = "estimate" if step.estimate else "measured"
        lost = f"; {step.unknown_attempts} killed before it wrote its energy down" if step.unknown_attempts else ""
        row = f"{step.step:<18} {step.made:<16} {step.id:<12} {energy_text(step.joules):>10}"
        click.echo(f"{row}  {word} ({step.source}){lost}")
    share = found.estimated_share
    known = "all of it measured" if not share else f"{100 * share:.0f} % of it from estimates, good to a factor of two"
    click.echo(f"{'all steps':<48} {energy_text(found.joules):>10}  {known}")
    click.echo(f"\n{'PUE':>5} {'kg/kWh':>7} {'CO2e':>10}  grid")
    for pue, grid, mass in cells:
        click.echo(f"{pue:>5g} {grid.intensity:>7g} {carbon_text(mass):>10}  {grid.name} ({grid.source})")
    for point in points:
        against = f"{point.model:.3f} bits per byte against {point.baseline:.3f} of the {point.name} baseline"
        if point.saved > 0:
            each = energy_text(0.1 * found.joules / point.saved)
            click.echo(f"\n{each} for every 0.1 bits per byte saved: {against}")
        else:
            click.echo(f"\nnothing saved over the {point.name} baseline: {against}")
    click.echo(f"\n{LOWER_BOUND}")
