"""Apply a pure function to items of work, results in order: with threads, or as tasks on Ray.

The same plan runs on both: a function that can be pickled and its items. Nothing a function returns may depend on where
or when it ran, so every output is the same with one worker, many, or a cluster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Somewhere to run a plan."""

    @property
    def workers(self) -> int:
        """How many items are worked on at a time."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yields `function(item)` in the order of `items`."""


class Threads:
    """Threads of this process (the default): the kernels and the tokenizers release the interpreter lock.

    Args:
        workers: number of threads; 1 runs everything in the caller's.
    """

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As `map_shards`."""
        return map_shards(function, items, self.workers)


def map_shards(function: Callable[[Item], Result], items: Iterable[Item], workers: int = 1) -> Iterator[Result]:
    """Yields `function(item)` in the order of `items`, whatever the number of workers.

    At most `2 * workers` items are held at a time, so a stream larger than memory passes through. An exception of the
    function, or of `items`, is raised at its place in the order and stops the work.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if workers == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="shard") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class RayTasks:
    """Tasks on Ray, one per item; the results come back in the order of the items.

    Args:
        workers: tasks in flight at a time (and the processors of a local Ray that is started here).
        address: a running cluster ("auto" or `ray://…`); `None` starts a local one, which is stopped by `close`.

    Raises:
        ModuleNotFoundError: Ray is not installed (`pip install 'glasshouse[ray]'`).
        ConnectionError: no cluster answers at `address`.
    """

    def __init__(self, workers: int = 2, address: str | None = None) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers
        self._ray = _connected(workers, address)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Runs every item as a task of one processor. An exception of the function is raised as it was."""
        ray = self._ray
        task = ray.remote(num_cpus=1, max_retries=2)(_call)
        shared = ray.put(function)
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(task.remote(shared, item))
                if len(waiting) >= 2 * self.workers:
                    yield _result(ray, waiting.popleft())
            while waiting:
                yield _result(ray, waiting.popleft())
        finally:
            for reference in waiting:
                ray.cancel(reference)

    def close(self) -> None:
        """Disconnects, and stops Ray where it was started here."""
        self._ray.shutdown()

    def __enter__(self) -> RayTasks:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


Progress = Callable[[int], None]


def share_of(executor: Executor, items: int, progress: Progress | None) -> tuple[int, Progress | None]:
    """Threads that each of so many items may use, and the progress it can tell: on Ray one, and none.

    A task elsewhere cannot move a bar here.
    """
    if isinstance(executor, RayTasks):
        return 1, None
    return max(1, executor.workers // max(1, items)), progress


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error


def _connected(workers: int, address: str | None) -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Ray is not installed: pip install 'glasshouse[ray]'") from error
    if not ray.is_initialized():
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        if address is None:
            quiet |= {"num_cpus": workers, "include_dashboard": False}
        ray.init(address=address, **quiet)
    return ray
