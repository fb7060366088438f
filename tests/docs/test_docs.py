"""The documents keep their word: links lead somewhere, commands exist, examples run, the table is what was measured."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from glasshouse.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
EXAMPLES = [page for page in PAGES if "```python\n" in page.read_text(encoding="utf-8")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
INLINE = re.compile(r"(?<!`)`(glasshouse [^`\n]+)`(?!`)")
MACHINE = re.compile(r"(?<![\w.:/])/(work|home|root|tmp|Users|mnt|opt)\b|\bC:\\")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def fences(page, *languages):
    return [body for language, body in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def prose(page):
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def shell_lines(page):
    """Commands as they are typed: lines after `$ ` in console blocks, continuation lines joined."""
    for block in fences(page, "console", "bash", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ").partition("  #")[0].strip()


def parse(words):
    """Walk the command line's groups and parse the rest as click would, without running anything."""
    command, context = cli, click.Context(cli, info_name="glasshouse")
    rest = list(words)
    while isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            break
        found = command.get_command(context, rest[0])
        if found is None:
            raise click.UsageError(f"no command {rest[0]!r}")
        command, context = found, click.Context(found, info_name=rest.pop(0), parent=context)
    if not rest and isinstance(command, click.Group):
        return command
    with contextlib.suppress(click.exceptions.Exit):  # --help and --version end the parsing
        command.make_context(context.info_name, rest, parent=context.parent)
    return command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_to_files(page):
    for target in LINK.findall(prose(page)):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(ROOT), f"{target} leaves the repository"
        assert file.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(file), f"{target}: no such heading"


def anchors(page):
    """The anchors that GitHub makes from headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist_with_their_options(page):
    for line in shell_lines(page):
        words = shlex.split(line)
        if words[:2] == ["glasshouse", "run"] and words[2].endswith(".py"):
            continue  # a file of the reader's own: `test_examples_run` runs it
        if words[0] == "glasshouse":
            try:
                parse(words[1:])
            except click.ClickException as error:
                pytest.fail(f"{line}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_named_in_the_text_exist(page):
    for line in INLINE.findall(prose(page)):
        words = shlex.split(line)[1:]
        try:
            parse(words)
        except click.MissingParameter:  # a command may be named without its arguments, not with wrong ones
            assert all(not word.startswith("-") for word in words), line
        except click.ClickException as error:
            pytest.fail(f"{line}: {error.format_message()}")


@pytest.mark.parametrize(
    "line",
    ["glasshouse grow", "glasshouse ls --colour", "glasshouse trace step quickstart x", "glasshouse run nothing"],
)
def test_a_wrong_command_would_be_noticed(line):
    with pytest.raises(click.ClickException):
        parse(shlex.split(line)[1:])


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        typed = [line.split()[1] for line in shell_lines(page) if line.startswith("make ")]
        named = re.findall(r"`make ([a-z-]+)", prose(page))
        assert set(typed) | set(named) <= targets, name_of(page)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_mentions_a_machine(page):
    found = MACHINE.search(page.read_text(encoding="utf-8"))
    assert found is None, f"{found.group()} is a path of one machine"


@pytest.fixture
def texts(tmp_path):
    """A folder `texts` as the examples expect it: documents worth keeping, a twin, a short one and a broken row."""
    folder = tmp_path / "texts"
    folder.mkdir()
    draw = random.Random(0)
    syllables = ["ba", "re", "mi", "lo", "tu", "san", "ker", "vil", "don", "pra"]
    words = ["".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(600)]
    rows = []
    for number in range(120):
        sentences = [f"The {' '.join(draw.sample(words, 6))} and {' '.join(draw.sample(words, 4))}." for _ in range(12)]
        rows.append({"id": f"garden-{number}", "text": " ".join(sentences), "source": "garden"})
    rows += [rows[0] | {"id": "twin"}, {"id": "short", "text": "Too short to keep.", "source": "garden"}]
    lines = [*map(json.dumps, rows), "{ not json"]
    (folder / "garden.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_examples_run(page, texts):
    """All Python blocks of a page, one after the other, as one script in an empty directory with a folder `texts`."""
    directory = texts.parent
    script = directory / "page.py"
    script.write_text("\n".join(fences(page, "python")), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GLASSHOUSE")}
    environment |= {"HOME": str(directory), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", str(script)],
        cwd=directory, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{name_of(page)}\n{done.stdout}\n{done.stderr}"
    if "def garden(" in script.read_text(encoding="utf-8"):
        command = [sys.executable, "-c", "from glasshouse.cli import main; main()", "run", "page.py", "--steps", "5"]
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Open the report" in done.stdout


# The table of systems


@pytest.fixture(scope="module")
def tables():
    return script("make_table")


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_in_the_readme_is_up_to_date(tables):
    assert tables.main(["--check"]) == 0


def test_the_table_of_families_is_up_to_date():
    assert script("make_families").main(["--check"]) == 0


def test_there_are_eleven_systems_and_their_recipes_are_named_once():
    systems = json.loads((ROOT / "docs/systems.json").read_text(encoding="utf-8"))
    assert [system["number"] for system in systems] == list(range(1, 12))
    assert len({system["arxiv"] for system in systems}) == 11
    assert all(set(system) == {"number", "name", "arxiv", "line", "room", "recipes"} for system in systems)


def claims_of(*statuses, source="house (OLMo)"):
    decided = [
        {"name": "c", "statement": "A | B", "source": source, "status": s, "measured": "1", "expected": "< 2"}
        for s in statuses
    ]
    return {"quickstart": {"artifact": "evaluation-0", "arguments": {"depth": 4}, "claims": decided}}


OLMO = {"number": 1, "name": "OLMo", "arxiv": "2402.00838", "line": "x", "room": ["nn"], "recipes": ["quickstart"]}


@pytest.mark.parametrize(
    ("recipes", "claims", "expected"),
    [
        (set(), claims_of("holds"), "not started"),
        ({"quickstart"}, {}, "no claims yet"),
        ({"quickstart"}, claims_of("holds", "does not hold"), "1 of 2 house claims hold; foundation only"),
        ({"quickstart"}, claims_of("holds", "not measured"), "1 of 2 (1 not measured) house claims hold"),
        ({"quickstart"}, claims_of("holds", source="2402.00838, table 6"), "1 of 1 claims of the paper hold"),
        ({"quickstart"}, claims_of("holds", source="2402.00159, table 1"), "foundation only"),
    ],
)
def test_status_is_counted_from_claims(tables, recipes, claims, expected):
    assert tables.status(OLMO, recipes, claims).startswith(expected)


def test_the_check_notices_a_typed_status_and_a_new_claim(tables, tmp_path):
    (tmp_path / "docs").mkdir()
    recipes = tmp_path / "src/glasshouse/recipes"
    recipes.mkdir(parents=True)
    (recipes / "__init__.py").touch()
    (recipes / "quickstart.py").touch()
    (tmp_path / "docs/systems.json").write_text(json.dumps([OLMO]), encoding="utf-8")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n", encoding="utf-8")
    root = ["--root", str(tmp_path)]
    assert tables.main(["--check", *root]) == 1
    assert tables.main(["--write", *root]) == 0
    assert tables.main(["--check", *root]) == 0
    page = readme.read_text(encoding="utf-8")
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    readme.write_text(page.replace("no claims yet", "done"), encoding="utf-8")
    assert tables.main(["--check", *root]) == 1
    (tmp_path / "docs/claims.json").write_text(json.dumps(claims_of("holds")), encoding="utf-8")
    assert tables.main(["--write", *root]) == 0
    assert r"A \| B" in readme.read_text(encoding="utf-8")


def test_the_page_of_a_paper_shows_its_claims_beside_what_the_paper_found(tables, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (tmp_path / "README.md").write_text(f"{tables.BEGIN}\n{tables.END}\n", encoding="utf-8")
    (docs / "systems.json").write_text(json.dumps([OLMO]), encoding="utf-8")
    (docs / "claims.json").write_text(json.dumps(claims_of("holds", source="2402.00838, table 6")), encoding="utf-8")
    (docs / "findings.json").write_text(json.dumps({"quickstart": {"c": "found | so"}}), encoding="utf-8")
    page = docs / "olmo.md"
    page.write_text("# OLMo\n<!-- claims of OLMo:begin -->\n<!-- claims of OLMo:end -->\nafter\n", encoding="utf-8")
    root = ["--root", str(tmp_path)]
    assert tables.main(["--check", *root]) == 1
    assert tables.main(["--write", *root]) == 0
    text = page.read_text(encoding="utf-8")
    assert "As measured by `glasshouse run quickstart --depth 4`:" in text
    assert r"| found \| so | A \| B | 1 | < 2 | holds |" in text
    page.write_text(text.replace("| 1 |", "| 0 |"), encoding="utf-8")
    assert tables.main(["--check", *root]) == 1
    page.write_text("<!-- claims of Nothing:begin -->", encoding="utf-8")
    with pytest.raises(ValueError, match="no system 'Nothing'"):
        tables.main(["--check", *root])


def test_a_page_without_markers_is_refused(tables):
    with pytest.raises(ValueError, match="once each"):
        tables.placed("no markers", "table")
