"""The text that is already on this machine: interpreter, installed packages, their documentation and metadata.

Sources (the `source` column) and what they hold:

| source | text | default budget |
|---|---|---|
| documentation | `.md`, `.rst`, `.txt` of packages; the interpreter's help topics | up to a quarter of the cap |
| metadata | long descriptions (the README) in the packages' METADATA | up to a quarter of the cap |
| docstrings | the docstrings of a module, one document per file | up to 35 % of the cap |
| stdlib, packages, headers | Python files of the interpreter, of packages; C and C++ headers | the rest, 3 : 5 : 1 |

The prose sources are small and usually kept whole; code is sampled. A Python file is either sampled as code or read for
its docstrings, by its hash, so held-out docstrings never occur inside training code. Within a source, files are taken
in the order of a keyed hash of their id until the budget is spent: the same files on every machine with the same
packages.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from inspect import cleandoc
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import Field

from glasshouse.data.document import BATCH_BYTES, Document, Origin, batches, document_hash, is_selected
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.reading import MAX_DOCUMENT_BYTES
from glasshouse.data.sources.topics import TOPICS_FILE, help_topics
from glasshouse.store.configuration import Config

OWN = "glasshouse"
PROSE_SHARES = {"documentation": 0.25, "metadata": 0.25, "docstrings": 0.35}
CODE_SHARES = {"stdlib": 3, "packages": 5, "headers": 1}
SOURCES = (*PROSE_SHARES, *CODE_SHARES)
_SUFFIXES = {
    ".py": "packages", ".pyi": "packages", ".h": "headers", ".hpp": "headers", ".cuh": "headers",
    ".md": "documentation", ".rst": "documentation", ".txt": "documentation",
}  # fmt: skip
# Only where a docstring can stand (file start, or after a line that ends a def or class), so strings are not taken.
_DOCSTRING = re.compile(
    rb'(?:\A(?:[ \t]*#[^\n]*\n|[ \t]*\r?\n)*|:[ \t]*(?:#[^\n]*)?\r?\n(?:[ \t]*\r?\n)*)'
    rb'[ \t]*[rR]?("""|\'\'\')(?P<text>.*?)\1', re.DOTALL,
)  # fmt: skip


class InstalledText(Config):
    """Which installed text to read.

    Attributes:
        packages: "closure" is what Glasshouse's own requirements (without extras) pull in, so that a development tool
            installed later does not change the corpus; "all" is every installed distribution.
        megabytes: cap on the UTF-8 text of all sources together, in 10^6 bytes; reached to within one file per source.
        seed: of the sample.
    """

    packages: Literal["closure", "all"] = "closure"
    megabytes: float = Field(default=20.0, gt=0)
    seed: int = 0


@dataclass(frozen=True)
class InstalledFile:
    """One candidate: `root` and `name` are the same on every machine, `path` is where it lies on this one."""

    source: str
    root: str
    name: str
    path: Path
    size: int

    @property
    def id(self) -> str:
        return f"{self.source}/{self.root}/{self.name}"

    @property
    def origin(self) -> str:
        return f"{self.root}:{self.name}"


def installed_documents(
    text: InstalledText, quarantine: Quarantine, *, batch_bytes: int = BATCH_BYTES
) -> Iterator[pa.RecordBatch]:
    """Record batches of the installed text, source by source (`SOURCES`), deterministic for the same packages.

    `origin.file` is `<distribution>:<path in it>` or `python:<path in the standard library>`; `resolve` finds the file.
    Files that are not UTF-8, too long or unreadable are quarantined.
    """
    return batches(_documents(text, quarantine), batch_bytes)


def installed_fingerprint(text: InstalledText | None = None) -> str:
    """sha256 over the interpreter's version and files (names and sizes) and every distribution's name, version and
    hashes.

    Cheap: package files are not read, their hashes come from the installer's RECORD.
    """
    digest = hashlib.sha256(sys.version.encode())
    for name, path in _standard_library():
        digest.update(f"{name} {path.stat().st_size}\n".encode())
    for distribution in distributions((text or InstalledText()).packages):
        digest.update(f"{_key(distribution)} {distribution.version}\n".encode())
        record = distribution.read_text("RECORD") or ""
        lines = sorted(line for line in record.splitlines() if Path(line.split(",")[0]).suffix in _SUFFIXES)
        digest.update("\n".join([*lines, distribution.read_text("METADATA") or ""]).encode())
    return digest.hexdigest()


def resolve(origin: str) -> Path:
    """The file on this machine that an `origin.file` of `installed_documents` names.

    Raises `FileNotFoundError` when the package is not installed here or lacks the file.
    """
    root, _, name = origin.partition(":")
    if root == "python":
        path = Path(sysconfig.get_path("stdlib")) / name
    else:
        try:
            path = Path(str(metadata.distribution(root).locate_file(name)))
        except metadata.PackageNotFoundError:
            raise FileNotFoundError(f"{origin!r}: the distribution {root!r} is not installed here") from None
    if not path.is_file():
        raise FileNotFoundError(f"{origin!r}: there is no file {path}")
    return path


def distributions(packages: Literal["closure", "all"]) -> list[metadata.Distribution]:
    """The distributions to read, sorted by normalised name, without Glasshouse itself."""
    if packages == "all":
        found = {_key(distribution): distribution for distribution in metadata.distributions()}
    else:
        found = _closure(OWN)
    found.pop(OWN, None)
    return [found[name] for name in sorted(found)]


def _closure(name: str) -> dict[str, metadata.Distribution]:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, metadata.Distribution] = {}
    todo: list[tuple[str, str]] = [(name, "")]
    seen: set[tuple[str, str]] = set()
    while todo:
        key, extra = todo.pop()
        if (key, extra) in seen:
            continue
        seen.add((key, extra))
        try:
            distribution = found[key] = metadata.distribution(key)
        except metadata.PackageNotFoundError:
            continue  # a requirement of a marker this platform satisfies but nobody installed
        for text in distribution.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return found


def _key(distribution: metadata.Distribution) -> str:
    return re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()


def _standard_library() -> list[tuple[str, Path]]:
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in ("site-packages", "dist-packages", "__pycache__")]
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted((path.relative_to(root).as_posix(), path) for path in found)


def catalogue(text: InstalledText, quarantine: Quarantine) -> list[InstalledFile]:
    """All candidates of all sources, before sampling. A recorded file that is not there is quarantined."""
    candidates = [("stdlib", "python", name, path) for name, path in _standard_library() if name != TOPICS_FILE]
    for distribution in distributions(text.packages):
        root = _key(distribution)
        for file in distribution.files or []:
            source = "metadata" if file.name == "METADATA" else _SUFFIXES.get(file.suffix)
            if source and ".." not in file.parts:
                candidates.append((source, root, file.as_posix(), Path(str(file.locate()))))
    found = []
    for source, root, name, path in candidates:
        # Either code or docstrings, never both: a held-out docstring must not occur in the training code.
        as_docstrings = path.suffix == ".py" and is_selected(f"{root}/{name}", 0.5, 0, "docstrings")
        source = "docstrings" if as_docstrings else source
        try:
            found.append(InstalledFile(source, root, name, path, path.stat().st_size))
        except OSError as error:
            quarantine.saw()
            quarantine.add("unreadable_file", f"{type(error).__name__}: {error.strerror}", file=f"{root}:{name}")
    return found


def _documents(text: InstalledText, quarantine: Quarantine) -> Iterator[Document]:
    for document in _sampled(text, quarantine):
        quarantine.saw()
        quarantine.keep()
        yield document


def _sampled(text: InstalledText, quarantine: Quarantine) -> Iterator[Document]:
    files: dict[str, list[InstalledFile]] = {source: [] for source in SOURCES}
    for file in catalogue(text, quarantine):
        files[file.source].append(file)

    def order(file: InstalledFile) -> tuple[int, str]:
        return document_hash(f"{file.root}/{file.name}", text.seed, "installed sample"), file.id

    for source in PROSE_SHARES:
        files[source].sort(key=order)
    cap = left = text.megabytes * 1e6
    for source, share in PROSE_SHARES.items():
        for document in _until(_prose(source, files, quarantine), cap * share):
            left -= len(document.text.encode())
            yield document
    available = {source: float(sum(file.size for file in files[source])) for source in CODE_SHARES}
    for source, budget in _budgets(left, available).items():
        files[source].sort(key=order)
        yield from _until(_whole_files(files[source], quarantine), budget)


def _budgets(total: float, available: dict[str, float]) -> dict[str, float]:
    """Splits `total` by `CODE_SHARES`; what a source cannot fill goes to the others."""
    budgets = dict.fromkeys(CODE_SHARES, 0.0)
    open_sources = set(CODE_SHARES)
    while open_sources and total > 1:
        weight = sum(CODE_SHARES[source] for source in open_sources)
        given = {source: total * CODE_SHARES[source] / weight for source in open_sources}
        for source in sorted(open_sources):
            used = min(given[source], available[source] - budgets[source])
            budgets[source] += used
            total -= used
            if used < given[source]:
                open_sources.discard(source)
    return budgets


def _until(documents: Iterable[Document], budget: float) -> Iterator[Document]:
    """Documents until their text has used up the budget in bytes (the last one may go over)."""
    if budget <= 0:
        return
    for document in documents:
        yield document
        budget -= len(document.text.encode())
        if budget <= 0:
            return


def _prose(source: str, files: dict[str, list[InstalledFile]], quarantine: Quarantine) -> Iterator[Document]:
    if source == "documentation":
        yield from help_topics(Path(sysconfig.get_path("stdlib")))
        yield from _whole_files(files[source], quarantine)
    elif source == "metadata":
        yield from _descriptions(files[source], quarantine)
    else:
        yield from _docstrings(files, quarantine)


def _read(file: InstalledFile, quarantine: Quarantine) -> bytes | None:
    """The bytes of a file that is UTF-8 and not too long; anything else is quarantined."""
    try:
        content = file.path.read_bytes()
        content.decode()
    except OSError as error:
        _refuse(quarantine, file, "unreadable_file", f"{type(error).__name__}: {error.strerror}")
        return None
    except UnicodeDecodeError as error:
        message = f"byte {error.start} of the file is not valid UTF-8"
        _refuse(quarantine, file, "invalid_utf8", message, error.start, content[:800])
        return None
    if len(content) > MAX_DOCUMENT_BYTES:
        message = f"the file has {len(content)} bytes, the limit is {MAX_DOCUMENT_BYTES}"
        _refuse(quarantine, file, "text_too_long", message, None, content[:800])
        return None
    return content


def _refuse(
    quarantine: Quarantine,
    file: InstalledFile,
    reason: str,
    message: str,
    offset: int | None = None,
    excerpt: bytes = b"",
) -> None:
    quarantine.saw()
    quarantine.add(reason, message, file=file.origin, offset=offset, excerpt=excerpt)


def _document(file: InstalledFile, text: str, start: int, end: int) -> Document:
    return Document(id=file.id, text=text, source=file.source, origin=Origin(file.origin, start, end))


def _whole_files(files: list[InstalledFile], quarantine: Quarantine) -> Iterator[Document]:
    for file in files:
        content = _read(file, quarantine)
        if content is not None:
            yield _document(file, content.decode(), 0, len(content))


def _descriptions(files: list[InstalledFile], quarantine: Quarantine) -> Iterator[Document]:
    for file in files:
        content = _read(file, quarantine)
        if content is None:
            continue
        blank = re.search(rb"\r?\n\r?\n", content)  # ends the header of a METADATA file
        if blank is None or not content[blank.end() :].strip():
            _refuse(quarantine, file, "no_description", "the package has no long description")
        else:
            yield _document(file, content[blank.end() :].decode(), blank.end(), len(content))


def _docstrings(files: dict[str, list[InstalledFile]], quarantine: Quarantine) -> Iterator[Document]:
    """One document per Python file; a file without docstrings goes back to the code."""
    for file in files["docstrings"]:
        content = _read(file, quarantine)
        if content is None:
            continue
        spans = [match.span("text") for match in _DOCSTRING.finditer(content) if match["text"].strip()]
        if not spans:
            code = "stdlib" if file.root == "python" else "packages"
            files[code].append(replace(file, source=code))
            continue
        text = "\n\n".join(cleandoc(content[start:end].decode()) for start, end in spans) + "\n"
        yield _document(file, text, spans[0][0], spans[-1][1])
