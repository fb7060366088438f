"""Labelled text from lines of JSON: `{"text": …, "label": …}`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import fsspec
import orjson

COMPRESSION = {".gz": "gzip", ".zst": "zstd"}


class LabelledTextError(ValueError):
    """A line that is no labelled text."""


def read_labelled(paths: Iterable[str | Path], text: str = "text", label: str = "label") -> tuple[list[str], list[str]]:
    """Texts and labels of every line, in order; a label is taken as text (`true`, `1` and `"1"` differ).

    Args:
        paths: `.jsonl` files, plain, `.gz` or `.zst`.
        text, label: names of the fields.

    Raises:
        LabelledTextError: naming the file, the line and what is wrong with it.
    """
    texts: list[str] = []
    labels: list[str] = []
    for path in paths:
        compression = COMPRESSION.get(Path(path).suffix)
        try:
            with fsspec.open(str(path), "rb", compression=compression) as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        texts.append(_field(line, text, path, number, words=True))
                        labels.append(_field(line, label, path, number, words=False))
        except (EOFError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise LabelledTextError(f"{path} is damaged after line {len(texts)}: {error}") from error
    return texts, labels


def _field(line: bytes, name: str, path: str | Path, number: int, *, words: bool) -> str:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LabelledTextError(f"{path} line {number} is not JSON: {error}") from None
    value = row.get(name) if isinstance(row, dict) else None
    if words and not isinstance(value, str):
        raise LabelledTextError(f"{path} line {number} needs a text in {name!r}, got {value!r}")
    if value is None or isinstance(value, dict | list):
        raise LabelledTextError(f"{path} line {number} needs a label in {name!r}, got {value!r}")
    return value if isinstance(value, str) else orjson.dumps(value).decode()
