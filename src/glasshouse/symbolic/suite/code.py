"""Code: write into a template, write a function, write a class. It is compared by its syntax tree and never run."""

from __future__ import annotations

import ast
import re
from typing import Any

from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.suite.case import Expected, case
from glasshouse.symbolic.suite.syntax import LONGEST
from glasshouse.symbolic.sym import Sym

_PART = "code"
_ROWS = "apples 3, pears 5"
_TABLE = "\\begin{tabular}{lr}\n{{placeholder}}\n\\end{tabular}"
_FETCH = "A function page_title(html) that gives the text between <title> and </title>, or an empty text."
_CLASS = (
    "A class Mean with a method add(value), and a method value() that gives the mean of what was added, 0 at first."
)


def _cells(value: Any, runtime: Runtime) -> bool:
    """The table holds exactly the four cells, row by row."""
    body = re.search(r"\\begin\{tabular\}\{lr\}(.*)\\end\{tabular\}", str(value), re.DOTALL)
    rows = [row.strip() for row in body[1].split(r"\\") if row.strip()] if body else []
    return [[cell.strip() for cell in row.split("&")] for row in rows] == [["apples", "3"], ["pears", "5"]]


def _defines(name: str, *inside: str) -> Any:
    """Whether the text is Python that defines `name`, with these names defined inside; more is not decided unrun."""

    def check(value: Any, runtime: Runtime) -> bool | None:
        try:
            tree = ast.parse(str(value)[:LONGEST])
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        defined = {one.name: one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.ClassDef)}
        return None if {name, *inside} <= set(defined) else False

    return check


CASES = (
    case(
        _PART,
        "table",
        lambda: Sym(_ROWS).sem.template(_TABLE),
        Expected(
            ("\\begin{tabular}{lr}\napples & 3 \\\\\npears & 5 \\\\\n\\end{tabular}",),
            "\\begin{tabular}{lr}\napples & 5 \\\\\npears & 3 \\\\\n\\end{tabular}",
            _cells,
        ),
    ),
    case(
        _PART,
        "function",
        lambda: Sym(_FETCH).sem.write_function(),
        Expected(
            (
                "import re\n\n\ndef page_title(html):\n"
                "    found = re.search(r'<title>(.*?)</title>', html, re.DOTALL)\n"
                "    return found.group(1) if found else ''\n",
                "def page_title(html):\n    start = html.find('<title>')\n    end = html.find('</title>')\n"
                "    return html[start + 7 : end] if 0 <= start < end else ''\n",
            ),
            "def title_of(html):\n    return html.title()\n",
            _defines("page_title"),
            code=True,
        ),
    ),
    case(
        _PART,
        "class",
        lambda: Sym(_CLASS).sem.write_function(),
        Expected(
            (
                "class Mean:\n    def __init__(self):\n        self.total = 0.0\n        self.count = 0\n\n"
                "    def add(self, value):\n        self.total += value\n        self.count += 1\n\n"
                "    def value(self):\n        return self.total / self.count if self.count else 0\n",
            ),
            "class Mean:\n    def add(self, value):\n        self.total = value\n",
            _defines("Mean", "add", "value"),
            code=True,
        ),
    ),
)
