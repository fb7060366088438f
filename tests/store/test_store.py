"""The store: graphs run once, artifacts are what their manifests say, and nothing needed is ever removed."""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from glasshouse.store import execution
from glasshouse.store.artifact import Artifact, handle_class
from glasshouse.store.execution import execute
from glasshouse.store.files import StoreError, inside
from glasshouse.store.recipe import recipe, run_recipe
from glasshouse.store.step import Run, step
from glasshouse.store.store import Store

CALLS: list[str] = []


class Words(Artifact):
    @property
    def words(self) -> list[str]:
        return (self.path / "words.txt").read_text().split()


class Count(Artifact):
    @property
    def value(self) -> int:
        return int((self.path / "count.txt").read_text())


@dataclasses.dataclass(frozen=True)
class Measure:
    of: list[str]
    weight: int = 1


@step()
def write_words(run: Run, text: str, seed: int = 0) -> Words:
    CALLS.append("write_words")
    (run.output / "words.txt").write_text(text.lower())
    (Words(run.output).record / "time.txt").write_text(str(time.perf_counter()))
    return Words(run.output)


@step()
def count_words(run: Run, words: Words, times: int = 1) -> Count:
    CALLS.append("count_words")
    (run.output / "count.txt").write_text(str(len(words.words) * times))
    run.measure(words=len(words.words))
    return Count(run.output)


@step()
def weigh(run: Run, measures: list[Measure]) -> Count:
    (run.output / "count.txt").write_text(str(sum(len(m.of) * m.weight for m in measures)))
    return Count(run.output)


@step()
def slow_step(run: Run, directory: str, seconds: float = 0.5) -> Count:
    with (Path(directory) / "calls").open("a") as file:
        file.write(f"{os.getpid()}\n")
    counter = run.scratch / "beats"
    beats = int(counter.read_text()) if counter.exists() else 0
    while beats < 10:
        time.sleep(seconds / 10)
        beats += 1
        counter.write_text(str(beats))
        with (Path(directory) / "beats").open("a") as file:
            file.write(f"{beats}\n")
    (run.output / "half.txt").write_text("x")
    (run.output / "count.txt").write_text(str(beats))
    return Count(run.output)


@recipe
def counting(text: str = "one two three", times: int = 1) -> Count:
    return count_words(write_words(text), times=times)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    CALLS.clear()
    return Store(tmp_path / "store")


def test_a_graph_runs_once_and_only_what_changed_runs_again(store: Store) -> None:
    first = run_recipe(counting, store)
    assert isinstance(first, Count)
    assert first.value == 3
    assert CALLS == ["write_words", "count_words"]
    assert run_recipe(counting, store).id == first.id
    assert CALLS == ["write_words", "count_words"]
    second = run_recipe(counting, store, times=2)
    assert second.value == 6
    assert CALLS == ["write_words", "count_words", "count_words"]


def test_lineage_is_always_that_of_the_run(store: Store) -> None:
    one = execute(count_words(write_words("A b")), store)
    two = execute(count_words(write_words("a B")), store)  # another configuration, the same bytes
    assert one.id != two.id
    source = store.manifest(two.manifest["inputs"]["words"]["artifact"])
    assert source["identity"]["configuration"]["text"] == "a B"


def test_changed_code_that_makes_the_same_bytes_stops_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(count_words(write_words("a")), store)
    edited = {"write_words": "another"}
    real = execution.code_fingerprint
    monkeypatch.setattr(execution, "code_fingerprint", lambda function: edited.get(function.__name__) or real(function))
    execute(count_words(write_words("a")), store)
    assert CALLS == ["write_words", "count_words", "write_words"]


def test_every_field_of_a_manifest_is_covered(store: Store) -> None:
    made = execute(count_words(write_words("a")), store)
    path, whole = made.path / "manifest.json", made.manifest
    path.chmod(0o644)
    for change in (
        {"measurements": {"words": 7}},
        {"resources": {**whole["resources"], "wall_seconds": 123.0}},
        {"inputs": {"words": {**whole["inputs"]["words"], "id": "0" * 64}}},
    ):
        path.write_text(json.dumps({**whole, **change}))
        assert store.verify(made.path.name), f"{change} went unnoticed"
    path.write_text(json.dumps(whole))
    assert store.verify(made.path.name) == []


def test_manifest_says_how_it_was_made(store: Store) -> None:
    manifest = run_recipe(counting, store).manifest
    assert manifest["step"] == "count_words"
    assert manifest["identity"]["configuration"] == {"words": {"__input__": "words"}, "times": 1}
    assert manifest["measurements"] == {"words": 3}
    assert manifest["resources"]["wall_seconds"] >= 0
    assert manifest["resources"]["energy"]["joules"] >= 0
    assert isinstance(manifest["resources"]["energy"]["estimate"], bool)
    assert manifest["environment"]["packages"]["numpy"]
    source = store.manifest(manifest["inputs"]["words"]["artifact"])
    assert source["files"]["words.txt"]["bytes"] == len("one two three")


def test_what_is_under_record_does_not_change_the_id(tmp_path: Path) -> None:
    ids = [execute(write_words("a"), Store(tmp_path / name)).id for name in ("one", "two")]
    assert ids[0] == ids[1]


def test_inputs_inside_lists_and_parts_of_artifacts(store: Store) -> None:
    node = write_words("one two")
    made = execute(weigh([Measure(node.words), Measure(node.words, weight=10)]), store)  # type: ignore[attr-defined]
    assert isinstance(made, Count)
    assert made.value == 22
    assert set(made.manifest["inputs"]) == {"measures.0.of", "measures.1.of"}


def test_wrong_calls_say_what_is_wrong(store: Store) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'txet'"):
        write_words("a", txet="a")  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="Words made by step 'write_words' has no attribute 'letters'"):
        _ = write_words("a").letters  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="step write_words: a object cannot be part of a configuration"):
        execute(write_words(object()), store)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name it at the top level"):
        execute(write_words(lambda: 1), store)  # type: ignore[arg-type]


def test_verify_finds_every_kind_of_damage(store: Store) -> None:
    made = execute(write_words("one two"), store)
    name, file = made.path.name, made.path / "words.txt"
    assert store.verify(name) == []
    assert file.stat().st_mode & 0o222 == 0, "finished files are read-only"
    file.chmod(0o644)
    file.write_text("one owt")
    assert "words.txt has changed" in store.verify(name)[0]
    file.write_text("one")
    assert "has 3 bytes, the manifest says 7" in store.verify(name)[0]
    file.unlink()
    assert store.verify(name) == ["words.txt is missing"]
    file.write_text("one two")
    (made.path / "extra.txt").write_text("!")
    assert store.verify(name) == ["extra.txt is not in the manifest"]
    (made.path / "extra.txt").unlink()
    manifest = made.manifest
    manifest["identity"]["configuration"]["text"] = "another"
    (made.path / "manifest.json").chmod(0o644)
    (made.path / "manifest.json").write_text(json.dumps(manifest))
    assert "the manifest's id does not match its identity and content" in store.verify(name)


def test_a_failed_step_leaves_nothing_that_looks_finished(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttributeError):
        execute(write_words(5), store)  # type: ignore[arg-type]
    assert store.names() == []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("glasshouse.store.store.seal", full)
        with pytest.raises(StoreError, match=r"disk holding .* is full.*Nothing finished was lost"):
            execute(write_words("a"), store)
    assert store.names() == []
    assert isinstance(execute(write_words("a"), store), Words)


@step()
def fill_the_disk(run: Run) -> Words:
    raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_full_disk_in_another_librarys_words(store: Store) -> None:
    with pytest.raises(StoreError, match=r"disk holding .* is full"):
        execute(fill_the_disk(), store)


def test_gc_keeps_what_kept_artifacts_were_made_from(store: Store) -> None:
    old = run_recipe(counting, store, text="a b")
    store.pin(old.id[:8], "paper")
    run_recipe(counting, store, text="lost")
    new = run_recipe(counting, store, text="c d e")
    plan = store.gc()
    assert len(plan["removed"]) == 2
    assert len(store.names()) == 6
    store.gc(delete=True)
    assert len(store.names()) == 4
    assert not any(store.verify(name) for name in store.names())
    assert store.open("paper").id == old.id
    assert store.open("counting").id == new.id
    CALLS.clear()
    run_recipe(counting, store, text="lost")  # made again, not found half-there
    assert CALLS == ["write_words", "count_words"]


def test_gc_refuses_while_a_graph_runs(store: Store) -> None:
    with store.in_use(), pytest.raises(StoreError, match=f"process {os.getpid()} is using this store"):
        store.gc(delete=True)
    store.gc(delete=True)


def test_references(store: Store) -> None:
    made = run_recipe(counting, store)
    assert store.open(made.id[:6]).id == made.id
    assert store.open(made.path.name).id == made.id
    with pytest.raises(StoreError, match="no artifact, pin or run called 'nothing'"):
        store.open("nothing")
    for bad in ("../../etc/passwd", "/etc/passwd", ""):
        with pytest.raises(StoreError):
            store.open(bad)


def test_names_cannot_leave_a_directory(tmp_path: Path) -> None:
    for name in ("../x", "/x", "a/../../x", "", "a\\b"):
        with pytest.raises(StoreError, match="not a plain relative path"):
            inside(tmp_path, name)
    assert inside(tmp_path, "a/b") == tmp_path / "a" / "b"


def test_a_manifest_cannot_make_us_import_code() -> None:
    assert handle_class("antigravity:anything") is Artifact
    assert handle_class("glasshouse.store.files:StoreError") is Artifact
    assert handle_class(f"{Words.__module__}:Words") in (Words, Artifact)


def _run_slow(root: str, directory: str, seconds: float) -> None:
    execute(slow_step(directory, seconds), Store(root))


def test_two_processes_share_one_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_run_slow, args=(str(tmp_path / "store"), str(tmp_path), 0.5)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len((tmp_path / "calls").read_text().split()) == 1
    store = Store(tmp_path / "store")
    assert len(store.names()) == 1
    assert store.verify(store.names()[0]) == []


def test_a_killed_step_goes_on_from_its_scratch(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_run_slow, args=(str(tmp_path / "store"), str(tmp_path), 2.0))
    process.start()
    while not (tmp_path / "beats").exists() or len((tmp_path / "beats").read_text().split()) < 4:
        time.sleep(0.02)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = Store(tmp_path / "store")
    assert store.names() == []
    done = execute(slow_step(str(tmp_path), 2.0), store)
    assert isinstance(done, Count)
    assert done.value == 10
    assert (tmp_path / "beats").read_text().split() == [str(n) for n in range(1, 11)]  # no beat twice


def test_a_store_behind_an_fsspec_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    url = f"memory://{tmp_path.name}/team"
    monkeypatch.setenv("HOME", str(tmp_path / "first"))
    made = run_recipe(counting, Store(url), text="far away")
    monkeypatch.setenv("HOME", str(tmp_path / "second"))  # another machine: nothing local
    other = Store(url)
    assert run_recipe(counting, other, text="far away").id == made.id
    assert CALLS == ["write_words", "count_words"]
    assert other.verify(made.path.name) == []
    assert len(other.names()) == 2
    assert other.open("counting").id == made.id  # what a run is called is known on every machine
    other.pin("counting", "shared")
    assert Store(url).pins() == {"shared": made.path.name}
    assert other.gc(delete=True)["removed"] == []
    loose = execute(write_words("not in any run"), other)
    assert other.gc(delete=True)["removed"] == []  # too young: another machine may be using it
    assert loose.path.name in other.names()
    other.unpin("shared")
    assert Store(url).pins() == {}
    file = f"{other.mirror.root}/artifacts/{made.path.name}/count.txt"  # type: ignore[union-attr]
    other.mirror.system.pipe_file(file, b"7")  # type: ignore[union-attr]
    monkeypatch.setenv("HOME", str(tmp_path / "third"))
    with pytest.raises(StoreError, match=r"count.txt did not arrive whole"):
        Store(url).open(made.path.name)
    with pytest.raises(StoreError, match="cannot open the store"):
        Store("nosuchprotocol://bucket")
