"""`glasshouse run`: recipes as commands whose options are their parameters."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import glasshouse
from glasshouse.cli.options import CONTEXT, READS, open_store

if TYPE_CHECKING:
    from glasshouse.store.recipe import Recipe
    from glasshouse.store.team import Team

PARALLEL = click.option(
    "--parallel",
    metavar="NAME=NUMBER,...",
    envvar="GLASSHOUSE_PARALLEL",
    help="Under torchrun: how processes share the training, such as shard=8 or replicate=2,shard=4.",
)
HERE = Path(glasshouse.__file__).parent / "recipes"


class Recipes(click.Group):
    """`run` knows the recipes by their file names and imports one only when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Recipe names, from the files in the recipes room."""
        from pkgutil import iter_modules

        return sorted(module.name for module in iter_modules([str(HERE)]))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The recipe as a command whose options are its parameters."""
        from glasshouse.store.recipe import load_recipe

        if name.endswith(".py"):
            return recipe_command(recipe_in_file(Path(name)))
        return recipe_command(load_recipe(name)) if name in self.list_commands(context) else None

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the known recipes in the error."""
        if not args[0].startswith("-") and self.get_command(context, args[0]) is None:
            known = ", ".join(self.list_commands(context))
            context.fail(f"no recipe called {args[0]!r}; there are: {known}, or give a Python file that declares one")
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """One line per recipe without importing it: the first line of its file."""
        rows = []
        for name in self.list_commands(context):
            text = (HERE / f"{name}.py").read_text(encoding="utf-8")
            rows.append((name, text.partition("\n")[0].strip('"').strip()))
        with formatter.section("Recipes"):
            formatter.write_dl(rows)


@click.group(cls=Recipes, subcommand_metavar="RECIPE [OPTIONS]")
def run() -> None:
    """Run a recipe: make what the store does not hold yet, then show its claims and write its report.

    RECIPE is one of those below, or a Python file of your own that declares one with `@recipe`. A second run makes
    nothing; a changed option makes only the steps that depend on it; a killed run goes on.
    """


def recipe_in_file(path: Path) -> Recipe[...]:
    """The recipe a Python file declares (its last one); the file is run as `python FILE` would."""
    from importlib.util import module_from_spec, spec_from_file_location

    from glasshouse.store.recipe import RECIPES
    from glasshouse.store.store import StoreError

    if not path.is_file():
        raise StoreError(f"there is no file {path}")
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) != str(path.resolve()):
        raise StoreError(f"{path} has the name of a module that is loaded already ({path.stem}): rename the file")
    if loaded is not None:
        return next(item for item in reversed(RECIPES.values()) if item.function.__module__ == path.stem)
    sys.path.insert(0, str(path.resolve().parent))
    spec = spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise StoreError(f"{path} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # configurations name functions by their module
    spec.loader.exec_module(module)
    declared = [item for item in RECIPES.values() if item.function.__module__ == path.stem]
    if not declared:
        raise StoreError(f"{path} declares no recipe: put @recipe over a function that returns its last step")
    return declared[-1]


def recipe_command(declared: Recipe[...]) -> click.Command:
    """A click command for a recipe: one option per parameter, defaults and types taken from its signature."""
    options: list[click.Parameter] = []
    descriptions = parameter_descriptions(declared.help)
    for name, parameter in declared.parameters.items():
        flag = f"--{name.replace('_', '-')}"
        default: dict[str, Any] = {"default": parameter.default, "show_default": True}
        if parameter.default is parameter.empty:
            default = {"required": True}
        kind = parameter.annotation if parameter.annotation in (int, float, bool, str) else str
        options.append(
            click.Option(
                [f"{flag}/--no-{flag[2:]}" if kind is bool else flag],
                type=None if kind is bool else kind,
                help=descriptions.get(name, ""),
                **default,
            )
        )
    options += READS(PARALLEL(lambda: None)).__click_params__  # type: ignore[attr-defined]

    def callback(location: str, parallel: str | None, **arguments: Any) -> None:
        with processes(parallel) as team:
            run_and_report(declared, location, arguments, team)

    body = declared.help.partition("\nArgs:")[0]
    return click.Command(declared.name, callback=callback, params=options, help=body, context_settings=CONTEXT)


def parameter_descriptions(docstring: str) -> dict[str, str]:
    """Parameter -> description from a docstring's `Args:` part."""
    found: dict[str, str] = {}
    name = ""
    for line in docstring.partition("Args:\n")[2].splitlines():
        text = line.strip()
        if not line.startswith("    "):
            break
        if not line.startswith("     ") and ": " in text:
            name, _, text = text.partition(": ")
            found[name] = text
        elif name:
            found[name] += f" {text}"
    return found


@contextmanager
def processes(parallel: str | None) -> Iterator[Team | None]:
    """The processes that a launcher such as torchrun started together with this one; None when there are no others."""
    if parallel is not None:
        os.environ["GLASSHOUSE_PARALLEL"] = parallel
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield None
        return
    from glasshouse.training.processes import joined

    with joined() as team:
        yield team


def run_and_report(declared: Recipe[...], location: str, arguments: dict[str, Any], team: Team | None = None) -> None:
    """Run a recipe with bars, then print its summary, claims and where the report is."""
    from rich.console import Console

    from glasshouse.console import ConsoleReporter
    from glasshouse.store.recipe import run_recipe
    from glasshouse.store.report import claims_of, write_report

    console = Console()
    store = open_store(location)
    if team is not None and not team.leads:
        run_recipe(declared, store, None, team, **arguments)
        return
    with ConsoleReporter(console) as reporter:
        artifact = run_recipe(declared, store, reporter, team, **arguments)
    record = next(item for item in reversed(store.runs()) if item["artifact"] == artifact.path.name)
    summary = " ".join(declared.help.partition("\nArgs:")[0].split())
    path = write_report(store, artifact.path.name, declared.name, summary, record)
    print_summary(artifact)
    print_claims(claims_of(store, artifact.path.name))
    click.echo(f"\n{declared.name} took {record['wall_seconds']:.1f} s. Open the report: {path}")


def print_summary(artifact: Any) -> None:
    """The headline figures of an artifact."""
    from glasshouse.store.panels import Numbers

    for panel in artifact.panels():
        if isinstance(panel, Numbers):
            click.echo(f"\n{panel.title}")
            for label, value in panel.values.items():
                click.echo(f"  {label:<42} {value}")


def print_claims(claims: list[dict[str, Any]]) -> None:
    """Claims, a line each."""
    colours = {"holds": "green", "does not hold": "red", "not measured": "yellow"}
    if claims:
        click.echo("\nClaims")
    for item in claims:
        verdict = click.style(f"{item['status']:<13}", fg=colours[item["status"]])
        click.echo(f"  {verdict} {item['statement']} [{item['measured']} {item['expected']}]")
