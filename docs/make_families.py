"""The table of families of signals in `curation.md`, made from the registry.

python docs/make_families.py --write    put the table into the page
python docs/make_families.py --check    exit status 1 when the page is not what the registry says
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent / "curation.md"
BEGIN, END = "<!-- families:begin -->", "<!-- families:end -->"


def table() -> str:
    """A row per family: its name, what it is, how many columns it makes or which settings it needs."""
    from glasshouse.data.signals.families import DEFAULT_FAMILIES, FAMILIES

    names = [*DEFAULT_FAMILIES, *(name for name in FAMILIES if name not in DEFAULT_FAMILIES)]
    rows = ["| family | what it measures | columns |", "| --- | --- | --- |"]
    for name in names:
        module, _, kind = FAMILIES[name].partition(":")
        made = getattr(importlib.import_module(module), kind)
        first = (inspect.getdoc(made) or "").partition("\n\n")[0].replace("\n", " ")
        rows.append(f"| `{name}` | {first} | {columns(made)} |")
    return "\n".join(rows)


def columns(made: Any) -> str:
    """How many columns, with the first two by name; or the settings without which there are none."""
    needed = [name for name, field in made.model_fields.items() if field.is_required()]
    if needed:
        return f"needs {', '.join(f'`{name}`' for name in needed)}"
    found = [f"`{signal.name}`" for signal in made().signals]
    return f"{len(found)}: {', '.join(found[:2])}{', …' if len(found) > 2 else ''}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks the page; 1 when it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true")
    what.add_argument("--check", action="store_true")
    chosen = parser.parse_args(arguments)
    page = PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} needs the markers {BEGIN} and {END}, once each")
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if chosen.write:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if page != wanted:
        print(f"{PAGE.name} is out of date: run python docs/make_families.py --write", file=sys.stderr)
    return int(page != wanted)


if __name__ == "__main__":
    sys.exit(main())
