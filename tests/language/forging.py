"""Artifacts changed by somebody who also makes every manifest fit: only computing again can tell."""

import json

from glasshouse.store.artifact import MANIFEST
from glasshouse.store.files import list_files
from glasshouse.store.manifest import artifact_id, content_hash, directory_name, seal_manifest


def forge(store, artifact, change, inputs=None):
    """Change the files of an artifact with `change(directory)` and seal it again; `inputs` replaces inputs by role."""
    directory = artifact.path
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    manifest = artifact.manifest
    change(directory)
    (directory / MANIFEST).unlink()
    files = list_files(directory)
    for role, other in (inputs or {}).items():
        manifest["inputs"][role] |= {"artifact": other.path.name, "id": other.id}
        manifest["identity"]["inputs"][role] = other.id
    content = content_hash(manifest["type"], files)
    manifest |= {"files": files, "content": content, "id": artifact_id(manifest["identity"], content)}
    manifest = seal_manifest({name: value for name, value in manifest.items() if name != "manifest_sha256"})
    (directory / MANIFEST).write_text(json.dumps(manifest))
    target = directory.with_name(directory_name(manifest["type"], manifest["id"]))
    directory.rename(target)
    forged = store.open(target.name)
    assert store.verify(target.name) == []
    return forged


def edit_json(name, change):
    """A change of one JSON file."""

    def apply(directory):
        document = json.loads((directory / name).read_text())
        change(document)
        (directory / name).write_text(json.dumps(document))

    return apply
