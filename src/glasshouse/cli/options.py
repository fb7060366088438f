"""What the commands share: the help's form, the `--store` option, and opening the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
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


def open_store(location: str) -> Store:
    """The store at a location, with the error a person can act on."""
    from glasshouse.store.store import Store

    return Store(location)


def existing_path(location: str, reference: str) -> str:
    """A directory or file named outright, or the folder of an artifact of the store (an id, a pin, a recipe's name)."""
    from pathlib import Path

    return reference if Path(reference).exists() else str(open_store(location).open(reference).path)
