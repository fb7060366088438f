"""Apply a pure function to shards of work with several threads, results in order.

Threads, because the kernels and the tokenizer release the interpreter lock. Ray takes the same two arguments (a pure
function and its items), so it can replace this function without a change to its callers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
