"""Dolma's mixing files read as mixtures, with a report of the rules in them that do nothing.

Every mixing file published with Dolma v1.5 and v1.6 that tests the most common n-gram misspells it (`…_2gram`, the
tagger writes `…_2grams`), and Dolma's mixer says nothing about a key that no document has. Here such a rule is a
finding, and `fix` puts the right spelling in its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from glasshouse.data.mixing.dolma_findings import Finding
from glasshouse.data.mixing.dolma_stream import DolmaImportError, StreamImport
from glasshouse.data.mixing.mixture import Mixture, read_settings

_TOP = ("streams", "work_dir", "processes", "dryrun", "shuffle")


class Imported(NamedTuple):
    """The mixture of a file, and what was found in it."""

    mixture: Mixture
    findings: list[Finding]


def import_dolma(path: str | Path, *, fix: bool = False) -> Imported:
    """Reads a mixing file of Dolma's (YAML or JSON).

    Args:
        path: the file. Its relative paths stay relative.
        fix: write misspelt keys right and read attribute sets that rules name and the stream does not read.

    Raises:
        DolmaImportError: it is no mixing file, or its streams differ in what is one setting of a mixture here.
        MixtureError: it is not readable.
    """
    settings = read_settings(path)
    if not isinstance(settings.get("streams"), list) or not settings["streams"]:
        raise DolmaImportError(f"{path} has no list 'streams': it is no mixing file of Dolma's")
    findings = [
        Finding("ignored", "", name, f"the setting {name!r} has no meaning here")
        for name in settings
        if name not in _TOP
    ]
    if settings.get("shuffle") is False:
        findings.append(
            Finding("ignored", "", "shuffle", "'shuffle: false' keeps Dolma's files apart; here they are cut by size")
        )
    streams, outputs = [], []
    for number, entry in enumerate(settings["streams"]):
        if not isinstance(entry, dict) or not isinstance(entry.get("documents"), list) or not entry["documents"]:
            raise DolmaImportError(f"{path}: stream {number} has no list 'documents'")
        importer = StreamImport(entry, fix)
        streams.append(importer.stream())
        outputs.append(importer.output())
        findings += importer.findings
    if any(output != outputs[0] for output in outputs):
        raise DolmaImportError(
            f"{path}: its streams differ in size, form or fields of their output, which are one setting of a mixture: "
            "split the file"
        )
    return Imported(Mixture(streams=tuple(streams), **outputs[0]), findings)
