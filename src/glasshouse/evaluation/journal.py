"""Answers kept as they come, so that an evaluation that was killed goes on where it was, to the same result.

A journal is a file of JSON Lines for one task: what it is of (hashes of model, data and code), then a line for every
finished batch. A line that was cut off is dropped. Since a task's rounds are a function of the answers, and a scorer's
batches one of a round's requests, what follows the last line is asked exactly as it would have been.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from glasshouse.evaluation.requests import Answer, read_answer


class JournalError(ValueError):
    """A journal is of another evaluation, or damaged."""


class Journal:
    """The answers of one task.

    Args:
        path: of the file; made when it is not there.
        of: what the answers are of; a file that says something else is refused.

    Raises:
        JournalError: naming what differs.
    """

    def __init__(self, path: Path, of: Mapping[str, Any]) -> None:
        self._path = path
        self._known: dict[int, dict[int, Answer]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _whole_lines(path)
        head = orjson.loads(orjson.dumps(of))
        if lines:
            self._check(_parsed(lines[0], path), head)
            for line in lines[1:]:
                row = _parsed(line, path)
                answers = {int(number): read_answer(answer) for number, answer in row["answers"].items()}
                self._known.setdefault(row["round"], {}).update(answers)
        else:
            self._append(head)

    def known(self, number: int) -> dict[int, Answer]:
        """The answers of a round that are there, by request."""
        return self._known.setdefault(number, {})

    def keep(self, number: int, answers: Mapping[int, Answer]) -> None:
        """Write a finished batch of a round to the disk."""
        self.known(number).update(answers)
        rows = {str(request): dataclasses.asdict(answer) for request, answer in answers.items()}
        self._append({"round": number, "answers": rows})

    def _append(self, row: Mapping[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(orjson.dumps(row) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _check(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        differing = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
        if differing:
            parts = "; ".join(f"{key}: {found.get(key)!r:.80} there, {wanted.get(key)!r:.80} now" for key in differing)
            raise JournalError(f"{self._path} holds the answers of another evaluation ({parts}): choose another folder")


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a file; one that was cut off at its end is taken away, so that the next begins a line."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(path, len(whole))
    return whole.splitlines()


def _parsed(line: bytes, path: Path) -> dict[str, Any]:
    try:
        row: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise JournalError(f"{path} is damaged ({error}): delete it to begin anew") from None
    return row
