"""CANARD and QReCC: questions in conversations about what Wikipedia and the web say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glasshouse.evaluation.context.rewriting.queries import Query
from glasshouse.evaluation.context.sources import DataError, find_files


def read_canard(folder: str | Path, split: str = "dev") -> list[Query]:
    """CANARD. A history begins with the titles of the article and the section, and goes on in turns."""
    found = []
    for row in read_rows(find_files("canard", folder, f"{split}.json")[0]):
        title, turns = row["History"][:2], row["History"][2:]
        history = (("Topic", ", ".join(title)), *_turns(turns))
        group = row["QuAC_dialog_id"]
        found.append(Query(f"{group}-{row['Question_no']}", history, row["Question"], row["Rewrite"], group))
    return found


def read_qrecc(folder: str | Path, split: str = "test") -> list[Query]:
    """QReCC, which the user brings along; questions without a rewrite are left out."""
    found = []
    for row in read_rows(find_files("qrecc", folder, f"*{split}.json")[0]):
        rewrite = row.get("Truth_rewrite") or row.get("Rewrite")
        if not rewrite:
            continue
        history = tuple(_turns(row["Context"]))
        group = str(row["Conversation_no"])
        found.append(Query(f"{group}-{row['Turn_no']}", history, row["Question"], rewrite, group))
    return found


def _turns(texts: list[str]) -> list[tuple[str, str]]:
    return [("User" if number % 2 == 0 else "Bot", text) for number, text in enumerate(texts)]


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file. Raises `DataError` when it is not a list."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}") from error
    if not isinstance(found, list):
        raise DataError(f"{file} holds a {type(found).__name__}, not a list of rows")
    return found
