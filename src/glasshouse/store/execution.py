"""Running a graph: what is in the store is taken from there, the rest is made, finished and kept."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from glasshouse.store import environment
from glasshouse.store.artifact import MANIFEST, Artifact, handle_name
from glasshouse.store.configuration import fingerprint
from glasshouse.store.energy import EnergyMeter
from glasshouse.store.files import StoreError, full_disk_explained, list_files
from glasshouse.store.manifest import SCHEMA, artifact_id, content_hash, input_name, seal_manifest
from glasshouse.store.progress import Reporter, Silent
from glasshouse.store.source_code import code_fingerprint
from glasshouse.store.step import Node, Reference, Run, as_node, code_given, describe, order, resolve
from glasshouse.store.store import Store
from glasshouse.store.team import Leading, Solo, Team, follow, leading


def execute(target: Any, store: Store, reporter: Reporter | None = None, team: Team | None = None) -> Artifact:
    """Make the artifact a step call stands for, running only what the store does not hold yet.

    Several processes of a `team` make this call with the same graph and a store they all see: one works on the store,
    and all of them on the steps that are done together.

    Raises:
        StoreError: `target` is not a step call, or the store cannot be written.
    """
    reporter, team = reporter or Silent(), team or Solo()
    made: dict[int, Artifact] = {}
    if not team.leads:
        for node in order(as_node(target)):
            made[id(node)] = follow(node, resolve(node._arguments, made), store, team)
        return made[id(target)]
    with store.in_use():
        for node in order(as_node(target)):
            with leading(team) as word:
                made[id(node)] = word.done(_make(node, made, store, reporter, team, word))
    return made[id(target)]


def _make(
    node: Node, made: dict[int, Artifact], store: Store, reporter: Reporter, team: Team, word: Leading
) -> Artifact:
    definition = node._definition
    configuration, references = describe(node)
    inputs = {reference.role: _input(reference, made) for reference in references}
    identity: dict[str, Any] = {
        "step": definition.name,
        "version": definition.version,
        "configuration": configuration,
        "inputs": {role: input_name(entry) for role, entry in inputs.items()},
    }
    if definition.observe is not None:
        identity["observed"] = definition.observe(**resolve(node._arguments, made))
    given = {code_fingerprint(function) for function in code_given(node._arguments)}
    code = fingerprint([code_fingerprint(definition.function), *sorted(given)])
    key = fingerprint({"identity": identity, "code": code})
    if (found := store.find(key)) is not None:
        reporter.step_found(definition.name, found.manifest)
        return found
    with store.work(key, waiting=lambda: reporter.step_waits(definition.name)) as work:
        if work is None:
            found = store.find(key)
            assert found is not None, "another process finished this step a moment ago"  # noqa: S101
            reporter.step_found(definition.name, found.manifest)
            return found
        reporter.step_started(definition.name, key)
        run = Run(work / "output", work / "scratch", reporter)
        attempt = _attempt(work)
        stopwatch = _Stopwatch()
        if definition.together:
            word.call(work)
        try:
            with full_disk_explained(work), nullcontext() if definition.together else team.alone():
                result = definition.function(run, **resolve(node._arguments, made))
        except BaseException:
            _remember(work, stopwatch.stop())
            raise
        resources = stopwatch.stop() | {"attempts": attempt}
        if attempt > 1:
            resources["earlier"] = _remembered(work)
        _check_result(result, node, run)
        manifest = _manifest(node, identity, inputs, code, run, resources)
        artifact = store.keep(key, work, manifest)
    reporter.step_finished(definition.name, manifest)
    return artifact


def _attempt(work: Path) -> int:
    """Which attempt at this step this is: the manifest's times and energy are those of the last one."""
    counter = work / "attempts"
    attempt = 1 + (len(counter.read_text()) if counter.exists() else 0)
    counter.write_text("x" * attempt)
    return attempt


def _remember(work: Path, resources: dict[str, Any]) -> None:
    """Keep what an attempt that failed or was interrupted cost. One that was killed outright leaves nothing."""
    with contextlib.suppress(OSError), (work / "earlier.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(resources) + "\n")


def _remembered(work: Path) -> list[dict[str, Any]]:
    path = work / "earlier.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def _input(reference: Reference, made: dict[int, Artifact]) -> dict[str, Any]:
    artifact = made[id(reference.source)] if isinstance(reference.source, Node) else reference.source
    manifest = artifact.manifest
    entry = {"artifact": artifact.path.name, "id": manifest["id"], "type": manifest["type"]}
    return entry | ({"part": reference.part} if reference.part else {})


def _check_result(result: Any, node: Node, run: Run) -> None:
    name, produces = node._definition.name, node._definition.produces
    if not isinstance(result, produces):
        raise StoreError(f"step {name} should return a {produces.__name__}, it returned {result!r}")
    if result.path != run.output:
        raise StoreError(f"step {name} returned {result.path}; it must write into run.output and return that")
    if (run.output / MANIFEST).exists():
        raise StoreError(f"step {name} wrote a file called {MANIFEST}, which is the store's own")


def _manifest(
    node: Node, identity: dict[str, Any], inputs: dict[str, Any], code: str, run: Run, resources: dict[str, Any]
) -> dict[str, Any]:
    produces = node._definition.produces
    files = list_files(run.output)
    content = content_hash(produces.__name__, files)
    return seal_manifest(
        {
            "schema": SCHEMA,
            "id": artifact_id(identity, content),
            "type": produces.__name__,
            "handle": handle_name(produces),
            "step": node._definition.name,
            "identity": identity,
            "inputs": inputs,
            "content": content,
            "files": files,
            "measurements": run.measurements,
            "code": {**environment.code_version(), "fingerprint": code},
            "environment": {**environment.python_version(), "packages": environment.packages()},
            "hardware": environment.hardware(),
            "resources": resources,
        }
    )


class _Stopwatch:
    """Wall and processor time, peak memory and energy of one step."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.wall, self.cpu, self.energy = time.perf_counter(), time.process_time(), EnergyMeter()

    def stop(self) -> dict[str, Any]:
        unit = 1 if sys.platform == "darwin" else 1024
        return {
            "started": self.started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_seconds": round(time.perf_counter() - self.wall, 3),
            "cpu_seconds": round(time.process_time() - self.cpu, 3),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            "energy": self.energy.stop(),
        }
