"""Manifests: the JSON record in every artifact, and the hashes that name it.

    content  = sha256(type, sha256 of every file outside record/)           what it holds
    identity = {step, version, configuration, inputs' ids, observed}         what was asked for
    id       = sha256(identity, content)                                     the artifact's name
    key      = sha256(identity, code)                                        where a finished result is looked up

Inputs enter by id, which holds their whole history: an artifact's lineage is always that of the run that is shown.
Code is not part of the id, so a step that runs again because its code changed, and makes the same bytes, does not make
its successors run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glasshouse.store.artifact import MANIFEST, RECORD
from glasshouse.store.configuration import fingerprint
from glasshouse.store.files import StoreError, hash_file, inside, list_files

SCHEMA = 1


def content_hash(kind: str, files: Mapping[str, Mapping[str, Any]]) -> str:
    """sha256 naming what an artifact of type `kind` holds (files under `record/` left out)."""
    counted = {name: entry["sha256"] for name, entry in files.items() if not name.startswith(f"{RECORD}/")}
    return fingerprint({"type": kind, "files": counted})


def artifact_id(identity: Mapping[str, Any], content: str) -> str:
    """sha256 naming an artifact: what was asked for, and what came out."""
    return fingerprint({"identity": identity, "content": content})


def input_name(entry: Mapping[str, Any]) -> str:
    """How an input stands in an identity: its id, and the part of it that is used."""
    return f"{entry['id']}.{entry['part']}" if entry.get("part") else str(entry["id"])


def seal_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with a sha256 over everything else in it, so that `verify` covers every field."""
    return {**manifest, "manifest_sha256": fingerprint(manifest)}


def short(identifier: str) -> str:
    """The first 12 digits of a hash, enough to name it in a store."""
    return identifier[:12]


def directory_name(kind: str, identifier: str) -> str:
    """Name of an artifact's directory: readable first, unique after."""
    return f"{kind.lower()}-{identifier[:32]}"


def check_files(directory: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Re-hash an artifact; returns the problems found, in words (none: it is what its manifest says).

    Checks every file's size and sha256, missing and extra files, the content hash and the id.
    """
    problems = []
    try:
        present = {name: entry for name, entry in list_files(directory).items() if name != MANIFEST}
    except StoreError as error:
        return [str(error)]
    for name, entry in manifest["files"].items():
        if name not in present:
            problems.append(f"{name} is missing")
        elif present[name]["bytes"] != entry["bytes"]:
            problems.append(f"{name} has {present[name]['bytes']} bytes, the manifest says {entry['bytes']}")
        elif present[name]["sha256"] != entry["sha256"]:
            problems.append(f"{name} has changed: sha256 {present[name]['sha256'][:12]}…, not {entry['sha256'][:12]}…")
    problems += [f"{name} is not in the manifest" for name in present if name not in manifest["files"]]
    if content_hash(manifest["type"], manifest["files"]) != manifest["content"]:
        problems.append("the manifest's content hash does not match its file list")
    if artifact_id(manifest["identity"], manifest["content"]) != manifest["id"]:
        problems.append("the manifest's id does not match its identity and content")
    named = {role: input_name(entry) for role, entry in manifest["inputs"].items()}
    if named != manifest["identity"]["inputs"]:
        problems.append("the manifest's inputs are not those of its identity")
    rest = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    if fingerprint(rest) != manifest.get("manifest_sha256"):
        problems.append("the manifest has been changed: its sha256 is not the recorded one")
    if directory.name != directory_name(manifest["type"], manifest["id"]):
        problems.append(
            f"its folder is called {directory.name}, not {directory_name(manifest['type'], manifest['id'])}"
        )
    return problems


def check_download(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Raise `StoreError` unless every listed file is present with the listed hash."""
    for name, entry in manifest["files"].items():
        path = inside(directory, name)
        if not path.is_file() or hash_file(path) != entry["sha256"]:
            raise StoreError(f"{name} did not arrive whole from the remote store; run again to fetch it once more")
