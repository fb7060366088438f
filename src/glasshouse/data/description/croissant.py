"""A corpus as MLCommons Croissant 1.0 metadata (JSON-LD), and a structural check of such metadata.

http://mlcommons.org/croissant/1.0: a `sc:Dataset` with files (`distribution`) and record sets whose fields name the
column they are read from. Metadata that only a person can state (licence, address, creators, date) is left out when it
is not stated, and `croissant_problems` then says what the specification still requires.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.description.datasheet_answers import Answers
from glasshouse.data.description.datasheet_facts import FileFact
from glasshouse.data.document import DOCUMENT

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
PARQUET = "application/x-parquet"
"""The name that the `mlcroissant` library reads; the registered `application/vnd.apache.parquet` it does not know."""
REQUIRED = ("@context", "@type", "conformsTo", "name", "description", "license", "url", "creator", "datePublished")
"""What the specification requires of a dataset."""

_PLAIN = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format",
    "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _PLAIN},
}
_ABOUT = {
    "id": "stable name of the document, unique inside its source",
    "text": "the text, with personal information masked",
    "source": "where the document comes from",
    "added": "when it was added (ISO time or empty)",
    "created": "when it was written (ISO time or empty)",
    "metadata": "other fields of the document, as JSON text",
    "origin": "file and byte range in the uncompressed file it was read from",
}


def croissant(corpus: CorpusDirectory, name: str, answers: Answers, files: Sequence[FileFact]) -> dict[str, Any]:
    """The metadata of a corpus: files with their sha256, the documents and the signals as record sets."""
    signals = corpus.signal_files
    stated = {
        "name": name,
        "description": answers.description,
        "license": answers.license,
        "url": answers.url,
        "creator": [{"@type": "sc:Organization", "name": one} for one in answers.creators] or None,
        "datePublished": answers.date_published,
        "version": answers.version,
        "citeAs": answers.citation,
    }
    found: dict[str, Any] = {"@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": CONFORMS_TO}
    found |= {key: value for key, value in stated.items() if value}
    found["distribution"] = [_file(file) for file in files]
    found["distribution"] += [_files("documents-files", "documents-*.parquet", "the kept documents")]
    found["distribution"] += [_files("signals-files", "signals-*.parquet", "signals and verdicts of all documents")]
    found["recordSet"] = [
        _records("documents", "The documents that are kept.", DOCUMENT),
        _records("signals", "Every document that came in: its signals and its verdict.", pq.read_schema(signals[0])),
    ]
    return found


def croissant_problems(metadata: Any) -> list[str]:
    """What is missing or wrong by the specification's structure; empty when nothing is."""
    if not isinstance(metadata, dict):
        return ["the metadata must be one JSON object"]
    problems = [f"required property {name!r} is missing" for name in REQUIRED if not metadata.get(name)]
    if metadata.get("@type") not in ("sc:Dataset", "Dataset", "https://schema.org/Dataset"):
        problems.append(f"@type must be sc:Dataset, got {metadata.get('@type')!r}")
    if metadata.get("conformsTo") != CONFORMS_TO:
        problems.append(f"conformsTo must be {CONFORMS_TO}, got {metadata.get('conformsTo')!r}")
    context = metadata.get("@context")
    if not isinstance(context, dict) or context.get("cr") != CONTEXT["cr"]:
        problems.append("@context must bind cr: to the Croissant vocabulary")
    seen: dict[str, str] = {}
    for node in _nodes([metadata.get("distribution"), metadata.get("recordSet")]):
        problems += _node_problems(node, seen)
    for reference in _references(metadata):
        if reference not in seen:
            problems.append(f"a source refers to {reference!r}, which is not in the distribution")
    if not metadata.get("distribution"):
        problems.append("there is no distribution")
    if not metadata.get("recordSet"):
        problems.append("there is no recordSet")
    return problems


def _node_problems(node: dict[str, Any], seen: dict[str, str]) -> Iterator[str]:
    kind, name = str(node["@type"]).removeprefix("cr:"), str(node.get("@id", ""))
    if not name:
        yield f"a {kind} has no @id"
    elif name in seen:
        yield f"the @id {name!r} comes twice"
    seen[name] = kind
    needs = {
        "FileObject": ("name", "contentUrl", "encodingFormat", "sha256"),
        "FileSet": ("includes", "encodingFormat"),
        "RecordSet": ("name", "field"),
        "Field": ("name", "dataType", "source"),
    }
    if kind not in needs:
        yield f"{name!r} has the unknown type {node['@type']!r}"
    for needed in needs.get(kind, ()):
        if not node.get(needed) and not (kind == "Field" and needed == "dataType" and node.get("subField")):
            yield f"{kind} {name!r} has no {needed!r}"
    if kind == "FileObject" and len(str(node.get("sha256", ""))) != 64:
        yield f"the sha256 of {name!r} is not one"
    if kind == "Field" and "extract" not in (node.get("source") or {}):
        yield f"the source of {name!r} does not say what to extract"


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Files, record sets, fields and sub-fields, in order."""
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)
    elif isinstance(value, dict) and "@type" in value:
        yield value
        for name in ("field", "subField"):
            yield from _nodes(value.get(name))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in ("fileSet", "fileObject") and isinstance(item, dict):
                yield str(item.get("@id"))
            elif name != "@context":
                yield from _references(item)


def _file(file: FileFact) -> dict[str, Any]:
    about = {"name": file.name, "contentUrl": file.name, "contentSize": f"{file.bytes} B"}
    return {"@type": "cr:FileObject", "@id": file.name, **about, "encodingFormat": PARQUET, "sha256": file.sha256}


def _files(name: str, includes: str, description: str) -> dict[str, Any]:
    about = {"name": name, "description": description, "encodingFormat": PARQUET, "includes": includes}
    return {"@type": "cr:FileSet", "@id": name, **about}


def _records(name: str, description: str, schema: pa.Schema) -> dict[str, Any]:
    fields = [_field(name, field, f"{name}/{field.name}", field.name) for field in schema]
    key = [{"@id": f"{name}/source"}, {"@id": f"{name}/id"}]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description, "key": key, "field": fields}


def _field(records: str, field: pa.Field[Any], identifier: str, column: str, path: str | None = None) -> dict[str, Any]:
    about = (field.metadata or {}).get(b"doc", b"").decode() or _ABOUT.get(field.name, "")
    source: dict[str, Any] = {"fileSet": {"@id": f"{records}-files"}, "extract": {"column": column}}
    if path is not None:
        source["transform"] = {"jsonPath": path}
    found: dict[str, Any] = {"@type": "cr:Field", "@id": identifier, "name": identifier, "description": about}
    kind, inside = field.type, path or ""
    if pa.types.is_list(kind):
        found["repeated"], kind = True, kind.value_type
    if pa.types.is_struct(kind):
        found["subField"] = [
            _field(
                records, kind.field(n), f"{identifier}/{kind.field(n).name}", column, f"{inside}{kind.field(n).name}"
            )
            for n in range(kind.num_fields)
        ]
    else:
        found["dataType"] = _type(kind)
    return {name: value for name, value in found.items() if value != ""} | {"source": source}


def _type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
