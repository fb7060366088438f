"""The table of the eleven systems in README.md, made from `systems.json` and from measured claims.

    glasshouse claims --export docs/claims.json     after a run: claims with their measured values
    python docs/make_table.py --write               put the table into README.md
    python docs/make_table.py --check               exit status 1 when README.md is not what the files say

Nothing about progress is typed: a system without a recipe module is not started; otherwise its status counts the
decided claims of its recipes, those that cite its paper apart from those of the house.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- systems:begin -->", "<!-- systems:end -->"
HEAD = ("", "system", "paper", "what it is", "rooms", "recipe", "status")

Claims = Mapping[str, Mapping[str, Any]]


def read_claims(path: Path) -> Claims:
    """What `glasshouse claims --export` wrote; empty when there is no such file."""
    found: Claims = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def recipe_modules(root: Path) -> set[str]:
    """Names of the recipe modules that exist."""
    return {path.stem for path in (root / "src/glasshouse/recipes").glob("*.py")} - {"__init__"}


def status(system: Mapping[str, Any], recipes: set[str], claims: Claims) -> str:
    """How far a system is, from which recipes exist and how their claims were decided."""
    own = [name for name in system["recipes"] if name in recipes]
    if not own:
        return "not started"
    if not any(name in claims for name in own):
        return "no claims yet"
    decided = [item for name in own for item in claims.get(name, {}).get("claims", ())]
    paper = [item for item in decided if item["source"].startswith(system["arxiv"])]
    house = [item for item in decided if item["source"] == f"house ({system['name']})"]
    parts = [f"{counted(house)} house claims hold"] if house else []
    missing = "foundation only: no claim of the paper yet"
    parts.append(f"{counted(paper)} claims of the paper hold" if paper else missing)
    return "; ".join(parts)


def counted(decided: Sequence[Mapping[str, Any]]) -> str:
    """`2 of 3`, with those that could not be measured named."""
    statuses = Counter(item["status"] for item in decided)
    open_ones = f" ({statuses['not measured']} not measured)" if statuses["not measured"] else ""
    return f"{statuses['holds']} of {len(decided)}{open_ones}"


def table(systems: Iterable[Mapping[str, Any]], recipes: set[str], claims: Claims) -> str:
    """The systems as a Markdown table, and under it every decided claim."""
    rows = [HEAD, tuple("---" for _ in HEAD)]
    for system in systems:
        used = ", ".join(f"`{name}`" for name in system["recipes"] if name in recipes) or "–"
        paper = f"[{system['arxiv']}](https://arxiv.org/abs/{system['arxiv']})"
        rooms = ", ".join(f"`{room}`" for room in system["room"])
        state = status(system, recipes, claims)
        rows.append((str(system["number"]), system["name"], paper, system["line"], rooms, used, state))
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
    return "\n".join([*lines, *decisions(claims)])


def decisions(claims: Claims) -> list[str]:
    """The decided claims, recipe by recipe, as Markdown lines."""
    lines: list[str] = []
    for name, run in claims.items():
        arguments = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in run["arguments"].items())
        lines += ["", f"As measured by `{f'glasshouse run {name} {arguments}'.strip()}`:", ""]
        lines += ["| claim | source | measured | expected | |", "| --- | --- | --- | --- | --- |"]
        fields = ("statement", "source", "measured", "expected", "status")
        rows = [[item[field].replace("|", r"\|") for field in fields] for item in run["claims"]]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return lines


def placed(page: str, text: str) -> str:
    """The page with what stands between the markers replaced; `ValueError` when the markers are not there once each."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"the page needs {BEGIN} and after it {END}, once each")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(description="The table of systems in README.md, made from claims.")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--write", action="store_true", help="put the table into README.md")
    choice.add_argument("--check", action="store_true", help="exit status 1 when README.md is out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    given = parser.parse_args(arguments)
    systems = json.loads((given.root / "docs/systems.json").read_text(encoding="utf-8"))
    claims = read_claims(given.root / "docs/claims.json")
    readme = given.root / "README.md"
    page = readme.read_text(encoding="utf-8")
    wanted = placed(page, table(systems, recipe_modules(given.root), claims))
    if given.write:
        readme.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        print("README.md does not show what the claims say: run `python docs/make_table.py --write`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
