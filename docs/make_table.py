"""The table of the eleven systems in README.md, made from `systems.json` and from measured claims, and the table of
claims on the page of every paper.

    glasshouse claims --export docs/claims.json     after a run: claims with their measured values
    python docs/make_table.py --write               put the tables into the pages
    python docs/make_table.py --check               exit status 1 when a page is not what the files say

The page of a paper holds `<!-- claims of NAME:begin -->` and `…:end -->`. What the paper itself found stands in
`findings.json`: recipe -> claim -> the finding, with where the paper has it.

Nothing about progress is typed: a system without a recipe module is not started; otherwise its status counts the
decided claims of its recipes, those that cite its paper apart from those of the house.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- systems:begin -->", "<!-- systems:end -->"
OF_A_PAPER = re.compile(r"<!-- claims of (.+):begin -->")
HEAD = ("", "system", "paper", "what it is", "rooms", "recipe", "status")

Claims = Mapping[str, Mapping[str, Any]]
Findings = Mapping[str, Mapping[str, str]]


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


def command(name: str, run: Mapping[str, Any]) -> str:
    """The command that ran a recipe."""
    arguments = " ".join(_option(key, value) for key, value in run["arguments"].items() if value != "")
    return f"glasshouse run {name} {arguments}".strip()


def _option(key: str, value: Any) -> str:
    flag = key.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"


def decisions(claims: Claims) -> list[str]:
    """The decided claims, recipe by recipe, as Markdown lines."""
    lines: list[str] = []
    for name, run in claims.items():
        lines += ["", f"As measured by `{command(name, run)}`:", ""]
        lines += ["| claim | source | measured | expected | |", "| --- | --- | --- | --- | --- |"]
        fields = ("statement", "source", "measured", "expected", "status")
        rows = [[item[field].replace("|", r"\|") for field in fields] for item in run["claims"]]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return lines


def beside_the_paper(system: Mapping[str, Any], claims: Claims, findings: Findings) -> str:
    """The claims about one paper as a Markdown table: what it found, and what was measured here."""
    lines: list[str] = []
    for name in system["recipes"]:
        decided = claims.get(name, {}).get("claims", ())
        own = [item for item in decided if item["source"].startswith(system["arxiv"])]
        if not own:
            continue
        lines += ["", f"As measured by `{command(name, claims[name])}`:", ""]
        lines += ["| the paper | the claim here | measured | expected | |", "| --- | --- | --- | --- | --- |"]
        for item in own:
            found = findings.get(name, {}).get(item["name"], "–")
            row = (found, *(item[field] for field in ("statement", "measured", "expected", "status")))
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
    return "\n".join(lines[1:]) or "Nothing has been measured yet."


def pages_of_papers(root: Path, systems: Sequence[Mapping[str, Any]], claims: Claims) -> dict[Path, str]:
    """The pages in `docs` with a table of claims of a paper, as they should be; `ValueError` for an unknown system."""
    path = root / "docs/findings.json"
    findings: Findings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    by_name = {system["name"]: system for system in systems}
    found = {}
    for page in sorted((root / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for name in OF_A_PAPER.findall(text):
            if name not in by_name:
                raise ValueError(f"{page.name}: there is no system {name!r} in systems.json")
            marks = f"<!-- claims of {name}:begin -->", f"<!-- claims of {name}:end -->"
            found[page] = text = placed(text, beside_the_paper(by_name[name], claims, findings), marks)
    return found


def placed(page: str, text: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """The page with what stands between the markers replaced; `ValueError` when the markers are not there once each."""
    begin, end = marks
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page needs {begin} and after it {end}, once each")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(description="The tables of systems and of claims, made from measured claims.")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--write", action="store_true", help="put the tables into the pages")
    choice.add_argument("--check", action="store_true", help="exit status 1 when a page is out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this one)")
    given = parser.parse_args(arguments)
    systems = json.loads((given.root / "docs/systems.json").read_text(encoding="utf-8"))
    claims = read_claims(given.root / "docs/claims.json")
    readme = given.root / "README.md"
    page = readme.read_text(encoding="utf-8")
    wanted = {readme: placed(page, table(systems, recipe_modules(given.root), claims))}
    wanted |= pages_of_papers(given.root, systems, claims)
    stale = [path for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
    for path in stale:
        if given.write:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            print(
                f"{path.name} does not show what the claims say: run `python docs/make_table.py --write`",
                file=sys.stderr,
            )
    return int(bool(stale) and not given.write)


if __name__ == "__main__":
    sys.exit(main())
