"""Commands about repetitions: substrings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="A file of attributes to write: .jsonl or .jsonl.gz, one row per document.")  # fmt: skip
@click.option("--minimum", default=200, show_default=True, type=click.IntRange(min=2), help="Shortest repetition.")
@click.option("--unit", default="characters", show_default=True, type=click.Choice(["characters", "bytes"]),
              help="What --minimum counts.")  # fmt: skip
@click.option("--memory-gb", default=4.0, show_default=True, type=click.FloatRange(min=0.001),
              help="Gigabytes that may be used: ten bytes for every byte of text.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def substrings(paths: tuple[str, ...], out: Path, minimum: int, unit: Any, memory_gb: float, as_json: bool) -> None:
    """Find what the documents of PATHS repeat word for word: every passage that occurred before.

    Writes spans of characters as Dolma's attributes, for `glasshouse mix` to cut. Records that could not be read are in
    OUT.quarantine.jsonl.
    """
    from glasshouse.data.deduplication.dolma_attributes import substring_attributes, write_attributes
    from glasshouse.data.deduplication.substring import Substrings
    from glasshouse.data.quarantine import Quarantine
    from glasshouse.data.sources.reading import read_documents

    if not out.name.endswith((".jsonl", ".jsonl.gz")):
        raise click.BadParameter(f"{out} must end in .jsonl or .jsonl.gz", param_hint="--out")
    method = Substrings(minimum=minimum, unit=unit, maximum_memory=int(memory_gb * 1e9))
    out.parent.mkdir(parents=True, exist_ok=True)
    with Quarantine(out.with_name(f"{out.name}.quarantine.jsonl")) as quarantine:
        batches = list(read_documents(paths, quarantine))
        found = write_attributes(substring_attributes(batches, method, "substrings"), out)
    summary = {"documents": found.documents, "with spans": found.with_spans, "spans": found.spans,
               "characters": found.characters, "quarantined": quarantine.rows_quarantined}  # fmt: skip
    if as_json:
        click.echo(json.dumps(summary))
        return
    click.echo(
        f"{found.spans:,} spans of {found.characters:,} characters in {found.with_spans:,} of {found.documents:,} texts"
    )
    if quarantine.rows_quarantined:
        click.echo(f"{quarantine.rows_quarantined:,} records in quarantine: {quarantine.path}")
    click.echo(f"attributes in {out}")
