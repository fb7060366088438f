"""Several processes that run one graph: one leads, which works on the store, the others follow its word."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

from glasshouse.store.artifact import Artifact
from glasshouse.store.files import StoreError
from glasshouse.store.progress import Silent
from glasshouse.store.step import Node, Run
from glasshouse.store.store import Store


class Team(Protocol):
    """What the store needs to know of the processes that share a run."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that works on the store."""

    def tell(self, value: Any) -> Any:
        """The leading process's JSON value, in every process; all of them make this call."""

    def alone(self) -> AbstractContextManager[None]:
        """Within it this process works as if it were the only one."""


class Solo:
    """A team of one process."""

    leads = True

    def tell(self, value: Any) -> Any:
        """What was said."""
        return value

    def alone(self) -> AbstractContextManager[None]:
        """It always is."""
        return nullcontext()


class Leading:
    """What the leading process says of one step: it works alone, or calls the others to work with it."""

    def __init__(self, team: Team) -> None:
        self._team, self.together = team, False

    def call(self, work: Path) -> None:
        """All processes do this step, with the scratch directory of `work`."""
        self.together = True
        self._team.tell({"work": str(work)})

    def done(self, artifact: Artifact) -> Artifact:
        """The step's artifact is in the store."""
        self._team.tell({"artifact": artifact.path.name})
        return artifact


@contextmanager
def leading(team: Team) -> Iterator[Leading]:
    """For the length of one step; the others hear of an error that ends it."""
    word = Leading(team)
    try:
        yield word
    except BaseException as error:
        if not word.together:  # in a step of all processes they fail with it, or notice that this one is gone
            with suppress(Exception):
                team.tell({"failed": f"{type(error).__name__}: {error}"})
        raise


def follow(node: Node, arguments: dict[str, Any], store: Store, team: Team) -> Artifact:
    """What the other processes do with a step: wait for the leading one, and work with it when it calls.

    What they write into `run.output` is thrown away. Raises `StoreError` when the leading process fails or its artifact
    is not seen from here.
    """
    word = team.tell(None)
    if "work" in word:
        with tempfile.TemporaryDirectory(prefix="glasshouse-") as folder:
            node._definition.function(Run(Path(folder), Path(word["work"]) / "scratch", Silent()), **arguments)
        word = team.tell(None)
    if "failed" in word:
        raise StoreError(f"step {node._definition.name} failed in the leading process: {word['failed']}")
    return store.open(word["artifact"])
