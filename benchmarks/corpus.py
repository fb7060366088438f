"""The corpus that curation is measured on: about 120 MB of text that is already on a machine, in eight shards.

    python benchmarks/corpus.py OUT [--megabytes 120] [--prose shared/data/text]

Python sources, documentation and package metadata, `/usr/share/doc`, and, when given, folders of documents in the
Dolma form (natural prose). The same machine gives the same bytes. `manifest.json` names every file with its sha256.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import orjson

SHARDS = 8
SUFFIXES = {".py": "code", ".pyi": "code", ".md": "docs", ".rst": "docs", ".txt": "docs", ".pod": "docs"}
LARGEST = 2_000_000


def texts(megabytes: float, prose: list[Path]) -> Iterator[tuple[str, str, str]]:
    """(id, source, text): prose first, then half code and half documentation until there is enough."""
    left = megabytes * 1e6
    for folder in prose:
        for file in sorted(folder.rglob("*.jsonl.gz")):
            with gzip.open(file) as lines:
                for number, line in enumerate(lines):
                    row = orjson.loads(line)
                    for key in ("text", "en", "fr"):
                        if len(row.get(key) or "") >= 200:
                            left -= len(row[key].encode())
                            yield (
                                f"{folder.name}/{file.relative_to(folder)}/{number}/{key}",
                                f"prose-{file.name.split('.')[0]}",
                                row[key],
                            )
    roots = [Path(sysconfig.get_paths()[name]) for name in ("purelib", "stdlib")] + [Path("/usr/share/doc")]
    seen: set[bytes] = set()
    half = {"code": left / 2, "docs": left / 2}
    for root in roots:
        for file in sorted(root.rglob("*")):
            kind = SUFFIXES.get(file.suffix, "docs" if file.name in ("METADATA", "copyright") else "")
            if not kind or half[kind] <= 0 or not file.is_file() or not 200 <= file.stat().st_size <= LARGEST:
                continue
            try:
                text = file.read_bytes().decode()
            except (UnicodeDecodeError, OSError):
                continue
            key = hashlib.sha256(str(file).encode()).digest()
            if key in seen:
                continue
            seen.add(key)
            half[kind] -= len(text.encode())
            yield f"{root.name}/{file.relative_to(root)}", kind, text


def write(out: Path, megabytes: float, prose: list[Path]) -> dict[str, object]:
    """Deals the documents out to the shards by a hash of their id, so that every shard has every kind."""
    out.mkdir(parents=True, exist_ok=True)
    shards: list[list[bytes]] = [[] for _ in range(SHARDS)]
    total = documents = 0
    for identifier, source, text in texts(megabytes, prose):
        row = {"id": identifier, "text": text, "source": source, "added": "2024-01-01T00:00:00.000Z",
               "created": "2024-01-01T00:00:00.000Z", "metadata": {}}  # fmt: skip
        shards[hashlib.sha256(identifier.encode()).digest()[0] % SHARDS].append(orjson.dumps(row))
        total += len(text.encode())
        documents += 1
    files = {}
    for number, rows in enumerate(shards):
        path = out / f"{number:03d}.jsonl.gz"
        with gzip.GzipFile(path, "wb", compresslevel=6, mtime=0) as file:
            file.write(b"\n".join(rows) + b"\n")
        files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = {"documents": documents, "bytes_of_text": total, "files": files}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--megabytes", type=float, default=120)
    parser.add_argument("--prose", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    print(json.dumps(write(given.out, given.megabytes, given.prose), indent=2))
