"""What the commands share: the help's form, the `--store` option, and opening the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from glasshouse.data.executor import Executor
    from glasshouse.store.progress import Reporter
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


def names_files(reference: str) -> bool:
    """Whether it is a path that exists, a pattern or a URL; anything else names an artifact of the store."""
    from pathlib import Path

    return "://" in reference or any(mark in reference for mark in "*?[") or Path(reference).exists()


def existing_path(location: str, reference: str) -> str:
    """A directory or file named outright, or the folder of an artifact of the store (an id, a pin, a recipe's name)."""
    from pathlib import Path

    return reference if Path(reference).exists() else str(open_store(location).open(reference).path)


def on_workers(command: Any) -> Any:
    """The options that say where the work is done."""
    for option in (
        click.option("--workers", type=click.IntRange(min=1), help="Threads, or tasks on Ray; every core by default."),
        click.option("--ray", "on_ray", is_flag=True, help="Run on Ray: a local one, or the cluster at --ray-address."),
        click.option("--ray-address", metavar="ADDRESS", help="A running Ray cluster, e.g. auto or ray://host:10001."),
    ):
        command = option(command)
    return command


@contextmanager
def executor_of(workers: int | None, on_ray: bool, ray_address: str | None) -> Iterator[Executor]:
    """Threads of this process, or Ray for as long as the command runs."""
    from glasshouse.data.executor import RayTasks, Threads
    from glasshouse.store.environment import usable_cores

    count = workers or usable_cores()
    if on_ray or ray_address:
        with RayTasks(count, ray_address) as cluster:
            yield cluster
    else:
        yield Threads(count)


@contextmanager
def reporting() -> Iterator[Reporter]:
    """Progress bars on standard error's terminal, none elsewhere."""
    from rich.console import Console

    from glasshouse.console import ConsoleReporter

    with ConsoleReporter(Console(stderr=True)) as reporter:
        yield reporter


def printable(text: str) -> str:
    """Text of unknown origin without control characters, which could move a terminal's cursor or its colours."""
    from glasshouse.data.description.explain_text import printable

    return printable(text)


def printable_json(value: Any, indent: int | None = None) -> str:
    """JSON as people read it; the control characters that JSON lets pass (U+007F to U+009F) are escaped."""
    import json
    import re

    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)
