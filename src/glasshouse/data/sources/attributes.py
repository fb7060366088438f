"""Dolma's attribute side-files: one row per document, in the documents' order, beside the documents' files.

documents/a/000.jsonl.gz                  the documents
attributes/<experiment>/a/000.jsonl.gz    one row per document: {"id": …, "attributes": {key: [[start, end, score], …]}}

A key is `<experiment>__<tagger>__<type>`; start and end count characters.

A value of the whole document is one span over all of its text, `[[0, len(text), value]]`; scores are rounded to five
decimals (arXiv 2402.00159, appendix on the data format; allenai/dolma docs/data-format.md).
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import orjson
import pyarrow as pa

from glasshouse.data.sources.lines import blocks_of, lines
from glasshouse.data.writing import disk_errors_named

DECIMALS = 5
MAXIMUM_ROW_BYTES = 256 << 20
DOCUMENTS, ATTRIBUTES = "/documents/", "/attributes/"
OWN_TAGGER = "glasshouse"

_GOPHER = (
    "character_count", "word_count", "median_word_length", "symbol_to_word_ratio",
    "fraction_of_words_with_alpha_character", "required_word_count", "fraction_of_lines_starting_with_bullet_point",
    "fraction_of_lines_ending_with_ellipsis", "fraction_of_duplicate_lines",
    "fraction_of_characters_in_duplicate_lines",
    *(f"fraction_of_characters_in_most_common_{n}grams" for n in (2, 3, 4)),
    *(f"fraction_of_characters_in_duplicate_{n}grams" for n in range(5, 11)),
)  # fmt: skip
_PII = "pii_regex_with_counts_fast_v2"

DOLMA_NAMES: dict[str, str] = {
    **{name: f"gopher_v1__{name}" for name in _GOPHER},
    "fraction_of_duplicate_nonempty_lines": "gopher_v2__fraction_of_duplicate_lines",
    **{name: f"c4_v1__{name}" for name in ("has_javascript", "has_lorem_ipsum", "has_curly_brace", "line_count")},
    "c4_lines_with_no_ending_punctuation": "c4_v1__lines_with_no_ending_punctuation",
    "c4_lines_with_too_few_words": "c4_v1__lines_with_too_few_words",
    "has_naughty_word": "c4_v1__has_naughty_word",
    "maximum_line_length": "code_redpajama_taggers_v1__max_line_length_doc",
    "mean_line_length": "code_redpajama_taggers_v1__avg_line_length_doc",
    "fraction_of_alphanumeric_characters": "code_redpajama_taggers_v1__alnum_prop_doc",
    "alphabetic_characters_per_token": "code_redpajama_taggers_v1__alpha_token_prop_doc",
    "random": "random_number_v1__random",
    "email_spans": f"{_PII}__EMAIL_ADDRESS",
    "phone_spans": f"{_PII}__PHONE_NUMBER",
    "ip_spans": f"{_PII}__IP_ADDRESS",
    "pii_count": f"{_PII}__doc_count",
    "pii_fraction": f"{_PII}__doc_frac",
}
"""Our column -> Dolma's `<tagger>__<type>`, where the two mean the same. Any other column goes under `glasshouse__`."""

OUR_NAMES: dict[str, str] = {dolma: ours for ours, dolma in DOLMA_NAMES.items()}


class AttributesError(ValueError):
    """A side-file that is damaged, or holds a row that is none; the message names file and row."""


class AttributeRow(NamedTuple):
    """Row `number` (from 1) of a side-file."""

    number: int
    id: str
    attributes: dict[str, Any]


def dolma_name(column: str, experiment: str) -> str:
    """The key a column has in an experiment's side-file: `word_count` -> `<experiment>__gopher_v1__word_count`."""
    return f"{experiment}__{DOLMA_NAMES.get(column, f'{OWN_TAGGER}__{column}')}"


def column_name(key: str) -> str | None:
    """Our column for a key of a side-file; `None` when it is of a tagger that has no column here."""
    tagged = key.partition("__")[2]
    if tagged.startswith(f"{OWN_TAGGER}__"):
        return tagged.removeprefix(f"{OWN_TAGGER}__")
    return OUR_NAMES.get(tagged)


def attribute_path(documents: str | Path, experiment: str) -> str:
    """The side-file of a file of documents: `documents/` in its path becomes `attributes/<experiment>/`.

    An experiment with a slash in it is a directory of side-files: the file has the same path below it.

    Raises:
        AttributesError: for a documents' path without a folder `documents`, unless the experiment is a directory.
    """
    path = str(documents)
    before, found, below = path.rpartition(DOCUMENTS)
    if not found and path.startswith(DOCUMENTS[1:]):
        before, found, below = ".", DOCUMENTS, path[len(DOCUMENTS) - 1 :]
    if "/" in experiment:
        return f"{experiment.rstrip('/')}/{below if found else path.rsplit('/', 1)[-1]}"
    if not found:
        raise AttributesError(
            f"{path} does not lie in a folder 'documents', so where its attributes {experiment!r} are is unknown: "
            "give the directory of the side-files instead of a name"
        )
    return f"{before}{ATTRIBUTES}{experiment}/{below}"


def read_attributes(path: str | Path) -> Iterator[AttributeRow]:
    """The rows of a side-file (`.jsonl`, `.json`, `.gz`, `.zst`), with bounded memory.

    A row that is not an object with an `id` and `attributes` is an error, not quarantined: rows after it would be
    taken for those of other documents.

    Raises:
        FileNotFoundError: there is no such file.
        AttributesError: naming file and row.
    """
    name = str(path)
    with fsspec.open(name, "rb") as raw:
        number = 0
        for line in lines(blocks_of(name)(raw), MAXIMUM_ROW_BYTES):
            if not line.damage and not line.content.strip():
                continue
            number += 1
            if line.damage:
                raise AttributesError(f"{name} row {number}: {line.damage}")
            try:
                row = orjson.loads(line.content)
            except orjson.JSONDecodeError as error:
                raise AttributesError(f"{name} row {number}: not a JSON value: {error}") from None
            if not isinstance(row, dict) or "id" not in row or not isinstance(row.get("attributes"), dict):
                raise AttributesError(f"{name} row {number}: a row must be an object with 'id' and 'attributes'")
            yield AttributeRow(number, str(row["id"]), row["attributes"])


def write_attributes(
    signals: pa.Table | Iterable[pa.RecordBatch],
    path: str | Path,
    experiment: str,
    *,
    columns: Sequence[str] | None = None,
) -> int:
    """Writes columns of signals as one side-file, row by row in the table's order; returns the number of rows.

    Args:
        signals: `id` and columns of signals; `character_count` must be among them where a column has one value per
            document, because such a value is written as a span over all characters of the text. A flag that holds has
            score 1, one that does not has no span; a missing value has no key.
        path: `attribute_path(documents, experiment)`; whole when it exists, the same bytes on every run.
        experiment: beginning of every key.
        columns: those to write; all that are numbers, flags or spans by default.

    Raises:
        AttributesError: a column is not there, holds text, or the characters of the texts are not known.
        DiskFullError: naming the file.
    """
    batches = signals.to_batches() if isinstance(signals, pa.Table) else signals
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with disk_errors_named(partial):
        with partial.open("wb") as raw, _stream(raw, target.name) as out:
            for batch in batches:
                out.write(b"".join(_lines_of(batch, experiment, columns)))
                rows += batch.num_rows
        partial.replace(target)
    return rows


def _stream(raw: Any, name: str) -> Any:
    if name.endswith(".gz"):
        return gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0)
    if name.endswith(".zst"):
        import zstandard

        return zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False)
    if name.endswith((".jsonl", ".json")):
        return raw
    raise AttributesError(f"cannot write {name}: use .jsonl, .json, .jsonl.gz or .jsonl.zst")


def _lines_of(batch: pa.RecordBatch, experiment: str, columns: Sequence[str] | None) -> Iterator[bytes]:
    chosen = _columns(batch.schema, columns)
    whole = [name for name, spans in chosen if not spans]
    if whole and "character_count" not in batch.schema.names:
        raise AttributesError(
            f"column {whole[0]!r} has one value per document, and 'character_count' is not among the columns: "
            "without it the span over the whole text cannot be written"
        )
    lengths = batch.column("character_count").to_pylist() if whole else [0] * batch.num_rows
    values = {dolma_name(name, experiment): (batch.column(name).to_pylist(), spans) for name, spans in chosen}
    for row, identifier in enumerate(batch.column("id").to_pylist()):
        attributes: dict[str, list[list[float]]] = {}
        for key, (column, spans) in values.items():
            value = column[row]
            if value is False:
                attributes[key] = []  # a flag of Dolma's is a span where it holds, and no span where it does not
            elif value is not None and value == value:  # NaN is a missing value
                attributes[key] = _spans(value) if spans else [[0, int(lengths[row] or 0), _rounded(value)]]
        yield orjson.dumps({"id": identifier, "attributes": attributes}) + b"\n"


def _columns(schema: pa.Schema, wanted: Sequence[str] | None) -> list[tuple[str, bool]]:
    """Name, and whether it holds spans, of the columns to write."""
    if "id" not in schema.names:
        raise AttributesError("the signals have no column 'id'")
    found = []
    for name in wanted if wanted is not None else [name for name in schema.names if name not in ("id", "source")]:
        if name not in schema.names:
            raise AttributesError(f"the signals have no column {name!r}; they have: {', '.join(schema.names)}")
        kind = schema.field(name).type
        spans = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if spans or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            found.append((name, spans))
        elif wanted is not None:
            raise AttributesError(f"column {name!r} holds {kind}: an attribute is a number or a list of spans")
    return found


def _spans(value: list[dict[str, Any]]) -> list[list[float]]:
    return [[span["start"], span["end"], _rounded(span["score"])] for span in value]


def _rounded(value: float | bool) -> float | int:
    if isinstance(value, bool | int):
        return int(value)
    # JSON has no NaN, and Dolma's own reader refuses `null` as a score.
    if not math.isfinite(value):
        raise AttributesError(f"a score of {value} has no JSON form")
    return round(value, DECIMALS)
