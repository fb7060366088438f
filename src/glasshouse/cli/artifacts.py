"""Commands on what is in the store: ls, show, lineage, diff, claims, gc, pin, unpin, report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from glasshouse.cli.options import READS, open_store
from glasshouse.cli.recipes import print_claims


@click.command("ls")
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


@click.command()
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
    again = f", the last of {used['attempts']} attempts" if used.get("attempts", 1) > 1 else ""
    click.echo(
        f"  made by   {manifest['step']} in {used['wall_seconds']:.1f} s ({used['cpu_seconds']:.1f} CPU s){again}"
    )
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


@click.command()
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


@click.command()
@click.argument("left")
@click.argument("right")
@READS
def diff(left: str, right: str, location: str) -> None:
    """Say why two artifacts differ: configuration, inputs, code, packages, followed back to the first cause."""
    from glasshouse.store.lineage import difference

    lines = difference(open_store(location), left, right)
    click.echo("\n".join(lines) if lines else "they are the same artifact")


@click.command()
@click.option("--export", type=click.Path(path_type=Path, dir_okay=False), help="Also write the claims as JSON.")
@click.option("--check", is_flag=True, help="Exit status 1 unless there are claims and every one holds.")
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
    statuses = [item["status"] for decided in found.values() for item in decided]
    if check and (not statuses or any(status != "holds" for status in statuses)):
        sys.exit(1)


@click.command()
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
    click.echo(
        f"{count} folder{'' if count == 1 else 's'}, {plan['bytes'] / 1e6:.1f} MB {verb}; {len(plan['kept'])} kept"
    )


@click.command()
@click.argument("reference")
@click.argument("name")
@READS
def pin(reference: str, name: str, location: str) -> None:
    """Keep an artifact, and all it was made from, under a NAME of your own."""
    open_store(location).pin(reference, name)


@click.command()
@click.argument("name")
@READS
def unpin(name: str, location: str) -> None:
    """Forget a pin. The artifact goes at the next gc unless something else keeps it."""
    open_store(location).unpin(name)


@click.command()
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
