"""Several processes, here threads, that run one graph: one works on the store, all of them on steps done together."""

import queue
import threading
from contextlib import contextmanager

import pytest

from glasshouse.store.artifact import Artifact
from glasshouse.store.execution import execute
from glasshouse.store.files import StoreError
from glasshouse.store.step import Run, step
from glasshouse.store.store import Store

CALLS: list[tuple[str, str, bool]] = []
ALONE = threading.local()


class Note(Artifact):
    @property
    def text(self) -> str:
        return (self.path / "note.txt").read_text()


def call(name: str) -> None:
    CALLS.append((name, threading.current_thread().name, getattr(ALONE, "now", False)))


@step()
def begun(run: Run, text: str) -> Note:
    call("begun")
    if text == "broken":
        raise ValueError("no such text")
    (run.output / "note.txt").write_text(text)
    return Note(run.output)


@step(together=True)
def shared(run: Run, note: Note) -> Note:
    call("shared")
    (run.scratch / threading.current_thread().name).write_text("was here")
    (run.output / "note.txt").write_text(f"{note.text} by {threading.current_thread().name}")
    return Note(run.output)


class Told:
    """A team whose word goes through queues."""

    def __init__(self, leads: bool, ears: list[queue.Queue]) -> None:
        self.leads, self._ears = leads, ears

    def tell(self, value):
        if not self.leads:
            return self._ears[0].get(timeout=20)
        for ear in self._ears:
            ear.put(value)
        return value

    @contextmanager
    def alone(self):
        ALONE.now = True
        yield
        ALONE.now = False


def together(target, root, others=2):
    """Run a graph in `1 + others` threads; what each made, or its error."""
    CALLS.clear()
    ears = [queue.Queue() for _ in range(others)]
    found = {}

    def work(name, team):
        try:
            found[name] = execute(target, Store(root), team=team)
        except Exception as error:
            found[name] = error

    teams = {"first": Told(True, ears)} | {f"other{i}": Told(False, [ear]) for i, ear in enumerate(ears)}
    threads = [threading.Thread(target=work, args=item, name=item[0]) for item in teams.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_one_process_works_on_the_store_and_all_on_what_is_done_together(tmp_path):
    target = shared(begun("words"))
    found = together(target, tmp_path)
    assert len({made.path for made in found.values()}) == 1
    assert {made.text for made in found.values()} == {"words by first"}
    assert CALLS[0] == ("begun", "first", True)
    assert sorted(CALLS[1:]) == [("shared", name, False) for name in ("first", "other0", "other1")]
    assert not list((tmp_path / "work").iterdir())
    together(target, tmp_path)
    assert CALLS == []


def test_the_others_hear_of_a_failure(tmp_path):
    found = together(shared(begun("broken")), tmp_path)
    assert isinstance(found.pop("first"), ValueError)
    assert CALLS == [("begun", "first", True)]
    for error in found.values():
        assert isinstance(error, StoreError)
        assert "step begun failed in the leading process: ValueError: no such text" in str(error)


def test_a_team_makes_what_one_process_makes(tmp_path):
    one = execute(begun("words"), Store(tmp_path / "one"))
    many = together(begun("words"), tmp_path / "many")["other1"]
    assert one.path.name == many.path.name


def test_alone_a_step_together_is_a_step(tmp_path):
    assert execute(shared(begun("words")), Store(tmp_path)).text == "words by MainThread"
    with pytest.raises(StoreError, match="expected what a step call returns"):
        execute("words", Store(tmp_path))
