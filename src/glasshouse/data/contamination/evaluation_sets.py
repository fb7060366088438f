"""Evaluation sets as they lie about: JSON Lines, JSON, Parquet, plain text, and lm-evaluation-harness rows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import orjson
import pyarrow.parquet as pq

from glasshouse.data.sources.lines import UNREADABLE, DamageError, zstd_blocks

_NOT_TEXT = frozenset({
    "id", "idx", "doc_id", "native_id", "task_name", "label", "gold", "request_type", "source", "url", "split",
    "answerkey", "metadata", "added", "created", "version", "target", "doc_hash", "prompt_hash", "target_hash",
    "filter", "category",
})  # fmt: skip
INDEX_MAGIC = b"GLSEVAL"
"""How the file of an evaluation index begins, before the digit of its version (`index_file.py`)."""
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
    passages, also inside objects and lists. Of a row with a `doc` (lm-evaluation-harness, OLMo's in-loop tasks) only
    that is read, and rows of the same `doc_id` are one item. Plain text: items are separated by blank lines.

    Args:
        name: of the set; the file's by default.
        fields: take these fields only, wherever in the row they are.

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
    """All texts of a row, however deep, in order. Where there is a `doc`, the row around it says the same with a prompt
    around, or is what a model answered.
    """
    inside = isinstance(row.get("doc"), dict) and not (fields and set(fields) & row.keys())
    waiting: list[tuple[Any, bool]] = [(row["doc"] if inside else row, fields is None)]  # and whether it is wanted
    while waiting:
        value, wanted = waiting.pop()
        if isinstance(value, str) and wanted and value.strip():
            yield _TEMPLATE.sub("", value)
        elif isinstance(value, list):
            waiting += [(item, wanted) for item in reversed(value)]
        elif isinstance(value, dict):
            for key, item in reversed(value.items()):
                if fields is None and key.lower() in _NOT_TEXT:
                    continue
                waiting.append((item, wanted or (fields is not None and key in fields)))


def _rows(path: str) -> Iterator[Any]:
    if path.endswith(".parquet"):
        try:
            yield from pq.read_table(io.BytesIO(_content(path))).to_pylist()
        except (OSError, ValueError) as error:
            raise EvaluationSetError(f"{path} is not a Parquet file: {error}") from error
        return
    content = _content(path)
    if content.startswith(INDEX_MAGIC):
        raise EvaluationSetError(f"{path} is a saved index: give it alone, without a name and other sets")
    if re.search(r"\.json(\.\w+)?$", path):
        rows = _parsed(content, path, "")
        yield from rows if isinstance(rows, list) else [rows]
        return
    for number, line in enumerate(io.BytesIO(content), start=1):
        if line.strip():
            yield _parsed(line, path, f", line {number}")


def _content(path: str) -> bytes:
    """The bytes of a file, decompressed; evaluation sets are small. Raises `EvaluationSetError` for damage."""
    if Path(path).is_dir():
        raise EvaluationSetError(f"{path} is a directory: give a file of evaluation items")
    packed = path.endswith(".zst")
    try:
        with fsspec.open(path, "rb", compression=None if packed else "infer") as file:
            return b"".join(zstd_blocks(file)) if packed else bytes(file.read())
    except (FileNotFoundError, PermissionError):
        raise
    except (*UNREADABLE, DamageError) as error:
        raise EvaluationSetError(f"{path} is damaged: {error}") from error


def _parsed(content: bytes, path: str, where: str) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise EvaluationSetError(f"{path}{where} is not JSON: {error}") from error


def _text_items(path: str) -> Iterator[tuple[str, list[str]]]:
    try:
        text = _content(path).decode()
    except UnicodeDecodeError as error:
        raise EvaluationSetError(f"{path} is not UTF-8: {error}") from error
    for number, block in enumerate(re.split(r"\r?\n\s*\n", text), start=1):
        if block.strip():
            yield str(number), [block]
