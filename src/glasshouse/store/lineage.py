"""Lineage: from any artifact back to raw documents, as a tree, a picture, a difference or a W3C PROV document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from glasshouse.store.manifest import short
from glasshouse.store.store import Store

SHOWN = 5
"""Package differences to list; two environments can differ in a hundred."""
PROV_NAMESPACE = "urn:glasshouse:"


def ancestors(store: Store, name: str) -> dict[str, dict[str, Any]]:
    """Directory name -> manifest of an artifact and everything it was made from, sources first.

    An input that is no longer in the store is left out; `Store.verify` reports it.
    """
    found: dict[str, dict[str, Any]] = {}

    def visit(name: str) -> None:
        if name in found or not store._present(name):
            return
        manifest = store.manifest(name)
        for source in manifest["inputs"].values():
            visit(source["artifact"])
        found[name] = manifest

    visit(store.resolve(name))
    return found


def tree(store: Store, name: str) -> Iterator[str]:
    """Lines of a text tree, the artifact first; a branch already shown is not unfolded again."""
    manifests = ancestors(store, name)
    shown: set[str] = set()

    def lines(name: str, role: str, indent: str, last: bool, top: bool) -> Iterator[str]:
        branch = "" if top else indent + ("└─ " if last else "├─ ")
        label = f"{role}: " if role else ""
        manifest = manifests.get(name)
        if manifest is None:
            yield f"{branch}{label}{name} (no longer in the store)"
            return
        again = name in shown
        shown.add(name)
        seconds = manifest["resources"]["wall_seconds"]
        head = f"{manifest['type']} {short(manifest['id'])}"
        yield f"{branch}{label}{head} ← {manifest['step']}, {seconds:.1f} s" + (" (see above)" if again else "")
        inputs = [] if again else list(manifest["inputs"].items())
        below = "" if top else indent + ("   " if last else "│  ")
        for index, (child, source) in enumerate(inputs):
            yield from lines(source["artifact"], child, below, index == len(inputs) - 1, False)

    yield from lines(store.resolve(name), "", "", True, True)


def mermaid(store: Store, name: str) -> str:
    """The lineage as a Mermaid flowchart."""
    manifests = ancestors(store, name)
    labels = {name: f"n{index}" for index, name in enumerate(manifests)}
    lines = ["flowchart LR"]
    for name, manifest in manifests.items():
        lines.append(f'  {labels[name]}["{manifest["type"]}<br/>{short(manifest["id"])}"]')
        for source in manifest["inputs"].values():
            if source["artifact"] in labels:
                lines.append(f"  {labels[source['artifact']]} -->|{manifest['step']}| {labels[name]}")
    return "\n".join(lines)


def prov(store: Store, name: str) -> dict[str, Any]:
    """The lineage as W3C PROV-JSON (https://www.w3.org/submissions/prov-json/).

    Artifacts are entities, step runs are activities, this software is the agent.
    """
    document: dict[str, Any] = {"prefix": {"gh": PROV_NAMESPACE, "xsd": "http://www.w3.org/2001/XMLSchema#"}}
    for part in ("entity", "activity", "agent", "used", "wasGeneratedBy", "wasDerivedFrom", "wasAssociatedWith"):
        document[part] = {}
    for manifest in ancestors(store, name).values():
        _prov_artifact(document, manifest)
    return document


def _prov_artifact(document: dict[str, Any], manifest: dict[str, Any]) -> None:
    entity, activity = f"gh:artifact-{manifest['id']}", f"gh:run-{manifest['id']}"
    agent = f"gh:glasshouse-{manifest['code']['version']}"
    document["agent"][agent] = {"prov:type": {"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"}}
    document["entity"][entity] = {
        "prov:label": f"{manifest['type']} {short(manifest['id'])}",
        "gh:type": manifest["type"],
        "gh:content_sha256": manifest["content"],
        "gh:bytes": sum(file["bytes"] for file in manifest["files"].values()),
    }
    document["activity"][activity] = {
        "prov:startTime": manifest["resources"]["started"],
        "prov:endTime": manifest["resources"]["finished"],
        "prov:label": manifest["step"],
        "gh:code_fingerprint": manifest["code"]["fingerprint"],
        "gh:joules": manifest["resources"]["energy"]["joules"],
    }
    number = len(document["wasGeneratedBy"])
    generated = {"prov:entity": entity, "prov:activity": activity}
    document["wasGeneratedBy"][f"_:g{number}"] = generated
    document["wasAssociatedWith"][f"_:a{number}"] = {"prov:activity": activity, "prov:agent": agent}
    for source in manifest["inputs"].values():
        origin = f"gh:artifact-{source['id']}"
        use = len(document["used"])
        document["used"][f"_:u{use}"] = {"prov:activity": activity, "prov:entity": origin}
        derived = {"prov:generatedEntity": entity, "prov:usedEntity": origin, "prov:activity": activity}
        document["wasDerivedFrom"][f"_:d{use}"] = derived


def difference(store: Store, left: str, right: str) -> list[str]:
    """Why two artifacts differ: configuration, inputs, code, packages and content, followed back to the first cause."""
    lines: list[str] = []
    seen: set[tuple[str, str]] = set()

    def compare(left: str, right: str, where: str) -> None:
        if left == right or (left, right) in seen:
            return
        seen.add((left, right))
        a, b = store.manifest(left), store.manifest(right)
        title = f"{where or a['type']} ({short(a['id'])} → {short(b['id'])})"
        found = _manifest_difference(a, b)
        if found:
            lines.append(title)
            lines.extend(f"  {line}" for line in found)
        for role in sorted(a["inputs"].keys() & b["inputs"].keys()):
            source, other = a["inputs"][role], b["inputs"][role]
            if source["artifact"] != other["artifact"]:
                compare(source["artifact"], other["artifact"], f"{where or a['type']} ← {role}")

    compare(store.resolve(left), store.resolve(right), "")
    return lines


def _manifest_difference(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    lines = []
    if a["step"] != b["step"]:
        lines.append(f"step: {a['step']} → {b['step']}")
    lines += _values("configuration", a["identity"]["configuration"], b["identity"]["configuration"])
    lines += _values("observed", a["identity"].get("observed"), b["identity"].get("observed"))
    lines += [f"input {role}: only in one" for role in sorted(a["inputs"].keys() ^ b["inputs"].keys())]
    if a["code"]["fingerprint"] != b["code"]["fingerprint"]:
        lines.append("code: changed")
    packages = _values("package", a["environment"]["packages"], b["environment"]["packages"])
    lines += packages[:SHOWN] + [f"package: and {len(packages) - SHOWN} more"] * (len(packages) > SHOWN)
    lines += _values("measured", a["measurements"], b["measurements"])
    changed = [name for name in a["files"].keys() | b["files"].keys() if a["files"].get(name) != b["files"].get(name)]
    lines.append("content: the same" if a["content"] == b["content"] else f"files that differ: {len(changed)}")
    return lines


def _values(name: str, a: Any, b: Any) -> list[str]:
    if a == b:
        return []
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            line for key in sorted(a.keys() | b.keys()) for line in _values(f"{name}.{key}", a.get(key), b.get(key))
        ]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [line for i, (x, y) in enumerate(zip(a, b, strict=True)) for line in _values(f"{name}.{i}", x, y)]
    return [f"{name}: {_brief(a)} → {_brief(b)}"]


def _brief(value: Any) -> str:
    text = "absent" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
