"""The command line. Rooms are imported inside the commands, so that `glasshouse --help` answers at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import glasshouse

if TYPE_CHECKING:
    from glasshouse.store.recipe import Recipe
    from glasshouse.store.store import Store

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
READS = click.option(
    "--store",
    "location",
    metavar="PATH|URL",
    envvar="GLASSHOUSE_STORE",
    default=".glasshouse",
    show_default=True,
    help="Where artifacts are kept: a directory or any fsspec URL.",
)


@click.group(context_settings=CONTEXT)
@click.version_option(glasshouse.__version__, prog_name="glasshouse")
def cli() -> None:
    """Grow generative models in plain sight: from raw documents to a trained, evaluated and traceable model.

    Start with `glasshouse run quickstart`. Everything a run leaves behind can be listed (ls), opened (show),
    followed back to raw documents (lineage, trace) and checked (verify, claims).
    """


def open_store(location: str) -> Store:
    """The store at a location, with the error a person can act on."""
    from glasshouse.store.store import Store

    return Store(location)


# Recipes


class Recipes(click.Group):
    """`run` knows the recipes by their file names and imports one only when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Recipe names, from the files in the recipes room."""
        from pkgutil import iter_modules

        return sorted(module.name for module in iter_modules([str(Path(__file__).parent / "recipes")]))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The recipe as a command whose options are its parameters."""
        from glasshouse.store.recipe import load_recipe

        return recipe_command(load_recipe(name)) if name in self.list_commands(context) else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """One line per recipe without importing it: the first line of its file."""
        rows = []
        for name in self.list_commands(context):
            text = (Path(__file__).parent / "recipes" / f"{name}.py").read_text(encoding="utf-8")
            rows.append((name, text.partition("\n")[0].strip('"').strip()))
        with formatter.section("Recipes"):
            formatter.write_dl(rows)


@cli.group(cls=Recipes, subcommand_metavar="RECIPE [OPTIONS]")
def run() -> None:
    """Run a recipe: make what the store does not hold yet, then show its claims and write its report.

    A second run makes nothing; a changed option makes only the steps that depend on it; a killed run goes on.
    """


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
    options.append(READS(lambda: None).__click_params__[0])  # type: ignore[attr-defined]

    def callback(location: str, **arguments: Any) -> None:
        run_and_report(declared, location, arguments)

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


def run_and_report(declared: Recipe[...], location: str, arguments: dict[str, Any]) -> None:
    """Run a recipe with bars, then print its summary, claims and where the report is."""
    from rich.console import Console

    from glasshouse.console import ConsoleReporter
    from glasshouse.store.recipe import run_recipe
    from glasshouse.store.report import claims_of, write_report

    console = Console()
    store = open_store(location)
    with ConsoleReporter(console) as reporter:
        artifact = run_recipe(declared, store, reporter, **arguments)
    record = store.runs()[-1]
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


# What is in the store


@cli.command("ls")
@READS
def list_artifacts(location: str) -> None:
    """List the artifacts in the store, oldest first, with the runs and pins that name them."""
    store = open_store(location)
    named: dict[str, list[str]] = {}
    for pin, name in store.pins().items():
        named.setdefault(name, []).append(f"pin {pin}")
    for recorded in {item["name"]: item for item in store.runs()}.values():
        named.setdefault(recorded["artifact"], []).append(f"run {recorded['name']}")
    manifests = sorted((store.manifest(name) | {"name": name} for name in store.names()), key=when)
    if not manifests:
        click.echo(f"{location} holds no artifacts yet; `glasshouse run quickstart` makes some")
    for item in manifests:
        size = sum(file["bytes"] for file in item["files"].values())
        tag = ", ".join(named.get(item["name"], []))
        line = f"{item['id'][:12]}  {item['type']:<16} {item['step']:<18} {size / 1e6:>9.2f} MB  {when(item)}  {tag}"
        click.echo(line.rstrip())


def when(manifest: dict[str, Any]) -> str:
    """When an artifact was finished."""
    return str(manifest["resources"]["finished"])


@cli.command()
@click.argument("reference")
@click.option("--json", "as_json", is_flag=True, help="The whole manifest as JSON.")
@READS
def show(reference: str, as_json: bool, location: str) -> None:
    """Show what an artifact is and how it was made. REFERENCE: an id (or its beginning), a pin or a recipe's name."""
    artifact = open_store(location).open(reference)
    manifest = artifact.manifest
    if as_json:
        click.echo(json.dumps(manifest, indent=2, ensure_ascii=False))
        return
    used = manifest["resources"]
    energy = used["energy"]
    click.echo(f"{manifest['type']} {manifest['id']}")
    click.echo(f"  made by   {manifest['step']} in {used['wall_seconds']:.1f} s ({used['cpu_seconds']:.1f} CPU s)")
    word = "estimated" if energy["estimate"] else "measured"
    click.echo(f"  energy    {energy['joules'] / 3600:.3g} Wh, {word} ({energy['source']}: {energy['note']})")
    click.echo(f"  when      {used['started']} to {used['finished']}")
    click.echo(f"  code      {manifest['code']['version']}, commit {manifest['code']['commit'] or 'unknown'}")
    click.echo(f"  folder    {artifact.path}")
    for title in ("inputs", "measurements"):
        for key, value in manifest[title].items():
            text = f"{value['type']} {value['id'][:12]}" if title == "inputs" else json.dumps(value)
            click.echo(f"  {title[:-1]:<12} {key}: {text}")
    click.echo("  configuration")
    text = json.dumps(manifest["identity"]["configuration"], indent=2, ensure_ascii=False)
    click.echo("\n".join(f"    {line}" for line in text.splitlines()))
    for name, file in manifest["files"].items():
        click.echo(f"  file {file['bytes']:>12,} B  {file['sha256'][:12]}  {name}")


@cli.command()
@click.argument("reference")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "mermaid", "prov"]),
    default="tree",
    show_default=True,
    help="A text tree, a Mermaid flowchart, or W3C PROV-JSON.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file instead.")
@READS
def lineage(reference: str, form: str, output: Path | None, location: str) -> None:
    """Follow an artifact back to everything it was made from."""
    from glasshouse.store import lineage as room

    store = open_store(location)
    if form == "tree":
        text = "\n".join(room.tree(store, reference))
    elif form == "mermaid":
        text = room.mermaid(store, reference)
    else:
        text = json.dumps(room.prov(store, reference), indent=2, ensure_ascii=False)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")
        click.echo(f"wrote {output}")


@cli.command()
@click.argument("left")
@click.argument("right")
@READS
def diff(left: str, right: str, location: str) -> None:
    """Say why two artifacts differ: configuration, inputs, code, packages, followed back to the first cause."""
    from glasshouse.store.lineage import difference

    lines = difference(open_store(location), left, right)
    click.echo("\n".join(lines) if lines else "they are the same artifact")


@cli.command()
@click.argument("references", nargs=-1)
@READS
def verify(references: tuple[str, ...], location: str) -> None:
    """Re-hash artifacts (all of them when none is named) and check manifests and inputs; exit status 1 on damage."""
    store = open_store(location)
    names = [store.resolve(reference) for reference in references] or store.names()
    damaged = 0
    for name in names:
        problems = store.verify(name)
        damaged += bool(problems)
        click.echo(f"{'DAMAGED' if problems else 'ok':<8} {name}")
        for problem in problems:
            click.echo(f"         {problem}")
    click.echo(f"{len(names)} checked, {damaged} damaged")
    if damaged:
        click.echo("Remove a damaged artifact's folder and run its recipe again to make it anew.")
        sys.exit(1)


@cli.command()
@click.option("--export", type=click.Path(path_type=Path, dir_okay=False), help="Also write the claims as JSON.")
@click.option("--check", is_flag=True, help="Exit status 1 unless every claim holds.")
@READS
def claims(export: Path | None, check: bool, location: str) -> None:
    """Show the claims of the newest run of every recipe, with measured and expected values."""
    from glasshouse.store.report import claims_of

    store = open_store(location)
    latest = {item["name"]: item for item in store.runs()}
    found = {name: claims_of(store, item["artifact"]) for name, item in latest.items()}
    if not any(found.values()):
        click.echo("no claims yet; they come with a recipe's run, for example `glasshouse run quickstart`")
    for name, decided in found.items():
        click.echo(f"\n{name} ({latest[name]['artifact']})")
        print_claims(decided)
    if export is not None:
        record = {
            name: {"artifact": latest[name]["artifact"], "arguments": latest[name]["arguments"], "claims": decided}
            for name, decided in sorted(found.items())
        }
        export.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if check and any(item["status"] != "holds" for decided in found.values() for item in decided):
        sys.exit(1)


@cli.command()
@click.option("--delete", is_flag=True, help="Remove what is listed. Without it nothing is touched.")
@click.option(
    "--keep-runs", type=click.IntRange(min=0), default=1, show_default=True, help="Newest runs of every recipe to keep."
)
@READS
def gc(delete: bool, keep_runs: int, location: str) -> None:
    """List, or with --delete remove, what no kept run or pin depends on, and the leavings of killed runs."""
    plan = open_store(location).gc(keep_runs, delete)
    for name in plan["removed"]:
        click.echo(f"  {name}")
    for name in plan["unfinished"]:
        click.echo(f"  unfinished {name}")
    verb = "removed" if delete else "can be removed with --delete"
    count = len(plan["removed"]) + len(plan["unfinished"])
    click.echo(f"{count} folders, {plan['bytes'] / 1e6:.1f} MB {verb}; {len(plan['kept'])} kept")


@cli.command()
@click.argument("reference")
@click.argument("name")
@READS
def pin(reference: str, name: str, location: str) -> None:
    """Keep an artifact, and all it was made from, under a NAME of your own."""
    open_store(location).pin(reference, name)


@cli.command()
@click.argument("name")
@READS
def unpin(name: str, location: str) -> None:
    """Forget a pin. The artifact goes at the next gc unless something else keeps it."""
    open_store(location).unpin(name)


@cli.command()
@click.argument("reference")
@READS
def report(reference: str, location: str) -> None:
    """Write the HTML report of an artifact again and say where it is."""
    from glasshouse.store.report import write_report

    store = open_store(location)
    name = store.resolve(reference)
    manifest = store.manifest(name)
    run = next((item for item in reversed(store.runs()) if item["artifact"] == name), None)
    title = run["name"] if run else manifest["type"]
    click.echo(write_report(store, name, title, f"{manifest['type']} made by {manifest['step']}.", run))


# Language models


def open_model(location: str, reference: str) -> Any:
    """The language model a reference means: itself, or the one an evaluation or a recipe's run measured."""
    from glasshouse.language.model import LanguageModel
    from glasshouse.store.lineage import ancestors
    from glasshouse.store.store import StoreError

    store = open_store(location)
    found = store.open(reference)
    if not isinstance(found, LanguageModel):
        models = [store.open(name) for name in ancestors(store, found.path.name)]
        found = next((item for item in reversed(models) if isinstance(item, LanguageModel)), found)
    if not isinstance(found, LanguageModel):
        raise StoreError(f"{reference!r} is a {found.manifest['type']} with no language model behind it")
    return found


def sampling_options(command: Any) -> Any:
    """The options that say how the next token is chosen."""
    for option in (
        click.option("--tokens", default=128, show_default=True, help="Most new tokens."),
        click.option("--temperature", default=0.7, show_default=True, help="0 always takes the most likely token."),
        click.option("--top-k", type=int, help="Draw among the k most likely tokens."),
        click.option("--top-p", type=float, help="Draw among the fewest tokens that hold this share of probability."),
        click.option("--seed", default=0, show_default=True, help="The same seed writes the same text."),
    ):
        command = option(command)
    return command


@cli.command()
@click.argument("model")
@click.argument("prompt")
@sampling_options
@READS
def generate(model: str, prompt: str, location: str, **sampling: Any) -> None:
    """Continue PROMPT with a trained MODEL (an id, a pin, or a recipe such as `quickstart`), piece by piece."""
    from glasshouse.language.generation import Sampling

    loaded = open_model(location, model).load()
    pieces = loaded.stream_text(prompt, Sampling(**sampling))
    first = next(pieces, "")  # what is wrong with the prompt is told before anything is written
    click.echo(prompt + first, nl=False)
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()


@cli.command()
@click.argument("model")
@sampling_options
@READS
def chat(model: str, location: str, **sampling: Any) -> None:
    """Write with a MODEL in turns: what you type is added to the text, then the model continues it.

    A base model has learnt to continue documents, not to answer; start it off the way a document would. An empty line
    lets it go on, `/new` begins a new document, `/quit` or end-of-file leaves.
    """
    from glasshouse.language.generation import Sampling

    loaded = open_model(location, model).load()
    click.echo(f"context {loaded.context} tokens; /new begins anew, /quit leaves")
    settings = Sampling(**sampling)
    text, turn = "", 0
    while True:
        try:
            line = click.prompt(">", default="", show_default=False, prompt_suffix=" ")
        except (click.Abort, EOFError):
            click.echo()
            return
        if line == "/quit":
            return
        if line == "/new":
            text = ""
            continue
        text = loaded.tail(text + line, room=settings.tokens)
        for piece in loaded.stream_text(text, settings.but(seed=settings.seed + turn)):
            click.echo(piece, nl=False)
            text += piece
        click.echo()
        turn += 1


@cli.group()
def trace() -> None:
    """Follow a training run to its documents, and a document to the steps that saw it.

    Answers are computed from the manifest alone: no index of the run is kept.
    """


@trace.command("step")
@click.argument("model")
@click.argument("number", type=int)
@click.option(
    "--world", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that share every batch."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@READS
def trace_step(model: str, number: int, world: int, as_json: bool, location: str) -> None:
    """Print the documents MODEL saw at update NUMBER: id, source file and byte range."""
    print_sightings(traced(location, model, world).at_step(number), as_json)


@trace.command("document")
@click.argument("model")
@click.argument("document")
@click.option(
    "--world", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that share every batch."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@READS
def trace_document(model: str, document: str, world: int, as_json: bool, location: str) -> None:
    """Print every update at which MODEL saw a part of DOCUMENT (an id as `trace step` prints it)."""
    print_sightings(traced(location, model, world).of_document(document), as_json)


def traced(location: str, model: str, world: int) -> Any:
    """The trace of a model, for `world` processes."""
    from dataclasses import replace

    from glasshouse.language.trace import trace_of

    return replace(trace_of(open_model(location, model), open_store(location)), world=world)


def print_sightings(sightings: list[Any], as_json: bool) -> None:
    """Sightings, a line each."""
    from dataclasses import asdict

    if not as_json:
        click.echo(f"{'step':>6} {'epoch':>5} {'rank':>4} {'row':>7} {'tokens':>9}  document, file and its bytes")
    for item in sightings:
        if as_json:
            click.echo(json.dumps(asdict(item), ensure_ascii=False))
            continue
        tokens = f"{item.tokens[0]}-{item.tokens[1]}"
        place = f"{item.file} [{item.bytes[0]}-{item.bytes[1]}]"
        click.echo(f"{item.step:>6} {item.epoch:>5} {item.rank:>4} {item.row:>7} {tokens:>9}  {item.document}, {place}")


def main() -> None:
    """Entry point: the house's own errors are told in one line, others keep their traceback."""
    try:
        cli(standalone_mode=True)
    except Exception as error:
        if not (isinstance(error, OSError) or type(error).__module__.startswith("glasshouse.")):
            raise
        click.echo(f"{click.style('error:', fg='red')} {error}", err=True)
        sys.exit(1)
