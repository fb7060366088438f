"""Evaluation sets as they lie about: JSON Lines, JSON, Parquet, plain text, and lm-evaluation-harness rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import fsspec
import orjson
import pyarrow.parquet as pq

_NOT_TEXT = frozenset({
    "id", "idx", "doc_id", "native_id", "task_name", "label", "gold", "request_type", "source", "url", "split",
    "answerkey", "metadata", "added", "created", "version", "target", "doc_hash", "prompt_hash", "target_hash",
    "filter", "category",
})  # fmt: skip
_NESTED = ("doc", "request")
# What a prompt puts around a question; a leaked question comes without it.
_TEMPLATE = re.compile(r"\A\s*(?:Question|Q)\s*:|(?:Answer|A)\s*:\s*\Z")
_SUFFIX = re.compile(r"(\.jsonl?|\.parquet|\.txt|\.md)?(\.gz|\.zst|\.xz|\.bz2)?$")


class EvaluationSetError(ValueError):
    """A file of evaluation items cannot be read, or holds none."""


class EvaluationItem(NamedTuple):
    """One item: its passages are searched for one by one (no n-gram crosses from one to the next)."""

    id: str
    passages: tuple[str, ...]


class EvaluationSet(NamedTuple):
    """Items under a name."""

    name: str
    items: tuple[EvaluationItem, ...]


def read_evaluation_set(path: str, name: str | None = None, fields: Sequence[str] | None = None) -> EvaluationSet:
    """Reads one set from a file or an fsspec URL.

    JSON rows (`.jsonl`, `.json` with a list, optionally `.gz`, `.zst`) and Parquet rows are items; all their texts are
    passages: strings and lists of strings, also inside `doc` (lm-evaluation-harness, OLMo's in-loop tasks; its rows of
    the same `doc_id` are one item). Plain text: items are separated by blank lines.

    Args:
        name: of the set; the file's by default.
        fields: take these fields only.

    Raises:
        FileNotFoundError: no such file.
        EvaluationSetError: naming the file and row that cannot be read, or a file without items.
    """
    title = name or _SUFFIX.sub("", path.rsplit("/", 1)[-1])
    if re.search(r"\.(txt|md)(\.\w+)?$", path):
        items = _text_items(path)
    else:
        items = _items(path, fields)
    found: dict[str, list[str]] = {}
    for identifier, passages in items:
        known = found.setdefault(identifier, [])
        known += [passage for passage in passages if passage not in known]
    kept = tuple(EvaluationItem(identifier, tuple(passages)) for identifier, passages in found.items() if passages)
    if not kept:
        wanted = "" if fields is None else f" in the fields {', '.join(fields)}"
        raise EvaluationSetError(f"{path} holds no evaluation items: no row has text{wanted}")
    return EvaluationSet(title, kept)


def read_evaluation_sets(specifications: Iterable[str], fields: Sequence[str] | None = None) -> list[EvaluationSet]:
    """Reads several sets, each `path` or `name=path`. Raises `EvaluationSetError` when a name comes twice."""
    sets: list[EvaluationSet] = []
    for specification in specifications:
        name, equals, path = specification.partition("=")
        sets.append(read_evaluation_set(path if equals else name, name if equals else None, fields))
        if sets[-1].name in {other.name for other in sets[:-1]}:
            raise EvaluationSetError(f"two evaluation sets are called {sets[-1].name!r}: give names, as name=path")
    return sets


def _items(path: str, fields: Sequence[str] | None) -> Iterator[tuple[str, list[str]]]:
    for number, row in enumerate(_rows(path), start=1):
        if isinstance(row, str):
            row = {"text": row}
        if not isinstance(row, dict):
            raise EvaluationSetError(f"{path}, row {number}: an item must be an object or a string, got {row!r:.80}")
        yield _identifier(row, number), list(_passages(row, fields))


def _identifier(row: dict[str, Any], number: int) -> str:
    if "doc_id" in row:
        task = row.get("task_name")
        return f"{row['doc_id']}" if task is None else f"{task}/{row['doc_id']}"
    return str(row.get("id", number))


def _passages(row: dict[str, Any], fields: Sequence[str] | None) -> Iterator[str]:
    for key, value in row.items():
        if key in _NESTED and isinstance(value, dict) and (fields is None or key not in fields):
            # A request repeats what `doc` says, with the prompt around it.
            if key == "doc" or "doc" not in row:
                yield from _passages(value, fields)
        elif key in fields if fields is not None else key.lower() not in _NOT_TEXT:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and text.strip():
                    yield _TEMPLATE.sub("", text)


def _rows(path: str) -> Iterator[Any]:
    if path.endswith(".parquet"):
        with fsspec.open(path, "rb") as file:
            try:
                yield from pq.read_table(file).to_pylist()
            except (OSError, ValueError) as error:
                raise EvaluationSetError(f"{path} is not a Parquet file: {error}") from error
        return
    with fsspec.open(path, "rb", compression="infer") as file:
        if re.search(r"\.json(\.\w+)?$", path):
            rows = _parsed(file.read(), path, "")
            yield from rows if isinstance(rows, list) else [rows]
            return
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _parsed(line, path, f", line {number}")
        except (OSError, EOFError) as error:
            raise EvaluationSetError(f"{path} is damaged: {error}") from error


def _parsed(content: bytes, path: str, where: str) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise EvaluationSetError(f"{path}{where} is not JSON: {error}") from error


def _text_items(path: str) -> Iterator[tuple[str, list[str]]]:
    with fsspec.open(path, "rt", compression="infer", encoding="utf-8") as file:
        try:
            text = file.read()
        except UnicodeDecodeError as error:
            raise EvaluationSetError(f"{path} is not UTF-8: {error}") from error
    for number, block in enumerate(re.split(r"\n\s*\n", text), start=1):
        if block.strip():
            yield str(number), [block]
