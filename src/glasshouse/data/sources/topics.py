"""The interpreter's own help topics (`help("CLASSES")`), each a document: prose that comes with every Python."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from glasshouse.data.document import Document, Origin

TOPICS_FILE = "pydoc_data/topics.py"


def help_topics(standard_library: Path) -> Iterator[Document]:
    """The topics as documents; their byte ranges are those of the string literals. Nothing when the file is missing."""
    path = standard_library / TOPICS_FILE
    if not path.is_file():
        return
    content = path.read_bytes()
    starts = [0, *accumulate(len(line) for line in content.splitlines(keepends=True))]
    for node in ast.walk(ast.parse(content)):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            name, text = getattr(key, "value", None), getattr(value, "value", None)
            if isinstance(name, str) and isinstance(text, str):
                start = starts[value.lineno - 1] + value.col_offset
                end = starts[(value.end_lineno or value.lineno) - 1] + (value.end_col_offset or 0)
                origin = Origin(f"python:{TOPICS_FILE}", start, end)
                yield Document(
                    id=f"documentation/python/topics/{name}", text=text, source="documentation", origin=origin
                )
